//! Cycles between modules ("Which way arrows point" in ARCHITECTURE.md).
//!
//! An arrow leads from module `a` to module `b` if `a` and `b` have the same parent, and the code
//! in `a` or below it contains a path to something in `b` or below it. Re-exports are followed to
//! the module that declares the name, also where `a` takes the name from the parent. Uses between a
//! parent and its children count as inside of one unit: a parent declares, combines
//! and re-exports its children, and children share what the parent has. Code of tests does not
//! count.

use std::collections::{BTreeMap, BTreeSet};

use crate::code::{Crate, crates, library};
use crate::root;

/// Arrows between the children of one parent, each with an example.
type Arrows<'a> = BTreeMap<(&'a str, &'a str), String>;

fn arrows<'a>(of: &'a Crate, uses: &[BTreeSet<usize>], parent: &[String]) -> Arrows<'a> {
    let child_of = |module: usize| {
        let path = &of.modules[module].path;
        path.strip_prefix(parent)?.first().map(String::as_str)
    };
    let name = |module: usize| of.modules[module].path.join("::");
    let mut arrows = Arrows::new();
    for (from, used) in uses.iter().enumerate() {
        for to in used {
            if let (Some(one), Some(other)) = (child_of(from), child_of(*to))
                && one != other
            {
                let example = || format!("{} uses {}", name(from), name(*to));
                arrows.entry((one, other)).or_insert_with(example);
            }
        }
    }
    arrows
}

/// Returns whether arrows lead from one module to another.
fn leads<'a>(arrows: &Arrows<'a>, from: &'a str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        if module == to {
            return true;
        }
        if seen.insert(module) {
            let behind = arrows.keys().filter(|(one, _)| *one == module);
            next.extend(behind.map(|(_, other)| *other));
        }
    }
    false
}

#[test]
fn modules_form_no_cycle() {
    let crates = crates(&root());
    let mut found = Vec::new();
    for of in &crates {
        let uses: Vec<BTreeSet<usize>> = (0..of.modules.len()).map(|at| of.uses(at)).collect();
        let parents = of.modules.iter().map(|module| &module.path);
        for parent in parents {
            let arrows = arrows(of, &uses, parent);
            let examples: Vec<&String> = arrows
                .iter()
                .filter(|((one, other), _)| leads(&arrows, other, one))
                .map(|(_, example)| example)
                .collect();
            if !examples.is_empty() {
                let (package, parent) = (&of.package, parent.join("::"));
                found.push(format!("{package} in `{parent}`: {examples:#?}"));
            }
        }
    }
    assert!(
        found.is_empty(),
        "cycles between modules: {}",
        found.join("\n")
    );
}

#[test]
fn a_re_export_is_resolved_to_the_declaring_module() {
    let of = library(&root(), "workers/adapter-aws");
    let module = |name: &str| {
        let mut modules = of.modules.iter();
        modules
            .position(|module| module.path == [name])
            .expect(name)
    };
    // `settings` names `crate::Clients`, which the root re-exports from `clients`.
    assert!(of.uses(module("settings")).contains(&module("clients")));
    assert!(!of.uses(module("clients")).contains(&module("settings")));
}
