//! The format version of a state directory. `STATE/format` contains its number, `STATE/version` the
//! version of haven that wrote the directory last.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;
use haven_console::BadUsage;

use crate::private_file;

/// The current format. Format 1 belongs to all releases before this file existed. In format 2 the
/// directory is closed to other accounts, and the servers require passwords.
const FORMAT: u32 = 2;
const FILE: &str = "format";
const VERSION_FILE: &str = "version";
/// The version of this haven.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Checks that this haven can read the format of a state directory. Returns the number, if there is
/// one. Changes nothing.
///
/// # Errors
/// [`BadUsage`] when a newer haven wrote the directory (the message names the version to install),
/// or when the content is not a number.
pub fn check(folder: &Path) -> anyhow::Result<Option<u32>> {
    let path = folder.join(FILE);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes.with_context(|| format!("read {}", path.display()))?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let found = match text.trim() {
        // The writer was interrupted before the content reached the disk.
        "" => return Ok(None),
        number => number.parse::<u32>().ok(),
    };
    let Some(found) = found else {
        let why = format!(
            "{} contains {:?} instead of a format number: haven did not write it; choose another state directory with --state DIR",
            path.display(),
            text.trim().chars().take(20).collect::<String>()
        );
        return Err(BadUsage(why).into());
    };
    if found > FORMAT {
        let install = match written_by(folder).filter(|writer| number(writer) > number(VERSION)) {
            Some(writer) => format!("haven {writer} or newer"),
            // Two builds can have the same version number, so this version would be useless advice.
            None => format!("a haven newer than {VERSION}, one that reads format {found}"),
        };
        let why = format!(
            "the state directory {} has format {found}, and haven {VERSION} reads formats up to {FORMAT}: install {install}, or choose another state directory with --state DIR",
            folder.display()
        );
        return Err(BadUsage(why).into());
    }
    Ok(Some(found))
}

/// Accepts a state directory of this format or of an older one, and writes the current format and
/// version into it.
///
/// # Errors
/// As [`check`], or when the files cannot be written.
pub fn accept(folder: &Path) -> anyhow::Result<()> {
    if check(folder)? != Some(FORMAT) {
        private_file::write(&folder.join(FILE), format!("{FORMAT}\n").as_bytes())?;
    }
    if written_by(folder).as_deref() != Some(VERSION) {
        private_file::write(
            &folder.join(VERSION_FILE),
            format!("{VERSION}\n").as_bytes(),
        )?;
    }
    Ok(())
}

/// Returns the version of haven that wrote a state directory last.
fn written_by(folder: &Path) -> Option<String> {
    fs::read_to_string(folder.join(VERSION_FILE))
        .ok()
        .map(|text| text.trim().to_owned())
}

/// Parses a version of three numbers. Returns `None` for anything else, which is less than any
/// version.
fn number(version: &str) -> Option<[u64; 3]> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    let number = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_formats_are_upgraded_and_newer_ones_name_the_version_to_install() {
        let folder = std::env::temp_dir().join(format!("haven-format-{}", uuid::Uuid::now_v7()));
        fs::create_dir(&folder).expect("a directory");
        for old in [None, Some(""), Some("1\n"), Some("2\n")] {
            match old {
                Some(old) => fs::write(folder.join(FILE), old).expect("written"),
                None => assert!(!folder.join(FILE).exists()),
            }
            accept(&folder).expect("not newer");
            assert_eq!(fs::read_to_string(folder.join(FILE)).expect("there"), "2\n");
            assert_eq!(
                fs::read_to_string(folder.join(VERSION_FILE))
                    .expect("there")
                    .trim(),
                VERSION
            );
        }
        fs::write(folder.join(FILE), "7\n").expect("written");
        // The last version is the one of this build, and the two before are no versions.
        let newer = format!("a haven newer than {VERSION}, one that reads format 7");
        let rest = ["", "soon; rm -rf", VERSION].map(|version| (version, newer.as_str()));
        for (version, install) in [("3.1.4", "haven 3.1.4 or newer")].into_iter().chain(rest) {
            fs::write(folder.join(VERSION_FILE), format!("{version}\n")).expect("written");
            let refused = accept(&folder).expect_err("newer").to_string();
            assert!(
                refused.contains("has format 7")
                    && refused.contains(&format!("install {install},")),
                "{refused}"
            );
        }
        assert_eq!(
            fs::read_to_string(folder.join(FILE)).expect("there"),
            "7\n",
            "untouched"
        );
        fs::write(folder.join(FILE), "pdf").expect("written");
        let refused = accept(&folder).expect_err("not ours").to_string();
        assert!(refused.contains("\"pdf\""), "{refused}");
        fs::remove_dir_all(folder).expect("removed");
    }
}
