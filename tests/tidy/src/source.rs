//! What the source of a product may not do, since it panics or goes wrong in surroundings that are not ours.

use super::files::tracked;
use super::root;

/// The part of every source file of a product that is not a test.
fn products() -> Vec<(String, String)> {
    let is_product = |name: &str| {
        let in_crate = name.starts_with("workers/") || name.starts_with("infra/") || name.starts_with("migrations/");
        let is_test = ["/tests/", "/tests.rs", "_tests.rs", "/laws/", "/fakes/", "/stub.rs"];
        in_crate && name.contains("/src/") && name.ends_with(".rs") && !is_test.iter().any(|part| name.contains(part))
    };
    let names = tracked().into_iter().filter(|name| is_product(name));
    let read = |name: String| {
        let text = std::fs::read_to_string(root().join(&name)).ok()?;
        let product = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        Some((name, product))
    };
    names.filter_map(read).collect()
}

/// Lines that are code and contain one of these words.
fn with_any<'a>(text: &'a str, words: &[&str]) -> Vec<&'a str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.filter(|line| words.iter().any(|word| line.contains(word))).collect()
}

#[test]
fn the_environment_is_read_in_one_place() {
    // `vars` and `args` panic on bytes that are not UTF-8; all of them see an empty variable as set.
    const READS: [&str; 4] = ["env::var(", "env::var_os(", "env::vars", "env::args()"];
    // The simulated gateway imports nothing of ours, and reads its own variables.
    const MAY: [&str; 2] = ["workers/chassis/src/config.rs", "workers/payment-gateway/src/arguments.rs"];
    for (name, text) in products().iter().filter(|(name, _)| !MAY.contains(&name.as_str())) {
        let found = with_any(text, &READS);
        assert!(found.is_empty(), "{name} reads the environment; ask chassis::config::ProcessEnvironment: {found:?}");
    }
}

#[test]
fn nothing_prints_by_a_macro_that_panics() {
    const MACROS: [&str; 2] = ["println!(", "print!("];
    // Within `haven` these names are the macros of its own `output`.
    for (name, text) in products().iter().filter(|(name, _)| !name.starts_with("infra/haven/src/")) {
        let found = with_any(text, &MACROS);
        assert!(
            found.is_empty(),
            "{name}: a closed pipe or a full disk panics; use writeln! and its result: {found:?}"
        );
    }
}
