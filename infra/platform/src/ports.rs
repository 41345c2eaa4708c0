//! TCP ports on loopback: finds free ones, reserves them inside this process, and explains why a
//! port cannot be used.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::sync::Mutex;

use anyhow::Context as _;
use chassis::chance;
use haven_console::BadUsage;

use crate::mutex::locked;

/// The first port that needs no privileges: the default of Linux's `ip_unprivileged_port_start`.
const UNPRIVILEGED_FROM: u16 = 1024;

/// Ports that this process has reserved for its servers. A server may not have bound its port yet.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
/// The reserved ports of the local AWS, which binds its port again after a restart.
static OF_AWS: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Returns a port that is free now and that this process has not reserved before, and reserves it.
///
/// The port is below 32,768, where Linux's `ip_local_port_range` for outgoing connections begins.
/// An outgoing connection could otherwise take the port before the server binds it.
///
/// # Errors
/// When 100 random ports are all in use or reserved.
pub fn free_port() -> anyhow::Result<u16> {
    const FIRST: u64 = 15_000;
    const END: u64 = 32_000;
    let mut drawn =
        (0..100).filter_map(|_| u16::try_from(FIRST + chance::bits() % (END - FIRST)).ok());
    drawn
        .find(|port| is_free(*port) && give(*port))
        .context("find a free port on loopback")
}

/// Returns whether a port can be bound on loopback now.
pub fn is_free(port: u16) -> bool {
    listen(port).is_ok()
}

/// Reserves the port that the user chose; no later [`free_port`] returns it.
///
/// # Errors
/// When the port is in use, privileged or cannot be bound. The message says what to do.
pub fn claim(port: u16) -> Result<(), BadUsage> {
    match listen(port) {
        Ok(_) => {
            give(port);
            Ok(())
        }
        Err(error) => Err(BadUsage(refusal(port, &error, user_of(port).as_deref()))),
    }
}

/// Reserves a port that the local AWS had before. Returns `false` if the port is reserved for
/// another server, for example because the user chose it for the shop.
pub fn give_aws(port: u16) -> bool {
    let mut of_aws = locked(&OF_AWS);
    of_aws.contains(&port) || give(port) && of_aws.insert(port)
}

/// Returns a [`free_port`] for the local AWS.
///
/// # Errors
/// As [`free_port`].
pub fn free_port_of_aws() -> anyhow::Result<u16> {
    let port = free_port()?;
    locked(&OF_AWS).insert(port);
    Ok(port)
}

/// Reserves a port. Returns whether it was not reserved before.
fn give(port: u16) -> bool {
    locked(&GIVEN).insert(port)
}

fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
}

/// Returns the message for a port that cannot be bound.
fn refusal(port: u16, error: &io::Error, user: Option<&str>) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => {
            let by = user.map(|user| format!(" by {user}")).unwrap_or_default();
            format!(
                "port {port} is already in use{by}: choose another with --port N, or any free one with --port 0"
            )
        }
        ErrorKind::PermissionDenied => format!(
            "port {port} is reserved for the system, as all below {UNPRIVILEGED_FROM} are: choose one from \
             {UNPRIVILEGED_FROM} on with --port N"
        ),
        _ => format!(
            "127.0.0.1:{port} cannot be listened on ({error}): check that the loopback interface is up (`ip address show lo`)"
        ),
    }
}

/// Returns the process that listens on a port of loopback or of all addresses, such as `pid 4711
/// (nginx)`. Returns `None` where `/proc` has no answer: on other systems, and for processes of
/// other users.
fn user_of(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| {
            table
                .lines()
                .filter_map(|line| listening(line, port))
                .collect::<Vec<_>>()
        })
        .collect();
    let sockets: Vec<String> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut pids =
        processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .filter_map(Result::ok);
        let mut targets = files.filter_map(|file| fs::read_link(file.path()).ok());
        targets.any(|target| {
            sockets
                .iter()
                .any(|socket| target.as_os_str() == socket.as_str())
        })
    })?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = Some(name.trim())
        .filter(|name| !name.is_empty())
        .map(|name| format!(" ({name})"));
    Some(format!("pid {pid}{}", name.unwrap_or_default()))
}

/// Returns the inode of a line of `/proc/net/tcp` if its socket listens on the port. The fields are
/// those of proc(5); state 0A is LISTEN.
fn listening(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, of) = fields.get(1)?.rsplit_once(':')?;
    let is_ours = u16::from_str_radix(of, 16) == Ok(port) && fields.get(3) == Some(&"0A");
    is_ours
        .then(|| fields.get(9).map(ToString::to_string))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_assigned_twice_or_taken_from_the_user() {
        let own = free_port().expect("a port");
        let mut given: Vec<u16> = (0..500).map(|_| free_port().expect("a port")).collect();
        assert!(!given.contains(&own));
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 500);
    }

    #[test]
    fn the_local_aws_reuses_its_port_and_never_the_port_of_the_user() {
        let users = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port();
        claim(users).expect("it is free");
        assert!(!give_aws(users), "the user chose it for the shop");
        let own = free_port_of_aws().expect("a port");
        assert!(give_aws(own) && give_aws(own), "at each of its starts");
        assert!((0..500).all(|_| free_port().expect("a port") != own));
    }

    #[test]
    fn a_port_in_use_is_refused_with_the_process_that_has_it() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let refused = claim(port).expect_err("it is taken").to_string();
        let holder = format!(
            "port {port} is already in use by pid {} (",
            std::process::id()
        );
        assert!(
            refused.starts_with(&holder) && refused.contains("--port"),
            "{refused}"
        );
        drop(listener);
        claim(port).expect("it is free now");
    }

    #[test]
    fn ports_in_use_reserved_and_unusable_have_different_messages() {
        let of = |kind: ErrorKind| refusal(80, &io::Error::from(kind), None);
        assert!(of(ErrorKind::AddrInUse).contains("port 80 is already in use: choose"));
        assert!(of(ErrorKind::PermissionDenied).contains("choose one from 1024 on"));
        assert!(of(ErrorKind::AddrNotAvailable).contains("127.0.0.1:80 cannot be listened on"));
    }
}
