//! Prints the product lines of each crate: `cargo run -p tidy --bin lines`.
//!
//! `cargo run -p tidy --bin lines -- --compare ../before` also prints those of an older checkout in
//! that directory, and the difference. [`tidy::lines`] says what counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tidy::lines::by_crate;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match &arguments[..] {
        [] => print(None, &by_crate(&tidy::root())),
        [flag, before] if flag.as_path() == Path::new("--compare") => {
            print(Some(&by_crate(before)), &by_crate(&tidy::root()));
        }
        _ => {
            eprintln!("Usage: lines [--compare DIRECTORY], with the root of an older checkout");
            return ExitCode::from(64);
        }
    }
    ExitCode::SUCCESS
}

fn print(before: Option<&BTreeMap<String, usize>>, after: &BTreeMap<String, usize>) {
    let is_product = |folder: &&String| !folder.starts_with("tests/");
    for (what, is_wanted) in [("product", true), ("tools for tests", false)] {
        let folders: BTreeSet<&String> = before
            .into_iter()
            .flat_map(BTreeMap::keys)
            .chain(after.keys())
            .filter(|folder| is_product(folder) == is_wanted)
            .collect();
        let of = |lines: &BTreeMap<String, usize>, folder: &String| {
            lines.get(folder).copied().unwrap_or_default()
        };
        for folder in &folders {
            row(
                folder,
                before.map(|before| of(before, folder)),
                of(after, folder),
            );
        }
        let sum =
            |lines: &BTreeMap<String, usize>| folders.iter().map(|folder| of(lines, folder)).sum();
        row(&format!("all {what}"), before.map(sum), sum(after));
    }
}

fn row(name: &str, before: Option<usize>, after: usize) {
    match before {
        None => println!("{name:26} {after:7}"),
        Some(0) => println!("{name:26} {:7} {after:7} {after:+7}     new", 0),
        Some(before) => {
            let change = after as i64 - before as i64;
            let percent = change as f64 * 100.0 / before as f64;
            println!("{name:26} {before:7} {after:7} {change:+7} {percent:+6.1} %");
        }
    }
}
