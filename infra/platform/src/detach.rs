//! `haven up --detach`: starts `haven up` in the background, and returns when the shop is ready or
//! the start has failed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use haven_console::error::Failure;
use haven_console::exit::Exit;
use haven_console::progress::Steps;
use haven_console::{output, settings};
use rustix::process::Signal;

use crate::children;
use crate::facts::Facts;
use crate::log_tail::LogTail;
use crate::state::State;
use crate::stop::Stop;
use crate::up::{self, READY, TOKEN_IN_FACTS, shown_token};

const IN_BACKGROUND: &str = "Running in the background; stop it with `haven down`.";

/// Starts `haven up` again in the background and waits until the shop is ready.
///
/// The child inherits our lock on the state directory, so no other start can take the lock in
/// between. The child also ends processes that an earlier `haven up` left running.
///
/// # Errors
/// When the state directory cannot be locked, the child cannot be started, or the child exits
/// before the shop is ready. A usage failure when the child exits with `EX_USAGE` (64).
pub async fn detach(folder: &Path) -> anyhow::Result<()> {
    let stop = Stop::listen()?;
    let state = State::open(folder)?;
    let log = state.log("up")?;
    let output = LogTail::from_here(state.path("logs/up.log"));

    let mut arguments: Vec<_> = std::env::args_os()
        .skip(1)
        .filter(|argument| argument != "--detach" && argument != "--json")
        .collect();
    let settings = settings::get();
    if settings.json && !settings.quiet {
        // The JSON of this process replaces the screen, and its progress is off.
        arguments.push("--quiet".into());
    }
    let errors = log.try_clone().context("use one log twice")?;
    let mut child =
        tokio::process::Command::new(std::env::current_exe().context("find the haven executable")?)
            .args(arguments)
            .arg("--take-lock")
            // Its error is wrapped here, for the user's terminal.
            .env("COLUMNS", "10000")
            .stdin(Stdio::from(state.lock_for_child()?))
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .context("start haven in the background")?;
    let pid = child.id();
    let said = || {
        let text = output.read(u64::MAX).unwrap_or_default();
        text.trim().to_owned()
    };
    let mut passed_on = false;
    let steps = Steps::new("up");
    let _starting = steps.begin("Starting the platform in the background");
    loop {
        if let Some(status) = child.try_wait().context("watch haven in the background")? {
            return Err(failure(&said(), status.code()).into());
        }
        let facts = Facts::read(state.folder()).ok();
        if let Some(facts) = facts.filter(|facts| facts.ready && Some(facts.pid) == pid) {
            let said = said().replace(TOKEN_IN_FACTS, shown_token(&facts.staff_token));
            let (progress, screen) = said.split_at(said.rfind(READY).unwrap_or_default());
            if !progress.trim().is_empty() {
                eprintln!("{}", progress.trim_end());
            }
            if settings.json {
                let ready = screen.lines().next().unwrap_or(screen);
                up::print_ready(ready, &facts);
            } else {
                output::always(screen);
                println!("{}", settings.hint(IN_BACKGROUND));
            }
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

/// Returns the failure of a child that ended while it started: its own error and tip, or all of its
/// output if there is none.
fn failure(said: &str, code: Option<i32>) -> Failure {
    let exit = match code {
        Some(code) if code == i32::from(chassis::EX_USAGE) => Exit::Usage,
        Some(_) | None => Exit::Failed,
    };
    let error = said.rsplit_once("\nerror: ").map(|(_, error)| error);
    let Some(error) = error.or_else(|| said.strip_prefix("error: ")) else {
        return Failure::new(exit, format!("`haven up` ended while starting:\n{said}"));
    };
    let (message, tip) = match error.split_once("\n\n  tip: ") {
        Some((message, tip)) => (message, Some(tip)),
        None => (error, None),
    };
    let unindented = |text: &str| {
        let lines = text.trim_end().lines().map(str::trim_start);
        lines.collect::<Vec<_>>().join("\n")
    };
    let failure = Failure::new(exit, unindented(message));
    match tip {
        Some(tip) => failure.tip(unindented(tip)),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_the_child_is_reported() {
        let said = "Starting Brew Haven (state: .haven)\n\
            error: port 8080 is already in use\n       by pid 4711\n\n  tip: choose another";
        let busy = failure(said, Some(64));
        assert_eq!(
            (busy.exit, busy.message.as_str(), busy.tip.as_deref()),
            (
                Exit::Usage,
                "port 8080 is already in use\nby pid 4711",
                Some("choose another")
            )
        );
        let killed = failure("Starting", None);
        assert_eq!(
            (killed.exit, killed.message.as_str()),
            (Exit::Failed, "`haven up` ended while starting:\nStarting")
        );
    }
}
