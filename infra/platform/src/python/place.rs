//! The location of the Python environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use chassis::config::ProcessEnvironment;

/// The location of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the state directory: private to its owner (0700), built under the lock of the state
    /// directory.
    InState(PathBuf),
    /// A directory that several state directories share. It contains no secrets and has mode 0755.
    Shared(PathBuf),
}

impl Place {
    /// Returns the directory of the environment.
    pub fn folder(&self) -> &Path {
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
pub fn named(variable: &str) -> Option<OsString> {
    ProcessEnvironment.get_os(variable)
}

/// Returns the place in the user's cache directory, or `None` without `HOME` and `XDG_CACHE_HOME`.
pub fn in_cache() -> Option<Place> {
    let home = named("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = named("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|cache| cache.is_absolute())
        .or(home);
    cache.map(|cache| Place::Shared(cache.join("brew-haven").join("python")))
}
