//! `haven notify`: shows notifications, from templates or as they were sent.

pub mod list;
pub mod preview;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Notify {
    /// Show every notice as its reader gets it, of an order that never was; nothing is sent, and
    /// nothing need run
    #[command(
        after_help = "Examples:\n  haven notify preview\n  haven notify preview order_ready --channel sms\n  haven notify preview order_confirmed --html confirmed.html\n  haven notify preview --json"
    )]
    Preview(preview::Preview),
    /// List the notices of the platform that `haven up` runs and how they fared, newest first; at
    /// most 200
    #[command(
        after_help = "Examples:\n  haven notify list\n  haven notify list --failed\n  haven notify list --order 01954f0c-6b00-7000-8000-000000000047 --json\n\nA notice is pending, sent (with the provider's id of it), failed or suppressed (with the reason).\nA failed or suppressed text was followed by an e-mail, which has a line of its own."
    )]
    List(list::List),
}

/// Runs a command.
///
/// # Errors
/// As [`preview::print`] and [`list::print`].
pub async fn command(command: &Notify) -> anyhow::Result<()> {
    match command {
        Notify::Preview(options) => preview::print(options),
        Notify::List(options) => list::print(options).await,
    }
}
