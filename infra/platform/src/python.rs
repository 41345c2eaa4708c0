//! The private Python environment of the local AWS: finds it or builds it, from pinned versions
//! with hashes.
//!
//! An environment is built in a separate directory beside its final place, and renamed when it is
//! finished. Therefore no process sees an unfinished environment, and no lock between processes is
//! needed. If two processes build at the same time, the first rename wins and the other process
//! uses its result. A finished environment has a marker file. A directory that haven did not make
//! belongs to the user and is refused.

mod install;
mod interpreter;
mod place;
mod trust;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::fs::StatVfsMountFlags;
use tokio::sync::Mutex;

pub use place::{Place, in_cache, place};

use crate::python::interpreter::{Broken, examine, interpreter};
use crate::python_marks::{MARKER, REQUIREMENTS, is_havens, read_text};

/// Returns the Python interpreter of a working environment, and whether the environment had to be
/// built. Start programs as `INTERPRETER -I -m MODULE`: the scripts in `bin` contain the path of
/// the directory where they were installed, and the directory was renamed since.
///
/// # Errors
/// When the directory exists and haven did not make it, another user may write to it, Python is
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

/// The content of the place of the environment. Other content is an error that names the path and
/// the reason.
enum Found {
    /// No directory, or an empty one.
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
            "{} is not a Python environment that haven made ({why}): move it away, or name another directory with HAVEN_PYTHON_ENV",
            folder.display()
        )
    };
    let metadata = match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        metadata => metadata.with_context(|| format!("look at {}", folder.display()))?,
    };
    if !metadata.is_dir() {
        return Err(refused("not a directory"));
    }
    let mut entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    if entries.next().is_none() && metadata.uid() == rustix::process::geteuid().as_raw() {
        return Ok(Found::Nothing);
    }
    // Check this before anything is changed: directories of the user keep their content and their
    // modes.
    let marker = read_text(&folder.join(MARKER));
    let ours = match place {
        Place::Shared(_) => marker.is_some() && is_havens(folder),
        // Old releases wrote the marker first and left an environment without it when they were
        // killed during the installation. In a shared directory, an environment without a marker
        // can be the user's own, with these requirements installed in it.
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
        Broken::OtherRequirements
    };
    match owner {
        trust::Owner::Us => Ok(Found::Outdated),
        trust::Owner::Another => bail!(
            "the Python environment {} cannot be used ({broken}) and belongs to another user: ask them to run `haven up` once with HAVEN_PYTHON_ENV={0}, or name another directory with HAVEN_PYTHON_ENV",
            folder.display()
        ),
    }
}

/// Returns the place with an absolute path, or the user's cache directory if no environment works
/// at that path. Compiled modules cannot be loaded from a file system that is mounted `noexec`, and
/// `venv` refuses a path with a colon.
fn usable(place: &Place) -> anyhow::Result<Place> {
    let folder =
        std::path::absolute(place.folder()).context("find the Python environment's directory")?;
    // A symbolic link to an environment is resolved. `look` refuses a dangling link as "not a
    // directory".
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
            "{shown} {why}, where no Python environment works: name a directory elsewhere with HAVEN_PYTHON_ENV"
        )
    };
    eprintln!(
        "  {shown} {why}: the Python environment is kept in {}",
        cache.folder().display()
    );
    Ok(cache)
}

/// Returns the reason if no Python environment works in a directory.
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

#[cfg(test)]
mod tests;
