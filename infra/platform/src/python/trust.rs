//! Checks who owns a Python environment and who else may write to it, because `haven` runs the code
//! in it.

use std::fs::{self, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::python::place::Place;

/// The owner of a Python environment that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Us,
    /// Root, or the owner of the parent directory. The environment is used as it is and never
    /// changed.
    Another,
}

const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Returns the owner of an existing environment that haven made. If it is our own, removes the
/// write permission of group and others.
///
/// # Errors
/// When others may write to the environment of another user, when that user is neither root nor the
/// owner of the parent directory, or when our own environment contains files of another user.
pub fn examine(place: &Place, metadata: &Metadata) -> anyhow::Result<Owner> {
    let folder = place.folder();
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() == us {
        match place {
            // The state directory has mode 0700, so no other user reaches it.
            Place::InState(_) => {}
            Place::Shared(_) => close(folder, us)?,
        }
        return Ok(Owner::Us);
    }
    let above = folder.parent().unwrap_or(Path::new("/"));
    let parent = fs::metadata(above).with_context(|| format!("look at {}", above.display()))?;
    let shown = folder.display();
    if metadata.uid() != 0 && metadata.uid() != parent.uid() {
        bail!(
            "the Python environment {shown} belongs to the user with id {}, who owns neither {} nor the machine: name another directory with HAVEN_PYTHON_ENV",
            metadata.uid(),
            above.display()
        );
    }
    if parent.mode() & OTHERS_WRITE != 0 && parent.mode() & STICKY == 0 {
        bail!(
            "the Python environment {shown} can be replaced by others, since {} has mode {:o}: its owner can run chmod go-w on it; or name another directory with HAVEN_PYTHON_ENV",
            above.display(),
            parent.mode() & 0o7777
        );
    }
    refuse_other_writers(folder, metadata.uid())?;
    Ok(Owner::Another)
}

/// Checks that only the owner and root may write to the environment.
fn refuse_other_writers(folder: &Path, owner: u32) -> anyhow::Result<()> {
    walk(folder, &mut |path, metadata| {
        let known = [owner, 0].contains(&metadata.uid());
        if known && metadata.mode() & OTHERS_WRITE == 0 {
            return Ok(());
        }
        bail!(
            "others may write to {} in a Python environment of another user: its owner can run chmod -R go-w {}; or name another directory with HAVEN_PYTHON_ENV",
            path.display(),
            folder.display()
        )
    })
}

/// Removes the write permission of group and others from all files of our own environment.
fn close(folder: &Path, us: u32) -> anyhow::Result<()> {
    let mut open = Vec::new();
    walk(folder, &mut |path, metadata| {
        if ![us, 0].contains(&metadata.uid()) {
            bail!(
                "{} in the Python environment {} belongs to the user with id {}: remove the environment, and haven creates it again; or name another directory with HAVEN_PYTHON_ENV",
                path.display(),
                folder.display(),
                metadata.uid()
            )
        }
        if metadata.mode() & OTHERS_WRITE != 0 {
            open.push((path.to_owned(), metadata.mode() & 0o7777 & !OTHERS_WRITE));
        }
        Ok(())
    })?;
    open.into_iter().try_for_each(|(path, mode)| {
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .with_context(|| format!("close {} to other writers", path.display()))
    })
}

/// Calls `visit` for the directory and everything in it. Symbolic links are skipped, because they
/// have no mode of their own.
fn walk(
    path: &Path,
    visit: &mut impl FnMut(&Path, &Metadata) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let metadata =
        fs::symlink_metadata(path).with_context(|| format!("look at {}", path.display()))?;
    if metadata.is_symlink() {
        return Ok(());
    }
    visit(path, &metadata)?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
            walk(&entry?.path(), visit)?;
        }
    }
    Ok(())
}
