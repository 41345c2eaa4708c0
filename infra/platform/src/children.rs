//! Child processes: each runs in its own process group, is restarted when it dies, and is stopped
//! by SIGTERM.
//!
//! A role watches its standard input and exits when that ends. The module `server` starts programs
//! that cannot do that.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use haven_console::BadUsage;
use rustix::process::{Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::log_tail::LogTail;
use crate::mutex::locked;
pub use crate::process::pid;
use crate::records::Records;
use crate::state::State;

/// The first and the longest pause before a process that keeps dying is restarted. The pause
/// doubles each time, as ECS does.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// A process that ran this long had started well. Its next restart begins with the first pause.
const STEADY: Duration = Duration::from_secs(30);

/// A program to start.
#[derive(Debug, Clone)]
pub struct Program {
    pub name: String,
    pub path: PathBuf,
    pub arguments: Vec<String>,
    /// The whole environment of the child; variables of this process are not inherited.
    pub environment: BTreeMap<String, String>,
    /// The time that the program may take to exit after SIGTERM before it is killed.
    pub stop_within: Duration,
}

impl Program {
    /// Returns the program of a role, or of the payment gateway, in the executable of `haven`.
    pub fn role(
        haven: &Path,
        name: &str,
        environment: BTreeMap<String, String>,
        stop_within: Duration,
    ) -> Program {
        Program {
            name: name.to_owned(),
            path: haven.to_owned(),
            arguments: vec!["role".to_owned(), name.to_owned()],
            environment,
            stop_within,
        }
    }
}

/// Starts a program once. Its standard input is a pipe that ends when this process dies; a role
/// exits then.
///
/// # Errors
/// When the program cannot be started.
pub fn spawn(program: &Program, log: File) -> anyhow::Result<Child> {
    let mut command = command(&program.path, program, log)?;
    command
        .args(&program.arguments)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {}", program.name))
}

/// Returns a command for an executable with the environment of a program. The standard input is a
/// pipe, and the output goes to the log.
pub(crate) fn command(executable: &Path, program: &Program, log: File) -> anyhow::Result<Command> {
    let errors = log.try_clone().context("use one log twice")?;
    let mut command = Command::new(executable);
    command
        .env_clear()
        .envs(&program.environment)
        .stdin(Stdio::piped())
        .stdout(log)
        .stderr(errors)
        // Ctrl-C in the terminal then reaches this process only, which stops the children in order,
        // and a signal can reach the whole group.
        .process_group(0);
    Ok(command)
}

/// Asks a child to exit, waits for `within`, and kills it if it still runs. Returns its status, or
/// `None` if it was killed.
pub async fn stop(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    if let Some(pid) = child.id() {
        signal(pid, Signal::TERM);
        // A child that was suspended by SIGSTOP handles SIGTERM only after SIGCONT.
        signal(pid, Signal::CONT);
    }
    match tokio::time::timeout(within, child.wait()).await {
        Ok(status) => status.ok(),
        Err(_) => {
            let _ = child.kill().await;
            None
        }
    }
}

/// Sends a signal to a child of this process.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = self::pid(pid) {
        // The child may have exited already.
        let _ = kill_process(pid, signal);
    }
}

/// Supervises processes until it is stopped.
pub struct Keeper {
    shutdown: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    /// The pid of each process by name; 0 while it does not run.
    pids: Arc<Mutex<BTreeMap<String, u32>>>,
    changed: Arc<dyn Fn() + Send + Sync>,
    folder: PathBuf,
    records: Records,
    refusals: (
        mpsc::UnboundedSender<BadUsage>,
        mpsc::UnboundedReceiver<BadUsage>,
    ),
}

impl Keeper {
    /// Makes a supervisor without processes. `changed` is called whenever a process has started or
    /// died.
    pub fn new(state: &State, changed: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            shutdown: CancellationToken::new(),
            tasks: Vec::new(),
            pids: Arc::default(),
            changed: Arc::new(changed),
            folder: state.folder().to_owned(),
            records: state.records().clone(),
            refusals: mpsc::unbounded_channel(),
        }
    }

    /// Returns the pid of each process by name, which is updated while the processes run. The pid
    /// is 0 while a process does not run.
    pub fn pids(&self) -> Arc<Mutex<BTreeMap<String, u32>>> {
        self.pids.clone()
    }

    /// Waits until a process has refused its configuration (exit code 64, `EX_USAGE`). That process
    /// is not restarted.
    pub(crate) async fn misconfigured(&mut self) -> BadUsage {
        match self.refusals.1.recv().await {
            Some(refusal) => refusal,
            // `self` keeps a sender, so the channel does not close.
            None => std::future::pending().await,
        }
    }

    /// Starts a process, and restarts it whenever it dies.
    pub fn keep(&mut self, program: Program) {
        let (shutdown, pids, changed) = (
            self.shutdown.clone(),
            self.pids.clone(),
            self.changed.clone(),
        );
        let (folder, records, refusals) = (
            self.folder.clone(),
            self.records.clone(),
            self.refusals.0.clone(),
        );
        let set = move |name: &str, pid: u32| {
            locked(&pids).insert(name.to_owned(), pid);
            changed();
        };
        self.tasks.push(tokio::spawn(async move {
            let mut pause = BACK_OFF.0;
            loop {
                let begun = Instant::now();
                let log = State::log_in(&folder, &program.name);
                let log_path = State::log_path(&folder, &program.name);
                let output = LogTail::from_here(log_path.clone());
                let died = match log.and_then(|log| spawn(&program, log)) {
                    Ok(mut child) => {
                        // `child.wait()` would close the pipe, and the child would exit.
                        let _stdin = child.stdin.take();
                        let pid = child.id().unwrap_or_default();
                        records.started(&program.name, pid, &program.arguments.join(" "));
                        set(&program.name, pid);
                        let ended = tokio::select! {
                            status = child.wait() => Some(status),
                            () = shutdown.cancelled() => {
                                stop(&mut child, program.stop_within).await;
                                None
                            }
                        };
                        records.ended(pid);
                        match ended {
                            None => return,
                            Some(Ok(status))
                                if status.code() == Some(i32::from(chassis::EX_USAGE)) =>
                            {
                                set(&program.name, 0);
                                let refusal = format!(
                                    "{} refuses its configuration and was not started again:\n{}",
                                    program.name,
                                    last_words(&output, &log_path)
                                );
                                let _ = refusals.send(BadUsage(refusal));
                                return;
                            }
                            Some(status) => status.map_or_else(
                                |error| error.to_string(),
                                |status| status.to_string(),
                            ),
                        }
                    }
                    Err(error) => format!("{error:#}"),
                };
                set(&program.name, 0);
                if begun.elapsed() > STEADY {
                    pause = BACK_OFF.0;
                }
                eprintln!(
                    "  {} exited ({died}); restarting it in {:.1} s",
                    program.name,
                    pause.as_secs_f64()
                );
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.cancelled() => return,
                }
                pause = (pause * 2).min(BACK_OFF.1);
            }
        }));
    }

    /// Stops all processes at the same time and waits until they have exited.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        for task in std::mem::take(&mut self.tasks) {
            let _ = task.await;
        }
    }
}

impl Drop for Keeper {
    /// Asks all processes to stop, and restarts none. This happens when a start is interrupted.
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Returns the end of the output of a process, at most 4 KiB.
fn last_words(output: &LogTail, log: &Path) -> String {
    match output.read(4096) {
        Ok(text) => text.trim().to_owned(),
        Err(error) => format!("(its log {} cannot be read: {error})", log.display()),
    }
}
