//! Records of the processes that run on a state directory. The next `haven up` or `haven down` uses
//! them to end what a killed `haven up` left running, before anything writes to the directory
//! again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Signal, kill_process_group, test_kill_process_group};

use crate::containers;
use crate::facts::{self, Facts};
use crate::guard;
use crate::process::{self, Identity, started_at};
use crate::state::State;

/// The directory of the records, below the state directory, with a file per process.
const FOLDER: &str = "run";
/// The processes that others depend on. They are ended after the others.
const SERVERS: [&str; 3] = ["local-aws", "postgres", "redis"];
/// The time that a leftover process may take to exit: the longest stop time of a server.
const ENDED_WITHIN: Duration = Duration::from_secs(30);
/// The pause between two checks of a process that is exiting.
const LOOK: Duration = Duration::from_millis(20);

/// The processes and containers that run on one state directory.
#[derive(Debug, Clone)]
pub struct Records {
    folder: PathBuf,
    /// The process groups of children that were not reaped yet. The kernel cannot reuse their
    /// numbers.
    groups: Arc<Mutex<BTreeSet<u32>>>,
    containers: Arc<Mutex<Vec<String>>>,
}

impl Records {
    /// Returns the records of a state directory. Reads nothing.
    pub fn in_state(folder: &Path) -> Records {
        Records {
            folder: folder.join(FOLDER),
            groups: Arc::default(),
            containers: Arc::default(),
        }
    }

    /// Returns the path of the record of a process.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    /// Records a child that has just started and leads its own process group.
    pub fn started(&self, name: &str, pid: u32, mark: &str) {
        self.add_group(pid);
        if let Some(identity) = Identity::of(pid, mark) {
            // Without a record the process still ends with its parent; only a process that hangs
            // would be missed.
            let _ = write(&self.path(name), &[identity]);
        }
    }

    /// Adds the process group of a child that was not reaped yet.
    pub fn add_group(&self, pid: u32) {
        self.groups
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(pid);
    }

    /// Adds a container that this process has started.
    pub fn add_container(&self, name: &str) {
        self.containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(name.to_owned());
    }

    /// Returns every container that this process has started, whether it still runs or not.
    pub fn containers(&self) -> Vec<String> {
        self.containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Removes the process group of a child that was reaped.
    pub fn ended(&self, pid: u32) {
        self.groups
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&pid);
    }

    /// Waits until all children that were not reaped have ended, with their own children, but at
    /// most [`ENDED_WITHIN`]. A child whose value was dropped ends by itself. Until that child has
    /// written its record, only its process group is known.
    pub async fn until_gone(&self) {
        let groups = self
            .groups
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let begun = Instant::now();
        for group in groups.into_iter().filter_map(process::pid) {
            while test_kill_process_group(group).is_ok() && begun.elapsed() < ENDED_WITHIN {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Kills every child that was not reaped, with its own children. They cannot save anything.
    pub fn kill_all(&self) {
        let groups =
            std::mem::take(&mut *self.groups.lock().unwrap_or_else(PoisonError::into_inner));
        for group in groups.into_iter().filter_map(process::pid) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    fn read_all(&self) -> Vec<(String, Vec<Identity>)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let records = entries.filter_map(|entry| {
            let path = entry.path();
            let name = path
                .file_name()?
                .to_str()?
                .strip_suffix(".json")?
                .to_owned();
            Some((name, read(&path)))
        });
        records.collect()
    }
}

/// Writes a record. `haven keep` writes records too.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, processes: &[Identity]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        guard::private_folder(folder)?;
    }
    guard::write(
        path,
        serde_json::to_string(processes)
            .context("encode a record")?
            .as_bytes(),
    )
}

/// Reads a record. Returns no process if the file is missing, damaged, or belongs to another user.
pub fn read(path: &Path) -> Vec<Identity> {
    guard::read_own(path)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

/// Returns the path of the file, beside its record, which reports that `haven keep` had to kill a
/// server.
pub fn killed(record: &Path) -> PathBuf {
    record.with_extension("killed")
}

/// The processes that were ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The names of all processes that ran.
    pub names: Vec<String>,
    /// The names of those that had to be killed.
    pub killed: Vec<String>,
}

impl Ended {
    /// Returns whether the local AWS was killed before it had saved its state.
    pub fn lost_aws_state(&self) -> bool {
        self.killed.iter().any(|name| name == SERVERS[0])
    }
}

/// Ends what an earlier `haven up` left running on a state directory: consumers first, then the
/// servers that they use.
pub async fn end(state: &State) -> Ended {
    let mut found = state.records().read_all();
    // If a process has a record, `haven.json` names the same process.
    let known: BTreeSet<String> = found.iter().map(|(name, _)| name.clone()).collect();
    let older = of_an_older_haven(state.folder()).into_iter();
    found.extend(older.filter(|(name, _)| !known.contains(name)));
    let (servers, others): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|(name, _)| SERVERS.contains(&name.as_str()));
    let mut ended = Ended::default();
    end_wave(others, &mut ended).await;
    end_wave(servers, &mut ended).await;
    for name in SERVERS {
        // `haven keep` killed this server, perhaps long ago.
        if fs::remove_file(killed(&state.records().path(name))).is_ok()
            && !ended.killed.iter().any(|done| done == name)
        {
            ended.killed.push(name.to_owned());
        }
    }
    containers::end_leftovers(state.folder()).await;
    ended
}

/// Asks all processes of a wave to stop, waits until they have ended, and kills those that take too
/// long.
async fn end_wave(wave: Vec<(String, Vec<Identity>)>, ended: &mut Ended) {
    let running =
        |(_, processes): &(String, Vec<Identity>)| processes.iter().any(Identity::is_running);
    let mut wave: Vec<_> = wave.into_iter().filter(running).collect();
    ended
        .names
        .extend(wave.iter().map(|(name, _)| name.clone()));
    for (_, processes) in &wave {
        // The first process of a record supervises the others. It passes the signal on in the form
        // that they need.
        if let Some(first) = processes.iter().find(|process| process.is_running()) {
            first.signal(Signal::TERM);
        }
        // A process that was suspended by SIGSTOP handles signals only after SIGCONT.
        for process in processes {
            process.signal(Signal::CONT);
        }
    }
    let begun = Instant::now();
    let mut killed = false;
    while !wave.is_empty() && begun.elapsed() < ENDED_WITHIN + Duration::from_secs(10) {
        tokio::time::sleep(LOOK).await;
        wave.retain(running);
        if begun.elapsed() > ENDED_WITHIN && !killed {
            killed = true;
            ended
                .killed
                .extend(wave.iter().map(|(name, _)| name.clone()));
            for process in wave.iter().flat_map(|(_, processes)| processes) {
                process.signal(Signal::KILL);
            }
        }
    }
}

/// Returns the processes that a haven without records recorded by pid. Each must have the expected
/// owner and command line, and must have started before its pid was written.
fn of_an_older_haven(folder: &Path) -> Vec<(String, Vec<Identity>)> {
    /// The kernel reports its boot time in whole seconds and computes it again for each read.
    const CLOCKS_DIFFER: Duration = Duration::from_secs(2);
    let mut found = Vec::new();
    let mut add = |name: &str, pid: u32, mark: &str, file: &Path| {
        let written = fs::metadata(file).and_then(|file| file.modified());
        let before = started_at(pid).zip(written.ok());
        let before = before.is_some_and(|(started, written)| started <= written + CLOCKS_DIFFER);
        let identity = before.then(|| Identity::of(pid, mark)).flatten();
        found.extend(identity.map(|identity| (name.to_owned(), vec![identity])));
    };
    if let Ok(facts) = Facts::read(folder) {
        let file = folder.join(facts::FILE);
        for role in facts.roles {
            add(&role.name, role.pid, &format!("role {}", role.name), &file);
        }
        facts
            .aws_pid
            .into_iter()
            .for_each(|pid| add(SERVERS[0], pid, "ministack", &file));
    }
    for name in ["postgres", "redis"] {
        let file = folder.join(format!("{name}.pid"));
        let pid = guard::read_own(&file)
            .ok()
            .and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok());
        pid.into_iter().for_each(|pid| add(name, pid, name, &file));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn folder() -> PathBuf {
        std::env::temp_dir().join(format!("haven-leftovers-{}", uuid::Uuid::now_v7()))
    }

    fn child(program: &str, argument: &str) -> Child {
        let mut command = Command::new(program);
        command
            .arg(argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0);
        let child = command.spawn().expect("it runs");
        process::wait_until_it_is(child.id(), program);
        child
    }

    #[tokio::test]
    async fn what_was_left_is_ended_and_a_process_that_only_has_its_pid_is_not() {
        let folder = folder();
        let state = State::open(&folder).expect("a state directory");
        let (mut left, mut stopped, mut stranger) =
            (child("cat", "-"), child("cat", "-u"), child("cat", "--"));
        state.records().started("order-worker", left.id(), "cat -");
        state.records().started("local-aws", stopped.id(), "cat -u");
        let pid = process::pid(stopped.id()).expect("a pid");
        rustix::process::kill_process(pid, Signal::STOP).expect("it runs");
        let known = Identity::of(stranger.id(), "cat").expect("it runs");
        let of_another_time = Identity {
            started: "another boot/1".to_owned(),
            ..known.clone()
        };
        write(&state.records().path("sweeper"), &[of_another_time]).expect("written");

        let ended = end(&state).await;
        assert_eq!(
            ended,
            Ended {
                names: vec!["order-worker".to_owned(), "local-aws".to_owned()],
                killed: vec![]
            }
        );
        assert!(
            !left.wait().expect("it ended").success()
                && !stopped.wait().expect("it ended").success()
        );
        assert!(known.is_running(), "another process has had its pid since");
        assert_eq!(end(&state).await, Ended::default());
        stranger.kill().expect("it runs");
        stranger.wait().expect("it ended");
        fs::remove_dir_all(folder).expect("removed");
    }

    #[tokio::test]
    async fn what_an_older_haven_wrote_down_by_pid_is_ended_if_it_is_what_it_must_be() {
        let folder = folder();
        let state = State::open(&folder).expect("a state directory");
        // The link's name appears in the command line.
        let link = folder.join("redis-server");
        std::os::unix::fs::symlink("/bin/cat", &link).expect("linked");
        let (mut redis, mut stranger) =
            (child(&link.display().to_string(), "-"), child("cat", "-u"));
        fs::write(folder.join("redis.pid"), redis.id().to_string()).expect("written");
        fs::write(folder.join("postgres.pid"), stranger.id().to_string()).expect("written");
        let ended = end(&state).await;
        assert_eq!(ended.names, ["redis"]);
        redis.wait().expect("it ended");
        assert!(stranger.try_wait().expect("a look").is_none());
        stranger.kill().expect("it runs");
        stranger.wait().expect("it ended");
        fs::remove_dir_all(folder).expect("removed");
    }
}
