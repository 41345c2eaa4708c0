//! What was deployed from here: the templates, for comparing without an account, and how long each stack took.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use blueprint::Stack;
use serde_json::Value;

use super::deploy::{Outcome, StackOutcome};

/// One environment's folder below a state folder.
pub struct History(PathBuf);

impl History {
    pub fn of(state: &Path, environment: &str) -> History {
        History(state.join("deployed").join(environment))
    }

    /// The template that a stack was last brought to from here; null when it never was.
    ///
    /// # Errors
    /// When the file is there and is no template.
    pub fn template(&self, stack: &str) -> anyhow::Result<Value> {
        read_template(&self.0, stack)
    }

    /// Seconds that the stack's last change took.
    pub fn seconds(&self, stack: &str) -> Option<f64> {
        self.all_seconds().get(stack).copied()
    }

    /// # Errors
    /// When the folder cannot be written.
    pub fn remember(&self, stacks: &[Stack], outcomes: &[StackOutcome]) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.0).with_context(|| format!("make {}", self.0.display()))?;
        let mut seconds = self.all_seconds();
        for outcome in outcomes {
            let Some(stack) = stacks.iter().find(|stack| stack.name == outcome.name) else { continue };
            self.write(&format!("{}.json", stack.name), &stack.template)?;
            if outcome.outcome != Outcome::Unchanged {
                seconds.insert(stack.name.clone(), outcome.seconds);
            }
        }
        self.write("seconds.json", &serde_json::json!(seconds))
    }

    pub fn forget(&self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }

    fn all_seconds(&self) -> BTreeMap<String, f64> {
        let text = std::fs::read_to_string(self.0.join("seconds.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    fn write(&self, file: &str, value: &Value) -> anyhow::Result<()> {
        let path = self.0.join(file);
        let text = serde_json::to_string_pretty(value).context("write JSON")? + "\n";
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }
}

/// A template as `haven synth --out` writes it; null when the folder has none of this stack.
pub fn read_template(folder: &Path, stack: &str) -> anyhow::Result<Value> {
    let path = folder.join(format!("{stack}.json"));
    if !path.exists() {
        return Ok(Value::Null);
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no template", path.display()))
}
