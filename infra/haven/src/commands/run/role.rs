//! `haven role`: runs one role in the foreground, as its container does.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use chassis::config::{Environment as _, ProcessEnvironment, Reader};
use contract::parameter::{PAYMENT_API, PAYMENT_WEBHOOK};
use contract::role::Role;
use platform::environment::{GATEWAY, GATEWAY_STOPS_WITHIN};
use rustix::process::{Signal, getpid, kill_process};

/// Runs a role, or the simulated payment gateway, until it is asked to stop. Returns its exit code.
pub fn run(name: &str) -> ExitCode {
    if ProcessEnvironment.get("HAVEN_STOP_ON_STDIN_END").is_some() {
        stop_when_parent_ends(Role::by_slug(name).map_or(GATEWAY_STOPS_WITHIN, Role::stop_timeout));
    }
    if name == GATEWAY {
        return gateway();
    }
    match Role::by_slug(name) {
        Some(role) => worker::run(role),
        None => {
            let names: Vec<_> = contract::role::ROLES.iter().map(|role| role.slug).collect();
            eprintln!(
                "haven: unknown role {name:?}; known: {}, {GATEWAY}",
                names.join(", ")
            );
            ExitCode::from(chassis::EX_USAGE)
        }
    }
}

/// Stops this process when the parent ends. `haven up` holds the other end of standard input, which
/// closes however `haven up` ends. This process then receives SIGTERM, and SIGKILL after `within`,
/// the time that `haven up` would have waited.
fn stop_when_parent_ends(within: Duration) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = kill_process(getpid(), Signal::TERM);
        std::thread::sleep(within);
        let _ = kill_process(getpid(), Signal::KILL);
    });
}

/// Runs the simulated payment gateway, configured by its environment.
fn gateway() -> ExitCode {
    let reader = Reader::new(&ProcessEnvironment);
    let bind: Option<SocketAddr> =
        reader.optional_parsed("PAYMENT_BIND", "where the payment gateway listens");
    let ledger = reader.required("PAYMENT_LEDGER", "the ledger file of the payment gateway");
    let secret = reader.secret(PAYMENT_WEBHOOK.variable, PAYMENT_WEBHOOK.about);
    let api_key = reader.secret(
        PAYMENT_API.variable,
        "the bearer token that every call must carry",
    );
    let webhook_url = reader.optional("PAYMENT_WEBHOOK_URL");
    let bind = bind.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8090)));
    let config = payment_gateway::Config {
        bind,
        ledger: ledger.into(),
        webhook_url,
        webhook_secret: secret.expose().clone(),
        api_key: api_key.expose().clone(),
    };
    let config = match reader.finish(config) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{GATEWAY}: {problems}");
            return ExitCode::from(chassis::EX_USAGE);
        }
    };
    let filter = ProcessEnvironment.get(chassis::telemetry::LOG_VARIABLE);
    let _telemetry = chassis::telemetry::start(GATEWAY, filter.as_deref());
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let served = chassis::run::runtime(1)
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            runtime.block_on(async {
                let shutdown = chassis::run::shutdown_signal()?;
                let listener = chassis::listen("PAYMENT_BIND", config.bind).await?;
                payment_gateway::serve(config, listener, shutdown).await
            })
        });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "Failed");
            if error.is::<chassis::CannotListen>() {
                eprintln!("{GATEWAY}: {error:#}");
                return ExitCode::from(chassis::EX_USAGE);
            }
            ExitCode::FAILURE
        }
    }
}
