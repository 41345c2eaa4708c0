//! The logins of a PostgreSQL database. An SQL file defines their rights; this module sets their
//! passwords.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;

use crate::connect::{self, Login};
use crate::{LOCK, MigrateError};

const LOGINS: &str = include_str!("../sql/postgres-logins.sql");
/// The login for migrations.
pub const MIGRATE: &str = "haven_migrate";
/// The login of the roles.
pub const WRITE: &str = "haven_write";
/// The login of the outbox relay.
pub const OUTBOX: &str = "haven_outbox";
/// The login for other systems, which read the views of the schema `contract`.
pub const READ: &str = "haven_read";

/// Passwords by the name of the login.
#[derive(Clone)]
pub struct Passwords(pub Vec<(&'static str, String)>);

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(login, _)| (login, "***")))
            .finish()
    }
}

/// Which passwords to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// All passwords.
    All,
    /// Passwords of logins without one, such as new logins.
    Missing,
}

/// Creates missing logins, sets the rights of each login, and sets passwords. The statements
/// contain SCRAM verifiers, so no password is sent to the server or written into its log. A repeat
/// is harmless.
///
/// # Errors
/// Returns an error when the database cannot be reached, or when the login is not a superuser.
pub async fn make_logins(
    url: &str,
    login: &Login,
    passwords: &Passwords,
    set: Set,
) -> Result<(), MigrateError> {
    let (client, connection) = connect::connect(url, login).await?;
    client
        .execute("SELECT pg_advisory_lock($1)", &[&LOCK])
        .await?;
    client.batch_execute(LOGINS).await?;
    const WITH_PASSWORD: &str = "SELECT rolname::text FROM pg_authid WHERE rolpassword IS NOT NULL";
    let known: Vec<String> = client
        .query(WITH_PASSWORD, &[])
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    for (name, password) in &passwords.0 {
        if set == Set::All || !known.iter().any(|known| known == name) {
            client.batch_execute(&set_password(name, password)?).await?;
        }
    }
    drop(client);
    connection.await??;
    Ok(())
}

/// Returns the statement that sets a password. The statement contains a verifier instead of the
/// password.
///
/// # Errors
/// Returns an error when the system has no random bytes.
pub fn set_password(login: &str, password: &str) -> Result<String, MigrateError> {
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| MigrateError::Random)?;
    Ok(format!(
        "ALTER ROLE \"{}\" PASSWORD '{}'",
        login.replace('"', "\"\""),
        verifier(password, &salt)
    ))
}

/// Returns the SCRAM verifier of a password as PostgreSQL stores it (RFC 5803, PostgreSQL's
/// `pg_authid`). Many rounds would protect a guessable password, and slow down every new
/// connection. A random password of 192 bits needs few rounds.
fn verifier(password: &str, salt: &[u8]) -> String {
    const ROUNDS: NonZeroU32 = NonZeroU32::new(256).expect("not zero");
    let mut salted = [0; 32];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        ROUNDS,
        salt,
        password.as_bytes(),
        &mut salted,
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let client_key = hmac::sign(&key, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let server_key = hmac::sign(&key, b"Server Key");
    let [salt, stored_key, server_key] = [salt, stored_key.as_ref(), server_key.as_ref()]
        .map(|bytes| base64::engine::general_purpose::STANDARD.encode(bytes));
    format!("SCRAM-SHA-256${ROUNDS}:{salt}${stored_key}:{server_key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_statement_and_no_debug_output_contains_a_password() {
        let statement = set_password(WRITE, "correct-horse").expect("random bytes");
        assert!(
            statement.starts_with("ALTER ROLE \"haven_write\" PASSWORD 'SCRAM-SHA-256$256:"),
            "{statement}"
        );
        assert!(!statement.contains("horse"));
        // Computed with Python's hashlib and hmac.
        let known = "SCRAM-SHA-256$256:MDEyMzQ1Njc4OWFiY2RlZg==$9tmsmfexxM9nFOr5vZgbJdSHq7N0Q6UCLF4Bj6Rnx6c=:8Suss6G9A2TaaYXQEiKD2AsJtabGG+GEdG1tTw+W4xA=";
        assert_eq!(verifier("correct-horse", b"0123456789abcdef"), known);
        let passwords = Passwords(vec![(READ, "correct-horse".to_owned())]);
        assert_eq!(format!("{passwords:?}"), r#"[("haven_read", "***")]"#);
    }
}
