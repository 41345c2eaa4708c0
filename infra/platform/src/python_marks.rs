//! The marks of a Python environment that haven made: its requirements, its marker file and the
//! names of directories that are being built.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// The requirements: exact versions, and the hashes of their files.
pub(crate) const REQUIREMENTS: &str = include_str!("../../../localstack/requirements.txt");
/// The first line of `REQUIREMENTS` begins with this in every release.
pub(crate) const REQUIREMENTS_TITLE: &str = "# The local AWS, pinned by version and by hash.";
/// The marker of a finished environment. It holds the requirements that are installed.
pub(crate) const MARKER: &str = "requirements.installed";
/// The copy of the requirements that `pip` reads.
pub(crate) const REQUIREMENTS_FILE: &str = "requirements.txt";
/// Part of the name of a directory that is being built.
pub(crate) const UNFINISHED: &str = ".haven-unfinished-";
/// Part of the name of a replaced environment that is being removed.
pub(crate) const REPLACED: &str = ".haven-replaced-";
/// The common part of both names.
const OF_HAVEN: &str = ".haven-";
/// Returns whether haven made the environment in a directory, finished or not.
pub(crate) fn is_havens(folder: &Path) -> bool {
    let is_titled = |text: String| text.starts_with(REQUIREMENTS_TITLE);
    let written =
        read_text(&folder.join(MARKER)).or_else(|| read_text(&folder.join(REQUIREMENTS_FILE)));
    folder.join("pyvenv.cfg").is_file() && written.is_some_and(is_titled)
}

/// Returns the text of a regular file, or `None` for anything else.
pub(crate) fn read_text(path: &Path) -> Option<String> {
    fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.is_file())
        .then(|| fs::read_to_string(path).ok())?
}

/// Returns whether a build gives names like this one to the directories beside the place.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.starts_with('.') && name.contains(OF_HAVEN)
}

/// Returns the pinned packages without an environment marker, which every supported Python
/// installs, as `NAME==VERSION`.
pub(crate) fn pinned() -> impl Iterator<Item = &'static str> {
    REQUIREMENTS.lines().filter_map(|line| {
        let requirement = line.trim_end_matches('\\').trim();
        let plain = requirement.contains("==")
            && !requirement.starts_with('#')
            && !requirement.contains(';');
        plain.then_some(requirement)
    })
}

/// Returns the path of a hidden directory beside `folder`, whose name ends with `purpose`.
pub fn beside(folder: &Path, purpose: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(folder.file_name().unwrap_or(OsStr::new("python")));
    name.push(purpose);
    folder.with_file_name(name)
}
