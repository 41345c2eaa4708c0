//! The templates as files.

use std::path::Path;

use anyhow::Context as _;
use blueprint::Environment;

/// Writes one file a stack, or with no folder only tells. Gives each stack's name and its size in bytes, minified.
pub fn synth(environment: &Environment, out: Option<&Path>) -> anyhow::Result<Vec<(String, usize)>> {
    let mut written = Vec::new();
    for stack in blueprint::stacks(environment) {
        if let Some(folder) = out {
            std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
            let path = folder.join(format!("{}.json", stack.name));
            let text = serde_json::to_string_pretty(&stack.template).context("write a template")? + "\n";
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        written.push((stack.name, stack.template.to_string().len()));
    }
    Ok(written)
}
