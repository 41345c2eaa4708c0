//! Tests of the command line: names, groups, help texts and forms that must parse.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::ValueEnum as _;

use super::screens::{FIRST, GROUPS};
use super::*;
use crate::schemas::SCHEMAS;

mod quoted;

/// The commands that ask for confirmation, each with arguments that make it ask. `apply` asks for a
/// saved plan of production only, as a test beside it shows.
const ASKING: [(&str, Option<&str>); 5] = [
    ("haven apply", None),
    ("haven deploy", Some("dev")),
    ("haven destroy", Some("dev")),
    ("haven dlq redrive", Some("3f2a")),
    ("haven drift", Some("dev --revert")),
];

/// The whole command line, as `main` uses it.
fn tree() -> clap::Command {
    let mut tree = command_line(80);
    tree.build();
    tree
}

/// Every command that is listed, with the words that call it. The help command is clap's own.
fn listed() -> Vec<(String, clap::Command)> {
    fn below(words: &str, command: &clap::Command, all: &mut Vec<(String, clap::Command)>) {
        for inner in command.get_subcommands() {
            if inner.get_name() != "help" && !inner.is_hide_set() {
                let words = format!("{words} {}", inner.get_name());
                all.push((words.clone(), inner.clone()));
                below(&words, inner, all);
            }
        }
    }
    let mut all = Vec::new();
    below("haven", &tree(), &mut all);
    all
}

fn parsed(line: &str) -> Result<(Command, Settings), clap::Error> {
    let arguments: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
    parse(&arguments)
}

#[track_caller]
fn parses(line: &str) -> (Command, Settings) {
    parsed(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn the_command_line_is_consistent() {
    command_line(80).debug_assert();
}

#[test]
fn each_listed_command_is_in_one_group() {
    // `haven help` is known, and the scripts of `haven completions` are installed once.
    const UNLISTED: [&str; 2] = ["help", "completions"];
    let commands = tree();
    let listed = commands
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let mut listed: Vec<&str> = listed.map(clap::Command::get_name).collect();
    listed.retain(|name| !UNLISTED.contains(name));
    let mut grouped: Vec<&str> = GROUPS
        .iter()
        .flat_map(|group| group.commands)
        .copied()
        .collect();
    listed.sort_unstable();
    grouped.sort_unstable();
    assert_eq!(grouped, listed);
}

#[test]
fn each_help_line_of_a_command_is_imperative_and_short() {
    const VERBS: [&str; 25] = [
        "Add", "Apply", "Compare", "Create", "Delete", "Deploy", "Diagnose", "Estimate", "Explain",
        "Issue", "List", "Open", "Plan", "Prepare", "Print", "Rebuild", "Revoke", "Run", "Send",
        "Show", "Start", "Stop", "Test", "Validate", "Write",
    ];
    for (words, command) in listed() {
        let about = command
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default();
        let verb = about.split(' ').next().unwrap_or_default();
        assert!(
            VERBS.contains(&verb.trim_end_matches(',')),
            "{words}: {about}"
        );
        assert!(
            about.len() <= 62 && !about.ends_with('.'),
            "{words}: {about}"
        );
    }
}

#[test]
fn each_flag_has_one_meaning_everywhere() {
    let mut meanings: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, command) in listed() {
        for flag in command.get_arguments().filter(|arg| !arg.is_positional()) {
            let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
            let meaning = format!("{:?} {help}", flag.get_value_names().unwrap_or_default());
            let name = flag.get_long().unwrap_or_default().to_owned();
            // clap's own texts differ with the length of the help.
            if name != "help" {
                meanings.entry(name).or_default().insert(meaning);
            }
        }
    }
    meanings.retain(|_, meanings| meanings.len() > 1);
    assert!(meanings.is_empty(), "{meanings:#?}");
}

/// Two commands read several environments, and say in their help which ones without a name.
#[test]
fn each_name_of_a_value_has_one_meaning_everywhere() {
    const SEVERAL: [&str; 2] = ["haven check", "haven cost"];
    let mut meanings: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (words, command) in listed() {
        let values = command.get_arguments().filter(|arg| arg.is_positional());
        for value in values.filter(|arg| !arg.is_hide_set()) {
            let help = value
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(!help.is_empty(), "{words} {value}");
            for name in value.get_value_names().unwrap_or_default() {
                if name != "ENV" || !SEVERAL.contains(&words.as_str()) {
                    meanings
                        .entry(name.to_string())
                        .or_default()
                        .insert(help.clone());
                }
            }
        }
    }
    meanings.retain(|_, meanings| meanings.len() > 1);
    assert!(meanings.is_empty(), "{meanings:#?}");
}

#[test]
fn the_commands_that_ask_are_those_with_yes() {
    let has = |command: &clap::Command, long: &str| {
        command
            .get_arguments()
            .any(|arg| arg.get_long() == Some(long))
    };
    let with = |long: &str| -> Vec<String> {
        let commands = listed().into_iter();
        let mut with: Vec<String> = commands
            .filter(|(_, command)| has(command, long))
            .map(|(words, _)| words)
            .collect();
        with.sort_unstable();
        with
    };
    assert_eq!(with("yes"), ASKING.map(|(words, _)| words));
    // Dead letters are sent back on this machine only, which has no account.
    let mut severe = ASKING.map(|(words, _)| words).to_vec();
    severe.retain(|words| *words != "haven dlq redrive");
    assert_eq!(with("confirm"), severe);
    // Without a revert there is no question.
    for flag in ["--yes", "--confirm 123456789012"] {
        parsed(&format!("haven drift dev {flag}")).expect_err(flag);
        parses(&format!("haven drift dev --revert {flag}"));
    }
}

/// With `--no-input`, as with a closed standard input, which tests of a whole process have.
#[tokio::test]
async fn a_command_that_asks_without_a_terminal_exits_with_64_at_once() {
    let before = settings::get();
    settings::set(Settings {
        no_input: true,
        ..before.clone()
    });
    for (words, arguments) in ASKING {
        let Some(arguments) = arguments else {
            continue;
        };
        let line = format!("{words} {arguments}");
        let command = parses(&line).0;
        let begun = std::time::Instant::now();
        let error = run(command).await.expect_err("no answer");
        assert!(
            begun.elapsed().as_secs() < 1,
            "{line}: {:?}",
            begun.elapsed()
        );
        let failure = error.downcast_ref::<Failure>().expect("a sentence");
        assert_eq!(
            (failure.exit, failure.code),
            (Exit::Usage, "confirmation_needed"),
            "{line}: {error}"
        );
        let tip = failure.tip.as_deref().unwrap_or_default();
        let mut quotes = tip.split('`').skip(1).step_by(2);
        parses(quotes.next().expect("the command that reviews"));
        assert_eq!(quotes.next(), Some("--yes"), "{line}: {tip}");
    }
    settings::set(before);
}

#[test]
fn no_help_is_wider_than_eighty_columns_and_the_short_one_has_three_examples() {
    let mut root = tree();
    let mut screens = vec![
        ("haven -h".to_owned(), root.render_help().to_string()),
        (
            "haven --help".to_owned(),
            root.render_long_help().to_string(),
        ),
    ];
    for (words, command) in listed() {
        let mut command = command.term_width(80);
        screens.push((format!("{words} -h"), command.render_help().to_string()));
        screens.push((
            format!("{words} --help"),
            command.render_long_help().to_string(),
        ));
    }
    for (words, screen) in screens {
        for line in screen.lines() {
            assert!(line.chars().count() <= 80, "{words}: {line}");
        }
        let examples = examples_in(&screen);
        if words != "haven -h" && words != "haven --help" {
            assert!((1..=3).contains(&examples.len()), "{words}: {screen}");
        }
    }
}

/// Returns the lines below the heading of the examples.
fn examples_in(screen: &str) -> Vec<&str> {
    let lines = screen
        .lines()
        .skip_while(|line| !line.starts_with("Example"));
    lines
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .map(str::trim)
        .collect()
}

/// Returns the `haven` commands in a line of a shell.
fn commands_in(line: &str) -> Vec<&str> {
    let commands = line
        .split(" && ")
        .filter_map(|part| Some(&part[part.find("haven ")?..]));
    commands
        .map(|command| command.split([')', '>']).next().unwrap_or_default().trim())
        .collect()
}

#[test]
fn every_command_on_a_help_screen_parses() {
    for (words, command) in listed() {
        let help = command.clone().render_long_help().to_string();
        for example in examples_in(&help) {
            let commands = commands_in(example);
            assert!(
                !commands.is_empty() || !example.contains("haven"),
                "{words}: {example}"
            );
            // The variable replaces the flag, and tests do not set variables of their process.
            let is_by_variable = example.starts_with("DATABASE_URL=");
            let flag = if is_by_variable {
                " --database-url postgres://h/d"
            } else {
                ""
            };
            for command in commands {
                parses(&format!("{command}{flag}"));
            }
        }
    }
    for (line, _) in FIRST.iter().flat_map(|section| section.lines) {
        parses(line);
    }
}

#[test]
fn every_form_of_the_releases_before_still_parses() {
    for line in [
        "haven up --state x --port 0 --postgres postgres://h/d --redis --containers --detach",
        "haven why data/Database dev --json",
        "haven why orders",
        "haven check prod dev --json",
        "haven cost prod dev --budget 1",
        "haven orders reproject prod --json --database-url postgres://h/d",
        "haven status prod --json --endpoint http://127.0.0.1:1",
        "haven destroy local --yes --allow data/Database",
        "haven apply dev.plan.json --endpoint http://127.0.0.1:1 --state x --json",
        "haven outputs local queue/orders/url --state x",
        "haven config explain prod network.zones --set network.zones=2",
        "haven keep --within 30 -- redis-server --port 6379 --json -v",
        "haven promote staging prod --out p.json --valid-for 2h --no-drift --json",
        "haven drift local --revert --yes --json",
        "haven load --rate 1 --duration 1s --hot-product --json",
    ] {
        parses(line);
    }
}

#[test]
fn global_flags_work_before_and_after_the_command() {
    for (line, settings) in [
        (
            "haven --json -q --state x status",
            "haven status --state x --json --quiet",
        ),
        (
            "haven -v --no-input dlq list",
            "haven dlq --verbose list --no-input",
        ),
    ] {
        let (one, other) = (parses(line), parses(settings));
        assert_eq!(one.1, other.1, "{line}");
        assert_eq!(format!("{:?}", one.0), format!("{:?}", other.0), "{line}");
        assert_ne!(one.1, global::of_variables(), "{line}");
    }
    assert_eq!(
        parses("haven status").1.state,
        None,
        "not from the command line"
    );
}

#[test]
fn the_environment_is_local_unless_it_is_named_once() {
    let environment = |line: &str| match parses(line).0 {
        Command::Status(options) => options.which.environment,
        Command::Why(options) => options.which.environment,
        other => panic!("{other:?}"),
    };
    for (line, expected) in [
        ("haven status", "local"),
        ("haven why orders", "local"),
        ("haven status prod", "prod"),
        ("haven --env prod status", "prod"),
        ("haven status --env prod", "prod"),
        ("haven why orders prod", "prod"),
        ("haven why orders --env prod", "prod"),
        ("haven --env prod status prod", "prod"),
    ] {
        assert_eq!(environment(line), expected, "{line}");
    }
    let refused = parsed("haven --env prod status dev").expect_err("two environments");
    assert!(refused.to_string().contains("`prod`"), "{refused}");
    let refused = parsed("haven --env prod seed").expect_err("the flag would be ignored");
    assert!(refused.to_string().contains("local platform"), "{refused}");
    parses("haven --env local seed");
}

#[test]
fn every_command_with_json_has_a_schema() {
    let has_json = |command: &clap::Command| {
        let mut flags = command.get_arguments();
        flags.any(|arg| arg.get_id() == "json" && !arg.is_hide_set())
    };
    let commands = listed().into_iter();
    let commands = commands.filter(|(_, command)| !command.has_subcommands() && has_json(command));
    let commands: BTreeSet<String> = commands.map(|(words, _)| words).collect();
    let known = SCHEMAS.iter().flat_map(|schema| schema.commands);
    let known: BTreeSet<String> = known.map(|command| format!("haven {command}")).collect();
    assert_eq!(known, commands);
}

#[test]
fn nouns_parse_in_singular_and_plural_and_list_as_ls() {
    for line in [
        "haven order show A-047",
        "haven runbooks ls",
        "haven log order-worker -f --level warn --since 15m --limit 5",
        "haven dlq ls",
        "haven notify ls --failed",
        "haven output local",
    ] {
        parses(line);
    }
}

#[test]
fn the_nearest_state_directory_above_is_found() {
    let folder = std::env::temp_dir().join(format!("haven-cli-{}", uuid::Uuid::now_v7()));
    let deep = folder.join("a/b");
    std::fs::create_dir_all(&deep).expect("directories");
    let below_root = |state: &Path| state.starts_with(&folder);
    assert!(!below_root(&global::nearest_state(&deep)), "none yet");
    std::fs::create_dir(folder.join(crate::arguments::STATE)).expect("a directory");
    assert_eq!(
        global::nearest_state(&deep),
        folder.join(crate::arguments::STATE)
    );
    assert_eq!(
        global::nearest_state(&folder),
        Path::new(crate::arguments::STATE),
        "as it was always shown"
    );
    std::fs::remove_dir_all(folder).expect("removed");
}

#[test]
fn every_shell_is_offered_every_command() {
    for shell in clap_complete::Shell::value_variants() {
        let script = completions::script(*shell, &mut command_line(80)).expect("text");
        for command in command_line(80).get_subcommands() {
            assert!(
                script.contains(command.get_name()),
                "{shell}: {}",
                command.get_name()
            );
        }
    }
}
