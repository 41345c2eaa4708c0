//! The format of a state directory: `STATE/format` holds its number, `STATE/version` the version of haven that wrote it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::guard;

/// 1: every release before the file existed. 2: closed to other accounts; the servers ask for passwords.
const FORMAT: u32 = 2;
const FILE: &str = "format";
const VERSION_FILE: &str = "version";
/// The version of this haven.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Accepts a state directory of this format or an older one, and marks it as written by this haven.
///
/// # Errors
/// When a newer haven wrote it: its version is named.
pub fn accept(folder: &Path) -> anyhow::Result<()> {
    let path = folder.join(FILE);
    let found = match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(found) => Some(found),
            Err(_) => bail!(
                "{} holds {:?} and not the number of a format: haven did not write it; choose another state directory with --state DIR",
                path.display(),
                text.trim().chars().take(20).collect::<String>()
            ),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let version = fs::read_to_string(folder.join(VERSION_FILE)).ok().map(|text| text.trim().to_owned());
    if let Some(found) = found.filter(|found| *found > FORMAT) {
        let writer = version.filter(|version| !version.is_empty());
        let install = writer.map_or_else(|| format!("newer than {VERSION}"), |version| format!("{version} or newer"));
        bail!(
            "the state directory {} has format {found}, and haven {VERSION} reads formats up to {FORMAT}: install haven {install}, or choose another state directory with --state DIR",
            folder.display()
        );
    }
    if found != Some(FORMAT) {
        guard::write(&path, format!("{FORMAT}\n").as_bytes())?;
    }
    if version.as_deref() != Some(VERSION) {
        guard::write(&folder.join(VERSION_FILE), format!("{VERSION}\n").as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_formats_are_taken_over_and_newer_ones_refused_with_the_version_to_install() {
        let folder = std::env::temp_dir().join(format!("haven-format-{}", uuid::Uuid::now_v7()));
        fs::create_dir(&folder).expect("a folder");
        for old in [None, Some("1\n"), Some("2\n")] {
            match old {
                Some(old) => fs::write(folder.join(FILE), old).expect("written"),
                None => assert!(!folder.join(FILE).exists()),
            }
            accept(&folder).expect("not newer");
            assert_eq!(fs::read_to_string(folder.join(FILE)).expect("there"), "2\n");
            assert_eq!(fs::read_to_string(folder.join(VERSION_FILE)).expect("there").trim(), VERSION);
        }
        fs::write(folder.join(FILE), "7\n").expect("written");
        fs::write(folder.join(VERSION_FILE), "3.1.4\n").expect("written");
        let refused = accept(&folder).expect_err("newer").to_string();
        assert!(refused.contains("format 7") && refused.contains("install haven 3.1.4 or newer"), "{refused}");
        assert_eq!(fs::read_to_string(folder.join(FILE)).expect("there"), "7\n", "untouched");
        fs::write(folder.join(FILE), "pdf").expect("written");
        let refused = accept(&folder).expect_err("not ours").to_string();
        assert!(refused.contains("\"pdf\""), "{refused}");
        fs::remove_dir_all(folder).expect("removed");
    }
}
