//! Files and directories that only their owner can use.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::Path;

use anyhow::Context as _;
use haven_console::BadUsage;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// The access rights of other accounts.
pub(crate) const OTHERS: u32 = 0o077;

/// Sets the umask so that files of this process and its children are closed to other accounts.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that sets the umask, at the start of haven"
)]
pub fn close_new_files() {
    rustix::process::umask(Mode::from_raw_mode(OTHERS));
}

/// Refuses a state directory of another user. Its files name the processes that commands signal and
/// the servers that they send secrets to. A missing directory is accepted.
///
/// # Errors
/// [`BadUsage`] when the directory belongs to another user.
pub fn check_owner(folder: &Path) -> Result<(), BadUsage> {
    match fs::metadata(folder) {
        Ok(metadata) => refuse_another_owner(folder, &metadata),
        // A directory that cannot be examined cannot be read either.
        Err(_) => Ok(()),
    }
}

pub(crate) fn refuse_another_owner(folder: &Path, metadata: &Metadata) -> Result<(), BadUsage> {
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us {
        return Err(BadUsage(format!(
            "the state directory {} belongs to the user with id {}, and this is the user with id {us}: choose another with --state DIR",
            folder.display(),
            metadata.uid()
        )));
    }
    Ok(())
}

/// Converts a system error about a state directory or a file in it. Returns [`BadUsage`] if another
/// directory would help: the path leads nowhere, permissions are missing, or the file system is
/// read-only. A full or broken disk stays an error of the system.
pub fn unusable(error: io::Error, what: String) -> anyhow::Error {
    const OF_THE_PATH: [ErrorKind; 5] = [
        ErrorKind::NotFound,
        ErrorKind::NotADirectory,
        ErrorKind::IsADirectory,
        ErrorKind::AlreadyExists,
        ErrorKind::ReadOnlyFilesystem,
    ];
    let is_too_long = Errno::from_io_error(&error) == Some(Errno::NAMETOOLONG);
    if is_refusal(&error) || is_too_long || OF_THE_PATH.contains(&error.kind()) {
        return BadUsage(format!(
            "{what} ({error}): choose another state directory with --state DIR"
        ))
        .into();
    }
    anyhow::Error::new(error).context(what)
}

/// Returns whether a file cannot be opened because it belongs to another user, is a symbolic link,
/// or is a device.
pub fn is_refusal(error: &io::Error) -> bool {
    // `open` fails with `ELOOP` for a symbolic link that it must not follow. `ErrorKind` has no
    // stable variant for it.
    let is_link = Errno::from_io_error(error) == Some(Errno::LOOP);
    is_link || [ErrorKind::PermissionDenied, ErrorKind::InvalidInput].contains(&error.kind())
}

/// Returns options that create files for their owner only and never follow a symbolic link.
pub fn private() -> OpenOptions {
    opened(OFlags::NOFOLLOW)
}

fn opened(flags: OFlags) -> OpenOptions {
    let mut options = OpenOptions::new();
    // `custom_flags` takes a C int; the flags fit on every platform.
    options
        .mode(0o600)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
    options
}

/// Opens a file of a state directory for reading. If the directory was open to other accounts, one
/// of them could have placed the file.
///
/// # Errors
/// When the file is missing, a symbolic link or a device, or belongs to another user.
pub(crate) fn open_own(path: &Path) -> io::Result<File> {
    // Without `O_NONBLOCK`, opening a named pipe would block until a writer opens it.
    own(opened(OFlags::NOFOLLOW | OFlags::NONBLOCK)
        .read(true)
        .open(path)?)
}

/// Returns the file if it is a regular file of our user.
///
/// # Errors
/// When it is anything else, or cannot be examined.
pub fn own(file: File) -> io::Result<File> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        let owner = format!("it belongs to the user with id {}", metadata.uid());
        return Err(io::Error::new(ErrorKind::PermissionDenied, owner));
    }
    Ok(file)
}

/// Reads a whole file of a state directory.
///
/// # Errors
/// As [`open_own`], or when the read fails.
pub(crate) fn read_own(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open_own(path)?.read_to_end(&mut content)?;
    Ok(content)
}

/// Makes a directory and its parents with mode 0700, if they are missing.
///
/// # Errors
/// When the directory cannot be made.
pub(crate) fn private_folder(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("make {}", path.display()))
}

/// Replaces a file, with mode 0600, in one step. Readers see the old content or the new one, never
/// half of it.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let written = private()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&fresh)
        .and_then(|mut file: File| {
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(content)?;
            // Sync before the rename: otherwise a power failure can leave an empty file under the
            // final name.
            file.sync_all()
        });
    written.with_context(|| format!("write {}", fresh.display()))?;
    fs::rename(&fresh, path).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// A directory of one test. Removed when the value is dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            let name = format!("haven-private-file-{}", uuid::Uuid::now_v7());
            let folder = std::env::temp_dir().join(name);
            fs::create_dir(&folder).expect("a directory");
            Folder(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_of_another_user_is_not_read() {
        let folder = Folder::new();
        let file = folder.0.join("file");
        fs::write(&file, "mine").expect("written");
        assert_eq!(read_own(&file).expect("ours"), b"mine");
        let (link, pipe) = (folder.0.join("link"), folder.0.join("pipe"));
        symlink(&file, &link).expect("a link");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo runs").success());
        for other in [&link, &pipe, &folder.0] {
            read_own(other).expect_err("not a regular file");
        }
        if std::os::unix::fs::chown(&file, Some(65534), Some(65534)).is_ok() {
            assert_eq!(
                read_own(&file).expect_err("theirs").kind(),
                ErrorKind::PermissionDenied
            );
        }
    }

    #[test]
    fn an_unusable_directory_is_bad_usage_and_a_full_disk_is_not() {
        for errno in [
            Errno::ACCESS,
            Errno::ROFS,
            Errno::NOTDIR,
            Errno::LOOP,
            Errno::NAMETOOLONG,
        ] {
            let refused = unusable(errno.into(), "the state directory".to_owned());
            assert!(refused.is::<BadUsage>(), "{refused:#}");
            let refused = refused.to_string();
            assert!(
                refused.starts_with("the state directory (") && refused.contains("--state DIR"),
                "{refused}"
            );
        }
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::IO] {
            let failed = unusable(errno.into(), "the state directory".to_owned());
            assert!(
                !failed.is::<BadUsage>() && failed.is::<io::Error>(),
                "{failed:#}"
            );
        }
    }

    #[test]
    fn a_file_is_written_atomically_and_private() {
        let folder = Folder::new();
        let path = folder.0.join("secret");
        write(&path, b"one").expect("written");
        write(&path, b"two").expect("written");
        assert_eq!(
            (
                fs::read(&path).expect("there"),
                fs::metadata(&path).expect("there").mode() & 0o777
            ),
            (b"two".to_vec(), 0o600)
        );
        assert_eq!(fs::read_dir(&folder.0).expect("a list").count(), 1);
    }
}
