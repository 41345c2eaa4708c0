//! A directory, which only its owner can enter, for the Unix socket of the local AWS.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chassis::chance;
use chassis::config::ProcessEnvironment;
use haven_console::BadUsage;

use crate::private_file;
use crate::state::State;

/// The longest path of a socket in bytes. Linux allows 108 with the final zero byte (unix(7)).
const PATH_MAX: usize = 107;
const NAME: &str = "aws-socket";
/// The file that contains the path of a directory elsewhere, so that the next start can remove that
/// directory.
const ELSEWHERE: &str = "aws-socket-elsewhere";
const PREFIX: &str = "haven-";

/// A directory of mode 0700 that is made again at each start.
#[derive(Debug)]
pub struct SocketDirectory {
    directory: PathBuf,
    /// The file that contains the path of `directory`, if it is not below the state directory.
    note: Option<PathBuf>,
}

impl SocketDirectory {
    /// The name of the socket in the directory.
    pub const FILE: &'static str = "aws.sock";

    /// Makes the directory below the state directory. If that path is too long or not UTF-8, makes
    /// the directory below the user's runtime directory or below the directory for temporary files.
    ///
    /// # Errors
    /// When the directory cannot be made at any of these places.
    pub fn make(state: &State) -> anyhow::Result<SocketDirectory> {
        let note = state.path(ELSEWHERE);
        if let Ok(left) = fs::read_to_string(&note) {
            remove(Path::new(&left));
            let _ = fs::remove_file(&note);
        }
        let near = state.path(NAME);
        if fits(&near) {
            remove(&near);
            make(&near).with_context(|| format!("make the directory {}", near.display()))?;
            return Ok(SocketDirectory {
                directory: near,
                note: None,
            });
        }
        let runtime = ProcessEnvironment
            .get_os("XDG_RUNTIME_DIR")
            .map(PathBuf::from);
        let candidates = runtime
            .into_iter()
            .chain([std::env::temp_dir(), PathBuf::from("/tmp")]);
        for parent in candidates.filter(|parent| parent.is_absolute() && is_ours_or_sticky(parent))
        {
            let directory = parent.join(format!("{PREFIX}{:016x}", chance::bits()));
            // Creation fails if the directory exists, because it then belongs to another process.
            if fits(&directory) && make(&directory).is_ok() {
                let text = directory.to_str().context("a path that is text")?;
                private_file::write(&note, text.as_bytes())?;
                return Ok(SocketDirectory {
                    directory,
                    note: Some(note),
                });
            }
        }
        Err(BadUsage(format!(
            "no directory for the socket of the local AWS: {} has more than {PATH_MAX} bytes or is not text, and none can \
             be made below XDG_RUNTIME_DIR or /tmp; choose a shorter --state DIR",
            near.join(SocketDirectory::FILE).display()
        ))
        .into())
    }

    /// Returns the path of the directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the path of the socket.
    pub fn path(&self) -> PathBuf {
        self.directory.join(SocketDirectory::FILE)
    }

    /// Removes the socket, its directory and the note about it.
    pub fn remove(self) {
        remove(&self.directory);
        if let Some(note) = &self.note {
            let _ = fs::remove_file(note);
        }
    }
}

/// A directory elsewhere would be lost when the state directory, and with it the note, is deleted
/// while the platform runs. A directory below the state directory stays: the path can belong to
/// another platform by now.
impl Drop for SocketDirectory {
    fn drop(&mut self) {
        if self.note.is_some() {
            remove(&self.directory);
        }
    }
}

/// Returns whether no other user can remove or rename files that we make in a directory. With `sudo
/// -E`, for example, `XDG_RUNTIME_DIR` belongs to another user, who can.
fn is_ours_or_sticky(parent: &Path) -> bool {
    const STICKY: u32 = 0o1000;
    const OTHERS_WRITE: u32 = 0o022;
    fs::metadata(parent).is_ok_and(|parent| {
        let owner_is_trusted = [0, rustix::process::geteuid().as_raw()].contains(&parent.uid());
        owner_is_trusted && (parent.mode() & STICKY != 0 || parent.mode() & OTHERS_WRITE == 0)
    })
}

fn fits(directory: &Path) -> bool {
    directory
        .join(SocketDirectory::FILE)
        .to_str()
        .is_some_and(|path| path.len() <= PATH_MAX)
}

fn make(directory: &Path) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).create(directory)
}

/// Removes what [`SocketDirectory::make`] made. A directory with anything but the socket in it
/// stays.
fn remove(directory: &Path) {
    let name = directory
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    if directory.is_absolute()
        && (name == NAME || name.starts_with(PREFIX))
        && !directory.is_symlink()
    {
        let _ = fs::remove_file(directory.join(SocketDirectory::FILE));
        let _ = fs::remove_dir(directory);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn root() -> PathBuf {
        std::env::temp_dir().join(format!("haven-socket-{}", uuid::Uuid::now_v7()))
    }

    #[test]
    fn a_long_path_gets_a_temporary_directory() {
        let root = root();
        for (name, is_elsewhere) in [("short", false), (&*"long".repeat(30), true)] {
            let state = State::open(&root.join(name)).expect("a state directory");
            let left = SocketDirectory::make(&state).expect("made");
            fs::write(left.path(), "").expect("a file in its place");
            let left = left.directory().to_owned();
            // As after a kill, nothing was removed.
            let made = SocketDirectory::make(&state).expect("made again");
            assert_eq!(left != made.directory(), is_elsewhere);
            assert!(
                !left.join(SocketDirectory::FILE).exists(),
                "what was left is gone"
            );
            assert!(made.path().as_os_str().len() <= PATH_MAX);
            assert_eq!(made.directory().starts_with(state.folder()), !is_elsewhere);
            let mode = fs::metadata(made.directory())
                .expect("there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o700);
            let directory = made.directory().to_owned();
            made.remove();
            assert!(!directory.exists());
        }
        fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn the_temporary_directory_is_removed_when_the_state_directory_is_lost() {
        let root = root();
        let state = State::open(&root.join("long".repeat(30))).expect("a state directory");
        let made = SocketDirectory::make(&state).expect("made");
        fs::write(made.path(), "").expect("a file in its place");
        let directory = made.directory().to_owned();
        // The note about the directory is deleted too.
        fs::remove_dir_all(&root).expect("removed");
        drop(made);
        assert!(!directory.exists());
    }

    #[test]
    fn no_socket_is_created_in_a_directory_of_another_user() {
        let root = root();
        fs::create_dir(&root).expect("made");
        for (mode, may_be_used) in [
            (0o700, true),
            (0o755, true),
            (0o1777, true),
            (0o777, false),
            (0o770, false),
        ] {
            fs::set_permissions(&root, fs::Permissions::from_mode(mode)).expect("changed");
            assert_eq!(is_ours_or_sticky(&root), may_be_used, "{mode:o}");
        }
        if rustix::process::geteuid().is_root() {
            fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).expect("changed");
            std::os::unix::fs::chown(&root, Some(12345), None).expect("given away");
            assert!(
                !is_ours_or_sticky(&root),
                "the runtime directory of another user"
            );
        }
        fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn a_directory_with_other_files_is_not_removed() {
        let root = root();
        let state = State::open(&root).expect("a state directory");
        let theirs = root.join(NAME);
        fs::create_dir(&theirs).expect("made");
        fs::write(theirs.join("notes"), "mine").expect("written");
        let refused = SocketDirectory::make(&state)
            .expect_err("it is not ours")
            .to_string();
        assert!(refused.contains(NAME), "{refused}");
        assert!(theirs.join("notes").exists());
        fs::remove_dir_all(root).expect("removed");
    }
}
