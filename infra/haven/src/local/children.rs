//! Child processes: each in a process group of its own, watched, started again when it dies, stopped by SIGTERM.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// Between two lives of a process that keeps dying: from the first to the last, doubling, as ECS would.
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

/// Starts it once. Its standard input is a pipe of ours: when we die, it ends, and a role then leaves by itself.
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
    }
    match tokio::time::timeout(within, child.wait()).await {
        Ok(status) => status.ok(),
        Err(_) => {
            let _ = child.kill().await;
            None
        }
    }
}

/// As the system's calls take it.
pub fn pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = self::pid(pid) {
        // It may be gone already.
        let _ = kill_process(pid, signal);
    }
}

/// Watches over processes until told to stop.
pub struct Keeper {
    shutdown: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    /// By name; zero between two lives.
    pids: Arc<Mutex<BTreeMap<String, u32>>>,
    changed: Arc<dyn Fn() + Send + Sync>,
}

impl Keeper {
    /// `changed` is called whenever a process was started or has died.
    pub fn new(changed: impl Fn() + Send + Sync + 'static) -> Self {
        Self { shutdown: CancellationToken::new(), tasks: Vec::new(), pids: Arc::default(), changed: Arc::new(changed) }
    }

    pub fn pids(&self) -> Arc<Mutex<BTreeMap<String, u32>>> {
        self.pids.clone()
    }

    /// Starts it, and again whenever it dies.
    pub fn keep(&mut self, program: Program, log: impl Fn() -> anyhow::Result<File> + Send + 'static) {
        let (shutdown, pids, changed) = (self.shutdown.clone(), self.pids.clone(), self.changed.clone());
        let set = move |name: &str, pid: u32| {
            pids.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), pid);
            changed();
        };
        self.tasks.push(tokio::spawn(async move {
            let mut pause = BACK_OFF.0;
            loop {
                let begun = Instant::now();
                let died = match log().and_then(|log| spawn(&program, log)) {
                    Ok(mut child) => {
                        // Waiting would close it, and the child take that for our end.
                        let _stdin = child.stdin.take();
                        set(&program.name, child.id().unwrap_or_default());
                        tokio::select! {
                            status = child.wait() => status.map_or_else(|error| error.to_string(), |status| status.to_string()),
                            () = shutdown.cancelled() => {
                                stop(&mut child, program.stop_within).await;
                                return;
                            }
                        }
                    }
                    Err(error) => format!("{error:#}"),
                };
                set(&program.name, 0);
                if begun.elapsed() > STEADY {
                    pause = BACK_OFF.0;
                }
                eprintln!("  {} died ({died}); starting it again in {:.1} s", program.name, pause.as_secs_f64());
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.cancelled() => return,
                }
                pause = (pause * 2).min(BACK_OFF.1);
            }
        }));
    }

    /// Stops all of them at once and waits.
    pub async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            let _ = task.await;
        }
    }
}
