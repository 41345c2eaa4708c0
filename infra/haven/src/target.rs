//! Resolves the environment and the AWS account that the command line names.

use std::io::ErrorKind;
use std::path::Path;

use adapter_aws::LocalAccess;
use adapter_sql::Login;
use anyhow::Context as _;
use blueprint::{Configuration, Environment, File, Override, Problems};
use chassis::config::{Environment as _, ProcessEnvironment};
use haven_console::error::{Failure, unknown};
use haven_console::exit::Exit;
use haven_console::usage::BadUsage;
use platform::aws::Aws;
use platform::facts::Facts;
use provision::account;
use worker::stores::Store;

use crate::arguments;

/// The names of the embedded environments.
pub const OURS: [&str; 4] = ["local", "dev", "staging", "prod"];

/// The error of wrong settings. The command exits with 64 instead of 1.
#[derive(Debug, thiserror::Error)]
#[error("the settings of {environment} are wrong:\n{problems}")]
pub struct BadSettings {
    environment: String,
    pub problems: Problems,
}

/// Returns the settings of an environment, each with its source.
///
/// # Errors
/// When the environment does not exist, or its settings are wrong. The error lists all problems.
pub fn configuration(which: &arguments::Which) -> anyhow::Result<Configuration> {
    let overrides = overrides(&which.settings.set)?;
    let name = &which.environment;
    let texts;
    let files: Vec<File<'_>> = match &which.settings.environments {
        Some(folder) => {
            texts = read_files(folder, name)?;
            let files = texts.iter().map(|(name, text)| File { name, text });
            files.collect()
        }
        None => blueprint::embedded(name).ok_or_else(|| unknown("environment", name, &OURS))?,
    };
    let wrong = |problems| BadSettings {
        environment: name.clone(),
        problems,
    };
    Ok(Configuration::load(name, &files, &overrides).map_err(wrong)?)
}

/// Returns the environment that the command line names.
///
/// # Errors
/// As [`configuration`].
pub fn environment(which: &arguments::Which) -> anyhow::Result<Environment> {
    Ok(Environment::configured(&configuration(which)?))
}

/// Opens the database of the platform that runs in a state directory.
///
/// # Errors
/// When no platform is running there, or the database cannot be opened.
pub async fn running_store(state: &Path) -> anyhow::Result<Store> {
    let facts = running(state)?;
    let store = Store::connect(&facts.database_url, &Login::default()).await;
    store.context("open the database")
}

/// Returns the environment and its AWS clients, after a check that AWS accepts the credentials.
///
/// # Errors
/// When the settings are wrong, no local AWS runs for `local`, or AWS does not answer
/// `GetCallerIdentity`.
pub async fn resolve(target: &arguments::Target) -> anyhow::Result<(Aws, Environment)> {
    let (aws, environment) = locate(target).await?;
    if !environment.local {
        account::account(&aws.target(environment.clone())).await?;
    }
    Ok((aws, environment))
}

/// Returns the environment and its AWS clients without a call to AWS.
///
/// # Errors
/// When the settings are wrong, or no local AWS runs for `local`.
pub async fn locate(target: &arguments::Target) -> anyhow::Result<(Aws, Environment)> {
    let environment = environment(&target.which)?;
    let region = &environment.settings.account.region;
    let facts = Facts::read(&target.place.state);
    let aws = match (&target.place.endpoint, environment.local, facts) {
        (Some(endpoint), true, facts) => Aws::local(&access(endpoint, region, facts.ok().as_ref())),
        (None, true, Ok(facts)) => Aws::local(&facts.aws_access()),
        (None, true, Err(why)) => {
            let tip = "run `haven up`, or name an environment";
            return Err(no_platform(&target.place.state, tip, why));
        }
        (endpoint, false, _) => Aws::in_account(endpoint.as_deref(), region).await,
    };
    Ok((aws, environment))
}

/// Returns the facts about the platform that is running in a state directory.
///
/// # Errors
/// When no platform is running there, or as [`Facts::read`].
pub fn running(state: &Path) -> anyhow::Result<Facts> {
    let tip = "run `haven up`, or name another state directory with --state DIR";
    Facts::read(state).map_err(|why| no_platform(state, tip, why))
}

/// Returns the failure of a command that needs a platform on this machine while none runs. The
/// error about a state directory that cannot be used stays as it is.
fn no_platform(state: &Path, tip: &str, why: anyhow::Error) -> anyhow::Error {
    let cause = why.root_cause().downcast_ref::<std::io::Error>();
    if cause.is_none_or(|cause| cause.kind() != ErrorKind::NotFound) {
        return why;
    }
    let message = format!("no platform is running in {}", state.display());
    Failure::new(Exit::Failed, message)
        .tip(tip)
        .because(why)
        .into()
}

/// Returns the access to a local AWS whose endpoint was given. The key pair is that of the platform
/// at this endpoint, or the one in the environment variables that `haven env` exports. A local AWS
/// that verifies no signatures accepts any key pair.
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

/// Returns the settings from variables such as `HAVEN_SET_network__zones`, followed by those from
/// `--set`, which take precedence.
fn overrides(set: &[String]) -> anyhow::Result<Vec<Override>> {
    let variables = ProcessEnvironment.names().into_iter().filter_map(|name| {
        // The name alone decides whether the variable is a setting.
        Override::from_variable(&name, "")?;
        let not_text = || {
            BadUsage(format!(
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
            BadUsage(format!(
                "--set {argument}: must be KEY=VALUE, such as network.zones=2"
            ))
        };
        Override::from_argument(argument).ok_or_else(wrong)
    });
    Ok(variables.chain(arguments).collect::<Result<_, _>>()?)
}

/// Reads the files of an environment, each with its path.
fn read_files(folder: &Path, name: &str) -> anyhow::Result<Vec<(String, String)>> {
    let read = |file: String| -> anyhow::Result<(String, String)> {
        let path = folder.join(&file);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok((path.display().to_string(), text))
    };
    let mut texts = vec![read("base.toml".to_owned())?];
    // `base.toml` alone is the local environment.
    if name != "local" {
        texts.push(read(format!("{name}.toml"))?);
    }
    Ok(texts)
}
