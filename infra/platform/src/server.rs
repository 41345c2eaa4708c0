//! Server programs of a local platform: the local AWS, PostgreSQL, Redis and Docker's client. Each
//! ends when this process ends.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, ChildStdin};

use crate::children::{self, Program};
use crate::keep::{KILLED, StopSignal};
use crate::process;
use crate::records::{self, Records};
use crate::state::State;

/// The executable that provides `haven keep`.
static HAVEN: OnceLock<PathBuf> = OnceLock::new();
/// The time that `haven keep` may take to exit after it has killed its program.
const KEEPER_ENDS_WITHIN: Duration = Duration::from_secs(5);

/// The time that a server may take to stop before it is killed.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(30);
/// The time in which a server must become ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Makes servers run under `haven keep` of this executable. Without this call, as in tests that use
/// this crate as a library, servers are direct children of this process and are killed when their
/// value is dropped.
pub fn keep_with(haven: PathBuf) {
    let _ = HAVEN.set(haven);
}

/// Returns the executable that provides `haven keep`, if programs run under it.
pub fn keeper() -> Option<&'static Path> {
    HAVEN.get().map(PathBuf::as_path)
}

/// A running server. When the value is dropped or this process ends, the server is asked to stop,
/// and killed if it takes too long.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// The pipe that `haven keep` reads; it closes when this process ends.
    _input: Option<ChildStdin>,
    name: String,
    records: Records,
    stop_within: Duration,
    kept: bool,
}

impl Server {
    /// Starts a server that stops on SIGTERM.
    ///
    /// # Errors
    /// When the program cannot be started, or its log cannot be written.
    pub fn start(program: &Program, state: &State) -> anyhow::Result<Server> {
        Server::start_with(program, StopSignal::Term, state)
    }

    /// Starts a server that stops on the given signal.
    ///
    /// # Errors
    /// When the program cannot be started, or its log cannot be written.
    pub fn start_with(
        program: &Program,
        signal: StopSignal,
        state: &State,
    ) -> anyhow::Result<Server> {
        let (log, records) = (state.log(&program.name)?, state.records().clone());
        let (mut child, kept) = match HAVEN.get() {
            None => (children::spawn(program, log)?, false),
            Some(haven) => {
                let record = records.path(&program.name);
                // The record of an earlier process must not be mistaken for the new one.
                let _ = std::fs::remove_file(&record);
                let within = program.stop_within.as_secs().to_string();
                let mut command = children::command(haven, program, log)?;
                command
                    .args(["keep", "--within", &within, "--signal", signal.name()])
                    .args(["--mark", &mark(program), "--record"])
                    .arg(record)
                    .arg("--")
                    .arg(&program.path)
                    .args(&program.arguments);
                let child = command.spawn();
                let child = child.with_context(|| format!("start {}", program.name))?;
                child
                    .id()
                    .into_iter()
                    .for_each(|pid| records.add_group(pid));
                (child, true)
            }
        };
        // `child.wait()` would close the pipe.
        let input = child.stdin.take();
        let (name, stop_within) = (program.name.clone(), program.stop_within);
        Ok(Server {
            child,
            _input: input,
            name,
            records,
            stop_within,
            kept,
        })
    }

    /// Returns the pid of the program itself, or `None` before it has started.
    pub fn id(&self) -> Option<u32> {
        if !self.kept {
            return self.child.id();
        }
        // The record contains `haven keep` and the program.
        match records::read(&self.records.path(&self.name)).as_slice() {
            [_, program] => Some(program.pid),
            _ => None,
        }
    }

    /// Waits until the server and everything that it started have ended by themselves. Returns a
    /// description of how the server ended.
    pub async fn ended(&mut self) -> String {
        let group = self.child.id();
        let status = self.child.wait().await;
        if let (true, Some(group)) = (self.kept, group) {
            // If `haven keep` was killed, the program can still run.
            end_group(group, self.stop_within).await;
            self.records.ended(group);
        }
        how_it_ended(status)
    }

    /// Asks the server to stop and waits until it has ended.
    pub async fn stop(mut self) -> Stopped {
        if !self.kept {
            return match children::stop(&mut self.child, self.stop_within).await {
                Some(status) => Stopped::of(Ok(status)),
                None => Stopped::Killed,
            };
        }
        // The server has ended by itself, and `ended` has returned how.
        let Some(keeper) = self.child.id() else {
            return Stopped::Cleanly;
        };
        children::signal(keeper, Signal::TERM);
        let waited =
            tokio::time::timeout(self.stop_within + KEEPER_ENDS_WITHIN, self.child.wait()).await;
        end_group(keeper, Duration::ZERO).await;
        self.records.ended(keeper);
        // The caller reports the kill, so the next start must not report it again.
        let _ = std::fs::remove_file(records::killed(&self.records.path(&self.name)));
        waited.map_or(Stopped::Killed, Stopped::of)
    }
}

/// The result of a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    Cleanly,
    /// The server took too long and was killed.
    Killed,
    /// The server ended with an error's exit code, or by a signal that was not SIGKILL.
    Failed(String),
}

impl Stopped {
    /// Interprets the exit status of a server, or of `haven keep`, which passes the status on.
    fn of(status: io::Result<ExitStatus>) -> Stopped {
        match status {
            Ok(status) if status.success() => Stopped::Cleanly,
            Ok(status) if status.code() == Some(i32::from(KILLED)) => Stopped::Killed,
            status => Stopped::Failed(how_it_ended(status)),
        }
    }
}

fn how_it_ended(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match status.code().and_then(|code| code.checked_sub(128)) {
            Some(signal) if signal > 0 => format!("killed by signal {signal}"),
            _ => status.to_string(),
        },
        Err(error) => error.to_string(),
    }
}

/// Returns a text that the command line of a server contains for as long as it runs, even if the
/// server is started by another program or changes its title.
fn mark(program: &Program) -> String {
    let file = program
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    match (file.as_str(), program.name.as_str()) {
        // Python runs `localstack/serve.py`, whose text is an argument and imports `ministack`.
        (file, "local-aws") if file != "docker" => "ministack".to_owned(),
        // `unshare` replaces itself by the given program.
        ("unshare", name) => name.to_owned(),
        _ => file,
    }
}

/// Ends the rest of a process group whose leader was reaped: asks first, and kills after `within`.
async fn end_group(group: u32, within: Duration) {
    /// The time that the kernel may take to remove a killed process.
    const GONE_WITHIN: Duration = Duration::from_secs(5);
    let Some(group) = process::pid(group) else {
        return;
    };
    let begun = Instant::now();
    let mut asked = false;
    // The kernel does not reuse the number while the group has a member.
    while test_kill_process_group(group).is_ok() && begun.elapsed() < within + GONE_WITHIN {
        if begun.elapsed() >= within {
            let _ = kill_process_group(group, Signal::KILL);
        } else if !asked {
            asked = true;
            let _ = kill_process_group(group, Signal::TERM);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Calls `ask` every 50 ms until it succeeds.
///
/// # Errors
/// The last error of `ask`, when it has not succeeded within `READY_WITHIN`.
pub async fn until<T, F: Future<Output = anyhow::Result<T>>>(
    what: &str,
    ask: impl Fn() -> F,
) -> anyhow::Result<T> {
    let begun = std::time::Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if begun.elapsed() > READY_WITHIN => {
                return Err(error.context(format!(
                    "{what} did not answer within {} s",
                    READY_WITHIN.as_secs()
                )));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn only_a_successful_exit_is_a_clean_stop() {
        let code = |code: i32| Stopped::of(Ok(ExitStatus::from_raw(code << 8)));
        assert_eq!(code(0), Stopped::Cleanly);
        assert_eq!(code(137), Stopped::Killed);
        assert_eq!(
            code(1),
            Stopped::Failed("exit status: 1".to_owned()),
            "an exception at the end"
        );
        assert_eq!(
            code(139),
            Stopped::Failed("killed by signal 11".to_owned()),
            "a segmentation fault"
        );
        let Stopped::Failed(keeper) = Stopped::of(Ok(ExitStatus::from_raw(9))) else {
            panic!("it ended by itself")
        };
        assert!(keeper.contains("signal: 9"), "{keeper}");
    }
}
