//! What the stacks do without, for people.

use std::collections::BTreeMap;

use blueprint::{How, LeftOut};

/// One line for each reason and type; nothing where nothing is missing.
pub fn print_left_out(left_out: &[LeftOut]) {
    let is = |entry: &&LeftOut, wanted: fn(How) -> bool| wanted(entry.how);
    let kinds: [(&str, fn(How) -> bool); 3] = [
        ("left out, since the local AWS cannot hold it", |how| how == How::LeftOut),
        ("made without", |how| matches!(how, How::Without(_))),
        ("made, with nothing behind it", |how| how == How::Idle),
    ];
    for (title, wanted) in kinds {
        // By type and reason: stacks side by side.
        let mut lines: BTreeMap<(String, &str), Vec<String>> = BTreeMap::new();
        for entry in left_out.iter().filter(|entry| is(entry, wanted)) {
            let what = match entry.how {
                How::Without(property) => format!("{property} of {}", entry.kind),
                How::LeftOut | How::Idle => entry.kind.clone(),
            };
            let names = entry.resources.iter().map(|id| format!("{}/{id}", entry.stack));
            lines.entry((what, entry.why.as_str())).or_default().extend(names);
        }
        if !lines.is_empty() {
            println!("\n{title}:");
        }
        for ((what, why), names) in lines {
            println!("  {what}: {why}\n      {}", names.join(", "));
        }
    }
}
