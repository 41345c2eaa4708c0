//! Measurements that a test cannot assert, because machines are shared and noisy. The variants that
//! are compared run in turn in one run, and the result is a ratio.

mod consume;
mod endpoint;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    about = "Measure the CPU time of parts of Brew Haven, as a ratio to a minimal implementation",
    after_help = "Example:\n  cargo run --release -p bench -- consume --messages 50000 --rounds 5"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compare the consume loop with a bare SDK loop, and exit with 2 if it takes more than 1.3
    /// times the CPU
    Consume(consume::Options),
    /// Serve the in-memory queue of `consume`, in a separate process whose CPU time does not count
    #[command(hide = true)]
    Endpoint,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Consume(options) => consume::run(&options).await,
        Command::Endpoint => endpoint::serve().await.map(|()| ExitCode::SUCCESS),
    }
}
