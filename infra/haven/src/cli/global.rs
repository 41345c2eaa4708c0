//! The global flags. Each has one definition for all commands, and works before and after the
//! command.

use std::path::{Path, PathBuf};

use chassis::config::{Environment as _, ProcessEnvironment};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use haven_console::settings::Settings;

use crate::arguments::STATE;

/// The ids of the arguments that name the environment of a command, one or several.
const ENVIRONMENTS: [&str; 2] = ["environment", "names"];

/// The place of a flag in the help of a command that has no other one.
const LAST: usize = 999;

/// Returns the global flags. The state directory is `state` unless the command line names one.
fn flags(state: &Path) -> [Arg; 7] {
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    let flags = [
        Arg::new("env")
            .long("env")
            .value_name("ENV")
            .help("Environment to use [default: local]"),
        Arg::new("state")
            .long("state")
            .value_name("DIR")
            .env("HAVEN_STATE")
            .hide_env(true)
            .value_parser(value_parser!(PathBuf))
            .default_value(state.as_os_str().to_owned())
            .hide_default_value(true)
            .help("State directory [default: the nearest .haven]"),
        switch("json", "Print JSON instead of text"),
        Arg::new("color")
            .long("color")
            .value_name("WHEN")
            .value_parser(["auto", "always", "never"])
            .default_value("auto")
            .hide_possible_values(true)
            .hide_default_value(true)
            .help("Color the output: auto, always or never [default: auto]"),
        switch("no-input", "Never ask; a question is an error"),
        switch("quiet", "Print the result and errors only").short('q'),
        switch("verbose", "Print details, and the causes of errors").short('v'),
    ];
    flags.map(|flag| flag.global(true).help_heading("Global options"))
}

/// Completes a command line: every command gets the global flags, the version and the aliases.
pub fn complete(root: Command, state: &Path) -> Command {
    let flags = flags(state);
    let root = root.args(&flags);
    root.mut_subcommands(|command| with_flags(command, &flags))
}

fn with_flags(command: Command, flags: &[Arg]) -> Command {
    let mut command = command
        .display_name("haven")
        .mut_subcommands(|command| with_flags(command, flags));
    command = match command.get_name() {
        "list" => command.alias("ls"),
        // The environment is not their subject, but older releases took it by position.
        "why" | "reproject" => command.mut_arg("environment", |arg| arg.hide(true)),
        _ => command,
    };
    let has = |command: &Command, id: &str| command.get_arguments().any(|arg| arg.get_id() == id);
    let is_group = command.has_subcommands();
    let looks_at_one = ENVIRONMENTS.iter().any(|id| has(&command, id));
    for flag in flags {
        let id = flag.get_id().as_str();
        let is_own = has(&command, id);
        let is_shown = is_group
            || match id {
                "env" => looks_at_one,
                "state" => is_own,
                // A role writes its log, which is JSON anyway.
                "json" => command.get_name() != "role",
                _ => true,
            };
        let is_common = matches!(id, "env" | "state" | "json");
        let mut flag = flag.clone().hide(!is_shown).hide_short_help(!is_common);
        if id == "json" && !is_group {
            flag = flag.display_order(LAST);
        }
        command = if is_own {
            command.mut_arg(id, |_| flag)
        } else {
            command.arg(flag)
        };
    }
    command
}

/// Returns the matches of the command itself, below those of its groups.
fn leaf(matches: &ArgMatches) -> &ArgMatches {
    std::iter::successors(Some(matches), |matches| Some(matches.subcommand()?.1))
        .last()
        .unwrap_or(matches)
}

/// Returns what the global flags and variables ask for.
pub fn settings(matches: &ArgMatches) -> Settings {
    let matches = leaf(matches);
    let state = matches.get_one::<PathBuf>("state");
    let is_given = matches.value_source("state") == Some(ValueSource::CommandLine);
    Settings {
        json: matches.get_flag("json"),
        quiet: matches.get_flag("quiet"),
        verbose: matches.get_flag("verbose"),
        no_input: matches.get_flag("no-input"),
        state: state
            .filter(|_| is_given)
            .map(|state| state.display().to_string()),
        ..of_variables()
    }
}

/// Returns what the variables ask for. Errors of the command line itself know no more.
pub fn of_variables() -> Settings {
    let columns = ProcessEnvironment.get("COLUMNS");
    let progress = ProcessEnvironment.get("HAVEN_PROGRESS");
    Settings {
        columns: columns.and_then(|columns| columns.trim().parse().ok()),
        plain_progress: progress.is_some_and(|progress| progress == "plain"),
        ..Settings::default()
    }
}

/// Returns the value of `--env` if the command has no environment, so that the flag would be
/// ignored. `local` is no error, because such a command works on the local platform.
pub fn ignored_environment(matches: &ArgMatches) -> Option<&str> {
    let matches = leaf(matches);
    let reads_it = ENVIRONMENTS
        .iter()
        .any(|id| matches.try_contains_id(id).is_ok());
    let given = matches.get_one::<String>("env").map(String::as_str);
    given.filter(|given| !reads_it && *given != "local")
}

/// Returns the default state directory: the nearest `.haven` in `folder` or above it, or else
/// `.haven` in `folder`.
pub fn nearest_state(folder: &Path) -> PathBuf {
    let mut states = folder.ancestors().map(|folder| folder.join(STATE));
    match states.find(|state| state.is_dir()) {
        Some(above) if above != folder.join(STATE) => above,
        // A relative path, as messages have always shown it.
        Some(_) | None => PathBuf::from(STATE),
    }
}
