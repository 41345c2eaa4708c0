//! `haven config explain`: shows every setting of an environment and the source of its value.

use anyhow::Context as _;
use blueprint::{Configuration, Explanation, nearest_key};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::arguments::Which;
use crate::target::{self, BadSettings};

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Show each setting: value, source, allowed range
    #[command(
        after_help = "Examples:\n  haven config explain prod\n  haven config explain prod database.multi_az\n  haven config explain dev network --set network.zones=2\n\nThe source is a file and line, a variable or --set.\nExit 2 if there is no such key; 64 if settings are wrong, with all problems."
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

/// Prints the settings. Returns whether any matches the key.
///
/// # Errors
/// When the environment does not exist, or its settings are wrong.
pub fn explain(options: &Explain) -> anyhow::Result<bool> {
    let environment = &options.which.environment;
    let configuration = match target::configuration(&options.which) {
        Ok(configuration) => configuration,
        Err(error) => {
            if let (true, Some(BadSettings { problems, .. })) =
                (options.which.json, error.downcast_ref())
            {
                println!(
                    "{:#}",
                    json!({ "environment": environment, "problems": problems })
                );
            }
            return Err(error);
        }
    };
    let keys = asked(&configuration, options.key.as_deref());
    if options.which.json {
        let document = json!({ "environment": environment, "keys": keys });
        println!(
            "{}",
            serde_json::to_string_pretty(&document).context("write JSON")?
        );
    } else {
        keys.iter().for_each(|key| println!("{key}\n"));
    }
    if let (true, Some(key)) = (keys.is_empty(), &options.key) {
        eprintln!("haven: {}", no_such(key));
    }
    Ok(!keys.is_empty())
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

fn no_such(key: &str) -> String {
    let hint = nearest_key(key)
        .map(|near| format!("; did you mean {near}?"))
        .unwrap_or_default();
    format!("there is no key {key:?}{hint} (`haven config explain` shows all)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prod() -> Configuration {
        Configuration::load("prod", &blueprint::embedded("prod").expect("known"), &[])
            .expect("right")
    }

    #[test]
    fn a_key_a_group_or_everything_is_explained() {
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
    fn a_misspelt_key_is_answered_with_the_one_that_was_meant() {
        assert!(no_such("network.zone").contains("did you mean network.zones?"));
        assert!(no_such("multi_az").contains("did you mean database.multi_az?"));
        assert!(!no_such("something-else-entirely").contains("did you mean"));
    }
}
