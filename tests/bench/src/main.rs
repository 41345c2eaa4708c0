//! Measurements that a test cannot assert, because machines are shared and noisy. The variants that
//! are compared run in turn in one run, and the result is a ratio.

mod consume;
mod endpoint;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    about = "Measure parts of Brew Haven against what they are built on",
    after_help = "Example:\n  cargo run --release -p bench -- consume --messages 50000 --rounds 5"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The consume engine against a bare SDK loop with batch deletes. Exit 2 when it takes more
    /// than 1.3 times the CPU
    Consume(consume::Options),
    /// The in-memory queue that `consume` asks, in a process of its own so that its CPU is not
    /// counted
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
