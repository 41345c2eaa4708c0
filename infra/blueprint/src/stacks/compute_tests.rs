use super::*;

#[test]
fn write_out() {
    for name in ["dev", "staging", "prod"] {
        let environment = Environment::named(name).expect("known");
        let mut e2 = environment.clone();
        e2.settings.compute.image_digest = format!("sha256:{}", "a".repeat(64));
        for (k, e) in [("empty", environment), ("image", e2)] {
            let t = compute(&e).into_json();
            println!("{name} {k} {}", t.to_string().len());
            std::fs::write(
                format!("/var/tmp/t-run/compute-{name}-{k}.json"),
                serde_json::to_string_pretty(&t).unwrap(),
            )
            .unwrap();
        }
    }
}
