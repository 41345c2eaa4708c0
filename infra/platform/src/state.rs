//! The state directory (`.haven/`), which holds all local data, and the lock that gives it to one
//! process.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use haven_console::BadUsage;

use crate::lock::{Holder, LOCK, parse_holder};
use crate::process::Identity;
use crate::records::Records;
use crate::{format, guard, private_file};

/// A state directory whose lock this process holds until the value is dropped.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    /// The kernel releases the lock when the last process that has the file open ends, however it
    /// ends. Children do not inherit the file, except the one that `haven up --detach` starts.
    lock: File,
    records: Records,
}

/// Whether a process holds the lock of a state directory.
#[derive(Debug, PartialEq, Eq)]
pub enum Held {
    No,
    /// Some process. `None` if an older haven holds the lock, or a process that has not written its
    /// identity yet.
    By(Option<Holder>),
}

impl State {
    /// Opens the directory and takes its lock. Makes the directory if it is missing, and removes
    /// the access rights of other accounts.
    ///
    /// # Errors
    /// [`BadUsage`] when the directory cannot be written, belongs to another user, contains
    /// symbolic links where files are written, was written by a newer haven, or is in use by
    /// another `haven up`. Each message says what to do. Other errors come from the system.
    pub fn open(folder: &Path) -> anyhow::Result<State> {
        /// A command that only tests the lock holds it for a moment. If the last holder no longer
        /// runs, retry for this time.
        const LOOKED_AT: Duration = Duration::from_secs(1);
        let folder = guard::admit(folder)?;
        let path = folder.join(LOCK);
        let open = private_file::private()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path);
        let why = || format!("the state directory {} cannot be written", folder.display());
        let lock = open.map_err(|error| private_file::unusable(error, why()))?;
        let begun = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    let holder = read_holder(&lock);
                    let runs = holder
                        .as_ref()
                        .is_some_and(|holder| holder.identity.is_running());
                    if !runs && begun.elapsed() < LOOKED_AT {
                        std::thread::sleep(Duration::from_millis(20));
                        continue;
                    }
                    let pid = holder
                        .filter(|_| runs)
                        .map(|holder| format!(" (pid {})", holder.identity.pid));
                    let why = format!(
                        "{0} is in use by another `haven up`{1}: stop it with `haven down --state {0}`, or choose another directory with --state DIR",
                        folder.display(),
                        pid.unwrap_or_default()
                    );
                    return Err(BadUsage(why).into());
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("lock {}", path.display()));
                }
            }
        }
        format::accept(&folder)?;
        private_file::private_folder(&folder.join("logs"))?;
        State::held(folder, lock)
    }

    /// Takes over the lock that `haven up --detach` holds and passes on as standard input. Both
    /// processes share one open file, so the lock is never free in between.
    ///
    /// # Errors
    /// [`BadUsage`] when standard input is not the locked file. Other errors when the directory
    /// belongs to another user or cannot be found.
    pub fn handed_over(folder: &Path) -> anyhow::Result<State> {
        let lock = File::from(
            std::io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .context("read standard input")?,
        );
        private_file::check_owner(folder)?;
        let folder = folder
            .canonicalize()
            .with_context(|| format!("find {}", folder.display()))?;
        if !is_same(&lock, &folder.join(LOCK)).unwrap_or(false) || lock.try_lock().is_err() {
            let why = format!(
                "standard input is not the locked {}: this flag is for `haven up --detach`",
                folder.join(LOCK).display()
            );
            return Err(BadUsage(why).into());
        }
        // Children inherit standard input by default, and would then hold the lock too.
        let nothing = File::open("/dev/null").context("open /dev/null")?;
        rustix::stdio::dup2_stdin(nothing).context("close standard input")?;
        State::held(folder, lock)
    }

    fn held(folder: PathBuf, lock: File) -> anyhow::Result<State> {
        let records = Records::in_state(&folder);
        let state = State {
            folder,
            lock,
            records,
        };
        state.write_holder(false, &[])?;
        Ok(state)
    }

    /// Takes the lock of an existing directory that belongs to this user. Returns `None` if another
    /// process holds the lock.
    pub fn take(folder: &Path) -> Option<State> {
        private_file::check_owner(folder).ok()?;
        let folder = folder.canonicalize().ok()?;
        let lock = private_file::private()
            .read(true)
            .write(true)
            .open(folder.join(LOCK))
            .and_then(private_file::own)
            .ok()?;
        lock.try_lock().ok()?;
        Some(State {
            records: Records::in_state(&folder),
            folder,
            lock,
        })
    }

    /// Returns which process holds the lock of the directory now.
    ///
    /// # Errors
    /// [`BadUsage`] when the directory or its lock file belongs to another user.
    pub fn holder(folder: &Path) -> anyhow::Result<Held> {
        private_file::check_owner(folder)?;
        let path = folder.join(LOCK);
        let lock = match private_file::open_own(&path) {
            Err(error)
                if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) =>
            {
                return Ok(Held::No);
            }
            opened => {
                let why = || format!("the lock file {} cannot be used", path.display());
                opened.map_err(|error| private_file::unusable(error, why()))?
            }
        };
        Ok(match lock.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Held::By(read_holder(&lock)),
            Ok(()) | Err(TryLockError::Error(_)) => Held::No,
        })
    }

    /// Returns whether a `haven up` holds the directory now.
    ///
    /// # Errors
    /// As [`State::holder`].
    pub fn is_used(folder: &Path) -> anyhow::Result<bool> {
        Ok(State::holder(folder)? != Held::No)
    }

    /// Returns the content of the lock file: the process that holds the lock or held it last.
    pub(crate) fn last_holder(folder: &Path) -> Option<Holder> {
        private_file::check_owner(folder).ok()?;
        read_holder(&private_file::open_own(&folder.join(LOCK)).ok()?)
    }

    /// Writes into the lock file that this process is stopping, and what it could not save.
    pub(crate) fn write_stopping(&self, unsaved: &[String]) {
        // The lock does not depend on its content; without it `haven down` only reports less.
        let _ = self.write_holder(true, unsaved);
    }

    fn write_holder(&self, stopping: bool, unsaved: &[String]) -> anyhow::Result<()> {
        let identity = Identity::own().context("look at this process")?;
        let text = serde_json::to_string(&Holder {
            identity,
            stopping,
            unsaved: unsaved.to_vec(),
        })
        .context("encode")?;
        // Write first and cut off afterwards: a reader then finds one complete document at the
        // front, perhaps with the rest of an older one behind it.
        let written = self
            .lock
            .write_all_at(text.as_bytes(), 0)
            .and_then(|()| self.lock.set_len(text.len() as u64));
        written.with_context(|| format!("write {}", self.path(LOCK).display()))
    }

    /// Returns another handle of the lock file, for the process that takes the lock over.
    ///
    /// # Errors
    /// When the system cannot duplicate the file descriptor.
    pub(crate) fn lock_for_child(&self) -> anyhow::Result<File> {
        self.lock.try_clone().context("use the lock twice")
    }

    /// Returns the identity of the directory, to detect later that it was deleted or replaced.
    ///
    /// # Errors
    /// When the metadata of the lock file cannot be read.
    pub(crate) fn ground(&self) -> anyhow::Result<Ground> {
        let lock = self.lock.metadata().context("look at the lock file")?;
        Ok(Ground {
            folder: self.folder.clone(),
            lock: (lock.dev(), lock.ino()),
        })
    }

    /// Returns the path of a file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Returns the real path of the directory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the records of the processes that run on this directory.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Opens the log of a process for appending.
    ///
    /// # Errors
    /// When the file cannot be opened or set aside.
    pub fn log(&self, process: &str) -> anyhow::Result<File> {
        State::log_in(&self.folder, process)
    }

    /// Returns the path of the log of a process.
    pub fn log_path(folder: &Path, process: &str) -> PathBuf {
        folder.join("logs").join(format!("{process}.log"))
    }

    /// Returns the place of the log of a process, for messages.
    pub(crate) fn log_hint(&self, process: &str) -> String {
        let path = State::log_path(&self.folder, process);
        format!("its log is {}", path.display())
    }

    /// Opens the log of a process for appending. A log of more than 50 MiB is first renamed to
    /// `.log.old`, which replaces the older one.
    ///
    /// # Errors
    /// When the file cannot be opened or renamed.
    pub(crate) fn log_in(folder: &Path, process: &str) -> anyhow::Result<File> {
        /// The size in bytes above which a log is set aside at the next start.
        const LOG_MAX: u64 = 50 * 1024 * 1024;
        let path = State::log_path(folder, process);
        if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_MAX) {
            fs::rename(&path, path.with_extension("log.old"))
                .with_context(|| format!("set {} aside", path.display()))?;
        }
        private_file::private()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))
    }
}

/// The identity of a state directory: its path, and the file whose lock was taken.
#[derive(Debug, Clone)]
pub struct Ground {
    folder: PathBuf,
    /// Device and inode of the lock file.
    lock: (u64, u64),
}

impl Ground {
    /// Returns the path of the directory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Checks that the path still leads to the directory whose lock this process holds.
    ///
    /// # Errors
    /// When the directory was deleted or replaced, or cannot be read.
    pub fn check(&self) -> anyhow::Result<()> {
        let folder = self.folder.display();
        match fs::metadata(self.folder.join(LOCK)) {
            Ok(found) if (found.dev(), found.ino()) == self.lock => Ok(()),
            Ok(_) => bail!(
                "the state directory {folder} was replaced by another one while the platform ran"
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("the state directory {folder} was deleted while the platform ran")
            }
            Err(error) => {
                bail!(
                    "the state directory {folder} cannot be read any more while the platform runs ({error})"
                )
            }
        }
    }
}

fn is_same(file: &File, path: &Path) -> std::io::Result<bool> {
    let (open, named) = (file.metadata()?, fs::metadata(path)?);
    Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
}

fn read_holder(lock: &File) -> Option<Holder> {
    /// The bytes of the file that are read at most, far more than a holder needs.
    const LONGEST: usize = 64 * 1024;
    let mut text = vec![0; LONGEST];
    let read = lock.read_at(&mut text, 0).ok()?;
    parse_holder(&text[..read])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{self, Facts};

    /// A directory of one test. Removed when the value is dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            Folder(std::env::temp_dir().join(format!("haven-state-{}", uuid::Uuid::now_v7())))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_state_directory_has_one_holder_who_is_named() {
        let folder = Folder::new();
        let first = State::open(&folder.0).expect("a new directory");
        let refused = State::open(&folder.0).expect_err("in use").to_string();
        let pid = format!("pid {}", std::process::id());
        assert!(
            refused.contains("haven down") && refused.contains(&pid),
            "{refused}"
        );
        let Held::By(Some(holder)) = State::holder(&folder.0).expect("ours") else {
            panic!("nobody holds it")
        };
        assert_eq!(
            (holder.identity.pid, holder.stopping),
            (std::process::id(), false)
        );
        assert!(holder.identity.is_running());
        assert!(State::take(&folder.0).is_none());
        first.write_stopping(&["messages".to_owned()]);
        drop(first);
        assert_eq!(State::holder(&folder.0).expect("ours"), Held::No);
        let last = State::last_holder(&folder.0).expect("it is still written there");
        assert_eq!(
            (last.stopping, last.unsaved),
            (true, vec!["messages".to_owned()])
        );
        let again = State::open(&folder.0).expect("free again");
        let Held::By(Some(holder)) = State::holder(&folder.0).expect("ours") else {
            panic!("nobody holds it")
        };
        assert_eq!(
            (holder.stopping, holder.unsaved.len()),
            (false, 0),
            "nothing is left of the longer text"
        );
        drop(again);
    }

    #[test]
    fn a_lock_file_without_a_holder_is_still_a_lock() {
        let folder = Folder::new();
        let state = State::open(&folder.0).expect("a new directory");
        state.lock.set_len(0).expect("as an older haven leaves it");
        assert_eq!(State::holder(&folder.0).expect("ours"), Held::By(None));
        assert!(State::open(&folder.0).is_err());
    }

    #[test]
    fn a_deleted_or_replaced_state_directory_is_detected() {
        let folder = Folder::new();
        let state = State::open(&folder.0).expect("a new directory");
        let ground = state.ground().expect("it is there");
        ground.check().expect("it is the same");
        let aside = folder.0.with_extension("aside");
        fs::rename(&folder.0, &aside).expect("moved away");
        assert!(
            ground
                .check()
                .expect_err("it is gone")
                .to_string()
                .contains("deleted")
        );
        let other = State::open(&folder.0).expect("another one");
        assert!(
            ground
                .check()
                .expect_err("it is another")
                .to_string()
                .contains("replaced")
        );
        drop(other);
        fs::remove_dir_all(&folder.0).expect("removed");
        fs::rename(&aside, &folder.0).expect("moved back");
        ground.check().expect("it is the same again");
    }

    #[test]
    fn a_state_directory_that_cannot_be_created_is_reported_with_the_remedy() {
        let file = Folder::new();
        fs::write(&file.0, "").expect("written");
        let refused = State::open(&file.0.join("below"))
            .expect_err("below a file")
            .to_string();
        assert!(refused.contains("--state DIR"), "{refused}");
        fs::remove_file(&file.0).expect("removed");
    }

    /// A directory of another user decides which processes `haven down` ends and where the commands
    /// send secrets. Therefore it must be refused.
    #[test]
    fn a_directory_of_another_user_is_never_used() {
        let folder = Folder::new();
        let facts = serde_json::json!({ "storefront": "", "aws_endpoint": "http://127.0.0.1:1", "region": "",
            "database_url": "", "redis_url": null, "payment_url": "", "staff_token": "", "roles": [], "pid": 1,
            "aws_pid": null, "ready": true });
        let state = State::open(&folder.0).expect("a new directory");
        fs::write(folder.0.join(facts::FILE), facts.to_string()).expect("written");
        Facts::read(&folder.0).expect("ours");
        let given = |path: &Path, id: u32| std::os::unix::fs::chown(path, Some(id), Some(id));
        if given(&folder.0, 65534).is_err() {
            println!("skipped: only root can give a directory to another user");
            return;
        }
        let refused = |folder: &Path| {
            let refused = [
                State::holder(folder).expect_err("theirs"),
                Facts::read(folder).expect_err("theirs"),
                State::is_used(folder).expect_err("theirs"),
            ];
            assert_eq!(State::last_holder(folder), None);
            refused.map(|error| format!("{error:#}"))
        };
        for refused in refused(&folder.0) {
            assert!(
                refused.contains("belongs to the user with id 65534"),
                "{refused}"
            );
        }
        drop(state);
        assert!(State::take(&folder.0).is_none());

        // A directory of this user that others can write to.
        given(&folder.0, rustix::process::geteuid().as_raw()).expect("root");
        for file in [LOCK, facts::FILE] {
            given(&folder.0.join(file), 65534).expect("root");
        }
        for refused in refused(&folder.0) {
            assert!(
                refused.contains("belongs to the user with id 65534"),
                "{refused}"
            );
        }
        assert!(State::take(&folder.0).is_none());
    }
}
