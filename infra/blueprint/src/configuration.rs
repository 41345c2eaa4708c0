//! The settings of an environment: `base.toml`, overridden by the environment's own file,
//! overridden by the caller. Files are passed as text; reading them from a disk is not here.
//!
//! Loading is strict. All unknown keys, wrong types, values out of range and broken rules are
//! reported together, each with its origin. serde and confique stop at the first error and do not
//! keep the file and line of each value, so `keys` reads the values from the syntax tree of `toml`.

mod keys;
mod patterns;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Serialize, Serializer};
use strsim::levenshtein;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use keys::{KEYS, Key, Value, Values};
use rules::RULES;

pub use keys::{
    Account, Backup, Cache, Compute, Database, Edge, Engine, Network, Observability, Settings,
    Usage,
};
pub use rules::is_prod;

/// An environment file as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File<'a> {
    /// Name of the file, for messages.
    pub name: &'a str,
    /// Content of the file.
    pub text: &'a str,
}

/// Returns the files of an environment of this repository, weakest first, or `None` for an unknown
/// name.
pub fn embedded(environment: &str) -> Option<Vec<File<'static>>> {
    macro_rules! file {
        ($name:literal) => {
            File {
                name: concat!("infra/environments/", $name),
                text: include_str!(concat!("../../environments/", $name)),
            }
        };
    }
    let base = file!("base.toml");
    match environment {
        // The local AWS creates none of the resources that these files size, so the base file is
        // enough.
        "local" => Some(vec![base]),
        "dev" => Some(vec![base, file!("dev.toml")]),
        "staging" => Some(vec![base, file!("staging.toml")]),
        "prod" => Some(vec![base, file!("prod.toml")]),
        _ => None,
    }
}

/// A setting from the caller, which overrides every file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The key, such as `network.zones`.
    pub key: String,
    /// The value without quotes: `3`, `us-west-2`, `2,10`.
    pub text: String,
    /// The argument or variable, for messages.
    pub origin: String,
}

impl Override {
    /// Parses a variable such as `HAVEN_SET_network__zones`. Returns `None` for every other
    /// variable.
    pub fn from_variable(name: &str, text: &str) -> Option<Override> {
        let key = name
            .strip_prefix("HAVEN_SET_")?
            .replace("__", ".")
            .to_ascii_lowercase();
        Some(Override {
            key,
            text: text.to_owned(),
            origin: name.to_owned(),
        })
    }

    /// Parses an argument such as `network.zones=3`. Returns `None` when there is no equals sign.
    pub fn from_argument(argument: &str) -> Option<Override> {
        let (key, text) = argument.split_once('=')?;
        let key = key.trim();
        Some(Override {
            key: key.to_owned(),
            text: text.trim().to_owned(),
            origin: format!("--set {key}"),
        })
    }
}

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file, or the file as a whole.
    File { name: String, line: Option<usize> },
    /// The origin of an override.
    Caller(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File {
                name,
                line: Some(line),
            } => write!(f, "{name}:{line}"),
            Origin::File { name, line: None } => f.write_str(name),
            Origin::Caller(origin) => f.write_str(origin),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One problem of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where the value was given.
    pub origin: Origin,
    /// The key; empty when a file is not TOML.
    pub key: String,
    /// The invalid value.
    pub found: String,
    /// The allowed values.
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem {
            origin,
            key,
            found,
            allowed,
        } = self;
        match key.is_empty() {
            true => write!(f, "{origin}: found {found}; allowed: {allowed}"),
            false => write!(f, "{origin}: {key}: found {found}; allowed: {allowed}"),
        }
    }
}

/// All problems of a configuration, one per line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    fn add(
        &mut self,
        origin: Origin,
        key: &str,
        found: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        self.0.push(Problem {
            origin,
            key: key.to_owned(),
            found: found.into(),
            allowed: allowed.into(),
        });
    }
}

/// The settings of one environment with their origins.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// Name of the environment.
    pub environment: String,
    /// The settings.
    pub settings: Settings,
    given: BTreeMap<&'static str, Given>,
}

/// The value of a key, and its default in the weakest file.
#[derive(Debug, Clone, PartialEq)]
struct Given {
    value: Value,
    origin: Origin,
    default: Value,
}

/// A key of a configuration with its explanation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The key.
    pub key: &'static str,
    /// The value in TOML.
    pub value: String,
    /// Where the value was given.
    pub origin: Origin,
    /// The value without the environment's own file and without overrides, in TOML.
    pub default: String,
    /// The allowed values.
    pub allowed: String,
    /// Additional rules for this environment.
    pub rules: Vec<&'static str>,
    /// The meaning of the key.
    pub about: &'static str,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation {
            key,
            value,
            origin,
            default,
            allowed,
            rules,
            about,
        } = self;
        write!(f, "{key} = {value}\n    from {origin}")?;
        match value == default {
            true => writeln!(f, ", the default")?,
            false => writeln!(f, "; the default is {default}")?,
        }
        write!(f, "    {about}: {allowed}")?;
        rules.iter().try_for_each(|rule| write!(f, "\n    {rule}"))
    }
}

impl Configuration {
    /// Reads the files, weakest first, and then the overrides; of two overrides of a key the last
    /// one applies. The first file must have every key.
    ///
    /// # Errors
    /// Returns all problems of the files and overrides.
    pub fn load(
        environment: &str,
        files: &[File<'_>],
        overrides: &[Override],
    ) -> Result<Configuration, Problems> {
        let mut reading = Reading::default();
        reading.name(environment);
        let nothing = File {
            name: "base.toml",
            text: "",
        };
        let (base, over) = files.split_first().unwrap_or((&nothing, &[]));
        reading.base(base);
        over.iter().for_each(|file| reading.file(file));
        overrides.iter().for_each(|given| reading.caller(given));
        let settings = reading.settings(environment);
        match (settings, reading.problems.0.is_empty()) {
            (Some(settings), true) => Ok(Configuration {
                environment: environment.to_owned(),
                settings,
                given: reading.given,
            }),
            _ => Err(reading.problems),
        }
    }

    /// Returns every key in the order of the key table.
    pub fn explain(&self) -> Vec<Explanation> {
        let explain = |key: &'static Key| {
            let Given {
                value,
                origin,
                default,
            } = self.given.get(key.path)?;
            let rules = RULES.iter().filter(|rule| {
                rule.tier.covers(&self.environment) && rule.keys.contains(&key.path)
            });
            Some(Explanation {
                key: key.path,
                value: value.to_string(),
                origin: origin.clone(),
                default: default.to_string(),
                allowed: key.kind.to_string(),
                rules: rules.map(|rule| rule.asks).collect(),
                about: key.about,
            })
        };
        KEYS.iter().filter_map(explain).collect()
    }
}

/// The state of loading.
#[derive(Default)]
struct Reading {
    given: BTreeMap<&'static str, Given>,
    problems: Problems,
    /// Keys with a problem of their own. Rules about them are not checked.
    bad: BTreeSet<&'static str>,
    /// Keys that were set after the first file.
    set: BTreeSet<&'static str>,
    /// Keys that were probably meant by a misspelled key.
    meant: BTreeSet<&'static str>,
    /// True when a file is not valid TOML, so values may be missing.
    torn: bool,
}

impl Reading {
    fn name(&mut self, environment: &str) {
        let fits = (1..=16).contains(&environment.len())
            && environment.starts_with(|character: char| character.is_ascii_lowercase())
            && !environment.ends_with('-')
            && environment
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !fits {
            let origin = Origin::Caller("the environment's name".to_owned());
            let allowed = "1 to 16 lowercase letters, digits and hyphens, with a letter first and no hyphen last";
            self.problems.add(origin, "", shown(environment), allowed);
        }
    }

    fn file(&mut self, file: &File<'_>) {
        let (table, errors) = DeTable::parse_recoverable(file.text);
        let at = |place: usize| Origin::File {
            name: file.name.to_owned(),
            line: Some(line(file.text, place)),
        };
        let mut torn = BTreeSet::new();
        for error in &errors {
            let origin = at(error.span().map_or(0, |span| span.start));
            // One mistake often causes several parser errors; the first one of a line is enough.
            if torn.insert(origin.to_string()) {
                let found = format!("invalid TOML: {}", one_line(error.message()));
                self.problems
                    .add(origin, "", found, "key = value, and [group]");
            }
        }
        self.torn |= !errors.is_empty();
        let mut written = Vec::new();
        flatten(String::new(), table.get_ref(), &mut written);
        // In the order of the file: the parser sorts by name.
        written.sort_by_key(|entry| entry.start);
        for entry in written {
            let origin = at(entry.start);
            // The rest of a line that is not TOML gets no second problem.
            if !torn.contains(&origin.to_string()) {
                let found = shown(file.text.get(entry.value.span()).unwrap_or_default());
                self.give(&entry.path, origin, found, |key| {
                    key.kind.read(entry.value.get_ref())
                });
            }
        }
    }

    fn caller(&mut self, given: &Override) {
        let origin = Origin::Caller(given.origin.clone());
        self.give(&given.key, origin, shown(&given.text), |key| {
            key.kind.read_plain(&given.text)
        });
    }

    fn give(
        &mut self,
        path: &str,
        origin: Origin,
        found: String,
        read: impl FnOnce(&Key) -> Option<Value>,
    ) {
        let Some(key) = keys::key(path) else {
            return self.unknown(path, origin);
        };
        let Some(value) = read(key) else {
            self.bad.insert(key.path);
            let allowed = key.kind.allowed();
            return self.problems.add(origin, path, found, allowed);
        };
        match self.given.get_mut(key.path) {
            Some(given) => {
                (given.value, given.origin) = (value, origin);
                self.set.insert(key.path);
            }
            None => drop(self.given.insert(
                key.path,
                Given {
                    default: value.clone(),
                    value,
                    origin,
                },
            )),
        }
    }

    fn unknown(&mut self, path: &str, origin: Origin) {
        let mut allowed = "a key of `haven config explain`".to_owned();
        if let Some(near) = nearest_key(path) {
            self.meant.insert(near);
            allowed = format!("{allowed}; did you mean {near}?");
        }
        self.problems
            .add(origin, &plain(path), "an unknown key", allowed);
    }

    /// Reads the weakest file. Reports every missing key, because this file documents all settings.
    fn base(&mut self, base: &File<'_>) {
        self.file(base);
        if self.torn {
            return;
        }
        let missing =
            |key: &&Key| !self.given.contains_key(key.path) && !self.bad.contains(key.path);
        for key in KEYS.iter().filter(missing).collect::<Vec<_>>() {
            self.bad.insert(key.path);
            let origin = Origin::File {
                name: base.name.to_owned(),
                line: None,
            };
            self.problems
                .add(origin, key.path, "no default", key.kind.allowed());
        }
    }

    /// Returns the settings, with an example for each missing value, and reports every rule that
    /// they break.
    fn settings(&mut self, environment: &str) -> Option<Settings> {
        let value = |key: &Key| {
            self.given
                .get(key.path)
                .map_or_else(|| key.kind.example(), |given| given.value.clone())
        };
        let values: Values = KEYS.iter().map(|key| (key.path, value(key))).collect();
        let settings = match keys::settings(&values) {
            Ok(settings) => settings,
            Err(error) => {
                let origin = Origin::Caller("the table of keys".to_owned());
                let allowed = "a value for each field of the settings";
                self.problems.add(origin, "", error.to_string(), allowed);
                return None;
            }
        };
        if self.torn {
            return Some(settings);
        }
        // A key with an invalid value is reported once. Rules would check a substitute that the
        // author did not choose.
        let sound = |key: &&str| {
            !self.bad.contains(key) && (self.set.contains(key) || !self.meant.contains(key))
        };
        let broken = RULES
            .iter()
            .filter(|rule| rule.tier.covers(environment) && rule.keys.iter().all(sound))
            .filter(|rule| !(rule.holds)(&settings));
        for rule in broken {
            let given: Vec<_> = rule
                .keys
                .iter()
                .filter_map(|key| Some((*key, self.given.get(key)?)))
                .collect();
            let Some((key, first)) = given.first() else {
                continue;
            };
            let mut found = first.value.to_string();
            for (key, other) in given.iter().skip(1) {
                found = format!("{found} with {key} = {} ({})", other.value, other.origin);
            }
            let origin = first.origin.clone();
            self.problems.add(origin, key, found, rule.asks);
        }
        Some(settings)
    }
}

/// A key of a file with its value.
struct Written<'a> {
    path: String,
    start: usize,
    value: &'a Spanned<DeValue<'a>>,
}

/// Collects every key of a table in any notation of TOML: `[network] zones`, `network.zones`,
/// `network = { zones }`.
fn flatten<'a>(group: String, table: &'a DeTable<'a>, written: &mut Vec<Written<'a>>) {
    for (name, value) in table {
        let path = if group.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{group}.{}", name.get_ref())
        };
        match value.get_ref() {
            // A known empty group is valid; an unknown one is reported.
            DeValue::Table(inner) if !inner.is_empty() => flatten(path, inner, written),
            DeValue::Table(_)
                if KEYS
                    .iter()
                    .any(|key| key.path.split('.').next() == Some(&path)) => {}
            _ => written.push(Written {
                path,
                start: name.span().start,
                value,
            }),
        }
    }
}

/// Returns the line number of a byte offset.
fn line(text: &str, place: usize) -> usize {
    1 + text
        .bytes()
        .take(place)
        .filter(|byte| *byte == b'\n')
        .count()
}

/// Maximum characters of a file that a message repeats.
const SHOWN_MAX: usize = 60;

/// Returns the text for a message, on one line and shortened.
fn shown(text: &str) -> String {
    if text.is_empty() {
        "nothing".to_owned()
    } else {
        plain(text)
    }
}

fn plain(text: &str) -> String {
    let mut plain: String = text
        .chars()
        .take(SHOWN_MAX)
        .flat_map(|character| match character {
            '"' | '\'' => vec![character],
            other => other.escape_debug().collect(),
        })
        .collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        plain.push_str("...");
    }
    plain
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the key that was probably meant: a similar key, or the right name in the wrong group.
pub fn nearest_key(path: &str) -> Option<&'static str> {
    let name = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let tried = path.to_ascii_lowercase();
    if tried.len() > SHOWN_MAX {
        return None;
    }
    let far = |key: &Key| {
        levenshtein(key.path, &tried).min(1 + levenshtein(&name(key.path), &name(&tried)))
    };
    let key = KEYS.iter().min_by_key(|key| far(key))?;
    (far(key) <= 2.max(name(&tried).chars().count() / 3)).then_some(key.path)
}
