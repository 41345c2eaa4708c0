//! `haven config explain`: shows every setting of an environment and the source of its value.

use blueprint::{Configuration, Explanation, nearest_key};
use clap::{Args, Subcommand};
use haven_console::error::Failure;
use haven_console::exit::Exit;
use haven_console::style::Meaning;
use haven_console::table::{Cell, Column, Rendered, Table};
use haven_console::time::counted;
use haven_console::verdict::Verdict;
use haven_console::width::wrap;
use haven_console::{settings, width};
use serde_json::json;

use crate::arguments::Which;
use crate::target::{self, BadSettings};

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Show each setting: value, source, allowed range
    #[command(
        after_help = "Examples:\n  haven config explain prod\n  haven config explain prod database.multi_az\n  haven config explain dev network --set network.zones=2\n\nThe source is a file and line, a variable or --set. With KEY or -v, each setting\nalso has its purpose and the rules of the environment.\nExit 2 if there is no such key; 64 if settings are wrong, with all problems."
    )]
    Explain(Explain),
}

#[derive(Debug, Args)]
pub struct Explain {
    #[command(flatten)]
    pub which: Which,
    /// Key such as network.zones, or group such as network
    pub key: Option<String>,
}

/// Prints the settings. The exit code says whether any matches the key.
///
/// # Errors
/// A failure that exits with 2 when no setting matches. Another error when the environment does not
/// exist, or its settings are wrong.
pub fn explain(options: &Explain) -> anyhow::Result<Exit> {
    let environment = &options.which.environment;
    let json = settings::get().json;
    let configuration = match target::configuration(&options.which) {
        Ok(configuration) => configuration,
        Err(error) => {
            if let (true, Some(BadSettings { problems, .. })) = (json, error.downcast_ref()) {
                let verdict = Verdict::failed(format!("The settings of {environment} are wrong."));
                let document = json!({ "environment": environment, "problems": problems });
                verdict.print_json("haven.config/1", document);
            }
            return Err(error);
        }
    };
    let keys = asked(&configuration, options.key.as_deref());
    let unknown = options.key.as_deref().filter(|_| keys.is_empty());
    if json {
        let verdict = match unknown {
            Some(key) => Verdict::no(format!("{}.", no_such(environment, key))),
            None => verdict(environment, &keys),
        };
        let document = json!({ "environment": environment, "keys": keys });
        return Ok(verdict.print_json("haven.config/1", document));
    }
    if let Some(key) = unknown {
        return Err(no_such(environment, key).into());
    }
    let note = if options.key.is_some() || settings::get().verbose {
        print!("{}", details(&keys, width::stdout_text()));
        None
    } else {
        let rendered = table(&keys, width::stdout());
        println!("{}", rendered.text);
        rendered.note()
    };
    Ok(verdict(environment, &keys).note(note).print())
}

fn verdict(environment: &str, keys: &[Explanation]) -> Verdict {
    let own = keys.iter().filter(|key| key.value != key.default).count();
    Verdict::neutral(format!(
        "{} of {environment}, {own} not at the default.",
        counted(keys.len(), "setting")
    ))
}

/// Returns a row for each setting. Those that differ from the default come first.
fn table(keys: &[Explanation], columns: usize) -> Rendered {
    let mut table = Table::new([
        Column::text("Setting"),
        Column::text("Value").shortened(),
        Column::text("Source").optional(2),
        Column::text("Allowed").optional(1),
    ]);
    let mut keys: Vec<&Explanation> = keys.iter().collect();
    // The sort is stable: settings of one group stay together.
    keys.sort_by_key(|key| key.value == key.default);
    for key in keys {
        let value = match key.value == key.default {
            true => Cell::from(key.value.as_str()),
            false => Meaning::Change.cell(key.value.as_str()),
        };
        table.row([
            Cell::from(key.key),
            value,
            Cell::from(key.origin.to_string()),
            Cell::from(key.allowed.as_str()),
        ]);
    }
    table.render(columns)
}

/// Returns everything about each setting.
fn details(keys: &[Explanation], columns: usize) -> String {
    let mut text = String::new();
    for key in keys {
        for (index, line) in key.to_string().lines().enumerate() {
            let indent = if index == 0 { "" } else { "    " };
            text += &wrap(line.trim_start(), columns, indent, "      ");
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

/// Returns one setting, the settings of a group, or all.
fn asked(configuration: &Configuration, key: Option<&str>) -> Vec<Explanation> {
    let mut keys = configuration.explain();
    if let Some(asked) = key {
        keys.retain(|key| {
            key.key == asked
                || key
                    .key
                    .strip_prefix(asked)
                    .is_some_and(|rest| rest.starts_with('.'))
        });
    }
    keys
}

fn no_such(environment: &str, key: &str) -> Failure {
    Failure::not_found(format!("no setting is named `{key}`")).tip(match nearest_key(key) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("list all with `haven config explain {environment}`"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fitting;
    use super::*;

    fn prod() -> Configuration {
        Configuration::load("prod", &blueprint::embedded("prod").expect("known"), &[])
            .expect("right")
    }

    #[test]
    fn keys_groups_and_all_settings_are_explained() {
        let keys = |asked_for| {
            asked(&prod(), asked_for)
                .iter()
                .map(|key| key.key)
                .collect::<Vec<_>>()
        };
        assert_eq!(keys(Some("network.zones")), ["network.zones"]);
        assert!(
            keys(Some("network")).len() >= 4
                && keys(Some("network"))
                    .iter()
                    .all(|key| key.starts_with("network."))
        );
        assert!(keys(None).len() > 30);
        assert!(keys(Some("net")).is_empty());
    }

    #[test]
    fn a_misspelled_key_gets_a_suggestion() {
        for (key, tip) in [
            ("network.zone", "did you mean `network.zones`?"),
            ("multi_az", "did you mean `database.multi_az`?"),
            (
                "something-else-entirely",
                "list all with `haven config explain prod`",
            ),
        ] {
            let failure = no_such("prod", key);
            assert_eq!(
                (failure.exit, failure.tip.as_deref()),
                (Exit::No, Some(tip))
            );
        }
    }

    #[test]
    fn settings_fit_every_width_and_those_of_the_environment_come_first() {
        let keys = asked(&prod(), None);
        for columns in [60, 80, 120] {
            let text = fitting(&table(&keys, columns).text, columns);
            assert_eq!(text.lines().count(), keys.len() + 1);
            let first = text.lines().nth(1).and_then(|row| row.split("  ").next());
            let first = keys
                .iter()
                .find(|key| Some(key.key) == first.map(str::trim));
            assert!(first.is_some_and(|key| key.value != key.default), "{text}");
            let text = details(&asked(&prod(), Some("database.backup_days")), columns);
            let text = fitting(&text, columns);
            assert!(
                text.starts_with("database.backup_days = 35\n    from ")
                    && text.contains("the default is 7"),
                "{text}"
            );
        }
    }
}
