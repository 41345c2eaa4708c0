//! Programs that run to completion while a platform starts, such as pip and initdb. They end with
//! this process, and the next start waits for those that remain.
//!
//! A killed `haven up` has no time to stop anything. Therefore each program runs under `haven
//! keep`, as servers do, with a pipe as its standard input that only this process holds open. While
//! a program runs, the state directory has a record of it. Without the record, the next start could
//! remove the directory that the program still writes to.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::OnceLock;

use chassis::config::ProcessEnvironment;
use tokio::process::Command;

use crate::process::Identity;
use crate::records::{self, Records};
use crate::server;

/// The seconds between SIGTERM and SIGKILL. None of these programs has anything to save.
const STOP_WITHIN: &str = "5";
/// A part of the command line of `haven keep`.
const MARK: &str = " keep --within ";

/// The records of the running programs.
static RECORDS: OnceLock<Records> = OnceLock::new();

/// Makes programs be recorded in the state directory that this process holds.
pub fn record_in(records: &Records) {
    let _ = RECORDS.set(records.clone());
}

/// Returns the command of a program for [`output`]. Arguments and environment can be added as
/// usual.
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

/// Runs a program to completion and returns its output. The program has no input. When the returned
/// future is dropped, the program is asked to stop.
///
/// # Errors
/// When the program cannot be started.
pub async fn output(mut command: Command, name: &str) -> io::Result<Output> {
    let kept = server::keeper().is_some();
    command
        .stdin(if kept { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // If `haven keep` were killed, the children of the program would remain.
    command.kill_on_drop(!kept).process_group(0);
    let mut child = command.spawn()?;
    // `wait_with_output` would close the pipe, and `haven keep` would stop the program.
    let _input = child.stdin.take();
    let record = RECORDS
        .get()
        .filter(|_| kept)
        .map(|records| records.path(name));
    if let (Some(record), Some(keeper)) =
        (&record, child.id().and_then(|pid| Identity::of(pid, MARK)))
    {
        // Without a record the program still ends with this process.
        let _ = records::write(record, &[keeper]);
    }
    let output = child.wait_with_output().await;
    if let Some(record) = record {
        let _ = fs::remove_file(record);
    }
    output
}

/// Returns the first file of this name on the `PATH`.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = ProcessEnvironment.get_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}
