use super::*;

#[test]
fn write() {
    for name in ["dev", "staging", "prod"] {
        let e = Environment::named(name).unwrap();
        let t = edge(&e).into_json();
        let d = std::path::Path::new("/var/tmp/t-edge-out");
        std::fs::create_dir_all(d).unwrap();
        std::fs::write(d.join(format!("{name}.json")), serde_json::to_string_pretty(&t).unwrap()).unwrap();
        println!("{name} {}", t.to_string().len());
        let mut c = e.clone();
        c.settings.edge.cache_seconds = 5;
        let t = edge(&c).into_json();
        std::fs::write(d.join(format!("{name}-cache.json")), serde_json::to_string_pretty(&t).unwrap()).unwrap();
        println!("{name} cache {}", t.to_string().len());
    }
}
