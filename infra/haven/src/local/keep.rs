//! `haven keep`: runs a server program that cannot watch over its parent by itself, and ends it
//! when the parent ends.
//!
//! `haven up` starts the local AWS, PostgreSQL, Redis and Docker's client through it. Its standard
//! input is a pipe whose other end only `haven up` has open: the kernel closes that end however
//! `haven up` ends, `kill -9` included. Then, and on SIGTERM, SIGINT and SIGHUP, it asks the
//! program to stop, waits, and kills it when its time is over. A SIGHUP that was ignored when it
//! started (`nohup`) stays ignored, for it and for the program. Should this process itself be
//! killed, Linux sends the program its stop signal (a parent-death signal follows the thread that
//! started the program, here the main thread of a process that does nothing else).
//!
//! pip, initdb and the like run programs of their own, which such a signal does not reach: with
//! `--group` the whole process group is asked to stop, and is killed as soon as the program itself
//! has ended.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::guard;
use super::leftovers;
use super::process::{self, Identity};

/// As shells report it: a program that could not be started.
const NOT_STARTED: u8 = 127;
/// As shells report it: the program ended by SIGKILL.
pub const KILLED: u8 = 128 + 9;

#[derive(Debug, Clone, Args)]
pub struct Keep {
    /// Seconds that the program may take to stop before it is killed
    #[arg(long, default_value_t = 10)]
    pub within: u64,
    /// What asks the program to stop
    #[arg(long, value_enum, default_value_t = StopSignal::Term)]
    pub signal: StopSignal,
    /// File that the process ids are written to
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Stop the whole process group, whose leader this process must be
    #[arg(long)]
    pub group: bool,
    /// What stands in the program's command line for as long as it runs
    #[arg(long, default_value = "")]
    pub mark: String,
    /// Become the program at once, as a child of this process id
    #[arg(long, value_name = "PID")]
    pub exec_for: Option<u32>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub program: Vec<OsString>,
}

/// What asks a program to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StopSignal {
    Term,
    /// PostgreSQL's fast shutdown: SIGTERM waits until the last client has left.
    Int,
}

impl StopSignal {
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

/// Runs the program to its end. Returns its exit code, or 128 and the number of the signal that
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
            // Into the program's log.
            eprintln!("haven: {error:#}");
            ExitCode::from(NOT_STARTED)
        }
    }
}

async fn watch(keep: &Keep) -> anyhow::Result<ExitStatus> {
    // Before the program starts: none of these may end us and leave it behind.
    let hangup = (!chassis::run::ignores_hangup()).then(SignalKind::hangup);
    let mut signals = [SignalKind::terminate(), SignalKind::interrupt()]
        .into_iter()
        .chain(hangup)
        .map(signal)
        .collect::<Result<Vec<_>, _>>()
        .context("listen for signals")?;
    let (ended, parent_ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Nothing is ever sent: this returns at the end.
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
            leftovers::write(path, &processes.into_iter().flatten().collect::<Vec<_>>())
        {
            eprintln!("haven: {error:#}");
        }
    }
    let asked = async {
        let signals = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
        tokio::select! {
            _ = futures::future::select_all(signals) => {}
            _ = parent_ended => {}
        }
    };
    tokio::select! {
        status = child.wait() => return status.context("wait for the program"),
        () = asked => {}
    }
    if keep.group {
        // Us as well: the handlers above are still there.
        let _ = rustix::process::kill_current_process_group(keep.signal.signal());
    } else if let Some(pid) = child.id().and_then(process::pid) {
        // Not waited for yet: the pid is still its own.
        let _ = rustix::process::kill_process(pid, keep.signal.signal());
    }
    let waited = tokio::time::timeout(Duration::from_secs(keep.within), child.wait()).await;
    if keep.group {
        // Whatever is left, and us: nobody is there any more to see how we end.
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
                // For the next start, should nobody be there to see our exit code.
                let _ = guard::write(&leftovers::killed(path), b"");
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
    // Standard input is ours to watch.
    command
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("start {}", name(keep)))
}

/// Asks the kernel for a signal at our parent's end and becomes the program, with the same pid.
fn become_program(keep: &Keep, parent: u32) -> ExitCode {
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::process::set_parent_process_death_signal(Some(keep.signal.signal()));
        // It may have ended before the kernel was asked.
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
