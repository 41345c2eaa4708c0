//! Every `haven` command that a document, a runbook, a message or a comment quotes parses.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// The folders and files whose Markdown is read. The change log names what no longer exists.
const DOCUMENTS: [&str; 9] = [
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "docs",
    "infra",
    "localstack",
    "migrations",
    "runbooks",
];
/// The folders whose sources print commands.
const SOURCES: [&str; 5] = [
    "infra/console/src",
    "infra/haven/src",
    "infra/platform/src",
    "infra/provision/src",
    "workers/app/src",
];
const ID: &str = "01954f0c-6b00-7000-8000-000000000047";
/// What stands for the words that a reader replaces.
const VALUES: [(&str, &str); 15] = [
    ("1..8760", "8"),
    ("CAUSE", "3f2a"),
    ("COMMAND", "plan"),
    ("D", "30s"),
    ("ID", ID),
    ("KIND", "order_confirmed"),
    ("L", "warn"),
    ("N", "5"),
    ("ORDER", "A-047"),
    ("ORDER_ID", ID),
    ("PERCENT", "5"),
    ("R", "5"),
    ("RUNBOOK", "queue-age"),
    ("STATUS", "failed"),
    ("URL", "http://127.0.0.1:4566"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the files below a path with this extension, without what is built or hidden.
fn files(path: &Path, extension: &str) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if path.is_file() {
        let is_wanted = path.extension().is_some_and(|found| found == extension);
        return if is_wanted {
            vec![path.to_owned()]
        } else {
            Vec::new()
        };
    }
    if name == "target" || name.starts_with('.') {
        return Vec::new();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| files(&entry.path(), extension))
        .collect()
}

/// Returns the pieces of a text between backticks. A quote without an end is none.
fn quotes(text: &str) -> impl Iterator<Item = &str> {
    let parts: Vec<&str> = text.split('`').collect();
    (1..parts.len() - 1)
        .step_by(2)
        .map(move |index| parts[index])
}

/// Returns the quotes in a Markdown document that are commands of a shell, and whether they are in a
/// fenced block. A quote can go on in the next line.
fn code_in(document: &str) -> Vec<(String, bool)> {
    let mut is_fenced = false;
    let mut code = Vec::new();
    let mut paragraph = String::new();
    for line in document.lines().chain([""]) {
        let is_fence = line.trim_start().starts_with("```");
        if is_fence || is_fenced || line.trim().is_empty() {
            let quotes = quotes(&paragraph).filter(|quote| {
                let begins = ["haven ", "cargo run ", "eval "];
                begins.iter().any(|begin| quote.starts_with(begin))
            });
            code.extend(quotes.map(|quote| (quote.to_owned(), false)));
            paragraph.clear();
        }
        if is_fence {
            is_fenced = !is_fenced;
        } else if is_fenced {
            code.push((line.to_owned(), true));
        } else {
            paragraph += line;
            paragraph.push(' ');
        }
    }
    code
}

/// Returns the `haven` commands in a piece of code, with values for what a reader replaces.
fn commands_of(code: &str) -> Vec<String> {
    let code = code
        .replace("cargo run --release -- ", "haven ")
        .replace("cargo run -- ", "haven ");
    let code = code.split(" #").next().unwrap_or_default();
    let parts = code.split("&&").flat_map(|part| part.split(';'));
    parts.filter_map(command_of).collect()
}

fn command_of(part: &str) -> Option<String> {
    let words = part
        .split_whitespace()
        .skip_while(|word| word.trim_start_matches(['"', '\'', '$', '(']) != "haven");
    let words = words
        .skip(1)
        .take_while(|word| !["|", "\\|", ">"].contains(word));
    let words: Vec<String> = words.map(value_of).collect();
    // `haven` alone, an ellipsis, and the topics that `main` prints before clap sees them.
    let topic = words.get(1).filter(|_| words[0] == "help");
    let is_topic = topic.is_some_and(|topic| topic == "exit-codes" || topic == "json");
    if words.is_empty() || words.iter().any(|word| word == "...") || is_topic {
        return None;
    }
    Some(format!("haven {}", words.join(" ")))
}

/// Returns the word as a reader would type it: the first of several, and a value for a name.
fn value_of(word: &str) -> String {
    let word = word.trim_matches(['[', ']', '(', ')', '"', '\'', ',']);
    let word = word.split('|').next().unwrap_or_default();
    let value = VALUES.iter().find(|(name, _)| *name == word);
    let value = value.map_or(word, |(_, value)| value);
    // What `format!` fills in.
    match (value.find('{'), value.rfind('}')) {
        (Some(begin), Some(end)) if begin < end => {
            format!("{}A-047{}", &value[..begin], &value[end + 1..])
        }
        _ => value.to_owned(),
    }
}

/// Returns why a command does not parse. A quote that only names a command can lack its arguments
/// or the value of its last flag, and a synopsis lists flags that exclude each other.
fn wrong(command: &str, is_whole: bool) -> Option<String> {
    let error = parsed(command).err()?;
    let names_only = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return None,
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::ArgumentConflict => true,
        ErrorKind::InvalidValue => {
            let last = command.split(' ').next_back().unwrap_or_default();
            last.starts_with("--")
        }
        _ => false,
    };
    (is_whole || !names_only).then(|| format!("{command}: {error}"))
}

/// Parses the commands in pieces of code, each with its file and whether it is whole. At least
/// `least` commands must be found.
#[track_caller]
fn assert_all_parse(quoted: &[(PathBuf, String, bool)], least: usize) {
    let mut count = 0;
    let mut problems = Vec::new();
    for (file, code, is_whole) in quoted {
        for command in commands_of(code) {
            count += 1;
            let wrong = wrong(&command, *is_whole);
            problems.extend(wrong.map(|wrong| format!("{}: {wrong}", file.display())));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(count > least, "{count} commands found");
}

#[test]
fn every_command_in_the_documents_parses() {
    let mut quoted = Vec::new();
    for file in DOCUMENTS
        .iter()
        .flat_map(|path| files(&root().join(path), "md"))
    {
        let document = fs::read_to_string(&file).expect("text");
        let code = code_in(&document).into_iter();
        quoted.extend(code.map(|(code, is_fenced)| (file.clone(), code, is_fenced)));
    }
    assert_all_parse(&quoted, 150);
}

#[test]
fn every_command_in_a_message_or_a_comment_parses() {
    let mut quoted = Vec::new();
    for file in SOURCES
        .iter()
        .flat_map(|path| files(&root().join(path), "rs"))
    {
        let source = fs::read_to_string(&file).expect("text");
        // Tests quote what is wrong on purpose.
        let product = source.split("#[cfg(test)]").next().unwrap_or_default();
        if file.components().any(|part| part.as_os_str() == "tests") || file.ends_with("tests.rs") {
            continue;
        }
        let quotes = product.lines().flat_map(quotes);
        let quotes = quotes.filter(|quote| quote.starts_with("haven "));
        quoted.extend(quotes.map(|quote| (file.clone(), quote.to_owned(), false)));
        // The next step of a verdict is whole, up to its first comma.
        let joined = product.split_whitespace().collect::<Vec<_>>().join(" ");
        let joined = joined.replace("( ", "(");
        let next = [".next(\"", ".next(format!(\""]
            .iter()
            .flat_map(|call| joined.split(call).skip(1))
            .filter(|step| step.starts_with("haven "));
        let next = next.map(|step| step.split(['"', ',']).next().unwrap_or_default());
        quoted.extend(next.map(|step| (file.clone(), step.to_owned(), true)));
    }
    assert_all_parse(&quoted, 60);
}

#[test]
fn commands_are_found_with_values_for_what_a_reader_replaces() {
    for (code, expected) in [
        ("haven status", &["haven status"][..]),
        ("cargo run -- up    # build and start", &["haven up"]),
        ("eval \"$(cargo run -- env)\"", &["haven env"]),
        (
            "for run in 1 2; do haven synth prod && haven check prod; done",
            &["haven synth prod", "haven check prod"],
        ),
        ("haven cost prod \\| head -3", &["haven cost prod"]),
        (
            "haven open [shop|staff|mail] [--json]",
            &["haven open shop --json"],
        ),
        ("haven dlq show CAUSE", &["haven dlq show 3f2a"]),
        ("haven dlq ... --json", &[]),
        ("haven help json status", &[]),
        ("cargo build -p haven", &[]),
        ("haven orders show {id}", &["haven orders show A-047"]),
    ] {
        assert_eq!(commands_of(code), expected, "{code}");
    }
    assert!(wrong("haven sttus", false).is_some());
    assert!(wrong("haven dlq redrive --wrong", false).is_some());
    assert!(
        wrong("haven dlq redrive", false).is_none() && wrong("haven dlq redrive", true).is_some()
    );
    assert!(wrong("haven plan --allow", false).is_none());
}
