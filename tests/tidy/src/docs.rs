//! Rules about doc comments, and about what ARCHITECTURE.md says of tests.

use proc_macro2::TokenTree;

use crate::code::{crates, items};
use crate::root;

/// Collects the public functions among items, with the first line of their doc comments.
fn functions(tokens: &[TokenTree], is_trait: bool, found: &mut Vec<(String, String)>) {
    for item in items(tokens) {
        let body = item.body().unwrap_or_default();
        match item.keyword().as_str() {
            "fn" if item.is_public || is_trait => found.push((item.name(), item.doc)),
            "impl" | "mod" => functions(&body, false, found),
            "trait" if item.is_public => functions(&body, true, found),
            _ => {}
        }
    }
}

/// Returns whether a doc comment begins with a verb in the third person: a capital letter, an `s`
/// at the end as in "Returns" or "Is", no noun in the plural as in "Lines of", none of the endings
/// of other words ("Address", "Status", "This").
fn begins_with_a_verb(doc: &str) -> bool {
    const NO_VERBS: [&str; 5] = ["Always", "As", "Its", "Perhaps", "Sometimes"];
    let mut words = doc.split_whitespace();
    let first = words.next().unwrap_or_default();
    let first = first.trim_end_matches(['.', ',', ':', ';']);
    let ending = first.ends_with('s') && !["ss", "us", "is"].iter().any(|end| first.ends_with(end));
    first == "Is"
        || first.starts_with(|letter: char| letter.is_ascii_uppercase())
            && first.chars().all(char::is_alphabetic)
            && ending
            && !NO_VERBS.contains(&first)
            && words.next() != Some("of")
}

#[test]
fn public_functions_have_a_doc_comment_with_a_verb() {
    let mut wrong = Vec::new();
    let libraries = crates(&root()).into_iter();
    for of in libraries.filter(|of| of.is_library && !of.folder.starts_with("tests")) {
        for file in &of.files {
            let mut found = Vec::new();
            functions(&file.tokens, false, &mut found);
            found.retain(|(_, doc)| !begins_with_a_verb(doc));
            let lines = found
                .into_iter()
                .map(|(name, doc)| format!("{}: `{name}`: {doc:?}", file.name));
            wrong.extend(lines);
        }
    }
    assert!(
        wrong.is_empty(),
        "begin the doc comments of {} public functions with a verb such as \"Returns\": {wrong:#?}",
        wrong.len()
    );
}

#[test]
fn a_verb_is_known_by_its_ending() {
    for doc in ["Returns the order.", "Is true for a refund.", "Passes."] {
        assert!(begins_with_a_verb(doc), "{doc}");
    }
    for doc in [
        "",
        "The order.",
        "Address of the queue.",
        "This returns the order.",
        "Lines of the cart.",
        "returns the order.",
        "Return the order.",
        "`x` returns.",
    ] {
        assert!(!begins_with_a_verb(doc), "{doc}");
    }
}

/// Returns the parts in backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Each row of the table names tests, and behind them in parentheses the files that have them. In a
/// further file, a law is called by its name.
#[test]
fn each_invariant_of_the_architecture_has_its_test() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("readable");
    let chapter = text
        .split("\n## ")
        .find(|part| part.starts_with("Invariants"));
    let rows = chapter.expect("a chapter").lines();
    let rows: Vec<&str> = rows.filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 20, "the table of invariants is not found");
    for row in rows {
        let mut cells = row.trim_matches('|').split(" | ");
        let (what, tests) = (cells.next(), cells.next());
        let groups: Vec<&str> = tests.unwrap_or_default().split(')').collect();
        let mut named = 0;
        for group in &groups {
            let Some((names, files)) = group.split_once('(') else {
                continue;
            };
            for name in quoted(names) {
                for (place, file) in quoted(files).into_iter().enumerate() {
                    let source = std::fs::read_to_string(root().join(file))
                        .unwrap_or_else(|error| panic!("{what:?}: {file}: {error}"));
                    let needle = if place == 0 {
                        format!("fn {name}(")
                    } else {
                        name.to_owned()
                    };
                    assert!(source.contains(&needle), "{what:?}: {file} lacks `{name}`");
                    named += 1;
                }
            }
        }
        assert!(named > 0, "{row} names no test");
    }
}
