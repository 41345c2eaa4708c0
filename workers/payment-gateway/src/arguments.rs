//! Flags and environment variables of the binary, checked before any socket opens.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use payment_gateway::Config;
use tracing_subscriber::EnvFilter;

const EX_USAGE: u8 = 64;

/// Secrets have no flags, because every account of the machine can read command lines.
const SECRET_VARIABLE: &str = "PAYMENT_WEBHOOK_SECRET";
const API_KEY_VARIABLE: &str = "PAYMENT_API_KEY";

/// The simulated card gateway, for local and lab use. Calls must carry PAYMENT_API_KEY as their
/// bearer token; webhooks are signed with PAYMENT_WEBHOOK_SECRET.
#[derive(Parser)]
#[command(name = "payment-gateway", version)]
struct Arguments {
    /// Where to listen
    #[arg(long, env = "PAYMENT_BIND", default_value = "127.0.0.1:8090")]
    bind: SocketAddr,
    /// The ledger file, made if it is not there
    #[arg(long, env = "PAYMENT_LEDGER", default_value = "payment-ledger.jsonl")]
    ledger: PathBuf,
    /// Where webhooks are sent; without it none are
    #[arg(long, env = "PAYMENT_WEBHOOK_URL")]
    webhook_url: Option<String>,
}

/// Parses and checks the configuration.
///
/// # Errors
/// Prints the reason and returns the exit code: 64 for bad usage, 0 after the help text or the
/// version.
pub fn config() -> Result<Config, ExitCode> {
    let parsed = without_empty_variables(Arguments::command()).try_get_matches();
    let arguments = parsed
        .and_then(|matches| Arguments::from_arg_matches(&matches))
        .map_err(|error| {
            let _ = error.print();
            // Help and version are not errors and are printed to stdout.
            if error.use_stderr() {
                ExitCode::from(EX_USAGE)
            } else {
                ExitCode::SUCCESS
            }
        })?;
    checked(arguments).map_err(|error| {
        // If standard error cannot be written, the exit code is still correct.
        let _ = writeln!(std::io::stderr(), "payment-gateway: {error:#}");
        ExitCode::from(EX_USAGE)
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads a variable: this crate depends on no other crate of ours"
)]
fn variable(name: &OsStr) -> Option<OsString> {
    std::env::var_os(name)
}

/// Treats empty variables as unset, because templates write an empty text for "none".
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &clap::Arg| {
        arg.get_env()
            .and_then(variable)
            .is_some_and(|value| value.is_empty())
    };
    command.mut_args(|arg| {
        if is_empty(&arg) {
            arg.env(None::<&str>)
        } else {
            arg
        }
    })
}

/// Returns the log filter of `HAVEN_LOG`, or `info` if the variable is unset, empty or invalid.
pub fn log_filter() -> EnvFilter {
    let wanted = variable("HAVEN_LOG".as_ref()).and_then(|wanted| wanted.into_string().ok());
    wanted
        .filter(|wanted| !wanted.is_empty())
        .and_then(|wanted| EnvFilter::try_new(wanted).ok())
        .unwrap_or_else(|| EnvFilter::new("info"))
}

fn checked(arguments: Arguments) -> anyhow::Result<Config> {
    let secret = |name: &str| match variable(name.as_ref()).map(OsString::into_string) {
        None => Ok(String::new()),
        Some(Ok(secret)) => Ok(secret),
        Some(Err(_)) => bail!("{name} is not UTF-8"),
    };
    let config = Config {
        bind: arguments.bind,
        ledger: arguments.ledger,
        webhook_url: arguments.webhook_url.filter(|url| !url.is_empty()),
        webhook_secret: secret(SECRET_VARIABLE)?,
        api_key: secret(API_KEY_VARIABLE)?,
    };
    config.check()?;
    Ok(config)
}
