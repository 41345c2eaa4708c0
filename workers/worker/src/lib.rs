//! The roles. Each file connects a loop to a use case and contains no logic of the shop.
//!
//! Each role has a thin binary under `src/bin/`. One container image contains all of them, and
//! `haven role` runs the same code.

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
use contract::cause::chain;
use contract::role::Role;

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the binary of a role with the arguments of the process. The exit code is 0 for success, 1
/// for a failure, and 64 for bad configuration or arguments.
pub fn main(role: &'static Role) -> ExitCode {
    // An argument that is not UTF-8 is an unknown argument and must not cause a panic.
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
            // If standard error cannot be written, the exit code is the only report.
            let _ = writeln!(std::io::stderr(), "{}: {problems}", role.slug);
            return ExitCode::from(chassis::EX_USAGE);
        }
    };
    let filter = ProcessEnvironment.get(chassis::telemetry::LOG_VARIABLE);
    let _telemetry = chassis::telemetry::start(role.slug, filter.as_deref());
    // Installs the only cryptography provider of the process. A second call changes nothing.
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
                // `haven up` and people read the reason from standard error.
                let _ = writeln!(std::io::stderr(), "{}: {}", role.slug, chain(&*error));
                return ExitCode::from(chassis::EX_USAGE);
            }
            ExitCode::FAILURE
        }
    }
}

/// Number of worker threads. A role mostly waits, and its quarter of a vCPU cannot use more.
const THREADS: usize = 2;
