//! Rules about files: runbooks and alarms, decisions and links between documents, and paths of a
//! developer's machine.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use contract::alarm::ALARMS;

use crate::root;

/// Returns the names of all files that git tracks.
pub fn tracked() -> Vec<String> {
    let files = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .expect("git runs");
    let names = String::from_utf8(files.stdout).expect("text");
    names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_alarm_has_a_runbook_and_every_runbook_an_alarm() {
    let wanted: BTreeSet<String> = ALARMS
        .iter()
        .map(|alarm| format!("{}.md", alarm.runbook))
        .collect();
    let folder = root().join("runbooks");
    let there: BTreeSet<String> = std::fs::read_dir(&folder)
        .expect("runbooks")
        .flatten()
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(wanted, there);
    for name in there {
        let text = std::fs::read_to_string(folder.join(&name)).expect("readable");
        for heading in ["## Meaning", "## Impact", "## Diagnosis", "## Mitigation"] {
            assert!(text.contains(heading), "{name} lacks {heading}");
        }
        let id = name.trim_end_matches(".md");
        for alarm in ALARMS.iter().filter(|alarm| alarm.runbook == id) {
            assert!(
                text.contains(alarm.slug),
                "{name} does not name its alarm {}",
                alarm.slug
            );
        }
    }
}

#[test]
fn no_file_contains_a_path_of_a_developers_machine() {
    // Each path is split in two, so that this file does not contain it.
    let places = [
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/wo", "rk/"),
        concat!("/var/t", "mp/"),
    ];
    for name in tracked()
        .iter()
        .filter(|name| !name.ends_with(".lock") && !name.ends_with(".snap"))
    {
        let Ok(text) = std::fs::read_to_string(root().join(name)) else {
            continue;
        };
        for place in places {
            assert!(!text.contains(place), "{name} names {place}");
        }
    }
}

#[test]
fn every_decision_is_in_the_list_of_decisions() {
    let folder = root().join("docs/adr");
    let list = std::fs::read_to_string(folder.join("README.md")).expect("docs/adr/README.md");
    for file in std::fs::read_dir(&folder).expect("docs/adr").flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        assert!(
            name == "README.md" || list.contains(&name),
            "docs/adr/README.md does not name {name}"
        );
    }
}

#[test]
fn links_in_the_documents_are_valid() {
    for name in tracked().iter().filter(|name| name.ends_with(".md")) {
        let text = std::fs::read_to_string(root().join(name)).expect("readable");
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let from = root()
                .join(Path::new(name))
                .parent()
                .expect("a directory")
                .to_owned();
            assert!(from.join(target).exists(), "{name} links to {target}");
        }
    }
}
