//! From the command line to an environment, and to the account that it stands in.

use std::path::Path;

use adapter_aws::LocalAccess;
use anyhow::Context as _;
use blueprint::spelling::nearest;
use blueprint::{Configuration, Environment, File, Override, Problems};
use chassis::config::{Environment as _, ProcessEnvironment};

use crate::aws::Aws;
use crate::cli;
use crate::local::facts::Facts;
use crate::provision::live;

/// The environments that haven was built with.
pub const OURS: [&str; 4] = ["local", "dev", "staging", "prod"];

/// What the caller can put right: the command ends with 64 and not with 1.
#[derive(Debug, thiserror::Error)]
pub enum BadUsage {
    /// A sentence that names what was given, and what would be right.
    #[error("{0}")]
    Said(String),
    #[error("the settings of {environment} are wrong:\n{problems}")]
    Settings {
        environment: String,
        problems: Problems,
    },
}

/// The settings of an environment, with where each is from.
///
/// # Errors
/// When there is no such environment, or its settings are wrong: everything that is, at once.
pub fn configuration(which: &cli::Which) -> anyhow::Result<Configuration> {
    let overrides = overrides(&which.settings.set)?;
    match &which.settings.environments {
        Some(folder) => configuration_in(folder, &which.environment, &overrides),
        None => {
            let name = &which.environment;
            let files =
                blueprint::embedded(name).ok_or_else(|| BadUsage::Said(no_environment(name)))?;
            Ok(Configuration::load(name, &files, &overrides)
                .map_err(|problems| wrong(name, problems))?)
        }
    }
}

pub fn environment(which: &cli::Which) -> anyhow::Result<Environment> {
    Ok(Environment::configured(&configuration(which)?))
}

/// An environment, and AWS as it stands there: reachable, and with credentials that it knows.
///
/// # Errors
/// When the settings are wrong, `local` is meant and no local AWS runs, or AWS does not answer who
/// we are.
pub async fn resolve(target: &cli::Target) -> anyhow::Result<(Aws, Environment)> {
    let (aws, environment) = locate(target).await?;
    if !environment.local {
        live::account(&aws.target(environment.clone())).await?;
    }
    Ok((aws, environment))
}

/// The same, with nothing asked of AWS yet.
///
/// # Errors
/// When the settings are wrong, or `local` is meant and no local AWS runs.
pub async fn locate(target: &cli::Target) -> anyhow::Result<(Aws, Environment)> {
    let environment = environment(&target.which)?;
    let region = &environment.settings.account.region;
    let facts = Facts::read(&target.place.state);
    let aws = match (&target.place.endpoint, environment.local, facts) {
        (Some(endpoint), true, facts) => Aws::local(&access(endpoint, region, facts.ok().as_ref())),
        (None, true, Ok(facts)) => Aws::local(&facts.aws_access()),
        (None, true, Err(why)) => {
            return Err(why.context(
                "no local AWS is known: start one with `haven up`, or give --endpoint URL",
            ));
        }
        (endpoint, false, _) => Aws::in_account(endpoint.as_deref(), region).await,
    };
    Ok((aws, environment))
}

/// Returns how to call a local AWS whose endpoint was given: with the key pair of the platform that
/// runs there, or that of the environment, as `haven env` exports it. One that verifies no
/// signature takes any pair.
fn access(endpoint: &str, region: &str, facts: Option<&Facts>) -> LocalAccess {
    let access = LocalAccess::unverified(endpoint, region);
    let is_there =
        |facts: &&Facts| facts.aws_endpoint.trim_end_matches('/') == endpoint.trim_end_matches('/');
    if let Some(facts) = facts.filter(is_there) {
        return LocalAccess {
            region: access.region,
            ..facts.aws_access()
        };
    }
    let given = |name: &str| ProcessEnvironment.get(name);
    match given("AWS_ACCESS_KEY_ID").zip(given("AWS_SECRET_ACCESS_KEY")) {
        Some((access_key_id, secret_access_key)) => LocalAccess {
            access_key_id,
            secret_access_key,
            ..access
        },
        None => access,
    }
}

/// From `--set` and from variables such as `HAVEN_SET_network__zones`; the command line is the
/// stronger.
fn overrides(set: &[String]) -> anyhow::Result<Vec<Override>> {
    let variables = ProcessEnvironment.names().into_iter().filter_map(|name| {
        // Only the name decides whether the variable is one of ours.
        Override::from_variable(&name, "")?;
        let not_text = || {
            BadUsage::Said(format!(
                "{name} is not UTF-8: set it to a value such as 2, or unset it"
            ))
        };
        let value = ProcessEnvironment.get(&name).ok_or_else(not_text);
        value
            .map(|value| Override::from_variable(&name, &value))
            .transpose()
    });
    let arguments = set.iter().map(|argument| {
        let wrong = || {
            BadUsage::Said(format!(
                "--set {argument}: must be KEY=VALUE, such as network.zones=2"
            ))
        };
        Override::from_argument(argument).ok_or_else(wrong)
    });
    Ok(variables.chain(arguments).collect::<Result<_, _>>()?)
}

fn configuration_in(
    folder: &Path,
    name: &str,
    overrides: &[Override],
) -> anyhow::Result<Configuration> {
    let read = |file: String| -> anyhow::Result<(String, String)> {
        let path = folder.join(&file);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok((path.display().to_string(), text))
    };
    let mut texts = vec![read("base.toml".to_owned())?];
    // Base as it stands is the local one.
    if name != "local" {
        texts.push(read(format!("{name}.toml"))?);
    }
    let files: Vec<File<'_>> = texts
        .iter()
        .map(|(name, text)| File { name, text })
        .collect();
    Ok(Configuration::load(name, &files, overrides).map_err(|problems| wrong(name, problems))?)
}

fn wrong(name: &str, problems: Problems) -> BadUsage {
    BadUsage::Settings {
        environment: name.to_owned(),
        problems,
    }
}

fn no_environment(name: &str) -> String {
    let hint = nearest(name, OURS)
        .map(|near| format!(" (did you mean {near}?)"))
        .unwrap_or_default();
    format!(
        "there is no environment {name:?}{hint}; there are {}, and your own with --environments DIR",
        OURS.join(", ")
    )
}
