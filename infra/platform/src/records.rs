//! Records of the processes that run on a state directory, with a file for each process.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Signal, kill_process_group, test_kill_process_group};

use crate::mutex::locked;
use crate::private_file;
use crate::process::{self, Identity};

/// The directory of the records, below the state directory, with a file per process.
const FOLDER: &str = "run";
/// The time that a leftover process may take to exit: the longest stop time of a server.
pub(crate) const ENDED_WITHIN: Duration = Duration::from_secs(30);
/// The pause between two checks of a process that is exiting.
pub(crate) const LOOK: Duration = Duration::from_millis(20);

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
        locked(&self.groups).insert(pid);
    }

    /// Adds a container that this process has started.
    pub fn add_container(&self, name: &str) {
        locked(&self.containers).push(name.to_owned());
    }

    /// Returns every container that this process has started, whether it still runs or not.
    pub fn containers(&self) -> Vec<String> {
        locked(&self.containers).clone()
    }

    /// Removes the process group of a child that was reaped.
    pub fn ended(&self, pid: u32) {
        locked(&self.groups).remove(&pid);
    }

    /// Waits until all children that were not reaped have ended, with their own children, but at
    /// most [`ENDED_WITHIN`]. A child whose value was dropped ends by itself. Until that child has
    /// written its record, only its process group is known.
    pub async fn until_gone(&self) {
        let groups = locked(&self.groups).clone();
        let begun = Instant::now();
        for group in groups.into_iter().filter_map(process::pid) {
            while test_kill_process_group(group).is_ok() && begun.elapsed() < ENDED_WITHIN {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Kills every child that was not reaped, with its own children. They cannot save anything.
    pub fn kill_all(&self) {
        let groups = std::mem::take(&mut *locked(&self.groups));
        for group in groups.into_iter().filter_map(process::pid) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    pub(crate) fn read_all(&self) -> Vec<(String, Vec<Identity>)> {
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
        private_file::private_folder(folder)?;
    }
    private_file::write(
        path,
        serde_json::to_string(processes)
            .context("encode a record")?
            .as_bytes(),
    )
}

/// Reads a record. Returns no process if the file is missing, damaged, or belongs to another user.
pub fn read(path: &Path) -> Vec<Identity> {
    private_file::read_own(path)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

/// Returns the path of the file, beside its record, which reports that `haven keep` had to kill a
/// server.
pub fn killed(record: &Path) -> PathBuf {
    record.with_extension("killed")
}
