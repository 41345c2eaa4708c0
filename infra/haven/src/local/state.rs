//! The state folder (`.haven/`): where everything local is kept, and who is using it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// A state folder that belongs to this process until it is dropped.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    /// Held for the lock alone; the system releases it however the process ends.
    _lock: File,
}

impl State {
    /// Opens the folder, making it if it is not there.
    ///
    /// # Errors
    /// When it cannot be written, or another `haven up` uses it; each says what to do.
    pub fn open(folder: &Path) -> anyhow::Result<State> {
        let made = fs::create_dir_all(folder).and_then(|()| fs::create_dir_all(folder.join("logs")));
        made.with_context(|| {
            format!("the state folder {} cannot be made: choose another with --state DIR", folder.display())
        })?;
        let folder = folder.canonicalize().with_context(|| format!("find {}", folder.display()))?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock")).with_context(
            || format!("the state folder {} cannot be written: choose another with --state DIR", folder.display()),
        )?;
        match lock.try_lock() {
            Ok(()) => Ok(State { folder, _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "{} is in use by another `haven up`: stop it with `haven down --state {0}`, or choose another folder with --state DIR",
                folder.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("lock {}", folder.join("lock").display()))
            }
        }
    }

    /// Whether a `haven up` holds the folder now.
    pub fn is_used(folder: &Path) -> bool {
        let Ok(lock) = File::open(folder.join("lock")) else { return false };
        matches!(lock.try_lock(), Err(TryLockError::WouldBlock))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a process's output goes.
    pub fn log(&self, process: &str) -> anyhow::Result<File> {
        State::log_in(&self.folder, process)
    }

    /// Kept to one old and one new file of bounded size.
    pub fn log_in(folder: &Path, process: &str) -> anyhow::Result<File> {
        /// When a log has grown past this, it is set aside at the next start.
        const LOG_MAX: u64 = 50 * 1024 * 1024;
        let path = folder.join("logs").join(format!("{process}.log"));
        if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_MAX) {
            fs::rename(&path, path.with_extension("log.old"))
                .with_context(|| format!("set {} aside", path.display()))?;
        }
        OpenOptions::new().create(true).append(true).open(&path).with_context(|| format!("open {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_user_at_a_time() {
        let folder = std::env::temp_dir().join(format!("haven-state-{}", uuid::Uuid::now_v7()));
        let first = State::open(&folder).expect("a new folder");
        let refused = State::open(&folder).expect_err("in use").to_string();
        assert!(refused.contains("haven down"), "{refused}");
        assert!(State::is_used(&folder));
        drop(first);
        assert!(!State::is_used(&folder));
        State::open(&folder).expect("free again");
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told_with_what_to_do() {
        let file = std::env::temp_dir().join(format!("haven-file-{}", uuid::Uuid::now_v7()));
        fs::write(&file, "").expect("written");
        let refused = State::open(&file.join("below")).expect_err("below a file").to_string();
        assert!(refused.contains("--state DIR"), "{refused}");
        fs::remove_file(file).expect("removed");
    }
}
