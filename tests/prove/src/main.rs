//! `prove`: what this project claims, shown on this machine.

mod crash;
mod customer;
mod faults;
mod hurry;
mod invariants;
mod shop;
mod views;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use haven::target::BadUsage;

#[derive(Parser)]
#[command(name = "prove", about = "Shows what Brew Haven claims: real processes, real faults, invariants when quiet")]
struct Cli {
    #[command(subcommand)]
    proof: Proof,
}

#[derive(Subcommand)]
enum Proof {
    /// Kill -9 before and after every boundary call of a flow
    Crash(crash::Options),
    /// The matrix of faults, each under load
    Faults(faults::Options),
}

fn main() -> ExitCode {
    // The roles of the shop under test are this very program, as those of `haven up` are `haven`.
    if std::env::args().nth(1).as_deref() == Some("role") {
        return haven::main();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start a runtime");
    let held = runtime.and_then(|runtime| {
        runtime.block_on(async {
            match cli.proof {
                Proof::Crash(options) => crash::prove(&options).await,
                Proof::Faults(options) => faults::prove(&options).await,
            }
        })
    });
    match held {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("prove: {error:#}");
            if error.is::<BadUsage>() { ExitCode::from(64) } else { ExitCode::FAILURE }
        }
    }
}
