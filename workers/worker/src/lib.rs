//! The roles: each a file that wires a loop to a use-case, and nothing about coffee.
//!
//! One thin binary a role under `src/bin/`; one container image holds them all, and `haven role`
//! runs the same.

pub mod aws;
mod breakers;
mod command;
pub mod config;
pub mod grants;
pub mod renewal;
pub mod roles;
mod sent_once;
pub mod stores;

use std::io::Write as _;
use std::process::ExitCode;

use chassis::config::{Environment, ProcessEnvironment};
use chassis::telemetry::Lines;
use contract::cause::chain;
use contract::role::Role;

/// What is built here.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the binary of a role with the arguments of the process. The exit code is 0 for success, 1
/// for a failure, and 64 for bad configuration or arguments.
pub fn main(role: &'static Role) -> ExitCode {
    // An argument that is not UTF-8 is unknown like any other, and no reason to panic.
    command::main(
        role,
        std::env::args_os()
            .skip(1)
            .map(|argument| argument.to_string_lossy().into_owned()),
    )
}

/// Runs the role until SIGTERM. Exit code 64 for bad configuration, 1 for a failure, 0 after a
/// clean stop.
pub fn run(role: &'static Role) -> ExitCode {
    let config = match config::Config::load(role, &ProcessEnvironment) {
        Ok(config) => config,
        Err(problems) => {
            // The exit code says it where standard error cannot.
            let _ = writeln!(std::io::stderr(), "{}: {problems}", role.slug);
            return ExitCode::from(chassis::EX_USAGE);
        }
    };
    let filter = ProcessEnvironment.get(chassis::telemetry::LOG_VARIABLE);
    let _telemetry = chassis::telemetry::start(role.slug, filter.as_deref(), Lines::Json);
    // One provider of cryptography in the whole process; a second call changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ran = chassis::run::runtime(THREADS)
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            tracing::info!(
                role = role.slug,
                version = VERSION,
                "Starting `{}`",
                role.slug
            );
            runtime.block_on(roles::run(role, config))
        });
    match ran {
        Ok(()) => {
            tracing::info!(role = role.slug, "Stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(role = role.slug, error = chain(&*error), "Failed");
            let is_setting = error.is::<chassis::CannotListen>()
                || matches!(
                    error.downcast_ref(),
                    Some(adapter_sql::ConnectError::BadUrl(_))
                );
            if is_setting {
                // Where `haven up` looks for the reason, and a person.
                let _ = writeln!(std::io::stderr(), "{}: {}", role.slug, chain(&*error));
                return ExitCode::from(chassis::EX_USAGE);
            }
            ExitCode::FAILURE
        }
    }
}

/// A role mostly waits; a quarter of a vCPU has no use for more threads.
const THREADS: usize = 2;
