//! `haven keep`: runs a server program that cannot detect the end of its parent, and stops the
//! program when the parent ends.
//!
//! `haven up` starts the local AWS, PostgreSQL, Redis and Docker's client through `haven keep`. The
//! program must end with `haven up`, however `haven up` ends. Three cases are covered:
//!
//! - `haven up` ends, even by `kill -9`. Standard input of `haven keep` is a pipe whose other end
//!   only `haven up` has open. The kernel closes that end, and the read of standard input returns.
//! - `haven keep` receives SIGTERM, SIGINT or SIGHUP. A SIGHUP that was ignored at the start
//!   (`nohup`) stays ignored, by `haven keep` and by the program.
//! - `haven keep` itself is killed. Linux then sends the program its stop signal, the parent-death
//!   signal (prctl(2), `PR_SET_PDEATHSIG`). That signal is bound to the thread that started the
//!   program. The single-threaded runtime starts it on the main thread, which lives as long as the
//!   process.
//!
//! In the first two cases `haven keep` sends the stop signal, waits `--within` seconds, and then
//! kills the program.
//!
//! pip, initdb and similar programs start children, which a signal to the program does not reach.
//! With `--group` the whole process group receives the stop signal. The group is killed as soon as
//! the program itself has ended, or when the time is over.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use chassis::run::TerminationSignals;
use rustix::process::Signal;
use tokio::process::{Child, Command};

use crate::private_file;
use crate::process::{self, Identity};
use crate::records;

/// The exit code of shells for a program that could not be started.
const NOT_STARTED: u8 = 127;
/// The exit code of shells for a program that SIGKILL ended.
pub(crate) const KILLED: u8 = 128 + 9;

/// A program to keep.
#[derive(Debug, Clone)]
pub struct Keep {
    /// Seconds that the program may take to stop before it is killed.
    pub within: u64,
    /// The signal that asks the program to stop.
    pub signal: StopSignal,
    /// File that the process ids are written to.
    pub record: Option<PathBuf>,
    /// Stop the whole process group, whose leader this process must be.
    pub group: bool,
    /// Text in the program's command line by which haven identifies the process.
    pub mark: String,
    /// Become the program at once, as a child of this process id.
    pub exec_for: Option<u32>,
    /// The program and its arguments.
    pub program: Vec<OsString>,
}

/// The signal that asks a program to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    Term,
    /// PostgreSQL's fast shutdown: SIGTERM waits until the last client has left.
    Int,
}

impl StopSignal {
    /// Returns the value of `--signal`.
    pub fn name(self) -> &'static str {
        match self {
            StopSignal::Term => "term",
            StopSignal::Int => "int",
        }
    }

    fn signal(self) -> Signal {
        match self {
            StopSignal::Term => Signal::TERM,
            StopSignal::Int => Signal::INT,
        }
    }
}

/// Runs the program until it ends. Returns its exit code, or 128 plus the number of the signal that
/// ended it.
pub fn run(keep: &Keep) -> ExitCode {
    if let Some(parent) = keep.exec_for {
        return become_program(keep, parent);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime");
    match runtime.and_then(|runtime| runtime.block_on(watch(keep))) {
        Ok(status) => ExitCode::from(code(status)),
        Err(error) => {
            // Standard error is the program's log.
            eprintln!("haven: {error:#}");
            ExitCode::from(NOT_STARTED)
        }
    }
}

/// Starts the program, and stops it when the parent ends or a signal arrives.
async fn watch(keep: &Keep) -> anyhow::Result<ExitStatus> {
    // Install the handlers before the program starts: one of these signals could otherwise end this
    // process and leave the program running.
    let mut signals = TerminationSignals::listen().context("listen for signals")?;
    let (ended, parent_ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // The parent never writes to this pipe, so the read returns only when the parent has ended.
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    let mut child = start(keep)?;
    if let Some(path) = &keep.record {
        let processes = [
            Identity::own(),
            child.id().and_then(|pid| Identity::of(pid, &keep.mark)),
        ];
        if let Err(error) =
            records::write(path, &processes.into_iter().flatten().collect::<Vec<_>>())
        {
            eprintln!("haven: {error:#}");
        }
    }
    tokio::select! {
        status = child.wait() => return status.context("wait for the program"),
        _ = signals.received() => {}
        _ = parent_ended => {}
    }
    if keep.group {
        // This process is in the group too, but its handlers catch the signal.
        let _ = rustix::process::kill_current_process_group(keep.signal.signal());
    } else if let Some(pid) = child.id().and_then(process::pid) {
        // The child was not reaped yet, so no other process can have its pid.
        let _ = rustix::process::kill_process(pid, keep.signal.signal());
    }
    let waited = tokio::time::timeout(Duration::from_secs(keep.within), child.wait()).await;
    if keep.group {
        // This kills the rest of the group and this process. The parent has ended, so the exit code
        // does not matter.
        let _ = rustix::process::kill_current_process_group(Signal::KILL);
    }
    match waited {
        Ok(status) => status.context("wait for the program"),
        Err(_) => {
            eprintln!(
                "haven: {} did not stop within {} s and was killed",
                name(keep),
                keep.within
            );
            if let Some(path) = &keep.record {
                // If the parent has ended and cannot see the exit code, this file tells the next
                // start that the program was killed.
                let _ = private_file::write(&records::killed(path), b"");
            }
            child.start_kill().context("kill the program")?;
            child.wait().await.context("wait for the program")
        }
    }
}

fn start(keep: &Keep) -> anyhow::Result<Child> {
    let mut command = if cfg!(target_os = "linux") {
        let mut command =
            Command::new(std::env::current_exe().context("find the haven executable")?);
        command.args([
            "keep",
            "--signal",
            keep.signal.name(),
            "--exec-for",
            &std::process::id().to_string(),
            "--",
        ]);
        command.args(&keep.program);
        command
    } else {
        let mut command = Command::new(&keep.program[0]);
        command.args(&keep.program[1..]);
        command
    };
    // This process reads standard input to detect the end of its parent.
    command
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("start {}", name(keep)))
}

/// Registers for a signal at the parent's end and replaces this process by the program (exec),
/// which keeps the pid.
fn become_program(keep: &Keep, parent: u32) -> ExitCode {
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::process::set_parent_process_death_signal(Some(keep.signal.signal()));
        // If the parent ended before the registration, the kernel sends no signal.
        if rustix::process::getppid() != process::pid(parent) {
            return ExitCode::from(NOT_STARTED);
        }
    }
    let _ = parent;
    let error = std::process::Command::new(&keep.program[0])
        .args(&keep.program[1..])
        .exec();
    eprintln!("haven: start {}: {error}", name(keep));
    ExitCode::from(NOT_STARTED)
}

fn name(keep: &Keep) -> String {
    let name = std::path::Path::new(&keep.program[0])
        .file_name()
        .unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn code(status: ExitStatus) -> u8 {
    let of_signal = status.signal().map(|signal| 128 + signal);
    status
        .code()
        .or(of_signal)
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1)
}
