//! Configuration: read whole before any socket opens, all problems told together.
//!
//! What may change while a process runs (tunable parameters, rotated credentials) is not here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

use contract::address::Address;

/// Where settings come from.
pub trait Environment {
    /// Returns a setting's value; `None` where it is not set.
    fn get(&self, key: &str) -> Option<String>;

    /// Returns whether the setting has a value that is no text, which [`Environment::get`] cannot
    /// return.
    fn is_not_text(&self, _key: &str) -> bool {
        false
    }
}

/// The environment of this process; nothing else in the workspace reads it (a test of `tidy`
/// looks).
///
/// A variable that is empty counts as unset: a shell and a template have no other way to take one
/// back for one command.
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, key: &str) -> Option<String> {
        std::env::var(key).ok().filter(|value| !value.is_empty())
    }

    fn is_not_text(&self, key: &str) -> bool {
        std::env::var_os(key).is_some_and(|value| value.to_str().is_none())
    }
}

impl ProcessEnvironment {
    /// Returns a variable whose value may be any bytes, such as a path.
    pub fn get_os(&self, key: &str) -> Option<OsString> {
        std::env::var_os(key).filter(|value| !value.is_empty())
    }

    /// Returns the names of all variables that are set and not empty. A name that is not UTF-8 is
    /// nobody's here.
    pub fn names(&self) -> Vec<String> {
        let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
        set.filter_map(|(name, _)| name.into_string().ok())
            .collect()
    }

    /// Returns the names of all variables that begin with `prefix`, whatever bytes follow and
    /// whether they are empty or not: to keep them from a child.
    pub fn names_with_prefix(&self, prefix: &str) -> impl Iterator<Item = OsString> {
        let prefix = prefix.as_bytes().to_owned();
        std::env::vars_os()
            .map(|(name, _)| name)
            .filter(move |name| name.as_encoded_bytes().starts_with(&prefix))
    }

    /// Returns the part of `PATH` that is UTF-8. The other folders cannot be given to a child as
    /// text.
    pub fn search_path(&self) -> String {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let text = std::env::split_paths(&path)
            .filter_map(|folder| folder.into_os_string().into_string().ok());
        // Only a folder with a colon in its name cannot be joined, and splitting leaves none.
        std::env::join_paths(text)
            .ok()
            .and_then(|path| path.into_string().ok())
            .unwrap_or_default()
    }
}

/// For tests.
impl Environment for BTreeMap<String, String> {
    fn get(&self, key: &str) -> Option<String> {
        BTreeMap::get(self, key).cloned()
    }
}

/// Reads settings and collects what is wrong with them. A setting that is empty counts as absent.
///
/// After a problem its methods answer with a stand-in, so that one pass finds every problem;
/// [`Reader::finish`] lets nobody use it.
pub struct Reader<'a> {
    environment: &'a dyn Environment,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Reader<'a> {
    pub fn new(environment: &'a dyn Environment) -> Self {
        Self {
            environment,
            problems: RefCell::default(),
        }
    }

    pub fn optional(&self, key: &str) -> Option<String> {
        if self.environment.is_not_text(key) {
            self.problem(key, "a setting is text", "is not UTF-8");
        }
        self.environment
            .get(key)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    /// `about` says what the setting is for, to someone who lacks it.
    pub fn required(&self, key: &str, about: &str) -> String {
        self.optional(key).unwrap_or_else(|| {
            // Told as such by `optional`.
            if !self.environment.is_not_text(key) {
                self.problem(key, about, "is not set");
            }
            String::new()
        })
    }

    /// The default where it is absent.
    pub fn parsed<T>(&self, key: &str, about: &str, default: T) -> T
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.optional_parsed(key, about).unwrap_or(default)
    }

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

    pub fn secret(&self, key: &str, about: &str) -> Secret<String> {
        Secret(self.required(key, about))
    }

    /// Where CloudFormation put a resource.
    pub fn address(&self, address: Address) -> String {
        let about = format!(
            "{} in Parameter Store; written by the template",
            address.parameter()
        );
        self.required(&address.variable(), &about)
    }

    /// For a rule of the caller's own: what is wrong, as in "must be positive".
    pub fn problem(&self, key: &str, about: &str, wrong: impl Into<String>) {
        let problem = Problem {
            key: key.to_owned(),
            about: about.to_owned(),
            wrong: wrong.into(),
        };
        self.problems.borrow_mut().push(problem);
    }

    /// The configuration, if there was no problem at all.
    pub fn finish<T>(self, configuration: T) -> Result<T, Problems> {
        let problems = self.problems.into_inner();
        if problems.is_empty() {
            Ok(configuration)
        } else {
            Err(Problems(problems))
        }
    }
}

/// One setting that cannot be used. Never holds a secret's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    pub about: String,
    pub wrong: String,
}

/// Why the process cannot start; ends it with [`crate::EX_USAGE`].
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

/// A value that must not reach a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Whoever calls this keeps it out of logs and errors.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Which AWS the process talks to. The SDK itself reads the rest from the same environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsSettings {
    /// `HAVEN_ENV`, such as `local` or `production`.
    pub environment: String,
    pub region: String,
    /// Set in local mode.
    pub endpoint_url: Option<String>,
}

/// An environment of this name, or of one that begins with it and a hyphen, is a local one.
const LOCAL: &str = "local";

impl AwsSettings {
    pub fn is_local(&self) -> bool {
        is_local(&self.environment)
    }
}

/// What every process that talks to AWS must be told.
///
/// In local mode that includes an endpoint and static credentials: without them the SDK would look
/// for real ones, at the instance metadata address outside this machine, and hang or spend money.
pub fn settings_for_aws(reader: &Reader<'_>) -> AwsSettings {
    let environment = reader.required(
        "HAVEN_ENV",
        "the environment this process belongs to, such as local",
    );
    let region = reader.required("AWS_REGION", "the AWS region");
    let endpoint_url = reader.optional("AWS_ENDPOINT_URL");
    if is_local(&environment) {
        let about = "the local AWS; without it local mode would reach the real one";
        match &endpoint_url {
            None => reader.problem("AWS_ENDPOINT_URL", about, "is not set"),
            Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
                reader.problem(
                    "AWS_ENDPOINT_URL",
                    about,
                    format!("is {url:?}, which is no http:// or https:// URL"),
                );
            }
            Some(url) if url.contains(".amazonaws.com") => {
                reader.problem(
                    "AWS_ENDPOINT_URL",
                    about,
                    format!("is {url:?}, which is the real AWS"),
                );
            }
            Some(_) => {}
        }
        let about = "static credentials for the local AWS; any value will do";
        reader.required("AWS_ACCESS_KEY_ID", about);
        reader.secret("AWS_SECRET_ACCESS_KEY", about);
        if reader.optional("AWS_EC2_METADATA_DISABLED").as_deref() != Some("true") {
            let about = "keeps the SDK from asking the instance metadata address";
            reader.problem("AWS_EC2_METADATA_DISABLED", about, "is not \"true\"");
        }
    }
    AwsSettings {
        environment,
        region,
        endpoint_url,
    }
}

fn is_local(environment: &str) -> bool {
    environment
        .strip_prefix(LOCAL)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
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
    fn all_problems_are_told_at_once_each_with_what_it_is_for() {
        let environment = environment(&[("PORT", "many"), ("EMPTY", " "), ("KEY", "s3cret")]);
        let reader = Reader::new(&environment);
        reader.required("DATABASE_URL", "the orders");
        reader.required("EMPTY", "something");
        let port: u16 = reader.parsed("PORT", "where to listen", 8080);
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
    fn a_secret_does_not_reach_a_log() {
        let environment = environment(&[("KEY", "s3cret")]);
        let reader = Reader::new(&environment);
        let secret = reader.secret("KEY", "signs tokens");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "*** Some(***)");
        assert_eq!(secret.expose(), "s3cret");
    }

    #[test]
    fn local_mode_never_looks_for_the_real_aws() {
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
    fn on_aws_the_task_role_is_enough() {
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
