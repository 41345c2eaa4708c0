//! The URLs of SQLite files. Only this module converts between a path and a URL.

use std::path::{Path, PathBuf};

const PREFIX: &str = "sqlite:";

/// Returns the URL of a file. Bytes that have a meaning in URLs, or are not allowed there, are
/// percent-encoded; sqlx decodes them.
pub fn sqlite_url(path: &Path) -> String {
    let mut url = format!("{PREFIX}//");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'/'
            | b'.'
            | b'-'
            | b'_'
            | b'~'
            | b'@'
            | b','
            | b'+'
            | b'=' => {
                url.push(char::from(*byte));
            }
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

/// Returns the path of a file URL, or `None` if the URL is not a SQLite URL.
pub fn sqlite_path(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix(PREFIX)?;
    let path = rest
        .strip_prefix("//")
        .unwrap_or(rest)
        .split('?')
        .next()
        .unwrap_or_default();
    Some(PathBuf::from(
        String::from_utf8_lossy(&decoded(path.as_bytes())).into_owned(),
    ))
}

/// Replaces `%41` by `A`. A percent sign without two hexadecimal digits stays.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.filter(|digits| {
            *first == b'%' && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
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
