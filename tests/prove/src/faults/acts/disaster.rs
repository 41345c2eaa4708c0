//! Loses PostgreSQL's disk and restores the database from a base backup and an archive of the
//! write-ahead log.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use tokio::process::{Child, Command};

use super::database::Server;
use super::{Outcome, PATIENCE, until};
use crate::shop::Shop;

/// The `application_name` of the archive's connection.
const ARCHIVE: &str = "archive";

/// Restores a database whose disk was lost. Commits wait until the archive has their log, as with a
/// synchronous standby, so no acknowledged order is lost.
///
/// # Errors
/// Returns an error if the backup or the recovery fails.
pub async fn lose_the_disk(shop: &Shop, lasting: Duration) -> anyhow::Result<Outcome> {
    let server = Server::of(shop)?;
    let [log, backup, lost] =
        ["wal", "backup", "lost"].map(|name| server.folder.with_extension(name));
    for folder in [&log, &backup, &lost] {
        // Left by the previous run.
        let _ = std::fs::remove_dir_all(folder);
    }
    std::fs::create_dir_all(&log).context("make the archive")?;
    let (url, password) = without_password(&shop.admin_database_url);
    let from = format!("{url}?application_name={ARCHIVE}");
    let mut archive = archive(&server.tool("pg_receivewal"), &from, &password, &log)?;
    keep_in_step(shop).await?;
    let tool = server.tool("pg_basebackup");
    let mut copy = Command::new(tool);
    copy.args([
        "--wal-method=none",
        "--checkpoint=fast",
        "--no-manifest",
        "--pgdata",
    ])
    .arg(&backup);
    copy.arg("--dbname").arg(&url).env("PGPASSWORD", &password);
    let copied = copy.stdin(Stdio::null()).output().await?;
    if !copied.status.success() {
        bail!(
            "no base backup: {}",
            String::from_utf8_lossy(&copied.stderr).trim()
        );
    }
    // Orders that the backup does not contain and only the log has.
    tokio::time::sleep(lasting).await;

    let begun = Instant::now();
    server.end(Signal::KILL).await?;
    std::fs::rename(&server.folder, &lost).context("lose the disk")?;
    let _ = archive.kill().await;
    restore(&server.folder, &backup, &log)?;
    server.start_again(shop).await?;
    let recovers = server.folder.join("recovery.signal");
    ensure!(
        until(PATIENCE, async || Ok(!recovers.exists())).await?,
        "PostgreSQL does not end its recovery"
    );
    haven_console::eprintln!(
        "     PostgreSQL is back from its backup and its log after {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    Ok(Outcome {
        hits: 1,
        ..Outcome::default()
    })
}

/// Returns a URL without its password, and the password. Arguments of a process are public.
fn without_password(url: &str) -> (String, String) {
    let parts = url.split_once("://").and_then(|(scheme, rest)| {
        let (login, address) = rest.split_once('@')?;
        let (user, password) = login.split_once(':')?;
        Some((format!("{scheme}://{user}@{address}"), password.to_owned()))
    });
    parts.unwrap_or_else(|| (url.to_owned(), String::new()))
}

fn archive(tool: &Path, from: &str, password: &str, log: &Path) -> anyhow::Result<Child> {
    let mut command = Command::new(tool);
    command
        .args(["--synchronous", "--dbname", from, "--directory"])
        .arg(log)
        .env("PGPASSWORD", password);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("keep the log")
}

/// Makes commits wait until the archive has their log.
async fn keep_in_step(shop: &Shop) -> anyhow::Result<()> {
    shop.views
        .execute(&format!(
            "ALTER SYSTEM SET synchronous_standby_names = '{ARCHIVE}'"
        ))
        .await?;
    shop.views.execute("SELECT pg_reload_conf()").await?;
    let follows = async || Ok(shop.views.standbys_in_step().await? > 0);
    ensure!(
        until(PATIENCE, follows).await?,
        "the archive does not follow"
    );
    Ok(())
}

/// Moves the backup to the data directory and configures recovery from the archive.
fn restore(folder: &Path, backup: &Path, log: &Path) -> anyhow::Result<()> {
    std::fs::rename(backup, folder).context("put the backup in its place")?;
    for entry in std::fs::read_dir(log).context("look into the archive")? {
        let path: PathBuf = entry?.path();
        // The segment that was being written. Commits that it lacks were never acknowledged.
        if path
            .extension()
            .is_some_and(|extension| extension == "partial")
        {
            std::fs::rename(&path, path.with_extension("")).context("take the last of the log")?;
        }
    }
    let settings = format!(
        "restore_command = 'cp {}/%f %p'\nsynchronous_standby_names = ''\n",
        log.display()
    );
    let file = folder.join("postgresql.auto.conf");
    let before = std::fs::read_to_string(&file).context("the backup's settings")?;
    std::fs::write(&file, before + &settings).context("write the backup's settings")?;
    std::fs::write(folder.join("recovery.signal"), "").context("ask for a recovery")
}
