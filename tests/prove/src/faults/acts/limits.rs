//! The storefront with less than it needs: few open files, little memory.

use std::time::Duration;

use anyhow::Context as _;
use futures::future::join_all;
use haven::local::children;
use rustix::process::{Resource, Rlimit, prlimit};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{Outcome, until};
use crate::shop::Shop;

const ROLE: &str = "storefront";
/// More than it may take in, of either.
const CLIENTS: usize = 400;
/// Beyond what it has when the limit comes.
const FILES_LEFT: u64 = 20;
const BYTES_LEFT: u64 = 4 << 20;
/// Of each client; the shop takes 64 KiB.
const BODY: usize = 60_000;

/// First files, then memory. It turns away what it cannot take; if it must die, it comes back.
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

/// Clients that send a request of which the last bytes do not come.
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
        // Whoever is not let in waits at the door with what it cannot send.
        let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(&request)).await;
        Some(stream)
    });
    join_all(clients).await
}

/// Gives the limit that was.
fn set(pid: u32, resource: Resource, most: u64) -> anyhow::Result<Rlimit> {
    // The hard limit stays as it was inherited from this process, so that the other can be lifted
    // again.
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

/// Such as `VmData`, of what the process says of itself.
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
