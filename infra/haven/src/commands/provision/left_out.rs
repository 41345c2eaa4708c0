//! Prints the features that the stacks lack on a local AWS.

use std::collections::BTreeMap;

use blueprint::{How, LeftOut};

/// Prints one line for each type and reason, or nothing if nothing is missing.
pub fn print_left_out(left_out: &[LeftOut]) {
    // Group by type and reason, so that the resources of several stacks are on one line.
    let mut lines: BTreeMap<(&str, String, &str), Vec<String>> = BTreeMap::new();
    for LeftOut {
        stack,
        kind,
        how,
        resources,
        why,
    } in left_out
    {
        let (title, what) = match how {
            How::LeftOut => ("left out, since the local AWS cannot hold it", kind.clone()),
            How::Without(property) => ("made without", format!("{property} of {kind}")),
            How::Idle => ("made, with nothing behind it", kind.clone()),
        };
        let names = resources.iter().map(|id| format!("{stack}/{id}"));
        lines.entry((title, what, why)).or_default().extend(names);
    }
    let mut under = "";
    for ((title, what, why), names) in lines {
        if title != under {
            println!("\n{title}:");
            under = title;
        }
        println!("  {what}: {why}\n      {}", names.join(", "));
    }
}
