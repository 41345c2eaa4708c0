//! Programs that are run to their end while a platform starts (pip, initdb and the like): they end
//! with this process, and the next start waits for what is left of them.
//!
//! A `haven up` that is killed leaves no time to stop anything. So each runs under `haven keep`, as
//! servers do, with a pipe as its standard input that only this process holds open. It is written
//! down in the state directory while it runs: otherwise a next start could remove the folder that
//! it is still writing to.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::process::{Output, Stdio};
use std::sync::OnceLock;

use tokio::process::Command;

use super::leftovers::{self, Records};
use super::process::Identity;
use super::server;

/// Seconds from SIGTERM to SIGKILL. None of these programs has anything to save.
const STOP_WITHIN: &str = "5";
/// In the command line of `haven keep`.
const MARK: &str = " keep --within ";

/// Where a program is written down while it runs.
static RECORDS: OnceLock<Records> = OnceLock::new();

/// Makes programs be written down in the state directory that this process holds.
pub fn record_in(records: &Records) {
    let _ = RECORDS.set(records.clone());
}

/// Returns the command of a program for [`output`]. Arguments and environment are added to it as to
/// any other command.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    match server::keeper() {
        Some(haven) => {
            let mut command = Command::new(haven);
            command
                .args(["keep", "--within", STOP_WITHIN, "--group", "--"])
                .arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// Runs a program to its end and returns what it printed. It reads nothing. When the returned
/// future is dropped, the program is asked to stop.
///
/// # Errors
/// When it cannot be started.
pub async fn output(mut command: Command, name: &str) -> io::Result<Output> {
    let kept = server::keeper().is_some();
    command
        .stdin(if kept { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Killing `haven keep` would leave behind what the program has started.
    command.kill_on_drop(!kept).process_group(0);
    let mut child = command.spawn()?;
    // `wait_with_output` would close it, which tells `haven keep` that we have ended.
    let _input = child.stdin.take();
    let record = RECORDS
        .get()
        .filter(|_| kept)
        .map(|records| records.path(name));
    if let (Some(record), Some(keeper)) =
        (&record, child.id().and_then(|pid| Identity::of(pid, MARK)))
    {
        // Without a record it still ends with us.
        let _ = leftovers::write(record, &[keeper]);
    }
    let output = child.wait_with_output().await;
    if let Some(record) = record {
        let _ = fs::remove_file(record);
    }
    output
}
