//! Processes with wrong clocks, by means of libfaketime.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use super::Outcome;
use crate::shop::Shop;

/// Roles and the offsets of their clocks. Each offset is larger than any hold, claim or lease.
const SKEWS: [(&str, &str); 6] = [
    ("storefront", "+420s"),
    ("order-worker", "+420s"),
    ("payment-worker", "-7200s"),
    ("outbox-relay", "-7200s"),
    ("sweeper", "+420s"),
    ("notification-worker", "-7200s"),
];

/// Restarts six roles with clocks that differ by hours, and later with correct clocks.
///
/// # Errors
/// Returns an error if a role cannot be started again.
pub async fn skew(shop: &Shop, lasting: Duration) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let Some(library) = library() else {
        outcome
            .failures
            .push("needs libfaketime (on Debian: apt install libfaketime)".to_owned());
        return Ok(outcome);
    };
    let library = library.display().to_string();
    for (role, offset) in SKEWS {
        // The monotonic clock stays correct; only the time of day is wrong.
        let environment = [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME", offset),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        shop.signal(role, Signal::TERM);
        shop.start_again(role, &environment).await?;
        let maps = shop
            .life(role)
            .and_then(|life| std::fs::read_to_string(format!("/proc/{}/maps", life.pid)).ok());
        outcome.hits += u64::from(maps.is_some_and(|maps| maps.contains("libfaketime")));
    }
    tokio::time::sleep(lasting).await;
    for (role, _) in SKEWS {
        shop.signal(role, Signal::TERM);
        shop.start_again(role, &[]).await?;
    }
    Ok(outcome)
}

fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib")
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    folders
        .map(|folder| folder.join("faketime/libfaketime.so.1"))
        .find(|library| library.exists())
}
