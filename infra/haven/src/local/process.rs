//! Processes by identity. A pid is given to another process soon after its own has ended, so
//! nothing here signals a pid that was written down earlier without comparing owner, start time and
//! command line first.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde::{Deserialize, Serialize};

/// One process of this machine, for as long as it lives and never after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: u32,
    /// When it started, as the system states it: only ever compared.
    pub started: String,
    /// Stands in its command line. An empty one, which stands in every command line, means no
    /// process.
    pub mark: String,
}

/// What the system states about a process.
struct Seen {
    uid: u32,
    started: String,
    /// Arguments, with a space between two.
    command: String,
}

impl Identity {
    /// Returns the identity of a process that runs now, whatever its command line is at this
    /// moment.
    pub fn of(pid: u32, mark: &str) -> Option<Identity> {
        let seen = look(pid)?;
        Some(Identity {
            pid,
            started: seen.started,
            mark: mark.to_owned(),
        })
    }

    /// Returns the identity of this process.
    pub fn own() -> Option<Identity> {
        // The name it was called by: that of a link, perhaps, and the executable has another one.
        let called = std::env::args_os()
            .next()
            .filter(|called| Path::new(called).file_name().is_some());
        let program = called
            .map(PathBuf::from)
            .or_else(|| std::env::current_exe().ok())?;
        Identity::of(std::process::id(), &program.file_name()?.to_string_lossy())
    }

    /// Whether this very process runs, as the user that we are. A zombie does not.
    pub fn is_running(&self) -> bool {
        !self.mark.is_empty()
            && look(self.pid).is_some_and(|seen| {
                seen.uid == geteuid().as_raw()
                    && seen.started == self.started
                    && seen.command.contains(&self.mark)
            })
    }

    /// Sends a signal to this very process. Returns whether it ran.
    pub fn signal(&self, signal: Signal) -> bool {
        let Some(pid) = pid(self.pid) else {
            return false;
        };
        signal_checked(pid, signal, || self.is_running())
    }
}

/// A pid as the system's calls take it.
pub fn pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// A pidfd means one process for ever: opened before the check, it cannot come to mean another one
/// after it.
#[cfg(target_os = "linux")]
fn signal_checked(pid: Pid, signal: Signal, is_meant: impl Fn() -> bool) -> bool {
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => is_meant() && pidfd_send_signal(process, signal).is_ok(),
        Err(rustix::io::Errno::SRCH) => false,
        // A kernel before 5.3, or a sandbox that does not know the call.
        Err(_) => is_meant() && kill_process(pid, signal).is_ok(),
    }
}

#[cfg(not(target_os = "linux"))]
fn signal_checked(pid: Pid, signal: Signal, is_meant: impl Fn() -> bool) -> bool {
    is_meant() && kill_process(pid, signal).is_ok()
}

#[cfg(target_os = "linux")]
fn look(pid: u32) -> Option<Seen> {
    let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).ok();
    let stat = String::from_utf8_lossy(&read("stat")?).into_owned();
    // proc(5): the second field is a name in brackets that may hold anything. Field 3 is the state,
    // field 22 the start in clock ticks since the machine started.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    let ticks = fields.nth(18)?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let status = String::from_utf8_lossy(&read("status")?).into_owned();
    // Real, effective, saved, file system.
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let uid = uids.split_whitespace().nth(1)?.parse().ok()?;
    let command = String::from_utf8_lossy(&read("cmdline")?)
        .trim_end_matches('\0')
        .replace('\0', " ");
    Some(Seen {
        uid,
        started: format!("{}/{ticks}", boot.trim()),
        command,
    })
}

#[cfg(not(target_os = "linux"))]
fn look(pid: u32) -> Option<Seen> {
    let asked = std::process::Command::new("ps")
        .args([
            "-ww",
            "-o",
            "stat=,uid=,lstart=,command=",
            "-p",
            &pid.to_string(),
        ])
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    let line = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    let words: Vec<&str> = line.split_whitespace().collect();
    // State, uid, then the start as in `Sun Nov 29 10:00:00 2026`, then the command.
    let (state, uid, started, command) = (
        words.first()?,
        words.get(1)?,
        words.get(2..7)?,
        words.get(7..)?,
    );
    (!state.starts_with('Z')).then_some(())?;
    Some(Seen {
        uid: uid.parse().ok()?,
        started: started.join(" "),
        command: command.join(" "),
    })
}

/// When a process started, in wall-clock time; for those that an older haven wrote down by pid
/// alone.
#[cfg(target_os = "linux")]
pub fn started_at(pid: u32) -> Option<std::time::SystemTime> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks: u64 = stat
        .rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()?;
    let boot = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: u64 = boot
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    let per_second = rustix::param::clock_ticks_per_second();
    let since_boot = std::time::Duration::from_millis(ticks * 1000 / per_second.max(1));
    Some(std::time::UNIX_EPOCH + std::time::Duration::from_secs(boot) + since_boot)
}

#[cfg(not(target_os = "linux"))]
pub fn started_at(_pid: u32) -> Option<std::time::SystemTime> {
    None
}

/// Waits until a child has become its program: until then its command line is that of its parent,
/// or empty.
#[cfg(test)]
pub fn wait_until_it_is(pid: u32, mark: &str) {
    while !look(pid).is_some_and(|seen| seen.command.contains(mark)) {
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// A process that ends with its standard input.
    fn sleeper() -> std::process::Child {
        let child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("cat runs");
        wait_until_it_is(child.id(), "cat");
        child
    }

    #[test]
    fn a_process_is_known_by_start_time_and_command_line_and_never_by_its_pid_alone() {
        let mut child = sleeper();
        let known = Identity::of(child.id(), "cat").expect("it runs");
        assert!(known.is_running());
        let of_another_time = Identity {
            started: "another boot/1".to_owned(),
            ..known.clone()
        };
        let of_another_program = Identity {
            mark: "haven role".to_owned(),
            ..known.clone()
        };
        let without_a_mark = Identity {
            mark: String::new(),
            ..known.clone()
        };
        for stranger in [&of_another_time, &of_another_program, &without_a_mark] {
            assert!(
                !stranger.is_running() && !stranger.signal(Signal::KILL),
                "{stranger:?}"
            );
        }
        assert!(known.is_running(), "no signal reached it");
        assert!(known.signal(Signal::TERM));
        assert!(!child.wait().expect("it ends").success());
        assert!(!known.is_running() && !known.signal(Signal::TERM));
    }

    #[test]
    fn a_zombie_does_not_run() {
        let mut child = sleeper();
        let known = Identity::of(child.id(), "cat").expect("it runs");
        drop(child.stdin.take());
        let begun = std::time::Instant::now();
        while known.is_running() {
            assert!(begun.elapsed().as_secs() < 10, "it ends with its input");
            std::thread::yield_now();
        }
        child.wait().expect("it was not waited for until now");
    }

    #[test]
    fn this_process_is_its_own() {
        assert!(Identity::own().expect("it runs").is_running());
    }

    #[test]
    fn a_program_that_is_called_by_another_name_is_its_own_as_well() {
        let link = std::env::temp_dir().join(format!("bh-{}", uuid::Uuid::now_v7()));
        std::os::unix::fs::symlink(std::env::current_exe().expect("a path"), &link)
            .expect("a link");
        let test = "local::process::tests::this_process_is_its_own";
        let ran = Command::new(&link)
            .args(["--exact", test])
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
        std::fs::remove_file(link).expect("removed");
    }
}
