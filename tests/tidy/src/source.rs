//! Rules about the source code of the programs that users run. Each rule forbids code that would
//! panic or fail on a machine that is set up differently from ours.

use std::collections::BTreeSet;

use crate::code::crates;
use crate::files::tracked;
use crate::lines::in_file;
use crate::root;

#[test]
fn no_product_file_is_longer_than_600_lines() {
    const LINES_MAX: usize = 600;
    let crates = crates(&root());
    let products = crates.iter().filter(|of| !of.folder.starts_with("tests"));
    let long: BTreeSet<&str> = products
        .flat_map(|of| &of.files)
        .filter(|file| in_file(&file.tokens) > LINES_MAX)
        .map(|file| &*file.name)
        .collect();
    assert!(
        long.is_empty(),
        "split what has more than {LINES_MAX} lines of code: {long:?}"
    );
}

/// Returns the name and the text of each product source file, up to its first `#[cfg(test)]`.
fn products() -> Vec<(String, String)> {
    let is_product = |name: &str| {
        let in_crate = name.starts_with("workers/")
            || name.starts_with("infra/")
            || name.starts_with("migrations/");
        let is_test = [
            "/tests/",
            "/tests.rs",
            "_tests.rs",
            "/laws/",
            "/fakes/",
            "/testing.rs",
        ];
        in_crate
            && name.contains("/src/")
            && name.ends_with(".rs")
            && !is_test.iter().any(|part| name.contains(part))
    };
    let names = tracked().into_iter().filter(|name| is_product(name));
    let read = |name: String| {
        let text = std::fs::read_to_string(root().join(&name)).ok()?;
        let product = text
            .split("#[cfg(test)]")
            .next()
            .unwrap_or_default()
            .to_owned();
        Some((name, product))
    };
    names.filter_map(read).collect()
}

/// Returns the lines without comments that contain one of the words.
fn with_any<'a>(text: &'a str, words: &[&str]) -> Vec<&'a str> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.filter(|line| words.iter().any(|word| line.contains(word)))
        .collect()
}

#[test]
fn the_environment_is_read_in_one_place() {
    // `vars` and `args` panic on bytes that are not UTF-8. All of them treat an empty variable as
    // set.
    const READS: [&str; 4] = ["env::var(", "env::var_os(", "env::vars", "env::args()"];
    // The simulated gateway depends on no other crate of ours, so it reads its own variables.
    const MAY: [&str; 2] = [
        "workers/chassis/src/config.rs",
        "workers/payment-gateway/src/arguments.rs",
    ];
    for (name, text) in products()
        .iter()
        .filter(|(name, _)| !MAY.contains(&name.as_str()))
    {
        let found = with_any(text, &READS);
        assert!(
            found.is_empty(),
            "{name} reads the environment; ask chassis::config::ProcessEnvironment: {found:?}"
        );
    }
}

#[test]
fn nothing_prints_by_a_macro_that_panics() {
    const MACROS: [&str; 2] = ["println!(", "print!("];
    // In these crates, the names refer to the macros of `infra/console`.
    const MAY: [&str; 4] = ["console", "haven", "platform", "provision"];
    let may = |name: &str| {
        MAY.iter()
            .any(|package| name.starts_with(&format!("infra/{package}/src/")))
    };
    for (name, text) in products().iter().filter(|(name, _)| !may(name)) {
        let found = with_any(text, &MACROS);
        assert!(
            found.is_empty(),
            "{name}: a closed pipe or a full disk panics; use writeln! and its result: {found:?}"
        );
    }
}

/// `prove` runs for hours and its exit code is a result, so a closed pipe must not panic.
#[test]
fn prove_prints_by_the_macros_of_the_console() {
    let is_source = |name: &String| name.starts_with("tests/prove/src/") && name.ends_with(".rs");
    let sources: Vec<String> = tracked()
        .into_iter()
        .filter(is_source)
        .filter(|name| !name.ends_with("tests.rs"))
        .collect();
    assert!(!sources.is_empty());
    for name in sources {
        let text = std::fs::read_to_string(root().join(&name)).expect("a source");
        let mut found = with_any(&text, &["println!(", "print!("]);
        found.retain(|line| {
            !line.contains("haven_console::print") && !line.contains("haven_console::eprint")
        });
        assert!(
            found.is_empty(),
            "{name}: a closed pipe or a full disk panics; use haven_console::println! or its like: {found:?}"
        );
    }
}

/// Returns the names of the enums that the sources declare. `Value` is left out, because the name
/// also means the enum of serde_json, which can get new variants.
fn own_enums(products: &[(String, String)]) -> BTreeSet<&str> {
    let lines = products.iter().flat_map(|(_, text)| text.lines());
    let behind = lines.filter_map(|line| {
        line.split_once("enum ")
            .filter(|(before, _)| before.trim_start().len() <= 11)
    });
    let names =
        behind.filter_map(|(_, name)| name.split(|letter: char| !letter.is_alphanumeric()).next());
    names
        .filter(|name| !name.is_empty() && *name != "Value")
        .collect()
}

/// Returns the patterns before an arm in its match. rustfmt gives them the same indentation.
fn patterns_before<'a>(lines: &[&'a str], arm: usize) -> Vec<&'a str> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let within = lines[..arm]
        .iter()
        .rev()
        .filter(|line| !line.trim().is_empty());
    let within = within.take_while(|line| indent(line) >= indent(lines[arm]));
    // Comments, and lines that go on with the body of the arm before.
    let no_pattern = ["//", ".", "]", ")", "}"];
    let is_pattern = |line: &str| {
        !no_pattern
            .iter()
            .any(|begin| line.trim_start().starts_with(begin))
    };
    let arms = within.filter(|line| indent(line) == indent(lines[arm]) && is_pattern(line));
    arms.filter_map(|line| line.split("=>").next()?.split(" if ").next())
        .collect()
}

/// Returns whether a pattern names a variant of one of the enums.
fn names_one_of(pattern: &str, enums: &BTreeSet<&str>) -> bool {
    let Some((before, _)) = pattern.rsplit_once("::") else {
        return false;
    };
    before.split("::").any(|part| {
        enums.contains(
            part.rsplit(|letter: char| !letter.is_alphanumeric())
                .next()
                .unwrap_or_default(),
        )
    })
}

/// Forbids `_` arms over enums of this workspace, so that a new variant is not handled by accident.
/// `clippy::wildcard_enum_match_arm` would also forbid them for enums of other crates.
#[test]
fn no_match_has_a_wildcard_for_our_own_enums() {
    // The number of `_` arms that a file may have. Each separates one case, or one pair of cases,
    // from others that all behave alike.
    const MAY: [(&str, usize); 4] = [
        ("infra/haven/src/lib.rs", 1),
        ("infra/haven/src/commands/provision/targets.rs", 1),
        ("infra/provision/src/report.rs", 1),
        ("workers/chassis/src/breaker.rs", 2),
    ];
    let products = products();
    let enums = own_enums(&products);
    for (name, text) in &products {
        let lines: Vec<&str> = text.lines().collect();
        let is_wildcard = |line: &str| {
            line.trim_start().starts_with("_ =>") || line.trim_start().starts_with("_ if ")
        };
        let arms = (0..lines.len()).filter(|at| is_wildcard(lines[*at]));
        let found: Vec<usize> = arms
            .filter(|at| {
                patterns_before(&lines, *at)
                    .iter()
                    .any(|pattern| names_one_of(pattern, &enums))
            })
            .map(|at| at + 1)
            .collect();
        let allowed = MAY
            .iter()
            .find(|(file, _)| file == name)
            .map_or(0, |(_, count)| *count);
        assert!(
            found.len() <= allowed,
            "{name}: name the variants instead of `_` in the lines {found:?}"
        );
    }
}
