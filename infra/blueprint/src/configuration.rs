//! The settings of an environment, from its files: `base.toml`, over it the environment's own file,
//! over that what the caller says. Files come as text: whoever reads them from a disk is not here.
//!
//! Nothing is guessed and nothing is let through: an unknown key, a wrong type, a value out of
//! range or a broken rule are all told at once, each with the place it was found at.

mod keys;
mod patterns;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Serialize, Serializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::settings::Settings;
use crate::spelling::distance;
use keys::{KEYS, Key, Value, Values};
use rules::RULES;

pub use rules::is_prod;

/// A settings file that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File<'a> {
    /// For messages.
    pub name: &'a str,
    pub text: &'a str,
}

/// The files of the environments that this repository has, weakest first; a name that it has not is
/// `None`.
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
        // The local AWS makes none of what these files size: base as it stands.
        "local" => Some(vec![base]),
        "dev" => Some(vec![base, file!("dev.toml")]),
        "staging" => Some(vec![base, file!("staging.toml")]),
        "prod" => Some(vec![base, file!("prod.toml")]),
        _ => None,
    }
}

/// A setting that the caller gives, stronger than any file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    pub key: String,
    /// Unquoted: `3`, `us-west-2`, `2,10`.
    pub text: String,
    /// For messages.
    pub origin: String,
}

impl Override {
    /// From a variable such as `HAVEN_SET_network__zones`; `None` for every other variable.
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

    /// From an argument such as `network.zones=3`; `None` when there is no equals sign.
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

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file; without a line it is about the file as a whole.
    File { name: String, line: Option<usize> },
    /// An override, by its own origin.
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

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub origin: Origin,
    /// Empty when a file is not TOML at all.
    pub key: String,
    pub found: String,
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

/// All that is wrong with a configuration, a line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);

/// The settings of one environment, and where each came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    pub environment: String,
    pub settings: Settings,
    given: BTreeMap<&'static str, Given>,
}

/// A key's value, and the default that stands in the weakest file.
#[derive(Debug, Clone, PartialEq)]
struct Given {
    value: Value,
    origin: Origin,
    default: Value,
}

/// One key of a configuration, explained.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    pub key: &'static str,
    /// As a file would say it.
    pub value: String,
    pub origin: Origin,
    /// What it would be without the environment's own file and without overrides.
    pub default: String,
    pub allowed: String,
    /// What this environment asks beyond that.
    pub rules: Vec<&'static str>,
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
    /// Reads the files, weakest first, and the overrides, of which the last of a key is the
    /// strongest. The first file is the one that has every key.
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
        match (settings, reading.problems.is_empty()) {
            (Some(settings), true) => Ok(Configuration {
                environment: environment.to_owned(),
                settings,
                given: reading.given,
            }),
            _ => Err(Problems(reading.problems)),
        }
    }

    /// Every key, in the order of the table.
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

/// What was read so far.
#[derive(Default)]
struct Reading {
    given: BTreeMap<&'static str, Given>,
    problems: Vec<Problem>,
    /// Keys that have a problem of their own: no rule is asked about them.
    bad: BTreeSet<&'static str>,
    /// Keys that were set beyond the first file.
    set: BTreeSet<&'static str>,
    /// Keys that somebody probably meant to set, but misspelt.
    meant: BTreeSet<&'static str>,
    /// A file could not be read whole, so that values may be missing.
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
            self.problems.push(Problem {
                origin: Origin::Caller("the environment's name".to_owned()),
                key: String::new(),
                found: shown(environment),
                allowed:
                    "1 to 16 small letters, digits and hyphens, a letter first and no hyphen last"
                        .to_owned(),
            });
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
            // One slip often makes several errors of the parser: the first of a line tells.
            if torn.insert(origin.to_string()) {
                let found = format!("what is not TOML: {}", one_line(error.message()));
                let allowed = "key = value, and [group]".to_owned();
                self.problems.push(Problem {
                    origin,
                    key: String::new(),
                    found,
                    allowed,
                });
            }
        }
        self.torn |= !errors.is_empty();
        let mut written = Vec::new();
        flatten(String::new(), table.get_ref(), &mut written);
        // As the file has them: the parser sorts by name.
        written.sort_by_key(|entry| entry.start);
        for entry in written {
            let origin = at(entry.start);
            // What is left of a line that is not TOML is not worth a second complaint.
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
            return self.problems.push(Problem {
                origin,
                key: path.to_owned(),
                found,
                allowed,
            });
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
        self.problems.push(Problem {
            origin,
            key: plain(path),
            found: "an unknown key".to_owned(),
            allowed,
        });
    }

    /// The weakest file has every key, so that reading it alone shows all that can be set.
    fn base(&mut self, base: &File<'_>) {
        self.file(base);
        if self.torn {
            return;
        }
        let missing =
            |key: &&Key| !self.given.contains_key(key.path) && !self.bad.contains(key.path);
        for key in KEYS.iter().filter(missing).collect::<Vec<_>>() {
            self.bad.insert(key.path);
            self.problems.push(Problem {
                origin: Origin::File {
                    name: base.name.to_owned(),
                    line: None,
                },
                key: key.path.to_owned(),
                found: "no default".to_owned(),
                allowed: key.kind.allowed(),
            });
        }
    }

    /// The settings as far as they were read, with an example where they were not; and every rule
    /// that they break.
    fn settings(&mut self, environment: &str) -> Option<Settings> {
        let value = |key: &Key| {
            self.given
                .get(key.path)
                .map_or_else(|| key.kind.example(), |given| given.value.clone())
        };
        let values: Values = KEYS.iter().map(|key| (key.path, value(key))).collect();
        let settings = match keys::settings(&values) {
            Ok(settings) => settings,
            Err(path) => {
                let origin = Origin::Caller("the table of keys".to_owned());
                let found = values.get(path).map(Value::to_string).unwrap_or_default();
                let allowed = "what its field can hold".to_owned();
                self.problems.push(Problem {
                    origin,
                    key: path.to_owned(),
                    found,
                    allowed,
                });
                return None;
            }
        };
        if self.torn {
            return Some(settings);
        }
        // Of a key that was given wrongly only that is told: a default in its place is not what was
        // meant.
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
            let (origin, allowed) = (first.origin.clone(), rule.asks.to_owned());
            self.problems.push(Problem {
                origin,
                key: (*key).to_owned(),
                found,
                allowed,
            });
        }
        Some(settings)
    }
}

/// A key of a file and what it says.
struct Written<'a> {
    path: String,
    start: usize,
    value: &'a Spanned<DeValue<'a>>,
}

/// Every key of a table, whichever way TOML spells it: `[network] zones`, `network.zones`, `network
/// = { zones }`.
fn flatten<'a>(group: String, table: &'a DeTable<'a>, written: &mut Vec<Written<'a>>) {
    for (name, value) in table {
        let path = if group.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{group}.{}", name.get_ref())
        };
        match value.get_ref() {
            // An empty group says nothing; one that nobody knows is told of.
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

/// The number of the line that a byte is on.
fn line(text: &str, place: usize) -> usize {
    1 + text
        .bytes()
        .take(place)
        .filter(|byte| *byte == b'\n')
        .count()
}

/// Longest piece of a file that a message repeats.
const SHOWN_MAX: usize = 60;

/// What was found, on one line and not too long.
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

/// The key that was probably meant: a slip or two away, or the right name in the wrong group.
pub fn nearest_key(path: &str) -> Option<&'static str> {
    let name = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let tried = path.to_ascii_lowercase();
    if tried.len() > SHOWN_MAX {
        return None;
    }
    let far =
        |key: &Key| distance(key.path, &tried).min(1 + distance(&name(key.path), &name(&tried)));
    let key = KEYS.iter().min_by_key(|key| far(key))?;
    (far(key) <= 2.max(name(&tried).chars().count() / 3)).then_some(key.path)
}
