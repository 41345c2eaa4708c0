//! Ends what a killed `haven up` left running on a state directory, before anything writes to the
//! directory again. The next `haven up` or `haven down` does this.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::containers;
use crate::facts::{self, Facts};
use crate::private_file;
use crate::process::{Identity, started_at};
use crate::records::{ENDED_WITHIN, LOOK, killed};
use crate::state::State;

/// The processes that others depend on. They are ended after the others.
const SERVERS: [&str; 3] = ["local-aws", "postgres", "redis"];
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
    pub(crate) fn lost_aws_state(&self) -> bool {
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
        let pid = private_file::read_own(&file)
            .ok()
            .and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok());
        pid.into_iter().for_each(|pid| add(name, pid, name, &file));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::process;
    use crate::records::write;

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
    async fn leftover_processes_are_ended_and_others_with_the_same_pid_are_not() {
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
    async fn processes_recorded_by_pid_alone_are_ended_if_their_command_matches() {
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
