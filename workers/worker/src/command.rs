//! The arguments of a role's binary. There are at most two words, so no parser crate is used.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use chassis::config::{Environment, Problems, ProcessEnvironment, Reader};
use chassis::{EX_USAGE, health_check};
use contract::cause::chain;
use contract::role::Role;

use crate::VERSION;
use crate::config::HEALTH_BIND;

/// Time limit of a health check, well below the five seconds of ECS (`HealthCheck.Timeout`).
const HEALTHY_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, PartialEq, Eq)]
enum Ask {
    Run,
    Health,
    Help,
    Version,
}

/// An argument that a role's binary does not know.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown argument {0:?} (see --help)")]
struct UnknownArgument(String);

/// The reason why a health check does not find the address of its process.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum NoHealthAddress {
    #[error("{} must be set, with a port, to find the process by", HEALTH_BIND.variable)]
    NotSet,
    #[error(transparent)]
    Unusable(#[from] Problems),
}

/// Runs the command in the arguments after the binary's name.
pub fn main(role: &'static Role, arguments: impl Iterator<Item = String>) -> ExitCode {
    match parse(arguments) {
        Ok(Ask::Run) => crate::run(role),
        Ok(Ask::Health) => health(role),
        Ok(Ask::Help) => say(&help(role)),
        Ok(Ask::Version) => say(&format!("{} {VERSION}", role.slug)),
        Err(unknown) => {
            complain(role, &unknown.to_string());
            ExitCode::from(EX_USAGE)
        }
    }
}

/// Writes a line to standard output. `println!` would panic on a closed pipe or a full disk.
fn say(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes a line to standard error. If that fails, the exit code is the only report.
fn complain(role: &Role, text: &str) {
    let _ = writeln!(std::io::stderr(), "{}: {text}", role.slug);
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Ask, UnknownArgument> {
    let ask = match arguments.next() {
        None => return Ok(Ask::Run),
        Some(word) => match word.as_str() {
            "health" => Ask::Health,
            "help" | "--help" | "-h" => Ask::Help,
            "--version" | "-V" => Ask::Version,
            _ => return Err(UnknownArgument(word)),
        },
    };
    match arguments.next() {
        Some(more) if ask != Ask::Help => Err(UnknownArgument(more)),
        _ => Ok(ask),
    }
}

fn help(role: &Role) -> String {
    let slug = role.slug;
    format!(
        "{}\n\n\
         Usage: {slug}          runs until SIGTERM; without its settings it lists what is missing\n       \
         {slug} health   asks the {slug} that runs beside it, at {}, whether it is alive\n\n\
         Exit codes: 0 after a clean stop, or healthy; 1 for a failure, or not healthy; {EX_USAGE} for bad settings or arguments",
        role.about, HEALTH_BIND.variable
    )
}

/// Runs the health check of the container, because the image has neither a shell nor curl.
fn health(role: &Role) -> ExitCode {
    match health_address(&ProcessEnvironment) {
        Err(problem) => {
            complain(role, &problem.to_string());
            ExitCode::from(EX_USAGE)
        }
        Ok(bind) => match health_check::check(bind, HEALTHY_WITHIN) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                complain(role, &format!("not healthy: {}", chain(&why)));
                ExitCode::FAILURE
            }
        },
    }
}

/// Returns the address of the health endpoints. Reads no other setting, because a health check
/// needs no secret.
fn health_address(environment: &impl Environment) -> Result<SocketAddr, NoHealthAddress> {
    let reader = Reader::new(environment);
    let bind: Option<SocketAddr> = reader.optional_parsed(HEALTH_BIND.variable, HEALTH_BIND.about);
    let bind = reader.finish(bind)?.filter(|bind| bind.port() != 0);
    bind.ok_or(NoHealthAddress::NotSet)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn parsed(line: &str) -> Result<Ask, UnknownArgument> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_role_starts_only_without_arguments() {
        assert_eq!(parsed(""), Ok(Ask::Run));
        assert_eq!(parsed("health"), Ok(Ask::Health));
        assert_eq!(parsed("--help"), Ok(Ask::Help));
        assert_eq!(parsed("--version"), Ok(Ask::Version));
        for (line, unknown) in [
            ("helth", "helth"),
            ("--health", "--health"),
            ("health now", "now"),
            ("run", "run"),
        ] {
            assert_eq!(
                parsed(line),
                Err(UnknownArgument(unknown.to_owned())),
                "{line}"
            );
        }
    }

    #[test]
    fn a_health_check_needs_an_address_and_nothing_else() {
        let found = |value: &str| {
            health_address(&BTreeMap::from([(
                "HAVEN_HEALTH_BIND".to_owned(),
                value.to_owned(),
            )]))
        };
        assert_eq!(
            found("0.0.0.0:8081"),
            Ok(SocketAddr::from(([0, 0, 0, 0], 8081)))
        );
        for unusable in ["", "127.0.0.1:0", "localhost"] {
            assert!(
                found(unusable)
                    .expect_err("unusable")
                    .to_string()
                    .contains("HAVEN_HEALTH_BIND"),
                "{unusable}"
            );
        }
    }
}
