//! The URLs of SQLite files. Only this module converts between a path and a URL.

use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

const PREFIX: &str = "sqlite:";
/// All bytes except letters, digits and the signs that a URL may contain in a path.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'.')
    .remove(b'-')
    .remove(b'_')
    .remove(b'~')
    .remove(b'@')
    .remove(b',')
    .remove(b'+')
    .remove(b'=');

/// Returns the URL of a file. Bytes that have a meaning in URLs, or are not allowed there, are
/// percent-encoded; sqlx decodes them.
pub fn sqlite_url(path: &Path) -> String {
    let path = percent_encode(path.as_os_str().as_encoded_bytes(), ENCODED);
    format!("{PREFIX}//{path}")
}

/// Returns the path of a file URL, or `None` if the URL is not a SQLite URL. A percent sign without
/// two hexadecimal digits stays.
pub fn sqlite_path(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix(PREFIX)?;
    let path = rest
        .strip_prefix("//")
        .unwrap_or(rest)
        .split('?')
        .next()
        .unwrap_or_default();
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    Some(PathBuf::from(decoded.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_survives_the_conversion_to_a_url() {
        for path in [
            "/var/haven/orders.db",
            "/100% of it/a?b=c&d#e/K\u{e4}fer \"x\"/%41.db",
            "relative/orders.db",
            "/a+b",
        ] {
            let url = sqlite_url(Path::new(path));
            assert!(
                url.starts_with("sqlite://") && !url[9..].contains(['?', '#', ' ']),
                "{url}"
            );
            assert_eq!(sqlite_path(&url), Some(PathBuf::from(path)), "{url}");
        }
        assert_eq!(
            sqlite_url(Path::new("/var/haven/orders.db")),
            "sqlite:///var/haven/orders.db"
        );
        for (url, path) in [
            ("sqlite:orders.db?mode=rwc", "orders.db"),
            ("sqlite:///100%/o.db", "/100%/o.db"),
        ] {
            assert_eq!(sqlite_path(url), Some(PathBuf::from(path)), "{url}");
        }
        assert_eq!(sqlite_path("postgres://host/db"), None);
    }
}
