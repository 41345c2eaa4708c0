//! Faults of PostgreSQL: its sessions, its settings and its processes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use faults::{Call, Dependency, Moment, Verdict};
use platform::children;
use rustix::process::{Signal, WaitOptions};
use tokio::process::{Child, Command};

use super::{Outcome, PATIENCE, until};
use crate::shop::Shop;

/// Terminates all database sessions every 400 ms.
pub async fn terminate_backends(shop: &Shop, lasting: Duration) -> anyhow::Result<Outcome> {
    let (begun, mut outcome) = (Instant::now(), Outcome::default());
    while begun.elapsed() < lasting {
        outcome.hits += shop.views.terminate_backends().await?;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    Ok(outcome)
}

/// Locks the orders for 5 seconds, which is longer than the lock timeout of a statement.
pub async fn hold_lock(shop: &Shop) -> anyhow::Result<Outcome> {
    shop.views.hold_lock(Duration::from_secs(5)).await?;
    Ok(Outcome {
        hits: 1,
        ..Outcome::default()
    })
}

/// Opens sessions until the server refuses more.
pub async fn take_connections(shop: &Shop, lasting: Duration) -> anyhow::Result<Outcome> {
    let taken = shop.views.take_connections(&shop.database_url).await?;
    // Existing sessions are not affected. They are terminated, so that the roles must reconnect.
    shop.views.terminate_backends().await?;
    let more = shop.views.take_connections(&shop.database_url).await?;
    tokio::time::sleep(lasting).await;
    let hits = (taken.len() + more.len()) as u64;
    Ok(Outcome {
        hits,
        ..Outcome::default()
    })
}

/// Makes the server read-only for a while. A hit is a statement that failed with SQLSTATE 25006.
pub async fn read_only(shop: &Shop, lasting: Duration) -> anyhow::Result<Outcome> {
    let refused = Arc::new(AtomicU64::default());
    let counted = refused.clone();
    shop.faults
        .watch(Arc::new(move |call: &Call, moment: Moment<'_>| {
            if let (Dependency::Postgres, Moment::After { reply, .. }) = (call.dependency, moment)
                && reply.windows(7).any(|part| part == b"C25006\0")
            {
                counted.fetch_add(1, Ordering::Relaxed);
            }
            Verdict::Go
        }));
    for setting in ["on", "off"] {
        shop.views
            .execute(&format!(
                "ALTER SYSTEM SET default_transaction_read_only = {setting}"
            ))
            .await?;
        shop.views.execute("SELECT pg_reload_conf()").await?;
        tokio::time::sleep(lasting).await;
    }
    Ok(Outcome {
        hits: refused.load(Ordering::Relaxed),
        ..Outcome::default()
    })
}

/// Stops the server with a signal and starts it again. `INT` is a fast shutdown; after `KILL` the
/// server recovers from its write-ahead log.
pub async fn restart(shop: &Shop, signal: Signal) -> anyhow::Result<Outcome> {
    let server = Server::of(shop)?;
    server.end(signal).await?;
    server.start_again(shop).await?;
    Ok(Outcome {
        hits: 1,
        ..Outcome::default()
    })
}

/// A running PostgreSQL server.
pub struct Server {
    /// The data directory.
    pub folder: PathBuf,
    pid: u32,
    /// The command line of the server.
    line: Vec<String>,
}

impl Server {
    /// Finds the server of a shop.
    ///
    /// # Errors
    /// Returns an error if the shop runs on SQLite, or if the server's process cannot be read.
    pub fn of(shop: &Shop) -> anyhow::Result<Server> {
        let folder = shop
            .postgres_folder()
            .context("this fault is PostgreSQL's: --database postgres")?;
        let pid = postmaster(&folder).context("the server's pid")?;
        // A NUL ends each argument. Arguments can be empty.
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .context("how it was started")?;
        let line = line
            .strip_suffix('\0')
            .unwrap_or(&line)
            .split('\0')
            .map(str::to_owned)
            .collect();
        Ok(Server { folder, pid, line })
    }

    /// Returns the path of another program of the same installation.
    pub fn tool(&self, name: &str) -> PathBuf {
        self.line.first().map_or_else(PathBuf::new, |server| {
            Path::new(server).with_file_name(name)
        })
    }

    /// Stops the server with a signal and waits until it has exited.
    ///
    /// # Errors
    /// Returns an error if it does not exit in time.
    pub async fn end(&self, signal: Signal) -> anyhow::Result<()> {
        children::signal(self.pid, signal);
        let pid = children::pid(self.pid);
        // The server is a child process. Until it is waited for, its pid exists and blocks a new
        // server's lock file.
        let ended = async || {
            Ok(!matches!(
                rustix::process::waitpid(pid, WaitOptions::NOHANG),
                Ok(None)
            ))
        };
        ensure!(until(PATIENCE, ended).await?, "PostgreSQL does not end");
        Ok(())
    }

    /// Starts the server again, and waits until it accepts connections.
    ///
    /// # Errors
    /// Returns an error if it does not accept connections in time.
    pub async fn start_again(&self, shop: &Shop) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let mut server = start(&self.line, shop.log("postgres-again")?)?;
            // The new server exits while child processes of the old one still run.
            while server.try_wait().context("look at the server")?.is_none()
                && begun.elapsed() < PATIENCE
            {
                if is_ready(&self.folder, server.id()) {
                    shop.adopt(server);
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        bail!(
            "PostgreSQL does not start again within {} s",
            PATIENCE.as_secs()
        )
    }
}

/// Returns whether this server accepts connections. Child processes of a killed server can still
/// respond for a while, so a connection is no evidence. The status comes from the eighth line of
/// `postmaster.pid` (`LOCK_FILE_LINE_PM_STATUS` in PostgreSQL's `miscadmin.h`).
fn is_ready(folder: &Path, pid: Option<u32>) -> bool {
    let status = std::fs::read_to_string(folder.join("postmaster.pid"));
    let status = status
        .ok()
        .and_then(|file| file.lines().nth(7).map(str::to_owned));
    postmaster(folder) == pid && status.is_some_and(|status| status.trim() == "ready")
}

fn postmaster(folder: &Path) -> Option<u32> {
    std::fs::read_to_string(folder.join("postmaster.pid"))
        .ok()?
        .lines()
        .next()?
        .trim()
        .parse()
        .ok()
}

/// Starts PostgreSQL as `haven up` does. PostgreSQL refuses to run as root, so a user namespace
/// maps root to another user.
fn start(line: &[String], log: File) -> anyhow::Result<Child> {
    let prefix: &[&str] = if rustix::process::geteuid().is_root() {
        &["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    } else {
        &[]
    };
    let all: Vec<&str> = prefix
        .iter()
        .copied()
        .chain(line.iter().map(String::as_str))
        .collect();
    let (program, arguments) = all.split_first().context("a command")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("start PostgreSQL again")
}
