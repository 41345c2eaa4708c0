//! Connections to PostgreSQL: in plain text on this machine, and over TLS if the URL requires it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::MigrateError;

/// Parts of a connection that a URL should not contain. Missing parts come from the URL.
#[derive(Clone, Default)]
pub struct Login {
    /// Name of the user.
    pub user: Option<String>,
    /// Password of the user.
    pub password: Option<String>,
    /// The file with the root certificates that verify the server's certificate.
    pub root_certificates: Option<PathBuf>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Login {
            user,
            password,
            root_certificates,
        } = self;
        let password = password.as_ref().map(|_| "***");
        f.debug_struct("Login")
            .field("user", user)
            .field("password", &password)
            .field("root_certificates", root_certificates)
            .finish()
    }
}

/// The task of a connection, which ends after its client is dropped.
pub type Connection = JoinHandle<Result<(), tokio_postgres::Error>>;

/// Connects to the database in the URL.
///
/// # Errors
/// Returns an error when the URL is invalid, the root certificates are missing or unusable, or the
/// server cannot be reached.
pub async fn connect(url: &str, login: &Login) -> Result<(Client, Connection), MigrateError> {
    connect_to(None, url, login).await
}

/// Connects to another database of the server in the URL.
///
/// # Errors
/// Fails like [`connect`].
pub async fn connect_to(
    database: Option<&str>,
    url: &str,
    login: &Login,
) -> Result<(Client, Connection), MigrateError> {
    let (url, encrypted) = without_verify(url);
    let mut config: Config = url.parse()?;
    if let Some(database) = database {
        config.dbname(database);
    }
    if let Some(user) = &login.user {
        config.user(user);
    }
    if let Some(password) = &login.password {
        config.password(password);
    }
    if !encrypted && config.get_ssl_mode() != SslMode::Require {
        let (client, connection) = config.connect(NoTls).await?;
        return Ok((client, tokio::spawn(connection)));
    }
    config.ssl_mode(SslMode::Require);
    let file = login
        .root_certificates
        .as_deref()
        .ok_or(MigrateError::NoRoots)?;
    let (client, connection) = config
        .connect(MakeRustlsConnect::new(client_config(file)?))
        .await?;
    Ok((client, tokio::spawn(connection)))
}

/// Removes `sslmode=verify-ca` and `sslmode=verify-full` from a URL, which `tokio-postgres` does
/// not support. The second value is true if the URL had one of them. The connection then gets the
/// checks of `verify-full`, which are at least as strict as the requested ones.
fn without_verify(url: &str) -> (String, bool) {
    let Some((address, query)) = url.split_once('?') else {
        return (url.to_owned(), false);
    };
    let (verify, rest): (Vec<&str>, Vec<&str>) = query
        .split('&')
        .partition(|pair| matches!(*pair, "sslmode=verify-full" | "sslmode=verify-ca"));
    let query = if rest.is_empty() {
        String::new()
    } else {
        format!("?{}", rest.join("&"))
    };
    (format!("{address}{query}"), !verify.is_empty())
}

fn client_config(roots: &Path) -> Result<ClientConfig, MigrateError> {
    let wrong = |error: Box<dyn std::error::Error + Send + Sync>| {
        MigrateError::Roots(roots.display().to_string(), error)
    };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(roots).map_err(|error| wrong(error.into()))? {
        let certificate = certificate.map_err(|error| wrong(error.into()))?;
        store
            .add(certificate)
            .map_err(|error| wrong(error.into()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(versions
        .map_err(|error| wrong(error.into()))?
        .with_root_certificates(store)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssl_modes_that_the_client_does_not_support_are_removed_from_the_url() {
        for (url, rest, encrypted) in [
            ("postgres://db/shop", "postgres://db/shop", false),
            (
                "postgres://db/shop?sslmode=verify-full",
                "postgres://db/shop",
                true,
            ),
            (
                "postgres://db/shop?sslmode=verify-ca&connect_timeout=3",
                "postgres://db/shop?connect_timeout=3",
                true,
            ),
            (
                "postgres://db/shop?sslmode=disable",
                "postgres://db/shop?sslmode=disable",
                false,
            ),
        ] {
            assert_eq!(without_verify(url), (rest.to_owned(), encrypted), "{url}");
        }
    }

    #[tokio::test]
    async fn tls_without_root_certificates_is_refused() {
        for url in [
            "postgres://db/shop?sslmode=verify-full",
            "postgres://db/shop?sslmode=require",
        ] {
            let refused = connect(url, &Login::default()).await.err();
            assert!(
                matches!(refused, Some(MigrateError::NoRoots)),
                "{url}: {refused:?}"
            );
        }
    }
}
