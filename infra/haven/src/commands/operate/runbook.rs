//! `haven runbook`: lists and prints the runbooks.

use anyhow::bail;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Runbook {
    /// List the runbooks, one for each alarm
    #[command(after_help = "Example:\n  haven runbook list")]
    List,
    /// Show a runbook
    #[command(after_help = "Example:\n  haven runbook show queue-age")]
    Show {
        /// Name of the runbook, as the alarm names it
        id: String,
    },
}

/// Every runbook by name. A test in `tests/tidy` checks that the list is complete.
const RUNBOOKS: &[(&str, &str)] = &[
    ("cache", include_str!("../../../../../runbooks/cache.md")),
    (
        "database",
        include_str!("../../../../../runbooks/database.md"),
    ),
    (
        "dead-letters",
        include_str!("../../../../../runbooks/dead-letters.md"),
    ),
    (
        "dependencies",
        include_str!("../../../../../runbooks/dependencies.md"),
    ),
    (
        "deployments",
        include_str!("../../../../../runbooks/deployments.md"),
    ),
    (
        "notification-failures",
        include_str!("../../../../../runbooks/notification-failures.md"),
    ),
    (
        "outbox-lag",
        include_str!("../../../../../runbooks/outbox-lag.md"),
    ),
    (
        "queue-age",
        include_str!("../../../../../runbooks/queue-age.md"),
    ),
    ("shop", include_str!("../../../../../runbooks/shop.md")),
    (
        "stock-drift",
        include_str!("../../../../../runbooks/stock-drift.md"),
    ),
    (
        "stream-lag",
        include_str!("../../../../../runbooks/stream-lag.md"),
    ),
    ("tables", include_str!("../../../../../runbooks/tables.md")),
    ("tasks", include_str!("../../../../../runbooks/tasks.md")),
    ("topics", include_str!("../../../../../runbooks/topics.md")),
];

/// Runs a command.
///
/// # Errors
/// As [`show`].
pub fn command(command: &Runbook) -> anyhow::Result<()> {
    match command {
        Runbook::List => list(),
        Runbook::Show { id } => show(id)?,
    }
    Ok(())
}

/// Prints the name of every runbook and the first line of its meaning.
fn list() {
    for (id, text) in RUNBOOKS {
        let meaning = text
            .lines()
            .skip_while(|line| !line.starts_with("## Meaning"))
            .nth(1)
            .unwrap_or_default();
        println!("{id:24} {meaning}");
    }
}

/// Prints a runbook.
///
/// # Errors
/// When no runbook has this name. The message lists the existing names.
fn show(id: &str) -> anyhow::Result<()> {
    let Some((_, text)) = RUNBOOKS.iter().find(|(name, _)| *name == id) else {
        let names: Vec<_> = RUNBOOKS.iter().map(|(name, _)| *name).collect();
        bail!("there is no runbook {id:?}; there are {}", names.join(", "));
    };
    print!("{text}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runbook_of_an_alarm_can_be_shown() {
        for alarm in contract::alarm::ALARMS {
            assert!(
                RUNBOOKS.iter().any(|(id, _)| *id == alarm.runbook),
                "{}",
                alarm.runbook
            );
        }
    }
}
