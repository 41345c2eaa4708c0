//! The record of deployments from this machine: the templates, for comparisons without an account,
//! and the duration of each stack.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use blueprint::Stack;
use haven_console::BadUsage;
use provision::deploy::{Outcome, StackOutcome};
use serde_json::Value;

use crate::private_file;

/// The file with the duration of each stack.
const SECONDS: &str = "seconds.json";

/// The directory of one environment below a state directory. A state directory of another user is
/// not used.
pub struct History {
    state: PathBuf,
    folder: PathBuf,
}

impl History {
    /// Returns the record of an environment. Reads nothing.
    pub fn of(state: &Path, environment: &str) -> History {
        History {
            state: state.to_owned(),
            folder: state.join("deployed").join(environment),
        }
    }

    /// Returns the template of a stack's last deployment from here, or null if there was none.
    ///
    /// # Errors
    /// When the file is not JSON, or the state directory belongs to another user.
    pub fn template(&self, stack: &str) -> anyhow::Result<Value> {
        private_file::check_owner(&self.state)?;
        read_template(&self.folder, stack)
    }

    /// Checks that the state directory may be used.
    ///
    /// # Errors
    /// When the directory belongs to another user, so that [`History::remember`] would fail.
    pub fn check(&self) -> Result<(), BadUsage> {
        private_file::check_owner(&self.state)
    }

    /// Writes the templates and durations of a deployment.
    ///
    /// # Errors
    /// When a file cannot be written, or the state directory belongs to another user.
    pub fn remember(&self, stacks: &[Stack], outcomes: &[StackOutcome]) -> anyhow::Result<()> {
        private_file::check_owner(&self.state)?;
        private_file::private_folder(&self.folder)?;
        let mut seconds = self.seconds();
        for outcome in outcomes {
            let Some(stack) = stacks.iter().find(|stack| stack.name == outcome.name) else {
                continue;
            };
            self.write(&format!("{}.json", stack.name), &stack.template)?;
            if outcome.outcome != Outcome::Unchanged {
                seconds.insert(stack.name.clone(), outcome.seconds);
            }
        }
        self.write(SECONDS, &serde_json::json!(seconds))
    }

    /// Removes the files that `remember` writes, and the directory if it is empty then.
    pub fn forget(&self) {
        if private_file::check_owner(&self.state).is_err() {
            return;
        }
        for entry in std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == SECONDS || (name.starts_with("brew-haven-") && name.ends_with(".json")) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        let _ = std::fs::remove_dir(&self.folder);
    }

    /// Returns the duration in seconds of the last change of each stack.
    pub fn seconds(&self) -> BTreeMap<String, f64> {
        let text = std::fs::read_to_string(self.folder.join(SECONDS)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    fn write(&self, file: &str, value: &Value) -> anyhow::Result<()> {
        let path = self.folder.join(file);
        let text = serde_json::to_string_pretty(value).context("write JSON")? + "\n";
        private_file::write(&path, text.as_bytes())
    }
}

/// Reads a template that `haven synth --out` wrote. Returns null if there is none for this stack.
///
/// # Errors
/// When the file cannot be read, or is not JSON.
pub fn read_template(folder: &Path, stack: &str) -> anyhow::Result<Value> {
    let path = folder.join(format!("{stack}.json"));
    if !path.exists() {
        return Ok(Value::Null);
    }
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no template", path.display()))
}
