//! `prove` runs the proofs of the claims in `docs/proofs.md` on this machine.

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
use haven_console::exit::Exit;
use haven_console::settings::{self, Settings};
use haven_console::{BadUsage, output};

#[derive(Parser)]
#[command(
    name = "prove",
    about = "Shows what Brew Haven claims; every proof prints what it needs to be repeated",
    arg_required_else_help = true,
    after_help = "Exit codes: 0 it holds, 1 the proof could not run, 2 it does not hold, 64 bad usage, 141 the reader of the output \
        left"
)]
struct Cli {
    #[command(subcommand)]
    proof: Proof,
    /// Print every column of a table, however wide
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Proof {
    /// Check every state of the saga with two orders, one unit and two workers
    #[command(
        after_help = "Examples:\n  prove model\n  prove model --json\n  prove model --plant refund-with-new-key   (shows the shortest way to the double refund)"
    )]
    Model(prove::model::Options),
    /// Run the real use-cases through seeded storms of faults, on a clock of their own
    #[command(
        after_help = "Examples:\n  prove simulate --seeds 100000\n  prove simulate --seed 4711               (that one again)\n  prove simulate --seeds 50 --check-determinism --json\n  prove simulate --seeds 100 --plant inbox-forgotten"
    )]
    Simulate(prove::simulate::Options),
    /// Kill -9 before and after every boundary call of a flow
    Crash(crash::Options),
    /// The matrix of faults, each under load
    Faults(faults::Options),
}

fn main() -> ExitCode {
    // This program is also the executable of the roles under test, as `haven` is for `haven up`.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == "role")
    {
        return haven::main();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let printed = error.print();
            if error.use_stderr() {
                return Exit::Usage.into();
            }
            output::note(printed);
            return output::ending("prove", Exit::Done);
        }
    };
    settings::set(Settings {
        verbose: cli.verbose,
        json: std::env::args_os().any(|argument| argument == "--json"),
        ..haven::settings_of_variables()
    });
    let proved = match cli.proof {
        Proof::Model(options) => prove::model::run(&options),
        Proof::Simulate(options) => prove::simulate::run(&options),
        Proof::Crash(options) => with_processes(crash::prove(&options)),
        Proof::Faults(options) => with_processes(faults::prove(&options)),
    };
    output::ending("prove", exit_of(proved))
}

/// Runs a proof that starts processes.
fn with_processes(proof: impl Future<Output = anyhow::Result<bool>>) -> anyhow::Result<bool> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime.block_on(proof)
}

fn exit_of(proved: anyhow::Result<bool>) -> Exit {
    proved.map_or_else(
        |error| {
            haven_console::eprintln!("prove: {error:#}");
            if error.is::<BadUsage>() {
                Exit::Usage
            } else {
                Exit::Failed
            }
        },
        Exit::from,
    )
}
