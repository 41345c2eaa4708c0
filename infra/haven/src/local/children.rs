//! Child processes: each in a process group of its own, watched, started again when it dies,
//! stopped by SIGTERM.
//!
//! A role watches its standard input and leaves when it ends; programs that cannot do that are in
//! `server`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::leftovers::Records;
pub use super::process::pid;
use super::state::State;

/// Between two lives of a process that keeps dying: from the first to the last, doubling, as ECS
/// would.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// A process that lived so long had started well: its next death begins anew.
const STEADY: Duration = Duration::from_secs(30);

/// What to start.
#[derive(Debug, Clone)]
pub struct Program {
    pub name: String,
    pub path: PathBuf,
    pub arguments: Vec<String>,
    /// The whole environment: nothing of ours leaks into it.
    pub environment: BTreeMap<String, String>,
    /// How long it may take to leave after SIGTERM before it is killed.
    pub stop_within: Duration,
}

/// Starts it once. Its standard input is a pipe of ours: when we die, it ends, and a role then
/// leaves by itself.
pub fn spawn(program: &Program, log: File) -> anyhow::Result<Child> {
    let errors = log.try_clone().context("use one log twice")?;
    Command::new(&program.path)
        .args(&program.arguments)
        .env_clear()
        .envs(&program.environment)
        .stdin(Stdio::piped())
        .stdout(log)
        .stderr(errors)
        // Ctrl-C in the terminal reaches us alone: we stop the others in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {}", program.name))
}

/// Asks it to leave, waits, and kills it when its time is over.
pub async fn stop(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    if let Some(pid) = child.id() {
        signal(pid, Signal::TERM);
        // One that was stopped (SIGSTOP) would sleep through it.
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

pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = self::pid(pid) {
        // It may be gone already.
        let _ = kill_process(pid, signal);
    }
}

/// A process that refuses its configuration, which no further start can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misconfigured {
    pub name: String,
    /// What the process wrote.
    pub message: String,
}

/// Watches over processes until told to stop.
pub struct Keeper {
    shutdown: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    /// By name; zero between two lives.
    pids: Arc<Mutex<BTreeMap<String, u32>>>,
    changed: Arc<dyn Fn() + Send + Sync>,
    folder: PathBuf,
    records: Records,
    refusals: (
        mpsc::UnboundedSender<Misconfigured>,
        mpsc::UnboundedReceiver<Misconfigured>,
    ),
}

impl Keeper {
    /// `changed` is called whenever a process was started or has died.
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

    pub fn pids(&self) -> Arc<Mutex<BTreeMap<String, u32>>> {
        self.pids.clone()
    }

    /// Returns when a process has refused its configuration (exit code 64). It is not started
    /// again.
    pub async fn misconfigured(&mut self) -> Misconfigured {
        match self.refusals.1.recv().await {
            Some(refusal) => refusal,
            // The sender is kept beside it.
            None => std::future::pending().await,
        }
    }

    /// Starts the process, and again whenever it dies.
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
            pids.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(name.to_owned(), pid);
            changed();
        };
        self.tasks.push(tokio::spawn(async move {
            let mut pause = BACK_OFF.0;
            loop {
                let begun = Instant::now();
                let log = State::log_in(&folder, &program.name);
                let output = Output::of(State::log_path(&folder, &program.name));
                let died = match log.and_then(|log| spawn(&program, log)) {
                    Ok(mut child) => {
                        // Waiting would close it, and the child take that for our end.
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
                                let refusal = Misconfigured {
                                    name: program.name.clone(),
                                    message: output.read(),
                                };
                                let _ = refusals.send(refusal);
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
                    "  {} died ({died}); starting it again in {:.1} s",
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

    /// Stops all of them at once and waits.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        for task in std::mem::take(&mut self.tasks) {
            let _ = task.await;
        }
    }
}

impl Drop for Keeper {
    /// A start that was broken off: nothing is started again, and everything is asked to stop.
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// What a process adds to its log from now on.
struct Output {
    path: PathBuf,
    from: u64,
}

impl Output {
    fn of(path: PathBuf) -> Output {
        let from = std::fs::metadata(&path)
            .map(|log| log.len())
            .unwrap_or_default();
        Output { path, from }
    }

    /// Returns the last of it, at most 4 KiB.
    fn read(self) -> String {
        const LONGEST: u64 = 4096;
        let mut text = Vec::new();
        let read = File::open(&self.path).and_then(|mut log| {
            let length = log.metadata()?.len();
            log.seek(SeekFrom::Start(
                self.from.max(length.saturating_sub(LONGEST)),
            ))?;
            log.read_to_end(&mut text)
        });
        match read {
            Ok(_) => String::from_utf8_lossy(&text).trim().to_owned(),
            Err(error) => format!("(its log {} cannot be read: {error})", self.path.display()),
        }
    }
}
