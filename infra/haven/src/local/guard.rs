//! What a state directory must be before anything is written in it: a path that works everywhere, a directory of our own,
//! closed to every other account, and without symbolic links where files are written.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use chassis::config::ProcessEnvironment;
use rustix::fs::{Mode, OFlags};

/// Files that only haven writes. Any of them shows that haven made the directory its own.
const MARKS: [&str; 5] = ["lock", "format", "aws-port", "payment-ledger.jsonl", "haven.json"];
/// Everything else of haven's, by name, and by the beginning and the end of a name.
const OURS: [&str; 6] = ["logs", "aws", "postgres", "redis", "containers", "version"];
const OURS_BEGIN: [&str; 5] = ["orders.db", "haven.json", "postgres-", "redis-", "aws-socket"];
const OURS_END: [&str; 1] = [".pid"];
/// Made by `haven deploy` as well, in a directory that no `haven up` has used yet.
const DEPLOYED: &str = "deployed";
/// PostgreSQL cuts paths off at 1,024 bytes (`MAXPGPATH`), and its own files need some of them.
const PATH_BYTES_MAX: usize = 900;
const OTHERS: u32 = 0o077;
/// Everybody may write, or everybody may with the sticky bit, as in /tmp.
const PUBLIC: u32 = 0o1002;

/// Closes every file that this process and its children make to other accounts.
pub fn close_new_files() {
    rustix::process::umask(Mode::from_raw_mode(OTHERS));
}

/// Returns the state directory's real path. Makes the directory if it is not there (0700), and closes one with another
/// mode to other accounts.
///
/// # Errors
/// A path that some part of the platform cannot use, a directory of another user, or one that haven did not make and
/// must not take over. Nothing is made then.
pub fn admit(folder: &Path) -> anyhow::Result<PathBuf> {
    check_path(&std::path::absolute(folder).context("find the state directory")?)?;
    let made = match fs::metadata(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).and_then(|()| fs::metadata(folder))
        }
        found => found,
    };
    let metadata = made.with_context(|| {
        format!("the state directory {} cannot be made: choose another with --state DIR", folder.display())
    })?;
    let folder = folder.canonicalize().with_context(|| format!("find {}", folder.display()))?;
    check_path(&folder)?;
    if !metadata.is_dir() {
        bail!("the state directory {} is a file: choose another with --state DIR", folder.display());
    }
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us {
        bail!(
            "the state directory {} belongs to the user with id {}, and this is the user with id {us}: choose another with --state DIR",
            folder.display(),
            metadata.uid()
        );
    }
    if !MARKS.iter().any(|name| fs::symlink_metadata(folder.join(name)).is_ok()) {
        refuse_what_is_not_ours(&folder, &metadata)?;
    }
    if metadata.mode() & OTHERS != 0 {
        close(&folder, &metadata)?;
    }
    Ok(folder)
}

/// Refuses paths that could not be written down exactly: in `haven.json`, in a label of a container, in a URL.
fn check_path(path: &Path) -> anyhow::Result<()> {
    let refused = |why: &str| {
        anyhow::anyhow!(
            "the state directory {path:?} cannot be used, since its path {why}: choose another with --state DIR"
        )
    };
    let Some(text) = path.to_str() else { return Err(refused("is not UTF-8")) };
    if text.len() > PATH_BYTES_MAX {
        return Err(refused(&format!("has {} bytes, and {PATH_BYTES_MAX} is the limit", text.len())));
    }
    match text.chars().find(|letter| letter.is_control()) {
        Some(letter) => Err(refused(&format!("contains the control character {}", letter.escape_unicode()))),
        None => Ok(()),
    }
}

/// A directory that haven did not make may become its state directory, unless that would shut other accounts out of
/// something they use, or files of the same names are there.
fn refuse_what_is_not_ours(folder: &Path, metadata: &Metadata) -> anyhow::Result<()> {
    let shown = folder.display();
    let home = ProcessEnvironment.get_os("HOME").and_then(|home| fs::canonicalize(home).ok());
    if folder.parent().is_none() || home.as_deref() == Some(folder) {
        bail!("{shown} cannot be a state directory: choose one of its own with --state DIR, such as {shown}/.haven");
    }
    let mut empty = true;
    for entry in fs::read_dir(folder).with_context(|| format!("list {shown}"))? {
        let entry = entry.with_context(|| format!("list {shown}"))?;
        empty = false;
        if is_ours(&entry.file_name()) {
            bail!(
                "{} exists and haven did not make it: move it away, or choose another state directory with --state DIR",
                entry.path().display()
            );
        }
    }
    if !empty && metadata.mode() & PUBLIC != 0 {
        bail!(
            "others may write to {shown}, and haven did not make it: choose another state directory with --state DIR"
        );
    }
    Ok(())
}

fn is_ours(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    MARKS.iter().chain(&OURS).any(|ours| name == *ours)
        || OURS_BEGIN.iter().any(|begin| name.starts_with(begin))
        || OURS_END.iter().any(|end| name.ends_with(end))
}

/// Refuses symbolic links and devices where haven writes: whoever placed them chooses which file is overwritten. Closes
/// what an older haven, or another umask, left open to other accounts.
///
/// # Errors
/// The first such file by name, or one that belongs to another user.
pub fn inspect(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let metadata = match entry.metadata() {
            // A `haven up` that runs on the directory replaces files.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            metadata => metadata.with_context(|| format!("look at {}", entry.path().display()))?,
        };
        if metadata.is_symlink() {
            refuse_link(folder, &entry.path())?;
        }
        if !is_ours(&entry.file_name()) && entry.file_name() != DEPLOYED {
            continue;
        }
        let us = rustix::process::geteuid().as_raw();
        // What a container keeps may belong to an id of the container's: the local AWS's files too, where root runs it.
        let of_container = entry.file_name() == "containers"
            || (us == 0 && ["aws", "aws-socket"].iter().any(|name| entry.file_name() == *name));
        if metadata.uid() != us && !of_container {
            bail!(
                "{} belongs to the user with id {}, and this is the user with id {us}: give it back with chown -R, or choose another state directory with --state DIR",
                entry.path().display(),
                metadata.uid()
            );
        }
        inspect_below(folder, &entry.path(), &metadata)?;
    }
    Ok(())
}

fn inspect_below(folder: &Path, path: &Path, metadata: &Metadata) -> anyhow::Result<()> {
    let kind = metadata.file_type();
    if kind.is_symlink() {
        refuse_link(folder, path)?;
    }
    if !kind.is_dir() && !kind.is_file() {
        // A socket or a pipe of a running server.
        return Ok(());
    }
    if metadata.mode() & OTHERS != 0 && metadata.uid() == rustix::process::geteuid().as_raw() {
        close(path, metadata)?;
    }
    if kind.is_dir() {
        let listed = match fs::read_dir(path) {
            // Of a container's own id, or removed just now.
            Err(error) if [ErrorKind::PermissionDenied, ErrorKind::NotFound].contains(&error.kind()) => return Ok(()),
            listed => listed.with_context(|| format!("list {}", path.display()))?,
        };
        for entry in listed {
            let entry = entry.with_context(|| format!("list {}", path.display()))?;
            match entry.metadata() {
                Ok(metadata) => inspect_below(folder, &entry.path(), &metadata)?,
                // A server of the run before is still removing its files.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("look at {}", entry.path().display())),
            }
        }
    }
    Ok(())
}

fn refuse_link(folder: &Path, path: &Path) -> anyhow::Result<()> {
    bail!(
        "the state directory {} contains the symbolic link {}: haven writes there, and does not follow links; remove the link, or choose another directory with --state DIR",
        folder.display(),
        path.strip_prefix(folder).unwrap_or(path).display()
    )
}

fn close(path: &Path, metadata: &Metadata) -> anyhow::Result<()> {
    let mode = metadata.mode() & 0o7777 & !OTHERS;
    match fs::set_permissions(path, Permissions::from_mode(mode)) {
        // A server removed it just now.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        closed => closed.with_context(|| format!("close {} to other accounts", path.display())),
    }
}

/// Options that open files for their owner alone, and never through a symbolic link.
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    // The flags of `open` are a C int; NOFOLLOW is a small one on every platform.
    options.mode(0o600).custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default());
    options
}

/// Makes a directory for its owner alone, if it is not there.
///
/// # Errors
/// When it cannot be made.
pub fn private_folder(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| format!("make {}", path.display()))
}

/// Writes a file for its owner alone. Readers see the old file or the new one, never half of one.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let written = private().create(true).truncate(true).write(true).open(&fresh).and_then(|mut file: File| {
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(content)?;
        // Before the new name: else a machine that stops leaves an empty file under it.
        file.sync_all()
    });
    written.with_context(|| format!("write {}", fresh.display()))?;
    fs::rename(&fresh, path).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder of a test's own; gone with the value.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            let folder = std::env::temp_dir().join(format!("haven-guard-{}", uuid::Uuid::now_v7()));
            fs::create_dir(&folder).expect("a folder");
            Folder(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("metadata").mode() & 0o777
    }

    fn refusal(result: anyhow::Result<impl Sized>) -> String {
        format!("{:#}", result.err().expect("refused"))
    }

    #[test]
    fn a_new_directory_is_its_owners_alone_and_an_old_one_becomes_so() {
        let folder = Folder::new();
        let new = admit(&folder.0.join("new").join("state")).expect("made");
        assert_eq!(mode(&new), 0o700);

        let old = folder.0.join("old");
        for (path, file) in [("logs", "logs/up.log"), ("aws", "aws/sqs.json"), ("postgres/base", "postgres/PG_VERSION")]
        {
            fs::create_dir_all(old.join(path)).expect("a folder");
            fs::write(old.join(file), "").expect("written");
        }
        for file in ["lock", "orders.db", "orders.db-wal", "payment-ledger.jsonl"] {
            fs::write(old.join(file), "").expect("written");
        }
        fs::write(old.join("notes.txt"), "mine").expect("written");
        for path in [&old, &old.join("logs"), &old.join("aws"), &old.join("postgres"), &old.join("postgres/base")] {
            fs::set_permissions(path, Permissions::from_mode(0o777)).expect("changed");
        }
        for file in ["logs/up.log", "aws/sqs.json", "postgres/PG_VERSION", "lock", "orders.db", "notes.txt"] {
            fs::set_permissions(old.join(file), Permissions::from_mode(0o666)).expect("changed");
        }
        let old = admit(&old).expect("haven made it");
        inspect(&old).expect("nothing is wrong");
        for path in ["", "logs", "aws", "postgres", "postgres/base"] {
            assert_eq!(mode(&old.join(path)), 0o700, "{path}");
        }
        for file in ["logs/up.log", "aws/sqs.json", "postgres/PG_VERSION", "lock", "orders.db", "orders.db-wal"] {
            assert_eq!(mode(&old.join(file)), 0o600, "{file}");
        }
        assert_eq!(mode(&old.join("notes.txt")), 0o666, "not haven's");
    }

    #[test]
    fn links_where_files_are_written_are_refused_by_name() {
        for name in [
            "haven.json",
            "haven.json.new",
            "lock",
            "logs",
            "logs/up.log",
            "aws",
            "aws/sqs.json",
            "aws-port",
            "postgres.pid",
            "orders.db",
            "orders.db-wal",
            "postgres/pg_hba.conf",
            "format",
            "payment-ledger.jsonl",
        ] {
            let folder = Folder::new();
            let state = folder.0.join("state");
            let victim = folder.0.join("victim");
            fs::write(&victim, "the user's").expect("written");
            fs::create_dir_all(state.join(name).parent().expect("a parent")).expect("made");
            symlink(&victim, state.join(name)).expect("a link");
            // What haven itself wrote once.
            if name != "format" {
                fs::write(state.join("format"), "2").expect("written");
            }
            let refused = refusal(crate::local::state::State::open(&state));
            assert!(refused.contains(&format!("symbolic link {name}:")), "{name}: {refused}");
            assert_eq!(fs::read_to_string(&victim).expect("it is there"), "the user's", "{name}");
        }
    }

    #[test]
    fn a_directory_that_haven_did_not_make_is_not_taken_over() {
        let folder = Folder::new();
        fs::create_dir(folder.0.join("logs")).expect("a folder");
        let refused = refusal(admit(&folder.0));
        assert!(refused.contains("logs exists and haven did not make it"), "{refused}");

        let shared = Folder::new();
        fs::write(shared.0.join("somebody's"), "").expect("written");
        fs::set_permissions(&shared.0, Permissions::from_mode(0o1777)).expect("changed");
        let refused = refusal(admit(&shared.0));
        assert!(refused.contains("others may write"), "{refused}");
        assert_eq!(mode(&shared.0), 0o777);

        let refused = refusal(admit(Path::new("/")));
        assert!(refused.contains("--state DIR"), "{refused}");
    }

    #[test]
    fn a_directory_of_another_user_is_refused_by_name() {
        let folder = Folder::new();
        let state = folder.0.join("state");
        fs::create_dir(&state).expect("a folder");
        if std::os::unix::fs::chown(&state, Some(65534), Some(65534)).is_err() {
            println!("skipped: only root can give a folder to another user");
            return;
        }
        let refused = refusal(admit(&state));
        assert!(refused.contains("belongs to the user with id 65534"), "{refused}");
        assert!(refused.contains(&state.display().to_string()), "{refused}");
    }

    #[test]
    fn paths_that_do_not_work_everywhere_are_refused_before_anything_is_made() {
        let folder = Folder::new();
        let long = format!("{}/{}", "a".repeat(200), "b".repeat(200));
        let long = [long.as_str(); 3].join("/");
        for (name, why) in [
            (std::ffi::OsStr::from_bytes(b"state-\xff"), "not UTF-8"),
            (std::ffi::OsStr::new("two\nlines"), "control character"),
            (std::ffi::OsStr::new(&long), "is the limit"),
        ] {
            let refused = refusal(admit(&folder.0.join(name)));
            assert!(refused.contains(why) && refused.contains("--state DIR"), "{refused}");
        }
        assert_eq!(fs::read_dir(&folder.0).expect("a list").count(), 0);
        admit(&folder.0.join("100% of a? #1 Käfer's \"shop\"")).expect("odd, and fine");
    }

    #[test]
    fn a_file_is_written_whole_and_for_its_owner_alone() {
        let folder = Folder::new();
        let path = folder.0.join("secret");
        write(&path, b"one").expect("written");
        write(&path, b"two").expect("written");
        assert_eq!((fs::read(&path).expect("there"), mode(&path)), (b"two".to_vec(), 0o600));
        assert_eq!(fs::read_dir(&folder.0).expect("a list").count(), 1);
    }
}
