//! The storefront with too few file descriptors, and then with too little memory.

use std::time::Duration;

use anyhow::Context as _;
use futures::future::join_all;
use platform::children;
use rustix::process::{Resource, Rlimit, prlimit};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{Outcome, until};
use crate::shop::Shop;

const ROLE: &str = "storefront";
/// More clients than the storefront can serve under either limit.
const CLIENTS: usize = 400;
/// File descriptors that the storefront may open beyond its current ones.
const FILES_LEFT: u64 = 20;
/// Bytes of data that the storefront may allocate beyond its current ones.
const BYTES_LEFT: u64 = 4 << 20;
/// Bytes that each client sends of its body; the storefront accepts 64 KiB.
const BODY: usize = 60_000;

/// Limits file descriptors, then memory. The storefront must reject what it cannot serve, and must
/// work again after a crash.
///
/// # Errors
/// Returns an error if a limit cannot be set.
pub async fn limits(shop: &Shop, lasting: Duration) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let pid = shop.life(ROLE).context("the storefront's pid")?.pid;
    let before = set(pid, Resource::Nofile, open_files(pid)? + FILES_LEFT)?;
    let at_the_door = connect(shop, 0).await;
    let full = async || Ok(open_files(pid)? + 1 >= open_files_max(pid)?);
    outcome.hits += u64::from(until(lasting / 2, full).await?);
    drop(at_the_door);
    restore(pid, Resource::Nofile, before)?;

    set(
        pid,
        Resource::Data,
        status_bytes(pid, "VmData")? + BYTES_LEFT,
    )?;
    let with_bodies = connect(shop, BODY).await;
    let dead = async || Ok(status_bytes(pid, "VmData").is_err());
    outcome.hits += u64::from(until(lasting, dead).await?);
    drop(with_bodies);
    if outcome.hits < 2 {
        outcome.failures.push(format!(
            "one of two limits was not reached: {} was",
            outcome.hits
        ));
    }
    shop.revive()?;
    shop.until_ready(ROLE).await?;
    Ok(outcome)
}

/// Opens connections that send a request without its last byte.
async fn connect(shop: &Shop, body: usize) -> Vec<Option<TcpStream>> {
    let head = format!(
        "POST /api/v1/orders HTTP/1.1\r\nHost: shop\r\nContent-Length: {}\r\n\r\n",
        body + 1
    );
    let request = [head.as_bytes(), &vec![b' '; body]].concat();
    let clients = (0..CLIENTS).map(|_| async {
        let mut stream = TcpStream::connect(&shop.surroundings.storefront)
            .await
            .ok()?;
        // A client that is not accepted waits with bytes that it cannot send.
        let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(&request)).await;
        Some(stream)
    });
    join_all(clients).await
}

/// Sets a limit and returns the previous one.
fn set(pid: u32, resource: Resource, most: u64) -> anyhow::Result<Rlimit> {
    // The hard limit stays the inherited one, so that the soft limit can be raised again.
    let maximum = rustix::process::getrlimit(resource).maximum;
    prlimit(
        children::pid(pid),
        resource,
        Rlimit {
            current: Some(most),
            maximum,
        },
    )
    .context("set a limit")
}

fn restore(pid: u32, resource: Resource, limit: Rlimit) -> anyhow::Result<()> {
    prlimit(children::pid(pid), resource, limit)
        .context("lift a limit")
        .map(drop)
}

fn open_files(pid: u32) -> anyhow::Result<u64> {
    let files =
        std::fs::read_dir(format!("/proc/{pid}/fd")).context("the storefront's open files")?;
    Ok(files.count() as u64)
}

fn open_files_max(pid: u32) -> anyhow::Result<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits"))
        .context("the storefront's limits")?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .context("a limit of open files")?;
    line.split_whitespace()
        .nth(3)
        .context("a number")?
        .parse()
        .context("a number")
}

/// Returns a size from `/proc/PID/status`, such as `VmData`, in bytes.
///
/// # Errors
/// Returns an error if the process has exited.
pub fn status_bytes(pid: u32, name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process")?;
    let line = status
        .lines()
        .find(|line| line.starts_with(name))
        .context("it has ended")?;
    let kibibytes: u64 = line
        .split_whitespace()
        .nth(1)
        .context("a number")?
        .parse()
        .context("a number")?;
    Ok(kibibytes * 1024)
}
