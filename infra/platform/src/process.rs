//! Identities of processes. The kernel gives a pid to another process soon after its process has
//! ended. Before a recorded pid is signaled, its owner, start time and command line are therefore
//! compared.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde::{Deserialize, Serialize};

/// One process of this machine. Another process that gets the same pid later has another identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: u32,
    /// The start time in a format of the system's, only for comparison.
    pub started: String,
    /// A part of the command line of the process. With an empty mark, which every command line
    /// contains, no process matches.
    pub mark: String,
}

/// The attributes of a process that the system reports.
struct Seen {
    uid: u32,
    started: String,
    /// The arguments, separated by spaces.
    command: String,
}

impl Identity {
    /// Returns the identity of a process that runs now. Its command line is not checked, because a
    /// new child may still show that of its parent. Returns `None` if no process has the pid.
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
        // Prefer the name that this process was started by: with a symbolic link, the command line
        // has the name of the link, not of the executable.
        let called = std::env::args_os()
            .next()
            .filter(|called| Path::new(called).file_name().is_some());
        let program = called
            .map(PathBuf::from)
            .or_else(|| std::env::current_exe().ok())?;
        Identity::of(std::process::id(), &program.file_name()?.to_string_lossy())
    }

    /// Returns whether this process runs as our effective user. A zombie does not run.
    pub fn is_running(&self) -> bool {
        !self.mark.is_empty()
            && look(self.pid).is_some_and(|seen| {
                seen.uid == geteuid().as_raw()
                    && seen.started == self.started
                    && seen.command.contains(&self.mark)
            })
    }

    /// Sends a signal to this process. Returns whether the process ran and the signal was sent.
    pub fn signal(&self, signal: Signal) -> bool {
        let Some(pid) = pid(self.pid) else {
            return false;
        };
        signal_checked(pid, signal, || self.is_running())
    }
}

/// Converts a pid to the type that system calls take. Returns `None` for 0 and for numbers that are
/// out of range.
pub fn pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Sends a signal if `is_meant` confirms the process. A pidfd refers to one process only, so a
/// process that gets the pid after the check cannot receive the signal.
#[cfg(target_os = "linux")]
fn signal_checked(pid: Pid, signal: Signal, is_meant: impl Fn() -> bool) -> bool {
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => is_meant() && pidfd_send_signal(process, signal).is_ok(),
        Err(rustix::io::Errno::SRCH) => false,
        // Linux before 5.3 has no pidfd, and a sandbox can forbid the call.
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
    // proc(5): the second field is a name in parentheses and can contain any character. Field 3 is
    // the state, field 22 the start time in clock ticks since boot.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    let ticks = fields.nth(18)?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let status = String::from_utf8_lossy(&read("status")?).into_owned();
    // The line contains the real, effective, saved and file system user id.
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
    // The fields are state, uid, start time (`Sun Nov 29 10:00:00 2026`) and command.
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

/// Returns the start time of a process in wall-clock time, for processes that an older haven
/// recorded by pid alone. Returns `None` if it cannot be determined.
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
/// Returns `None`: this system has no `/proc`.
pub fn started_at(_pid: u32) -> Option<std::time::SystemTime> {
    None
}

/// Waits until a child has executed its program. Until then its command line is empty or that of
/// its parent.
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

    /// A process that exits at the end of its standard input.
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
    fn a_process_is_identified_by_start_time_and_command_line() {
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
    fn this_process_is_identified_as_itself() {
        assert!(Identity::own().expect("it runs").is_running());
    }

    #[test]
    fn a_program_called_by_another_name_is_identified() {
        let link = std::env::temp_dir().join(format!("bh-{}", uuid::Uuid::now_v7()));
        std::os::unix::fs::symlink(std::env::current_exe().expect("a path"), &link)
            .expect("a link");
        let test = "process::tests::this_process_is_identified_as_itself";
        let ran = Command::new(&link)
            .args(["--exact", test])
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
        std::fs::remove_file(link).expect("removed");
    }
}
