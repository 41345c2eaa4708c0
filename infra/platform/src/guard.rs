//! Checks of a state directory before anything is written to it. Its path must work in every part
//! of the platform. The directory must belong to our user, be closed to other accounts, and contain
//! no symbolic links where files are written.

use std::fs::{self, DirBuilder, DirEntry, File, Metadata, Permissions, ReadDir};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chassis::config::ProcessEnvironment;
use haven_console::BadUsage;

use crate::facts::Facts;
use crate::format;
use crate::lock::{LOCK, parse_holder};
use crate::private_file::{OTHERS, open_own, refuse_another_owner, unusable};
use crate::python_marks as marks;

/// Files that show that haven made a directory, each with a test of its content. Other programs use
/// some of these names too.
const MARKS: [(&str, IsHavens); 5] = [
    (LOCK, |content| parse_holder(content).is_some()),
    ("format", |content| {
        text(content).is_some_and(|number| number.parse::<u32>().is_ok())
    }),
    ("aws-port", |content| {
        text(content).is_some_and(|port| port.parse::<u16>().is_ok())
    }),
    ("payment-ledger.jsonl", |content| {
        content.first().is_none_or(|first| *first == b'{')
    }),
    ("haven.json", |content| {
        serde_json::from_slice::<Facts>(content).is_ok()
    }),
];
type IsHavens = fn(&[u8]) -> bool;
/// The bytes of a file to test. Only the payment ledger can be larger, and its beginning is enough.
const MARK_BYTES_MAX: u64 = 64 * 1024;
/// The other files of haven, by their name, its beginning or its end.
const OURS: [&str; 9] = [
    "logs",
    "aws",
    "aws-rebuild.json",
    "aws-rebuilt.json",
    "postgres",
    "redis",
    "containers",
    "run",
    "version",
];
const OURS_BEGIN: [&str; 6] = [
    "orders.db",
    "haven.json",
    "postgres-",
    "redis-",
    "aws-socket",
    "aws.torn-",
];
const OURS_END: [&str; 1] = [".pid"];
/// The directory that `haven deploy` also makes, before any `haven up` has used the state
/// directory.
const DEPLOYED: &str = "deployed";
/// The Python environment. An older haven had a lock file beside it.
const PYTHON: &str = "python";
const PYTHON_LOCK: &str = "python.lock";
/// The longest path of a state directory in bytes. PostgreSQL truncates paths at 1,024 bytes
/// (`MAXPGPATH`), and its files in the directory need the rest.
const PATH_BYTES_MAX: usize = 900;
/// The sticky bit, which directories for all accounts such as /tmp have.
const STICKY: u32 = 0o1000;

/// Returns the real path of the state directory. Makes the directory if it is missing (0700), and
/// removes the permissions of other accounts from it and from everything of haven's in it.
///
/// # Errors
/// [`BadUsage`] for one of these, before anything is changed:
///
/// - a path that some part of the platform cannot use,
/// - a directory of another user,
/// - a directory that haven did not make and must not take over,
/// - a newer format,
/// - a symbolic link where files are written.
///
/// Other errors come from the system, such as a full disk.
pub fn admit(folder: &Path) -> anyhow::Result<PathBuf> {
    check_path(&std::path::absolute(folder).context("find the state directory")?)?;
    let made = match fs::metadata(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .and_then(|()| fs::metadata(folder)),
        found => found,
    };
    let metadata = made.map_err(|error| {
        unusable(
            error,
            format!("the state directory {} cannot be made", folder.display()),
        )
    })?;
    let folder = folder
        .canonicalize()
        .with_context(|| format!("find {}", folder.display()))?;
    check_path(&folder)?;
    if !metadata.is_dir() {
        let why = format!(
            "the state directory {} is a file: choose another with --state DIR",
            folder.display()
        );
        return Err(BadUsage(why).into());
    }
    refuse_another_owner(&folder, &metadata)?;
    if !is_marked(&folder, &metadata)
        && let Err(refused) = refuse_what_is_not_ours(&folder, &metadata)
        // Another start can have written its files between the two checks.
        && !is_marked(&folder, &metadata)
    {
        return Err(refused);
    }
    // Check everything before changing anything, so that a refused directory stays as it is.
    let mut open = inspect(&folder)?;
    format::check(&folder)?;
    if metadata.mode() & OTHERS != 0 {
        close(&folder, &metadata)?;
        // Another account could have placed a symbolic link before the directory was closed.
        open = inspect(&folder)?;
    }
    // Close the innermost files first: if this is interrupted, the directories above are still open
    // and the next start repeats it.
    open.iter()
        .rev()
        .try_for_each(|(path, metadata)| close(path, metadata))?;
    Ok(folder)
}

/// Refuses paths that cannot be written exactly in `haven.json`, in a container label or in a URL.
fn check_path(path: &Path) -> Result<(), BadUsage> {
    let refused = |why: &str| {
        BadUsage(format!(
            "the state directory {path:?} cannot be used, since its path {why}: choose another with --state DIR"
        ))
    };
    let Some(text) = path.to_str() else {
        return Err(refused("is not UTF-8"));
    };
    if text.len() > PATH_BYTES_MAX {
        return Err(refused(&format!(
            "has {} bytes, and {PATH_BYTES_MAX} is the limit",
            text.len()
        )));
    }
    match text.chars().find(|letter| letter.is_control()) {
        Some(letter) => Err(refused(&format!(
            "contains the control character {}",
            letter.escape_unicode()
        ))),
        None => Ok(()),
    }
}

/// Returns whether haven made the directory, by the content of its files. Other programs have files
/// named `lock` or `format` too.
fn is_marked(folder: &Path, metadata: &Metadata) -> bool {
    // An empty lock file is weaker evidence than one with a holder. An older haven left it empty,
    // beside its logs. A start that was killed leaves it empty in a closed directory.
    let may_be_empty = metadata.mode() & OTHERS == 0 || folder.join("logs").is_dir();
    MARKS.iter().any(|(name, is_havens)| {
        let begin = |file: File| {
            let mut content = Vec::new();
            file.take(MARK_BYTES_MAX)
                .read_to_end(&mut content)
                .map(|_| content)
        };
        let Ok(content) = open_own(&folder.join(name)).and_then(begin) else {
            return false;
        };
        is_havens(&content) || (*name == LOCK && content.is_empty() && may_be_empty)
    })
}

fn text(content: &[u8]) -> Option<&str> {
    std::str::from_utf8(content).ok().map(str::trim)
}

/// Decides about a directory that haven did not make. An empty one is accepted. One with files is
/// accepted if other accounts have no access and no file has a name of haven's.
fn refuse_what_is_not_ours(folder: &Path, metadata: &Metadata) -> anyhow::Result<()> {
    let shown = folder.display();
    let home = ProcessEnvironment
        .get_os("HOME")
        .and_then(|home| fs::canonicalize(home).ok());
    if folder.parent().is_none() || home.as_deref() == Some(folder) || metadata.mode() & STICKY != 0
    {
        let why = format!(
            "{shown} cannot be a state directory: choose one of its own with --state DIR, such as {shown}/.haven"
        );
        return Err(BadUsage(why).into());
    }
    let mut empty = true;
    for entry in list(folder)? {
        let entry = entry.with_context(|| format!("list {shown}"))?;
        empty &= is_of_another_command(&entry);
        if is_ours(&entry.file_name()) {
            let why = format!(
                "{} exists and haven did not make it: move it away, or choose another state directory with --state DIR",
                entry.path().display()
            );
            return Err(BadUsage(why).into());
        }
    }
    if !empty && metadata.mode() & OTHERS != 0 {
        let why = format!(
            "{shown} is not empty, other accounts may use it, and haven did not make it: choose a new state directory with --state DIR, such as {shown}/.haven"
        );
        return Err(BadUsage(why).into());
    }
    Ok(())
}

fn list(folder: &Path) -> anyhow::Result<ReadDir> {
    let listed = fs::read_dir(folder);
    listed.map_err(|error| {
        unusable(
            error,
            format!("the state directory {} cannot be listed", folder.display()),
        )
    })
}

fn is_ours(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    MARKS
        .iter()
        .map(|(mark, _)| mark)
        .chain(&OURS)
        .any(|ours| name == *ours)
        || OURS_BEGIN.iter().any(|begin| name.starts_with(begin))
        || OURS_END.iter().any(|end| name.ends_with(end))
}

/// Returns whether a file comes from a command that does not lock the directory: `haven deploy`, or
/// a command that built a Python environment.
fn is_of_another_command(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy().into_owned();
    let is_lock = name.starts_with(PYTHON) && name.ends_with(".lock");
    name == DEPLOYED
        || marks::is_unfinished(&name)
        || marks::is_havens(&entry.path())
        || (is_lock && entry.metadata().is_ok_and(|lock| lock.len() == 0))
}

/// Refuses symbolic links where haven writes, because the creator of a link chooses the file that
/// is overwritten. Returns the files that are open to other accounts, because an older haven or
/// another umask left them so.
///
/// # Errors
/// [`BadUsage`] for the first symbolic link, or for a file of another user.
fn inspect(folder: &Path) -> anyhow::Result<Vec<(PathBuf, Metadata)>> {
    let mut inspection = Inspection {
        folder,
        us: rustix::process::geteuid().as_raw(),
        open: Vec::new(),
    };
    for entry in list(folder)? {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let metadata = match entry.metadata() {
            // A running `haven up` replaces files, so one can disappear here.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            metadata => metadata.with_context(|| format!("look at {}", entry.path().display()))?,
        };
        if metadata.is_symlink() {
            refuse_link(folder, &entry.path())?;
        }
        let name = entry.file_name();
        if is_ours(&name) || name == DEPLOYED || name == PYTHON_LOCK {
            // Files of a container can belong to a user id of the container. This includes the
            // files of the local AWS if root runs it.
            let of_container = name == "containers"
                || (inspection.us == 0 && name.to_string_lossy().starts_with("aws"));
            let kind = if of_container {
                Kind::OfContainer
            } else {
                Kind::Ours
            };
            inspection.look(&entry.path(), &metadata, kind)?;
        } else if name == PYTHON && metadata.mode() & OTHERS != 0 && marks::is_havens(&entry.path())
        {
            // The environment has thousands of files. In a private directory, no other account can
            // open them, so they need no check.
            inspection.look(&entry.path(), &metadata, Kind::Python)?;
        }
    }
    Ok(inspection.open)
}

struct Inspection<'a> {
    folder: &'a Path,
    us: u32,
    open: Vec<(PathBuf, Metadata)>,
}

/// The kind of a file, which decides about the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours,
    /// Files of a container, which can belong to another user id.
    OfContainer,
    /// The Python environment, which contains symbolic links. Haven writes nothing there after the
    /// build.
    Python,
}

impl Inspection<'_> {
    fn look(&mut self, path: &Path, metadata: &Metadata, kind: Kind) -> anyhow::Result<()> {
        let file_type = metadata.file_type();
        if file_type.is_symlink() && kind != Kind::Python {
            refuse_link(self.folder, path)?;
        }
        if !file_type.is_dir() && !file_type.is_file() {
            // A socket or a pipe of a running server.
            return Ok(());
        }
        if metadata.uid() != self.us && kind != Kind::OfContainer {
            let why = format!(
                "{} belongs to the user with id {}, and this is the user with id {}: give it back with chown -R, or choose another state directory with --state DIR",
                path.display(),
                metadata.uid(),
                self.us
            );
            return Err(BadUsage(why).into());
        }
        if metadata.mode() & OTHERS != 0 && metadata.uid() == self.us {
            self.open.push((path.to_owned(), metadata.clone()));
        }
        if file_type.is_dir() {
            let listed = match fs::read_dir(path) {
                // The directory belongs to a container's user id, or was just removed.
                Err(error)
                    if [ErrorKind::PermissionDenied, ErrorKind::NotFound]
                        .contains(&error.kind()) =>
                {
                    return Ok(());
                }
                listed => listed.with_context(|| format!("list {}", path.display()))?,
            };
            for entry in listed {
                let entry = entry.with_context(|| format!("list {}", path.display()))?;
                match entry.metadata() {
                    Ok(metadata) => self.look(&entry.path(), &metadata, kind)?,
                    // A server of the previous run is still removing its files.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => {
                        return Err(error)
                            .with_context(|| format!("look at {}", entry.path().display()));
                    }
                }
            }
        }
        Ok(())
    }
}

fn refuse_link(folder: &Path, path: &Path) -> Result<(), BadUsage> {
    Err(BadUsage(format!(
        "the state directory {} contains the symbolic link {}: haven writes there, and does not follow links; remove the link, or choose another directory with --state DIR",
        folder.display(),
        path.strip_prefix(folder).unwrap_or(path).display()
    )))
}

fn close(path: &Path, metadata: &Metadata) -> anyhow::Result<()> {
    let mode = metadata.mode() & 0o7777 & !OTHERS;
    match fs::set_permissions(path, Permissions::from_mode(mode)) {
        // A server has just removed the file.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        closed => closed.with_context(|| format!("close {} to other accounts", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory of one test. Removed when the value is dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            let folder = std::env::temp_dir().join(format!("haven-guard-{}", uuid::Uuid::now_v7()));
            fs::create_dir(&folder).expect("a directory");
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

    /// Returns every path below `path`, and `path` itself, with its mode.
    fn modes(path: &Path) -> Vec<(PathBuf, u32)> {
        let metadata = fs::symlink_metadata(path).expect("metadata");
        let mut found = vec![(path.to_owned(), metadata.mode() & 0o7777)];
        if metadata.is_dir() {
            let mut below: Vec<_> = fs::read_dir(path)
                .expect("a list")
                .map(|entry| entry.expect("an entry").path())
                .collect();
            below.sort();
            found.extend(below.iter().flat_map(|path| modes(path)));
        }
        found
    }

    /// Sets the modes that files have under umask 000.
    fn open_to_all(path: &Path) {
        let metadata = fs::symlink_metadata(path).expect("metadata");
        if metadata.is_symlink() {
            return;
        }
        let open = if metadata.is_dir() { 0o777 } else { 0o666 };
        fs::set_permissions(path, Permissions::from_mode(open)).expect("changed");
        if metadata.is_dir() {
            fs::read_dir(path)
                .expect("a list")
                .flatten()
                .for_each(|entry| open_to_all(&entry.path()));
        }
    }

    #[track_caller]
    fn refusal(result: anyhow::Result<impl Sized>) -> String {
        let error = result.err().expect("refused");
        assert!(error.is::<BadUsage>(), "{error:#}");
        format!("{error:#}")
    }

    #[test]
    fn new_and_old_directories_become_private() {
        let folder = Folder::new();
        let new = admit(&folder.0.join("new").join("state")).expect("made");
        assert_eq!(mode(&new), 0o700);

        let old = folder.0.join("old");
        for (path, file) in [
            ("logs", "logs/up.log"),
            ("aws", "aws/sqs.json"),
            ("postgres/base", "postgres/PG_VERSION"),
        ] {
            fs::create_dir_all(old.join(path)).expect("a directory");
            fs::write(old.join(file), "").expect("written");
        }
        for file in ["lock", "orders.db", "orders.db-wal", "payment-ledger.jsonl"] {
            fs::write(old.join(file), "").expect("written");
        }
        fs::write(old.join("notes.txt"), "mine").expect("written");
        for path in [
            &old,
            &old.join("logs"),
            &old.join("aws"),
            &old.join("postgres"),
            &old.join("postgres/base"),
        ] {
            fs::set_permissions(path, Permissions::from_mode(0o777)).expect("changed");
        }
        for file in [
            "logs/up.log",
            "aws/sqs.json",
            "postgres/PG_VERSION",
            "lock",
            "orders.db",
            "notes.txt",
        ] {
            fs::set_permissions(old.join(file), Permissions::from_mode(0o666)).expect("changed");
        }
        let old = admit(&old).expect("haven made it");
        for path in ["", "logs", "aws", "postgres", "postgres/base"] {
            assert_eq!(mode(&old.join(path)), 0o700, "{path}");
        }
        for file in [
            "logs/up.log",
            "aws/sqs.json",
            "postgres/PG_VERSION",
            "lock",
            "orders.db",
            "orders.db-wal",
        ] {
            assert_eq!(mode(&old.join(file)), 0o600, "{file}");
        }
        assert_eq!(mode(&old.join("notes.txt")), 0o666, "not haven's");
    }

    #[test]
    fn symbolic_links_to_written_files_are_refused_by_name() {
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
            // The content that haven itself writes.
            let (mark, content) = if name == "format" {
                ("aws-port", "4566")
            } else {
                ("format", "2")
            };
            fs::write(state.join(mark), content).expect("written");
            open_to_all(&state);
            let before = modes(&state);
            let refused = refusal(crate::state::State::open(&state));
            assert!(
                refused.contains(&format!("symbolic link {name}:")),
                "{name}: {refused}"
            );
            assert_eq!(
                fs::read_to_string(&victim).expect("it is there"),
                "the user's",
                "{name}"
            );
            assert_eq!(modes(&state), before, "{name}");
        }
    }

    /// Makes a directory with these files; a name that ends with a slash is a subdirectory.
    fn directory(folder: &Folder, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let path = folder.0.join(name);
        fs::create_dir(&path).expect("a directory");
        for (file, content) in files {
            fs::create_dir_all(path.join(file).parent().expect("a parent")).expect("a directory");
            match file.ends_with('/') {
                true => fs::create_dir_all(path.join(file)).expect("a directory"),
                false => fs::write(path.join(file), content).expect("written"),
            }
        }
        path
    }

    #[test]
    fn a_foreign_directory_is_refused_and_not_changed() {
        let folder = Folder::new();
        let theirs = "haven did not make it";
        for (name, files, why) in [
            ("web", &[("index.html", "<p>")][..], theirs),
            (
                "project",
                &[
                    ("lock", "pid 4711"),
                    ("logs/today.log", ""),
                    ("postgres/", ""),
                ],
                theirs,
            ),
            // The files of /var/lib/dpkg, which belongs to root.
            ("packages", &[("lock", ""), ("status", "")], theirs),
            ("formats", &[("format", "pdf"), ("version", "3")], theirs),
            ("port", &[("aws-port", "the third on the left")], theirs),
            (
                "ledger",
                &[("payment-ledger.jsonl", "paid\n"), ("redis.pid", "1")],
                theirs,
            ),
            ("facts", &[("haven.json", "{}")], theirs),
            (
                "mine",
                &[
                    ("python/pyvenv.cfg", "home = /usr/bin\n"),
                    ("python.lock", "1"),
                ],
                theirs,
            ),
            (
                "newer",
                &[("lock", ""), ("logs/up.log", ""), ("format", "99")],
                "has format 99",
            ),
        ] {
            let theirs = directory(&folder, name, files);
            open_to_all(&theirs);
            let before = modes(&theirs);
            let refused = refusal(crate::state::State::open(&theirs));
            assert!(
                refused.contains(why) && refused.contains("--state DIR"),
                "{name}: {refused}"
            );
            assert!(
                refused.contains(&theirs.display().to_string()),
                "{name}: {refused}"
            );
            assert_eq!(modes(&theirs), before, "{name}");
            for (file, content) in files.iter().filter(|(file, _)| !file.ends_with('/')) {
                assert_eq!(
                    fs::read_to_string(theirs.join(file)).expect("it is there"),
                    *content,
                    "{name}/{file}"
                );
            }
        }

        let shared = Folder::new();
        fs::set_permissions(&shared.0, Permissions::from_mode(0o1777)).expect("changed");
        for place in [&shared.0, Path::new("/")] {
            let refused = refusal(admit(place));
            assert!(refused.contains("cannot be a state directory"), "{refused}");
        }
        assert_eq!(modes(&shared.0)[0].1, 0o1777);
    }

    #[test]
    fn a_directory_with_files_of_other_haven_commands_is_accepted() {
        let folder = Folder::new();
        let title = "# The local AWS, pinned by version and by hash.";
        let state = directory(
            &folder,
            "state",
            &[
                ("deployed/local/brew-haven-data.json", "{}"),
                ("python/pyvenv.cfg", "home = /usr/bin\n"),
                ("python/requirements.installed", title),
                ("python.lock", ""),
                (".python.haven-unfinished-1/pyvenv.cfg", ""),
                ("python-for-tests/pyvenv.cfg", "home = /usr/bin\n"),
                ("python-for-tests/requirements.installed", title),
            ],
        );
        symlink("/usr/bin/python3", state.join("python/python3"))
            .expect("a link, as venv makes it");
        open_to_all(&state);
        let admitted = admit(&state).expect("haven made all of it");
        for path in [
            "",
            "deployed",
            "deployed/local/brew-haven-data.json",
            "python/pyvenv.cfg",
            "python",
            "python.lock",
        ] {
            assert_eq!(mode(&admitted.join(path)) & OTHERS, 0, "{path}");
        }

        // A directory that only its owner can use may contain other files.
        let own = directory(&folder, "own", &[("notes.txt", "mine")]);
        fs::set_permissions(&own, Permissions::from_mode(0o700)).expect("changed");
        let own = admit(&own).expect("nobody else uses it");
        // A start that was killed here leaves an empty lock file, and the next start must accept
        // it.
        fs::write(own.join("lock"), "").expect("written");
        admit(&own).expect("haven began to make it");
    }

    #[test]
    fn directories_of_haven_are_private_complete_and_of_one_owner() {
        let folder = Folder::new();
        let files = [
            ("format", "2"),
            ("run/order-worker.json", "[]"),
            ("aws-rebuild.json", "{}"),
            ("aws-rebuilt.json", "{}"),
            ("aws.torn-20261129T100000/sqs.json", "{}"),
            ("logs/up.log", ""),
        ];
        let state = directory(&folder, "state", &files);
        open_to_all(&state);
        let state = admit(&state).expect("haven made it");
        let open: Vec<_> = modes(&state)
            .into_iter()
            .filter(|(_, mode)| mode & OTHERS != 0)
            .collect();
        assert_eq!(open, []);

        let log = state.join("logs/up.log");
        if std::os::unix::fs::chown(&log, Some(65534), Some(65534)).is_err() {
            println!("skipped: only root can give a file to another user");
            return;
        }
        let refused = refusal(admit(&state));
        assert!(
            refused.contains("logs/up.log belongs to the user with id 65534"),
            "{refused}"
        );
    }

    #[test]
    fn a_directory_of_another_user_is_refused_by_name() {
        let folder = Folder::new();
        let state = folder.0.join("state");
        fs::create_dir(&state).expect("a directory");
        if std::os::unix::fs::chown(&state, Some(65534), Some(65534)).is_err() {
            println!("skipped: only root can give a directory to another user");
            return;
        }
        let refused = refusal(admit(&state));
        assert!(
            refused.contains("belongs to the user with id 65534"),
            "{refused}"
        );
        assert!(refused.contains(&state.display().to_string()), "{refused}");
    }

    #[test]
    fn unusable_paths_are_refused_before_any_change() {
        let folder = Folder::new();
        let long = format!("{}/{}", "a".repeat(200), "b".repeat(200));
        let long = [long.as_str(); 3].join("/");
        for (name, why) in [
            (std::ffi::OsStr::from_bytes(b"state-\xff"), "not UTF-8"),
            (std::ffi::OsStr::new("two\nlines"), "control character"),
            (std::ffi::OsStr::new(&long), "is the limit"),
        ] {
            let refused = refusal(admit(&folder.0.join(name)));
            assert!(
                refused.contains(why) && refused.contains("--state DIR"),
                "{refused}"
            );
        }
        assert_eq!(fs::read_dir(&folder.0).expect("a list").count(), 0);
        admit(&folder.0.join("100% of a? #1 Käfer's \"shop\"")).expect("odd, and fine");
    }
}
