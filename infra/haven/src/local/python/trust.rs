//! Whose Python environment it is, and who else may write to it: `haven` runs what is in there.

use std::fs::{self, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};

use super::Place;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Us,
    /// Root, or the owner of the folder above: used as it is, and never changed.
    Another,
}

const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Returns the owner of an existing environment of haven's. Our own is closed to other writers.
///
/// # Errors
/// When somebody else may write to the environment of another user, when that user is neither root
/// nor the owner of the folder above, or when somebody else has written to our own.
pub fn examine(place: &Place, metadata: &Metadata) -> anyhow::Result<Owner> {
    let folder = place.folder();
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() == us {
        match place {
            // Nobody else reaches it.
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
            "the Python environment {shown} belongs to the user with id {}, who owns neither {} nor the machine: name another folder with HAVEN_PYTHON_ENV",
            metadata.uid(),
            above.display()
        );
    }
    if parent.mode() & OTHERS_WRITE != 0 && parent.mode() & STICKY == 0 {
        bail!(
            "the Python environment {shown} can be replaced by others, since {} has mode {:o}: its owner can run chmod go-w on it; or name another folder with HAVEN_PYTHON_ENV",
            above.display(),
            parent.mode() & 0o7777
        );
    }
    refuse_other_writers(folder, metadata.uid())?;
    Ok(Owner::Another)
}

fn refuse_other_writers(folder: &Path, owner: u32) -> anyhow::Result<()> {
    walk(folder, &mut |path, metadata| {
        let known = [owner, 0].contains(&metadata.uid());
        if known && metadata.mode() & OTHERS_WRITE == 0 {
            return Ok(());
        }
        bail!(
            "others may write to {} in a Python environment of another user: its owner can run chmod -R go-w {}; or name another folder with HAVEN_PYTHON_ENV",
            path.display(),
            folder.display()
        )
    })
}

/// Takes the right to write from group and others, wherever they have it.
fn close(folder: &Path, us: u32) -> anyhow::Result<()> {
    let mut open = Vec::new();
    walk(folder, &mut |path, metadata| {
        if ![us, 0].contains(&metadata.uid()) {
            bail!(
                "{} in the Python environment {} belongs to the user with id {}: remove the environment, and haven makes it anew; or name another folder with HAVEN_PYTHON_ENV",
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

/// Calls `visit` for the folder and everything in it but symbolic links, which have no mode of
/// their own.
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
