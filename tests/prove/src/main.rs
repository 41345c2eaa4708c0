//! `prove`: one subcommand a proof, each in its own module.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Shows what the order core claims; every proof prints what it needs to be repeated.
#[derive(Debug, Parser)]
#[command(
    name = "prove",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 it holds, 1 the proof could not run, 2 it does not hold, 64 bad usage"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
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
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let proved = match cli.command {
        Command::Model(options) => prove::model::run(&options),
        Command::Simulate(options) => prove::simulate::run(&options),
    };
    proved.unwrap_or_else(|error| {
        eprintln!("prove: {error:#}");
        ExitCode::FAILURE
    })
}
