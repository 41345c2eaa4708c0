//! A `haven up` that a test signals, kills and restarts, and the processes on its state directory.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::MutexGuard;
use uuid::Uuid;

use crate::{TURN, haven, signal};

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A state directory and its `haven up`, which may be starting or stopped.
pub struct Supervised {
    pub state: PathBuf,
    /// File with the output. It is outside the state directory, because a test may delete that.
    output: PathBuf,
    haven: Option<Child>,
    _turn: MutexGuard<'static, ()>,
}

impl Supervised {
    /// Returns a name for a state directory, which the first `haven up` creates.
    pub async fn new() -> Supervised {
        let turn = TURN.lock().await;
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let state = std::env::temp_dir().join(format!("haven-e2e-{}", Uuid::now_v7()));
        Supervised {
            output: state.with_extension("said"),
            state,
            haven: None,
            _turn: turn,
        }
    }

    /// Returns a `haven` command for this state directory. SIGHUP has its default effect, even if
    /// the tests were started with SIGHUP ignored.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("env");
        command
            .arg("--default-signal=HUP")
            .arg(haven())
            .args(arguments)
            .arg("--state")
            .arg(&self.state);
        command
            .env("HAVEN_PYTHON_ENV", servers::python_folder())
            .env("COLUMNS", "1000")
            .stdin(Stdio::null());
        // `haven up` passes this variable to every role, so it identifies the roles.
        command.env("TMPDIR", self.temporary());
        command
    }

    fn temporary(&self) -> PathBuf {
        let folder = self.state.with_extension("tmp");
        std::fs::create_dir_all(&folder).expect("a directory");
        folder
    }

    /// Starts `haven up` with more arguments and environment variables.
    pub fn start(&mut self, arguments: &[&str], variables: &[(&str, &str)]) {
        let mut command = self.command(&["up", "--port", "0"]);
        command.args(arguments).envs(variables.iter().copied());
        self.start_as(command);
    }

    /// Starts a `haven up` from a prepared command.
    pub fn start_as(&mut self, mut command: Command) {
        let output = std::fs::File::create(&self.output).expect("a file");
        let errors = output.try_clone().expect("one file");
        self.haven = Some(
            command
                .stdout(output)
                .stderr(errors)
                .spawn()
                .expect("haven starts"),
        );
    }

    /// Returns the output of the current `haven up`.
    pub fn said(&self) -> String {
        let mut text = String::new();
        let read =
            std::fs::File::open(&self.output).and_then(|mut file| file.read_to_string(&mut text));
        read.map(|_| text).unwrap_or_default()
    }

    /// Returns the pid of `haven up`.
    pub fn pid(&self) -> u32 {
        self.haven.as_ref().expect("it was started").id()
    }

    /// Sends a signal to `haven up`, such as `-INT`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits until a condition holds. Panics with `what` after 120 seconds.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut holds: impl FnMut(&mut Supervised) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(
                begun.elapsed() < PATIENCE,
                "never: {what}\n{}\n{:#?}",
                self.said(),
                self.processes()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until `haven up` has printed a text. Panics if it exits before.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        self.wait_until(text, |run| {
            let ended = run
                .haven
                .as_mut()
                .expect("it was started")
                .try_wait()
                .expect("a look");
            let said = run.said().contains(text);
            assert!(
                said || ended.is_none(),
                "it ended with {ended:?} before {text:?}:\n{}",
                run.said()
            );
            said
        });
    }

    /// Waits until the shop is ready and returns its `haven.json`.
    #[track_caller]
    pub fn wait_until_ready(&mut self) -> Value {
        self.wait_for("Ready in");
        self.facts().expect("it is ready")
    }

    /// Returns the content of `haven.json`, or `None` if the file does not exist.
    pub fn facts(&self) -> Option<Value> {
        serde_json::from_str(&std::fs::read_to_string(self.state.join("haven.json")).ok()?).ok()
    }

    /// Waits until `haven up` has exited.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let mut ended = None;
        self.wait_until("its end", |run| {
            ended = run
                .haven
                .as_mut()
                .expect("it was started")
                .try_wait()
                .expect("a look");
            ended.is_some()
        });
        ended.expect("it ended")
    }

    /// Returns the processes that name the state directory in their arguments or environment, or
    /// work in it.
    pub fn processes(&self) -> Vec<(u32, String)> {
        processes_on(&self.state)
    }

    /// Waits until no process uses the state directory.
    #[track_caller]
    pub fn wait_until_nothing_runs(&mut self) {
        self.wait_until("the end of every process", |run| run.processes().is_empty());
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if let Some(haven) = &mut self.haven {
            let _ = haven.kill();
            let _ = haven.wait();
        }
        for (pid, _) in self.processes() {
            signal(pid, "-KILL");
        }
        if std::thread::panicking() {
            eprintln!("what was left behind is in {}", self.state.display());
            return;
        }
        let _ = std::fs::remove_dir_all(&self.state);
        let _ = std::fs::remove_dir_all(self.temporary());
        let _ = std::fs::remove_file(&self.output);
    }
}

/// Returns the pid and the command line of every process that names a directory in its arguments or
/// environment, or works in it.
pub fn processes_on(state: &Path) -> Vec<(u32, String)> {
    let name = state
        .file_name()
        .expect("a name")
        .to_str()
        .expect("a plain name");
    let pids = std::fs::read_dir("/proc").expect("processes").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found = Vec::new();
    for pid in pids.filter(|pid| *pid != std::process::id()) {
        let read = |file: &str| {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        let command = read("cmdline");
        // A process that has exited and was not waited for has no command line.
        let ours = command.contains(name)
            || read("environ").contains(name)
            || folder.to_string_lossy().contains(name);
        if ours && !command.is_empty() {
            found.push((pid, command));
        }
    }
    found
}
