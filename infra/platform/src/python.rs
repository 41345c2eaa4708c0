//! The private Python environment of the local AWS: finds it or builds it, from pinned versions
//! with hashes.
//!
//! An environment is built in a separate folder beside its final place, and renamed when it is
//! finished. Therefore no process sees an unfinished environment, and no lock between processes is
//! needed. If two processes build at the same time, the first rename wins and the other process
//! uses its result. A finished environment has a marker file. A folder that haven did not make
//! belongs to the user and is refused.

mod install;
mod trust;

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use chassis::config::ProcessEnvironment;
use rustix::fs::StatVfsMountFlags;
use tokio::process::Command;
use tokio::sync::Mutex;

pub use install::is_unfinished;

use crate::tool;

/// The requirements: exact versions, and the hashes of their files.
const REQUIREMENTS: &str = include_str!("../../../localstack/requirements.txt");
/// The first line of `REQUIREMENTS` begins with this in every release.
const REQUIREMENTS_TITLE: &str = "# The local AWS, pinned by version and by hash.";
/// The marker of a finished environment. It holds the requirements that are installed.
const MARKER: &str = "requirements.installed";
/// The copy of the requirements that `pip` reads.
const REQUIREMENTS_FILE: &str = "requirements.txt";
/// The oldest Python version that the local AWS supports.
const OLDEST: (u32, u32) = (3, 10);
const CANDIDATES: [&str; 6] = [
    "python3",
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
    "python",
];

/// The location of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the state directory: private to its owner (0700), built under the lock of the state
    /// directory.
    InState(PathBuf),
    /// A folder that several state directories share. It contains no secrets and has mode 0755.
    Shared(PathBuf),
}

impl Place {
    fn folder(&self) -> &Path {
        match self {
            Place::InState(folder) | Place::Shared(folder) => folder,
        }
    }
}

/// Returns the place that `HAVEN_PYTHON_ENV` names, or `STATE/python`.
pub fn place(state: &Path) -> Place {
    match named("HAVEN_PYTHON_ENV") {
        Some(folder) => Place::Shared(folder.into()),
        None => Place::InState(state.join("python")),
    }
}

/// Returns a variable of the environment of this process.
fn named(variable: &str) -> Option<std::ffi::OsString> {
    ProcessEnvironment.get_os(variable)
}

/// Returns the Python interpreter of a working environment, and whether the environment had to be
/// built. Start programs as `INTERPRETER -I -m MODULE`: the scripts in `bin` contain the path of
/// the folder where they were installed, and the folder was renamed since.
///
/// # Errors
/// When the folder exists and haven did not make it, another user may write to it, Python is
/// missing, or the package index cannot be reached.
pub async fn ensure(place: &Place) -> anyhow::Result<(PathBuf, bool)> {
    /// One build at a time inside this process.
    static TURN: Mutex<()> = Mutex::const_new(());
    let _turn = TURN.lock().await;
    let place = usable(place)?;
    let folder = place.folder();
    let outdated = match look(&place).await? {
        Found::Finished => return Ok((interpreter(folder), false)),
        Found::Nothing => false,
        Found::Outdated => true,
    };
    install::remove_abandoned(&place);
    let fresh = install::build(&place).await?;
    // Another process can have finished the same environment in the meantime.
    if outdated && !matches!(look(&place).await?, Found::Finished) {
        fresh.replace(folder)?;
    } else if let Err(error) = fresh.move_to(folder) {
        match look(&place).await {
            Ok(Found::Finished) => {}
            Ok(_) => return Err(error),
            Err(reason) => return Err(reason),
        }
    }
    Ok((interpreter(folder), true))
}

/// Returns the interpreter of a finished environment. Builds none.
pub async fn finished(place: &Place) -> Option<PathBuf> {
    let place = usable(place).ok()?;
    matches!(look(&place).await, Ok(Found::Finished)).then(|| interpreter(place.folder()))
}

fn interpreter(folder: &Path) -> PathBuf {
    folder.join("bin").join("python")
}

/// What exists at the place of the environment. Anything else is an error that names the path and
/// the reason.
enum Found {
    /// No folder, or an empty one.
    Nothing,
    /// A working environment with the current requirements.
    Finished,
    /// An environment that haven made, with other requirements, unfinished, or broken by a change
    /// of the system's Python.
    Outdated,
}

/// Examines the place of the environment without changing it.
///
/// # Errors
/// When haven did not make what is there, or another user may write to it.
async fn look(place: &Place) -> anyhow::Result<Found> {
    let folder = place.folder();
    let refused = |why: &str| {
        anyhow::anyhow!(
            "{} is not a Python environment that haven made ({why}): move it away, or name another folder with HAVEN_PYTHON_ENV",
            folder.display()
        )
    };
    let metadata = match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        metadata => metadata.with_context(|| format!("look at {}", folder.display()))?,
    };
    if !metadata.is_dir() {
        return Err(refused("not a folder"));
    }
    let mut entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    if entries.next().is_none() && metadata.uid() == rustix::process::geteuid().as_raw() {
        return Ok(Found::Nothing);
    }
    // Check this before anything is changed: folders of the user keep their content and their
    // modes.
    let marker = read_text(&folder.join(MARKER));
    let ours = match place {
        Place::Shared(_) => marker.is_some() && is_havens(folder),
        // Old releases wrote the marker first and left an environment without it when they were
        // killed during the installation. In a shared folder, an environment without a marker can
        // be the user's own, with these requirements installed in it.
        Place::InState(_) => is_havens(folder),
    };
    if !ours {
        return Err(refused(&format!("it has no {MARKER} of haven")));
    }
    let owner = trust::examine(place, &metadata)?;
    let broken = if marker.as_deref() == Some(REQUIREMENTS) {
        match examine(folder, &[]).await {
            Ok(()) => return Ok(Found::Finished),
            Err(why) => why,
        }
    } else {
        "it was made for other requirements".to_owned()
    };
    match owner {
        trust::Owner::Us => Ok(Found::Outdated),
        trust::Owner::Another => bail!(
            "the Python environment {} cannot be used ({broken}) and belongs to another user: ask them to run `haven up` once with HAVEN_PYTHON_ENV={0}, or name another folder with HAVEN_PYTHON_ENV",
            folder.display()
        ),
    }
}

/// Returns whether haven made the environment in a folder, finished or not.
pub fn is_havens(folder: &Path) -> bool {
    let is_titled = |text: String| text.starts_with(REQUIREMENTS_TITLE);
    let written =
        read_text(&folder.join(MARKER)).or_else(|| read_text(&folder.join(REQUIREMENTS_FILE)));
    folder.join("pyvenv.cfg").is_file() && written.is_some_and(is_titled)
}

/// Returns the text of a regular file, or `None` for anything else.
fn read_text(path: &Path) -> Option<String> {
    fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.is_file())
        .then(|| fs::read_to_string(path).ok())?
}

/// Checks that the interpreter of the environment runs and finds the modules that the local AWS
/// needs, and the versions in `installed` (`NAME==VERSION`). With a warm file cache this takes
/// about 50 ms.
async fn examine(folder: &Path, installed: &[&str]) -> Result<(), String> {
    const LOOK: &str = r#"
import importlib.metadata, importlib.util, sys
import cbor2
for module in ("ministack", "hypercorn", "botocore"):
    if importlib.util.find_spec(module) is None:
        sys.exit(f"{module} is missing")
for requirement in sys.argv[1:]:
    name, version = requirement.split("==")
    found = importlib.metadata.version(name)
    if found != version:
        sys.exit(f"{name} is {found} and not {version}")
print("well")
"#;
    let mut command = tool::command(interpreter(folder));
    command.args(["-I", "-B", "-c", LOOK]).args(installed);
    clean(&mut command);
    let output = tool::output(command, "python")
        .await
        .map_err(|error| format!("its Python does not start: {error}"))?;
    match output.status.success() && output.stdout == b"well\n" {
        true => Ok(()),
        false => Err(install::last_line(&output)),
    }
}

/// Clears the environment of a command, so that the user's Python and pip settings have no effect.
/// With `PYTHONHOME` the interpreter would not start, and with `PIP_TARGET` or a pip.conf packages
/// would be installed elsewhere.
fn clean(command: &mut Command) -> &mut Command {
    command.env_clear();
    for variable in ["PATH", "TMPDIR", "LANG", "LC_ALL"] {
        if let Some(value) = named(variable) {
            command.env(variable, value);
        }
    }
    command
}

/// Returns the place with an absolute path, or the user's cache folder if no environment works at
/// that path. Compiled modules cannot be loaded from a file system that is mounted `noexec`, and
/// `venv` refuses a path with a colon.
fn usable(place: &Place) -> anyhow::Result<Place> {
    let folder =
        std::path::absolute(place.folder()).context("find the Python environment's folder")?;
    // A symbolic link to an environment is resolved. `look` refuses a dangling link as "not a
    // folder".
    let folder = fs::canonicalize(&folder).unwrap_or(folder);
    let Some(why) = problem(&folder)? else {
        return Ok(match place {
            Place::InState(_) => Place::InState(folder),
            Place::Shared(_) => Place::Shared(folder),
        });
    };
    let shown = folder.display();
    let Some(cache) = in_cache().filter(|cache| matches!(problem(cache.folder()), Ok(None))) else {
        bail!(
            "{shown} {why}, where no Python environment works: name a folder elsewhere with HAVEN_PYTHON_ENV"
        )
    };
    eprintln!(
        "  {shown} {why}: the Python environment is kept in {}",
        cache.folder().display()
    );
    Ok(cache)
}

/// Returns the reason if no Python environment works in a folder.
fn problem(folder: &Path) -> anyhow::Result<Option<&'static str>> {
    if folder.as_os_str().as_encoded_bytes().contains(&b':') {
        return Ok(Some("contains ':'"));
    }
    let existing = folder
        .ancestors()
        .find(|above| above.exists())
        .unwrap_or(Path::new("/"));
    let mounted =
        rustix::fs::statvfs(existing).with_context(|| format!("look at {}", existing.display()))?;
    Ok(mounted
        .f_flag
        .contains(StatVfsMountFlags::NOEXEC)
        .then_some("is mounted noexec"))
}

/// Returns the place in the user's cache folder, or `None` without `HOME` and `XDG_CACHE_HOME`.
pub fn in_cache() -> Option<Place> {
    let home = named("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = named("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|cache| cache.is_absolute())
        .or(home);
    cache.map(|cache| Place::Shared(cache.join("brew-haven").join("python")))
}

/// Returns the first Python that is new enough, as an absolute path if possible. `HAVEN_PYTHON`
/// replaces the candidates.
async fn find() -> anyhow::Result<PathBuf> {
    let candidates: Vec<_> = match named("HAVEN_PYTHON") {
        Some(named) => vec![named],
        None => CANDIDATES.iter().map(Into::into).collect(),
    };
    let mut too_old = None;
    for candidate in candidates {
        let mut command = tool::command(&candidate);
        command.args([
            "-I",
            "-c",
            "import sys; print(*sys.version_info[:2]); print(sys.executable)",
        ]);
        // A version manager's shim needs its own variables, but Python must not see the user's.
        for name in ProcessEnvironment.names_with_prefix("PYTHON") {
            command.env_remove(name);
        }
        let Ok(answer) = tool::output(command, "python").await else {
            continue;
        };
        let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
        let Some((version, path)) = version(&answer) else {
            continue;
        };
        if version >= OLDEST {
            return Ok(if Path::new(path).is_absolute() {
                path.into()
            } else {
                candidate.into()
            });
        }
        too_old = Some(format!(
            "{} is {}.{}",
            candidate.display(),
            version.0,
            version.1
        ));
    }
    let found = too_old.map(|old| format!(" ({old})")).unwrap_or_default();
    bail!(
        "Python {}.{} or newer is needed for the local AWS and was not found{found}: install it, or name one with HAVEN_PYTHON=/path/to/python3",
        OLDEST.0,
        OLDEST.1
    )
}

/// Parses the version and the path that the interpreter printed.
fn version(answer: &str) -> Option<((u32, u32), &str)> {
    let (numbers, path) = answer.split_once('\n')?;
    let mut numbers = numbers.split_whitespace().map(str::parse);
    Some((
        (numbers.next()?.ok()?, numbers.next()?.ok()?),
        path.trim_end(),
    ))
}

/// Returns the pinned packages without an environment marker, which every supported Python
/// installs, as `NAME==VERSION`.
fn pinned() -> impl Iterator<Item = &'static str> {
    REQUIREMENTS.lines().filter_map(|line| {
        let requirement = line.trim_end_matches('\\').trim();
        let plain = requirement.contains("==")
            && !requirement.starts_with('#')
            && !requirement.contains(';');
        plain.then_some(requirement)
    })
}

/// Returns the path of a hidden folder beside `folder`, whose name ends with `purpose`.
fn beside(folder: &Path, purpose: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(folder.file_name().unwrap_or(OsStr::new("python")));
    name.push(purpose);
    folder.with_file_name(name)
}

#[cfg(test)]
mod tests;
