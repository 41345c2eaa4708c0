//! Counts product lines: the lines with code, without blank lines, comments and tests.
//!
//! Product is every crate outside `tests/`. In a crate, product is what the library and the
//! programs are compiled from, without the items behind `cfg(test)` and the feature `testing`. The
//! directory `tests` of a crate and its `build.rs` do not count. A line counts if any part of a
//! token is on it, so each line of a text literal counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{Span, TokenTree};

use crate::code::{crates, doc_text, is_punct};

/// Returns the product lines of each crate of a repository, by its directory.
pub fn by_crate(root: &Path) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    for of in crates(root) {
        let folder = of.folder.to_string_lossy().into_owned();
        let files = of.files.iter().map(|file| in_file(&file.tokens));
        *lines.entry(folder).or_default() += files.sum::<usize>();
    }
    lines
}

/// Returns the lines with code of one file.
pub fn in_file(tokens: &[TokenTree]) -> usize {
    let mut lines = BTreeSet::new();
    note(tokens, &mut lines);
    lines.len()
}

fn note(tokens: &[TokenTree], lines: &mut BTreeSet<usize>) {
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if is_punct(Some(token), '#') {
            let attribute = at + 1 + usize::from(is_punct(tokens.get(at + 1), '!'));
            if doc_text(tokens.get(attribute)).is_some() {
                at = attribute + 1;
                continue;
            }
        }
        match token {
            TokenTree::Group(group) => {
                note_span(group.span_open(), lines);
                note_span(group.span_close(), lines);
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                note(&inner, lines);
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {
                note_span(token.span(), lines);
            }
        }
        at += 1;
    }
}

fn note_span(span: Span, lines: &mut BTreeSet<usize>) {
    lines.extend(span.start().line..=span.end().line);
}
