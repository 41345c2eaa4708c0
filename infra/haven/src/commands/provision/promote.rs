//! `haven promote`: plans the deployment of one environment's code and image to another
//! environment, so that only settings differ.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use blueprint::Configuration;
use clap::Args;
use serde::Serialize;

use super::plan;
use crate::arguments::{Guard, Place, PlanFile, Settings, Target, Which};
use crate::target::{self, configuration};
use provision::deployed_stack::deployed_template;

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
    /// JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// The setting with the digest of the image.
const IMAGE: &str = "compute.image_digest";

/// A setting that differs between the environments.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub key: &'static str,
    pub from: String,
    pub to: String,
}

/// Plans `to` with the image that runs in `from`. Returns whether the plan may be applied.
///
/// # Errors
/// When `from` does not run what the current code makes, because then nothing was proven there.
pub async fn command(options: &Promote) -> anyhow::Result<bool> {
    let which = |name: &str, set: Vec<String>| {
        Settings {
            set,
            ..options.settings.clone()
        }
        .of(name, options.json)
    };
    let digest = proven_digest(options, which(&options.from, Vec::new())).await?;
    let mut set = options.settings.set.clone();
    set.push(format!("{IMAGE}={digest}"));
    let (from, to) = (
        which(&options.from, vec![format!("{IMAGE}={digest}")]),
        which(&options.to, set),
    );
    let differences = differences(&configuration(&from)?, &configuration(&to)?);
    if !options.json {
        println!(
            "{} runs {digest}. Settings of {} that differ from {}:",
            options.from, options.to, options.from
        );
        differences
            .iter()
            .for_each(|Difference { key, from, to }| println!("  {key}: {from} -> {to}"));
        println!();
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
    let digest = digest_in(&compute.to_string()).with_context(|| {
        format!("{name} runs no image: deploy it there with --set {IMAGE}=sha256:..., and prove it first")
    })?;
    let mut proven = deployed.which.clone();
    proven.settings.set.push(format!("{IMAGE}={digest}"));
    for stack in blueprint::stacks(&target::environment(&proven)?) {
        if deployed_template(&client, &stack.name).await? != stack.template {
            bail!(
                "{} is not what this code and these settings make: deploy {name} first, and prove it there",
                stack.name
            );
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

    #[test]
    fn a_digest_is_found_in_a_template_and_nothing_else_is() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(
            digest_in(&format!("\"Image\": \"repo@{digest}\"")),
            Some(digest)
        );
        assert_eq!(digest_in("sha256:abc and sha256:"), None);
    }

    #[test]
    fn only_what_differs_is_told() {
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
