//! `haven down`: stops the process that holds a state directory, and ends processes that a killed
//! `haven up` left running.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use haven_console::verdict::Verdict;
use haven_console::{output, settings};
use rustix::process::Signal;
use serde_json::json;

use crate::facts::Facts;
use crate::lock::Holder;
use crate::process::{Identity, started_at};
use crate::state::{Held, State};
use crate::up::STOPPED;
use crate::{emulator_state, facts, leftovers};

/// The time to wait for a stop: the longest drain, the stop of the local AWS and of PostgreSQL, and
/// a reserve.
const STOPPED_WITHIN: Duration = Duration::from_secs(120);
/// The time to wait for the identity in the lock file, which a process writes as soon as it has
/// taken the lock.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

/// Stops the platform on a state directory, in whatever phase it is, and waits until it has
/// stopped.
///
/// # Errors
/// When the directory belongs to another user, its process cannot be identified, or the process
/// does not stop in time.
pub async fn down(folder: &Path) -> anyhow::Result<()> {
    let stopped = stop_holder(folder).await?;
    // The directory has no supervisor any more, so the rest can be ended. If a new `haven up` takes
    // the lock first, that one ends the rest.
    let left = match State::take(folder) {
        Some(state) => {
            let left = leftovers::end(&state).await;
            Facts::remove(state.folder());
            left
        }
        None => leftovers::Ended::default(),
    };
    let settings = settings::get();
    let verdict = Verdict::good(match (&stopped, left.names.as_slice()) {
        (None, []) => format!("No platform is running in {}.", folder.display()),
        (None, names) => format!(
            "Ended processes that a killed `haven up` had left running: {}.",
            names.join(", ")
        ),
        (Some(_), _) => settings.hint(STOPPED),
    });
    let stopped_pid = stopped.as_ref().map(|stopped| stopped.pid);
    let holder = State::last_holder(folder)
        .filter(|last| Some(last.identity.pid) == stopped_pid && last.stopping);
    let mut unsaved = holder.map(|holder| holder.unsaved).unwrap_or_default();
    if left.lost_aws_state() {
        unsaved.push(emulator_state::KILLED.to_owned());
    }
    if settings.json {
        let fields = json!({ "stopped_pid": stopped_pid, "ended": left.names, "unsaved": unsaved });
        verdict.print_json("haven.down/1", fields);
    } else {
        // Lost data is part of the result, so `-q` keeps these lines.
        unsaved.iter().for_each(output::always);
        verdict.print();
    }
    Ok(())
}

/// Stops the process that holds the lock, and returns it. Returns `None` if the lock was free.
async fn stop_holder(folder: &Path) -> anyhow::Result<Option<Identity>> {
    let begun = Instant::now();
    let mut asked: Option<Identity> = None;
    let mut unknown_since = None;
    loop {
        let holder = match State::holder(folder)? {
            Held::No => return Ok(asked),
            Held::By(holder) => holder.filter(|holder| holder.identity.is_running()),
        };
        match holder.or_else(|| of_an_older_haven(folder)) {
            // A second signal would make the process stop without saving, so each process gets one.
            // The holder can change during the wait: `haven up --detach` hands the lock to another
            // process.
            Some(holder) if asked.as_ref() != Some(&holder.identity) => {
                if holder.stopping || holder.identity.signal(Signal::TERM) {
                    asked = Some(holder.identity);
                    unknown_since = None;
                }
            }
            Some(_) => {}
            None if asked.is_some() => {}
            None => {
                let since = *unknown_since.get_or_insert_with(Instant::now);
                if since.elapsed() > KNOWN_WITHIN {
                    let lock = folder.join("lock");
                    bail!(
                        "a process that haven does not know holds {0}: find it with `fuser {0}` and end it",
                        lock.display()
                    );
                }
            }
        }
        if begun.elapsed() > STOPPED_WITHIN {
            let pid = asked.context("the lock is held")?.pid;
            bail!(
                "process {pid} has not stopped after {} s; read {}, or end it with `kill -9 {pid}` and run `haven down` again",
                STOPPED_WITHIN.as_secs(),
                folder.join("logs").display()
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Finds the process of an older haven, which wrote nothing into its lock file, through
/// `haven.json`.
fn of_an_older_haven(folder: &Path) -> Option<Holder> {
    let facts = Facts::read(folder).ok()?;
    let written = std::fs::metadata(folder.join(facts::FILE))
        .and_then(|file| file.modified())
        .ok()?;
    let identity = Identity::of(facts.pid, " up")?;
    let meant =
        identity.is_running() && started_at(facts.pid).is_some_and(|started| started <= written);
    meant.then_some(Holder {
        identity,
        stopping: false,
        unsaved: Vec::new(),
    })
}
