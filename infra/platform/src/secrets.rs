//! Random passwords for the servers of a state directory. They are kept in files that only their
//! owner can read. Programs receive them in the environment or in a file, because every account of
//! the machine can read arguments.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;

use crate::private_file;

/// Returns a new password: 192 random bits as hexadecimal digits, which never need quotes.
///
/// # Errors
/// When the system returns no random bytes.
pub(crate) fn new_password() -> anyhow::Result<String> {
    let mut bytes = [0; 24];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| anyhow::anyhow!("the system returned no random bytes"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Passwords by login, in a file of the state directory.
#[derive(Clone, PartialEq, Eq)]
pub struct Passwords(BTreeMap<String, String>);

impl Passwords {
    /// Makes a new password for each login.
    ///
    /// # Errors
    /// When the system returns no random bytes.
    pub fn new(logins: &[&str]) -> anyhow::Result<Passwords> {
        let passwords = logins
            .iter()
            .map(|login| Ok(((*login).to_owned(), new_password()?)));
        Ok(Passwords(passwords.collect::<anyhow::Result<_>>()?))
    }

    /// Reads the passwords in a file. Returns `None` if the file is missing, is damaged, or lacks
    /// one of the logins.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path, logins: &[&str]) -> anyhow::Result<Option<Passwords>> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("read {}", path.display()))?,
        };
        // A damaged file counts as missing, so new passwords replace it.
        let passwords: Option<BTreeMap<String, String>> = serde_json::from_str(&text).ok();
        Ok(passwords
            .filter(|passwords| logins.iter().all(|login| passwords.contains_key(*login)))
            .map(Passwords))
    }

    /// Writes the passwords to a file that only its owner can read.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        private_file::write(
            path,
            serde_json::to_string_pretty(&self.0)
                .context("encode passwords")?
                .as_bytes(),
        )
    }

    /// Returns the password of a login, or an empty string if the login has none.
    pub fn of(&self, login: &str) -> &str {
        self.0.get(login).map_or("", String::as_str)
    }
}

/// The URLs of one database, each with the login for one purpose.
#[derive(Clone)]
pub struct Logins {
    /// For the roles and the commands of `haven`.
    pub write: String,
    /// For the outbox relay.
    pub outbox: String,
    /// For the migrations.
    pub migrate: String,
    /// For other programs: only the views of the schema `contract`.
    pub read: String,
    /// The superuser, which makes the logins and the copies.
    pub admin: String,
}

impl Logins {
    /// Returns the same URL for every purpose: SQLite, or a server at a URL that the user gave.
    pub fn same(url: &str) -> Logins {
        let url = || url.to_owned();
        Logins {
            write: url(),
            outbox: url(),
            migrate: url(),
            read: url(),
            admin: url(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn passwords_are_private_and_damaged_ones_are_replaced() {
        let path = std::env::temp_dir().join(format!("haven-passwords-{}", uuid::Uuid::now_v7()));
        assert!(Passwords::read(&path, &["a"]).expect("no file").is_none());
        let made = Passwords::new(&["a", "b"]).expect("random");
        assert!(
            made.of("a") != made.of("b") && made.of("a").len() == 48 && made.of("c").is_empty()
        );
        made.write(&path).expect("written");
        assert_eq!(
            std::fs::metadata(&path).expect("there").mode() & 0o777,
            0o600
        );
        assert!(Passwords::read(&path, &["a", "b"]).expect("readable") == Some(made));
        assert!(
            Passwords::read(&path, &["a", "new"])
                .expect("readable")
                .is_none(),
            "a login has no password"
        );
        std::fs::write(&path, "{\"a\": ").expect("written");
        assert!(
            Passwords::read(&path, &["a"]).expect("readable").is_none(),
            "torn"
        );
        std::fs::remove_file(path).expect("removed");
    }
}
