//! Rules about the types of errors: a caller decides by variants, and a cause stays in its chain.

use std::collections::BTreeMap;

use proc_macro2::TokenTree;

use crate::code::{crates, is_ident, is_punct};
use crate::root;

/// Collects the error types of each `Result<_, _>` among tokens.
fn error_types(tokens: &[TokenTree], found: &mut Vec<String>) {
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            error_types(&inner, found);
        }
        if is_ident(Some(token), "Result") && is_punct(tokens.get(at + 1), '<') {
            found.extend(last_argument(&tokens[at + 1..]));
        }
    }
}

/// Returns the last of several arguments between the angle brackets that open at the first token.
fn last_argument(tokens: &[TokenTree]) -> Option<String> {
    let mut depth = 0;
    let mut arguments = vec![String::new()];
    for (at, token) in tokens.iter().enumerate() {
        let is_arrow = at > 0 && is_punct(tokens.get(at - 1), '-');
        if is_punct(Some(token), '<') {
            depth += 1;
        } else if is_punct(Some(token), '>') && !is_arrow {
            depth -= 1;
            if depth == 0 {
                break;
            }
        }
        match arguments.last_mut() {
            Some(last) if depth > 1 || !is_punct(Some(token), ',') => {
                last.push_str(&token.to_string());
            }
            _ => arguments.push(String::new()),
        }
    }
    // rustfmt puts a comma behind the last argument of several lines.
    arguments.retain(|argument| !argument.is_empty());
    arguments.pop().filter(|_| !arguments.is_empty())
}

#[test]
fn no_error_is_a_string_or_a_box() {
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let products = crates(&root()).into_iter();
    for of in products.filter(|of| !of.folder.starts_with("tests")) {
        for file in &of.files {
            let mut found = Vec::new();
            error_types(&file.tokens, &mut found);
            found
                .retain(|error| error == "String" || of.is_library && error.starts_with("Box<dyn"));
            let lines = found.iter().map(|error| format!("{}: {error}", file.name));
            wrong.entry(of.package.clone()).or_default().extend(lines);
        }
    }
    wrong.retain(|_, results| !results.is_empty());
    assert!(
        wrong.is_empty(),
        "an error is an enum or a struct, with its cause as source: {wrong:#?}"
    );
}
