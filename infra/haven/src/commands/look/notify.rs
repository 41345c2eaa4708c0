//! `haven notify`: shows notifications, from templates or as they were sent.

pub mod list;
pub mod preview;

use clap::Subcommand;
use haven_console::exit::Exit;

#[derive(Debug, Subcommand)]
pub enum Notify {
    /// Show notifications as their reader gets them
    #[command(
        after_help = "Examples:\n  haven notify preview\n  haven notify preview order_ready --channel sms\n  haven notify preview order_confirmed --html confirmed.html\n\nShows an invented order, sends nothing, and needs no running platform."
    )]
    Preview(preview::Preview),
    /// List notifications and their states, newest first
    #[command(
        after_help = "Examples:\n  haven notify list\n  haven notify list --failed\n  haven notify list --order A-047 --json\n\nLists at most 200, failed ones first. The state is pending, sent (with the id at\nthe provider), failed or suppressed (with the reason). A failed or suppressed\ntext message is followed by an e-mail, which has its own line."
    )]
    List(list::List),
}

/// Runs a command.
///
/// # Errors
/// As [`preview::print`] and [`list::print`].
pub async fn command(command: &Notify) -> anyhow::Result<Exit> {
    match command {
        Notify::Preview(options) => preview::print(options),
        Notify::List(options) => list::print(options).await,
    }
}
