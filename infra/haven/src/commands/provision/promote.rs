//! `haven promote`: plans the deployment of one environment's code and image to another
//! environment, so that only settings differ.

use std::collections::BTreeMap;

use blueprint::Configuration;
use clap::Args;
use haven_console::error::Failure;
use haven_console::exit::Exit;
use haven_console::table::{Column, Table};
use haven_console::time::counted;
use haven_console::{settings, width};
use provision::deployed_stack::deployed_template;

use super::plan;
use crate::arguments::{Guard, Place, PlanFile, Settings, Target, Which};
use crate::target::{self, configuration};

#[derive(Debug, Args)]
pub struct Promote {
    /// Environment that runs the release
    pub from: String,
    /// Environment to plan for; --set applies to this one
    pub to: String,
    /// Those of --set are for the second.
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub guard: Guard,
    #[command(flatten)]
    pub file: PlanFile,
    #[command(flatten)]
    pub place: Place,
}

/// The setting with the digest of the image.
const IMAGE: &str = "compute.image_digest";

/// A setting that differs between the environments.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    pub key: &'static str,
    pub from: String,
    pub to: String,
}

/// Plans `to` with the image that runs in `from`. The exit code says whether the plan may be applied.
///
/// # Errors
/// When `from` does not run what the current code makes, because then nothing was proven there.
pub async fn command(options: &Promote) -> anyhow::Result<Exit> {
    let which = |name: &str, set: Vec<String>| {
        Settings {
            set,
            ..options.settings.clone()
        }
        .of(name)
    };
    let digest = proven_digest(options, which(&options.from, Vec::new())).await?;
    let mut set = options.settings.set.clone();
    set.push(format!("{IMAGE}={digest}"));
    let (from, to) = (
        which(&options.from, vec![format!("{IMAGE}={digest}")]),
        which(&options.to, set),
    );
    let differences = differences(&configuration(&from)?, &configuration(&to)?);
    if !settings::get().json {
        let (from, to) = (&options.from, &options.to);
        println!("{from} runs {digest}");
        println!("{}", text(&differences, from, to, width::stdout()));
    }
    let target = Target {
        which: to,
        place: options.place.clone(),
    };
    plan::command(&plan::PlanOf {
        target,
        guard: options.guard.clone(),
        file: options.file.clone(),
    })
    .await
}

/// Returns the settings that differ, as a table.
fn text(differences: &[Difference], from: &str, to: &str, columns: usize) -> String {
    if differences.is_empty() {
        return format!("The settings of {from} and {to} are equal.\n");
    }
    let mut table = Table::new([
        Column::text("Setting"),
        Column::text("From"),
        Column::text("To").shortened(),
    ]);
    for Difference { key, from, to } in differences {
        table.row([*key, from.as_str(), to.as_str()]);
    }
    let settings = counted(differences.len(), "setting");
    let table = table.render(columns).text;
    format!("Different in {to} than in {from}: {settings}\n\n{table}")
}

/// Returns the digest of the image in `from`, if all its stacks match the current code.
async fn proven_digest(options: &Promote, which: Which) -> anyhow::Result<String> {
    let name = which.environment.clone();
    let deployed = Target {
        which,
        place: options.place.clone(),
    };
    let (aws, environment) = target::resolve(&deployed).await?;
    let client = aws.target(environment.clone()).cloudformation;
    let compute = deployed_template(&client, &environment.stack_name("compute")).await?;
    let digest = digest_in(&compute.to_string()).ok_or_else(|| {
        let deploy = format!("haven deploy {name} --set {IMAGE}=sha256:...");
        Failure::new(Exit::Failed, format!("{name} runs no image")).tip(format!(
            "run `{deploy}`, and test it with `haven smoke {name}`"
        ))
    })?;
    let mut proven = deployed.which.clone();
    proven.settings.set.push(format!("{IMAGE}={digest}"));
    for stack in blueprint::stacks(&target::environment(&proven)?) {
        if deployed_template(&client, &stack.name).await? != stack.template {
            let message = format!(
                "{} differs from what this code and the settings of {name} make",
                stack.name
            );
            let tip = format!("run `haven deploy {name}`, and test it with `haven smoke {name}`");
            return Err(Failure::new(Exit::Failed, message).tip(tip).into());
        }
    }
    Ok(digest)
}

/// Returns the first image digest in a text: `sha256:` and 64 hexadecimal digits.
fn digest_in(text: &str) -> Option<String> {
    const HEAD: &str = "sha256:";
    text.match_indices(HEAD).find_map(|(at, _)| {
        let digits = text.get(at + HEAD.len()..at + HEAD.len() + 64)?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit())
            .then(|| format!("{HEAD}{digits}"))
    })
}

fn differences(from: &Configuration, to: &Configuration) -> Vec<Difference> {
    let values = |configuration: &Configuration| -> BTreeMap<&'static str, String> {
        configuration
            .explain()
            .into_iter()
            .map(|known| (known.key, known.value))
            .collect()
    };
    let (from, to) = (values(from), values(to));
    let differ = from.into_iter().filter_map(|(key, from)| {
        let to = to.get(key)?.clone();
        (from != to).then_some(Difference { key, from, to })
    });
    differ.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::provision::testing::plain;

    #[test]
    fn settings_that_differ_are_a_table() {
        let differences = [Difference {
            key: "network.nat_gateways",
            from: "1".to_owned(),
            to: "3".to_owned(),
        }];
        let expected = "Different in prod than in staging: 1 setting\n\n\
            Setting               From  To\n\
            network.nat_gateways  1     3\n";
        for columns in [60, 80, 120] {
            assert_eq!(
                plain(&text(&differences, "staging", "prod", columns), columns),
                expected
            );
        }
        let equal = text(&[], "staging", "prod", 80);
        assert_eq!(equal, "The settings of staging and prod are equal.\n");
    }

    #[test]
    fn only_digests_are_found_in_a_template() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(
            digest_in(&format!("\"Image\": \"repo@{digest}\"")),
            Some(digest)
        );
        assert_eq!(digest_in("sha256:abc and sha256:"), None);
    }

    #[test]
    fn only_different_settings_are_reported() {
        let load = |name: &str| {
            Configuration::load(name, &blueprint::embedded(name).expect("ours"), &[])
                .expect("it is right")
        };
        let told = differences(&load("staging"), &load("prod"));
        assert!(
            told.iter()
                .any(|difference| difference.key == "network.nat_gateways"),
            "{told:?}"
        );
        assert!(
            told.iter()
                .all(|difference| difference.from != difference.to)
        );
        assert_eq!(differences(&load("prod"), &load("prod")), []);
    }
}
