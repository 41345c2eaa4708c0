//! `haven up --detach`: starts `haven up` in the background, and returns when the shop is ready or
//! the start has failed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use haven_console::BadUsage;
use rustix::process::Signal;

use crate::children;
use crate::facts::Facts;
use crate::state::State;
use crate::stop::Stop;
use crate::up::{TOKEN_IN_FACTS, shown_token};

/// Starts `haven up` again in the background and waits until the shop is ready.
///
/// The child inherits our lock on the state directory, so no other start can take the lock in
/// between. The child also ends processes that an earlier `haven up` left running.
///
/// # Errors
/// When the state directory cannot be locked, the child cannot be started, or the child exits
/// before the shop is ready. [`BadUsage`] when the child exits with `EX_USAGE` (64).
pub async fn detach(folder: &Path) -> anyhow::Result<()> {
    let stop = Stop::listen()?;
    let state = State::open(folder)?;
    let log_path = state.path("logs/up.log");
    let log = state.log("up")?;
    let begins_at = log.metadata().map(|log| log.len()).unwrap_or_default();

    let arguments: Vec<_> = std::env::args_os()
        .skip(1)
        .filter(|argument| argument != "--detach")
        .collect();
    let errors = log.try_clone().context("use one log twice")?;
    let mut child =
        tokio::process::Command::new(std::env::current_exe().context("find the haven executable")?)
            .args(arguments)
            .arg("--take-lock")
            .stdin(Stdio::from(state.lock_for_child()?))
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .context("start haven in the background")?;
    let pid = child.id();
    let said = || {
        let bytes = std::fs::read(&log_path).unwrap_or_default();
        let from = usize::try_from(begins_at)
            .unwrap_or_default()
            .min(bytes.len());
        String::from_utf8_lossy(&bytes[from..]).trim().to_owned()
    };
    let mut passed_on = false;
    loop {
        if let Some(status) = child.try_wait().context("watch haven in the background")? {
            if status.code() == Some(i32::from(chassis::EX_USAGE)) {
                return Err(BadUsage(format!("it ended while starting:\n{}", said())).into());
            }
            bail!("it ended while starting ({status}):\n{}", said());
        }
        let facts = Facts::read(state.folder()).ok();
        if let Some(facts) = facts.filter(|facts| facts.ready && Some(facts.pid) == pid) {
            println!(
                "{}",
                said().replace(TOKEN_IN_FACTS, shown_token(&facts.staff_token))
            );
            println!(
                "Running in the background; stop it with: haven down --state {}",
                folder.display()
            );
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            // The child has its own process group, so Ctrl-C reaches this process only. Without
            // this signal the start would continue in the background.
            () = stop.asked(), if !passed_on => {
                passed_on = true;
                pid.into_iter().for_each(|pid| children::signal(pid, Signal::TERM));
            }
        }
    }
}
