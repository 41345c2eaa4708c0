//! The URLs of existing servers for `--postgres` and `--redis`. A URL with a password should come
//! from an environment variable or a file, because every account of the machine can read arguments.

use std::path::Path;

use anyhow::Context as _;
use chassis::config::{Environment as _, ProcessEnvironment};
use haven_console::BadUsage;

/// The flag, the environment variable and the URL schemes of one kind of server.
pub struct Server {
    pub flag: &'static str,
    pub variable: &'static str,
    pub schemes: &'static [&'static str],
}

/// An existing PostgreSQL server.
pub const POSTGRES: Server = Server {
    flag: "--postgres",
    variable: "HAVEN_POSTGRES_URL",
    schemes: &["postgres://", "postgresql://"],
};
/// An existing Redis server.
pub const REDIS: Server = Server {
    flag: "--redis",
    variable: "HAVEN_REDIS_URL",
    schemes: &["redis://", "rediss://"],
};

impl Server {
    /// Returns the URL from the flag, or from the environment variable if the flag has no value.
    /// Both can be `@FILE`. Returns `Some("")` if haven must start a server, and `None` if the flag
    /// and the variable are absent.
    ///
    /// # Errors
    /// When the file cannot be read, or the URL has another scheme. The message does not contain a
    /// password.
    pub fn url(&self, flag: Option<&str>) -> anyhow::Result<Option<String>> {
        if ProcessEnvironment.is_not_text(self.variable) {
            return Err(BadUsage(format!("{} is not UTF-8", self.variable)).into());
        }
        let variable = ProcessEnvironment.get(self.variable);
        let (given, from) = match (flag.filter(|flag| !flag.is_empty()), variable) {
            (Some(flag), _) => (flag.to_owned(), self.flag),
            (None, Some(variable)) => (variable, self.variable),
            (None, None) => return Ok(flag.map(str::to_owned)),
        };
        let url = match given.strip_prefix('@') {
            Some(file) => read(Path::new(file)).with_context(|| format!("{from} names a file"))?,
            None => given.clone(),
        };
        if !self.schemes.iter().any(|scheme| url.starts_with(scheme)) {
            let schemes = self.schemes.join(" or ");
            return Err(BadUsage(format!("the URL of {from} must begin with {schemes}")).into());
        }
        if from == self.flag && url == given && has_password(&url) {
            eprintln!(
                "  every account of this machine can read the password in {from}: put the URL in {}, or in a file and pass {} @FILE",
                self.variable, self.flag
            );
        }
        Ok(Some(url))
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    Ok(text.trim().to_owned())
}

fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    authority
        .rsplit_once('@')
        .is_some_and(|(user, _)| user.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Server = Server {
        flag: "--postgres",
        variable: "HAVEN_TEST_NOT_SET",
        schemes: &["postgres://"],
    };

    #[test]
    fn a_url_comes_from_the_flag_or_a_file() {
        assert_eq!(SERVER.url(None).expect("nothing"), None);
        assert_eq!(SERVER.url(Some("")).expect("ours"), Some(String::new()));
        assert_eq!(
            SERVER.url(Some("postgres://h/d")).expect("a URL"),
            Some("postgres://h/d".to_owned())
        );
        let file = std::env::temp_dir().join(format!("haven-url-{}", uuid::Uuid::now_v7()));
        std::fs::write(&file, "postgres://me:secret@h/d\n").expect("written");
        let flag = format!("@{}", file.display());
        assert_eq!(
            SERVER.url(Some(&flag)).expect("a file"),
            Some("postgres://me:secret@h/d".to_owned())
        );
        std::fs::write(&file, "mysql://me:secret@h/d\n").expect("written");
        let refused = format!("{:#}", SERVER.url(Some(&flag)).expect_err("another kind"));
        assert!(
            refused.contains("postgres://") && !refused.contains("secret"),
            "{refused}"
        );
        std::fs::remove_file(&file).expect("removed");
        let refused = format!("{:#}", SERVER.url(Some(&flag)).expect_err("no file"));
        assert!(
            refused.contains("--postgres") && refused.contains("haven-url-"),
            "{refused}"
        );
    }

    #[test]
    fn a_password_in_a_url_is_recognized() {
        for (url, found) in [
            ("postgres://me:secret@host/db", true),
            ("redis://:secret@host", true),
            ("postgres://me@host/db", false),
            ("postgres://host:5432/db?x=a:b@c", false),
        ] {
            assert_eq!(has_password(url), found, "{url}");
        }
    }
}
