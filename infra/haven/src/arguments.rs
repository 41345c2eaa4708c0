//! Options that several commands share, and the parsers of their values.

use std::path::PathBuf;
use std::time::Duration;

use app::use_cases::staff_tokens::actor_name;
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use haven_console::usage::BadUsage;

/// The name of a state directory.
pub const STATE: &str = ".haven";
// The meaning of each flag that several commands have.
pub const ALLOW: &str = "Allow deletion or replacement of this stateful resource (repeatable)";
pub const BUDGET: &str = "Most that a month may cost, in USD";
pub const DATABASE_URL: &str = "Database URL, such as postgres://host/db";
pub const DRY_RUN: &str = "Show what would happen, and change nothing";
pub const ENVIRONMENTS: &str = "Read environments from this directory, not the built-in ones";
pub const FIX: &str = "Repair what is safe to repair";
pub const LIMIT: &str = "Show at most this many, the newest";
pub const ORDER: &str = "Show only what concerns this order";
pub const OUT: &str = "Write to this file or directory";
pub const RATE: &str = "Rate per second";
pub const YES: &str = "Answer yes to the question";
/// The heading of the flags that change what an environment is.
const OPTIONS: &str = "Environment options";

#[derive(Debug, Args)]
pub struct StateFolder {
    /// The state directory
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

/// An environment as its files describe it, for a command that does not need AWS.
#[derive(Debug, Clone)]
pub struct Which {
    pub environment: String,
    pub settings: Settings,
}

/// The arguments of a [`Which`], without the global flag `--env`.
#[derive(Debug, Args)]
struct WhichArguments {
    /// Environment: local, dev, staging, prod, or one of --environments [default: local]
    #[arg(value_name = "ENV")]
    environment: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

impl Args for Which {
    fn augment_args(command: Command) -> Command {
        WhichArguments::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        WhichArguments::augment_args_for_update(command)
    }
}

impl FromArgMatches for Which {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Which, clap::Error> {
        let arguments = WhichArguments::from_arg_matches(matches)?;
        // A command of a unit test has no global flags.
        let flag = matches.try_get_one::<String>("env").ok().flatten();
        let names = arguments.environment.as_slice();
        let mut names = environments(names, flag.map(String::as_str), &["local"])
            .map_err(|error| clap::Error::raw(ErrorKind::ArgumentConflict, error))?;
        Ok(Which {
            environment: names.swap_remove(0),
            settings: arguments.settings,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Which::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Returns the environments that are named by position or by `--env`, else `default`.
///
/// # Errors
/// When both name one, and not the same.
pub fn environments(
    names: &[String],
    flag: Option<&str>,
    default: &[&str],
) -> Result<Vec<String>, BadUsage> {
    match (names, flag) {
        ([], None) => Ok(default.iter().map(ToString::to_string).collect()),
        (names, None) => Ok(names.to_vec()),
        ([], Some(flag)) => Ok(vec![flag.to_owned()]),
        ([name], Some(flag)) if name == flag => Ok(vec![flag.to_owned()]),
        (names, Some(flag)) => Err(BadUsage(format!(
            "--env is `{flag}`, but the command names `{}`: name the environment once",
            names.join(" ")
        ))),
    }
}

/// The source of the settings of an environment, and overrides of single settings.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Override a setting, such as network.zones=2 (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = OPTIONS)]
    pub set: Vec<String>,
    /// The directory with base.toml and a file for each environment.
    #[arg(long, value_name = "DIR", env = "HAVEN_ENVIRONMENTS", help = ENVIRONMENTS, help_heading = OPTIONS)]
    pub environments: Option<PathBuf>,
}

impl Settings {
    /// Returns the environment of this name with these settings.
    pub fn of(&self, environment: &str) -> Which {
        Which {
            environment: environment.to_owned(),
            settings: self.clone(),
        }
    }
}

/// An environment, and the place where it is deployed.
#[derive(Debug, Clone, Args)]
pub struct Target {
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub place: Place,
}

/// Where AWS is, and what we remember of it.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// URL of the AWS endpoint [default for local: the running platform]
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL", value_parser = http_url, help_heading = OPTIONS)]
    pub endpoint: Option<String>,
    /// The state directory, which also records deployments
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

/// The file and the validity of a plan.
#[derive(Debug, Clone, Args)]
pub struct PlanFile {
    /// The plan file. Without it, the plan is only shown.
    #[arg(long, value_name = "PATH", help = OUT)]
    pub out: Option<PathBuf>,
    /// Time until the plan expires, such as 30m or 8h
    #[arg(long, default_value = "8h", value_parser = duration)]
    pub valid_for: Duration,
}

/// The limits of a plan: allowed deletions, the budget, and whether drift is detected.
#[derive(Debug, Clone, Args)]
pub struct Guard {
    #[arg(long, value_name = "STACK/RESOURCE", value_parser = stack_and_resource, help = ALLOW)]
    pub allow: Vec<String>,
    #[arg(long, value_name = "USD", value_parser = budget, help = BUDGET)]
    pub budget: Option<f64>,
    /// Skip drift detection (saves 1 to 2 minutes on AWS)
    #[arg(long)]
    pub no_drift: bool,
}

/// The reason why the value of a flag is invalid. clap prints it after the flag and the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(String);

impl InvalidValue {
    /// Says what the value must be.
    pub fn new(what: impl Into<String>) -> InvalidValue {
        InvalidValue(what.into())
    }
}

/// Checks the name of a resource, such as `data/Database`. For clap.
///
/// # Errors
/// When the text is not one stack and one resource with a slash between them.
pub fn stack_and_resource(text: &str) -> Result<String, InvalidValue> {
    let plain = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
    };
    match text.split_once('/') {
        Some((stack, resource)) if plain(stack) && plain(resource) => Ok(text.to_owned()),
        _ => Err(InvalidValue::new(
            "must be one resource, as a plan names it, such as data/Database",
        )),
    }
}

/// Checks a URL and removes trailing slashes. For clap. Without a scheme, `localhost:4566` would
/// parse as a URL with the scheme `localhost`.
///
/// # Errors
/// When the text is not an HTTP or HTTPS URL with a host.
pub fn http_url(text: &str) -> Result<String, InvalidValue> {
    let url = reqwest::Url::parse(text).ok();
    match url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => Err(InvalidValue::new(format!(
            "must be a URL with scheme and host, such as http://127.0.0.1:4566, and is {text:?}"
        ))),
    }
}

/// Parses a duration, such as `90s` or `2h`.
///
/// # Errors
/// When the text is not a number with a known unit.
pub fn duration(text: &str) -> Result<Duration, InvalidValue> {
    let at = text
        .find(|letter: char| letter.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let unit_s = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => {
            let what = "must be a number and a unit: ms, s, m or h, such as 30s";
            return Err(InvalidValue::new(what));
        }
    };
    let seconds = number.parse().ok().map(|number: f64| number * unit_s);
    let seconds = seconds.filter(|seconds| *seconds > 0.0 && *seconds <= 24.0 * 3600.0);
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| InvalidValue::new("must be above 0 and at most 24h"))
}

/// Parses a number that `is_legal`. `what` says what it must be.
///
/// # Errors
/// When the text is no number, or one that is not legal.
pub fn number(text: &str, is_legal: impl Fn(f64) -> bool, what: &str) -> Result<f64, InvalidValue> {
    let number: Option<f64> = text.parse().ok().filter(|number| is_legal(*number));
    number.ok_or_else(|| InvalidValue::new(what))
}

/// Parses a budget in USD per month. For clap.
///
/// # Errors
/// When the text is not a finite number above 0.
pub fn budget(text: &str) -> Result<f64, InvalidValue> {
    let is_legal = |usd: f64| usd.is_finite() && usd > 0.0;
    number(text, is_legal, "must be an amount in USD above 0")
}

/// Checks the name of a person for the audit log. For clap.
///
/// # Errors
/// When the name is not valid.
pub fn person(text: &str) -> Result<String, InvalidValue> {
    actor_name("name", text).map_err(|error| InvalidValue::new(error.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_a_scheme_and_a_host() {
        assert_eq!(
            http_url("http://127.0.0.1:4566/"),
            Ok("http://127.0.0.1:4566".to_owned())
        );
        assert_eq!(
            http_url("https://[::1]:1"),
            Ok("https://[::1]:1".to_owned())
        );
        for wrong in [
            "",
            "127.0.0.1:4566",
            "localhost:4566",
            "localhost",
            "ftp://host",
            "http://",
            "//host",
        ] {
            assert!(http_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        for wrong in ["", "30", "s", "-1s", "0s", "30 days", "1e9h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
