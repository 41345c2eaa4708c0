//! Configuration: a process reads all settings before it opens a socket, and reports all problems
//! together.
//!
//! Values that can change while a process runs, such as parameters and rotated credentials, are not
//! read here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

use contract::address::Address;

/// A source of settings.
pub trait Environment {
    /// Returns the value of a setting, or `None` if the setting is not set.
    fn get(&self, key: &str) -> Option<String>;

    /// Returns whether the setting has a value that is not UTF-8, which [`Environment::get`] cannot
    /// return.
    fn is_not_text(&self, _key: &str) -> bool {
        false
    }
}

/// The environment of this process. Other code must not read it (`clippy.toml`).
///
/// An empty variable counts as unset, because a shell and a template cannot unset a variable for
/// one command in any other way.
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, key: &str) -> Option<String> {
        self.get_os(key)?.into_string().ok()
    }

    fn is_not_text(&self, key: &str) -> bool {
        self.get_os(key)
            .is_some_and(|value| value.to_str().is_none())
    }
}

impl ProcessEnvironment {
    /// Returns a variable whose value may be any bytes, such as a path.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads a variable"
    )]
    pub fn get_os(&self, key: &str) -> Option<OsString> {
        std::env::var_os(key).filter(|value| !value.is_empty())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that lists the variables"
    )]
    fn all(&self) -> std::env::VarsOs {
        std::env::vars_os()
    }

    /// Returns the names of all variables that are set and not empty. Names that are not UTF-8 are
    /// left out, because no setting has one.
    pub fn names(&self) -> Vec<String> {
        let set = self.all().filter(|(_, value)| !value.is_empty());
        set.filter_map(|(name, _)| name.into_string().ok())
            .collect()
    }

    /// Returns the names of all variables that begin with `prefix`, those with an empty value or
    /// with other bytes than UTF-8 too. A supervisor removes these variables from the environment
    /// of a child.
    pub fn names_with_prefix(&self, prefix: &str) -> impl Iterator<Item = OsString> {
        let prefix = prefix.as_bytes().to_owned();
        self.all()
            .map(|(name, _)| name)
            .filter(move |name| name.as_encoded_bytes().starts_with(&prefix))
    }

    /// Returns the directories of `PATH` that are UTF-8. The other directories cannot be passed to
    /// a child as text.
    pub fn search_path(&self) -> String {
        let path = self.get_os("PATH").unwrap_or_default();
        let text = std::env::split_paths(&path)
            .filter_map(|folder| folder.into_os_string().into_string().ok());
        // Joining fails only for a directory with a colon in its name, which splitting cannot
        // return.
        std::env::join_paths(text)
            .ok()
            .and_then(|path| path.into_string().ok())
            .unwrap_or_default()
    }
}

/// Settings for tests.
impl Environment for BTreeMap<String, String> {
    fn get(&self, key: &str) -> Option<String> {
        BTreeMap::get(self, key).cloned()
    }
}

/// Reads settings and collects their problems. An empty setting counts as unset.
///
/// After a problem, a method returns a placeholder, so that one pass finds every problem.
/// [`Reader::finish`] returns an error then, so nothing uses a placeholder.
pub struct Reader<'a> {
    environment: &'a dyn Environment,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Reader<'a> {
    /// Creates a reader of these settings.
    pub fn new(environment: &'a dyn Environment) -> Self {
        Self {
            environment,
            problems: RefCell::default(),
        }
    }

    /// Returns a setting without surrounding spaces, or `None` if it is unset or empty. A value
    /// that is not UTF-8 is a problem.
    pub fn optional(&self, key: &str) -> Option<String> {
        if self.environment.is_not_text(key) {
            self.problem(key, "settings are UTF-8 text", "is not UTF-8");
        }
        self.environment
            .get(key)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    /// Returns a setting that must be set. `about` describes the setting in the error message.
    pub fn required(&self, key: &str, about: &str) -> String {
        self.optional(key).unwrap_or_else(|| {
            // `optional` has reported a value that is not UTF-8.
            if !self.environment.is_not_text(key) {
                self.problem(key, about, "is not set");
            }
            String::new()
        })
    }

    /// Returns the parsed value of a setting, or `None` if it is unset or invalid. An invalid value
    /// is a problem.
    pub fn optional_parsed<T>(&self, key: &str, about: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let text = self.optional(key)?;
        text.parse()
            .map_err(|error| self.problem(key, about, format!("is {text:?}: {error}")))
            .ok()
    }

    /// Returns a secret that must be set.
    pub fn secret(&self, key: &str, about: &str) -> Secret<String> {
        Secret(self.required(key, about))
    }

    /// Returns the physical address of a resource, such as the URL of a queue.
    pub fn address(&self, address: Address) -> String {
        let about = format!(
            "{} in Parameter Store; written by the template",
            address.parameter()
        );
        self.required(&address.variable(), &about)
    }

    /// Adds a problem that the caller found. `wrong` continues a sentence that begins with the key,
    /// as in "must be positive".
    pub fn problem(&self, key: &str, about: &str, wrong: impl Into<String>) {
        let problem = Problem {
            key: key.to_owned(),
            about: about.to_owned(),
            wrong: wrong.into(),
        };
        self.problems.borrow_mut().push(problem);
    }

    /// Returns the configuration if there was no problem.
    ///
    /// # Errors
    /// Returns all problems.
    pub fn finish<T>(self, configuration: T) -> Result<T, Problems> {
        let problems = self.problems.into_inner();
        if problems.is_empty() {
            Ok(configuration)
        } else {
            Err(Problems(problems))
        }
    }
}

/// An invalid setting. Does not contain the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    pub about: String,
    pub wrong: String,
}

/// The problems that keep the process from starting. Its exit code is [`crate::EX_USAGE`] then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.0.len() == 1 {
            "problem"
        } else {
            "problems"
        };
        write!(f, "{} {noun} with the configuration:", self.0.len())?;
        for Problem { key, about, wrong } in &self.0 {
            write!(f, "\n  {key} {wrong}  ({about})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A value that must not be logged: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a secret value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns the value. The caller must keep it out of logs and error messages.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The AWS environment of the process. The SDK reads the other AWS variables itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsSettings {
    /// `HAVEN_ENV`, such as `local` or `production`.
    pub environment: String,
}

/// The name of the local environment. Names such as `local-2` are local too.
const LOCAL: &str = "local";

impl AwsSettings {
    /// Returns whether the environment is local.
    pub fn is_local(&self) -> bool {
        self.environment
            .strip_prefix(LOCAL)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

/// Reads the settings of every process that calls AWS.
///
/// A local environment requires an endpoint and static credentials. Without them, the SDK would ask
/// the instance metadata service for credentials, and then hang or call the real AWS.
pub fn settings_for_aws(reader: &Reader<'_>) -> AwsSettings {
    let about = "name of the environment of this process, such as local";
    let settings = AwsSettings {
        environment: reader.required("HAVEN_ENV", about),
    };
    reader.required("AWS_REGION", "the AWS region");
    let endpoint_url = reader.optional("AWS_ENDPOINT_URL");
    if settings.is_local() {
        let about =
            "endpoint of the local AWS; without it, a local environment would call the real AWS";
        let wrong = match &endpoint_url {
            None => Some("is not set".to_owned()),
            Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
                Some(format!("is {url:?}; use an http:// or https:// URL"))
            }
            Some(url) if url.contains(".amazonaws.com") => {
                Some(format!("is {url:?}, an endpoint of the real AWS"))
            }
            Some(_) => None,
        };
        if let Some(wrong) = wrong {
            reader.problem("AWS_ENDPOINT_URL", about, wrong);
        }
        let about = "static credentials for the local AWS; any value works";
        reader.required("AWS_ACCESS_KEY_ID", about);
        reader.secret("AWS_SECRET_ACCESS_KEY", about);
        if reader.optional("AWS_EC2_METADATA_DISABLED").as_deref() != Some("true") {
            let about = "stops the SDK from calling the instance metadata service";
            reader.problem("AWS_EC2_METADATA_DISABLED", about, "is not \"true\"");
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect()
    }

    fn problems_with_aws(pairs: &[(&str, &str)]) -> Vec<String> {
        let environment = environment(pairs);
        let reader = Reader::new(&environment);
        let settings = settings_for_aws(&reader);
        let problems = reader
            .finish(settings)
            .err()
            .map(|problems| problems.0)
            .unwrap_or_default();
        problems.into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn all_problems_are_reported_at_once_with_descriptions() {
        let environment = environment(&[("PORT", "many"), ("EMPTY", " "), ("KEY", "s3cret")]);
        let reader = Reader::new(&environment);
        reader.required("DATABASE_URL", "the orders");
        reader.required("EMPTY", "something");
        let port: Option<u16> = reader.optional_parsed("PORT", "where to listen");
        reader.secret("KEY", "signs tokens");
        reader.address(Address::Queue(&contract::queue::ORDERS));
        let told = reader.finish(port).expect_err("not usable").to_string();
        assert_eq!(
            told,
            "4 problems with the configuration:\n  \
             DATABASE_URL is not set  (the orders)\n  \
             EMPTY is not set  (something)\n  \
             PORT is \"many\": invalid digit found in string  (where to listen)\n  \
             HAVEN_QUEUE_ORDERS_URL is not set  (queue/orders/url in Parameter Store; written by the template)"
        );
    }

    #[test]
    fn a_secret_is_hidden_in_debug_output() {
        let environment = environment(&[("KEY", "s3cret")]);
        let reader = Reader::new(&environment);
        let secret = reader.secret("KEY", "signs tokens");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "*** Some(***)");
        assert_eq!(secret.expose(), "s3cret");
    }

    #[test]
    fn a_local_environment_requires_a_local_endpoint_and_static_credentials() {
        let whole: &[_] = &[
            ("HAVEN_ENV", "local"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        assert_eq!(problems_with_aws(whole), Vec::<String>::new());
        for missing in 0..whole.len() {
            let (lacking, _) = whole[missing];
            let rest: Vec<_> = whole
                .iter()
                .copied()
                .filter(|(key, _)| *key != lacking)
                .collect();
            assert_eq!(problems_with_aws(&rest), [lacking]);
        }
        for bad in ["127.0.0.1:4566", "https://sqs.us-east-1.amazonaws.com"] {
            let mut wrong = whole.to_vec();
            wrong[2].1 = bad;
            assert_eq!(problems_with_aws(&wrong), ["AWS_ENDPOINT_URL"], "{bad}");
        }
    }

    #[test]
    fn on_aws_no_credentials_are_required() {
        assert_eq!(
            problems_with_aws(&[("HAVEN_ENV", "production"), ("AWS_REGION", "eu-central-1")]),
            [""; 0]
        );
        assert_eq!(
            problems_with_aws(&[("HAVEN_ENV", "localhost"), ("AWS_REGION", "eu-central-1")]),
            [""; 0]
        );
    }
}
