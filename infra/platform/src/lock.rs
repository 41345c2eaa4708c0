//! The lock file of a state directory.

use serde::{Deserialize, Serialize};

use crate::process::Identity;

/// The name of the lock file.
pub const LOCK: &str = "lock";

/// The content of the lock file: the process that holds the lock, or the last one that held it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    #[serde(flatten)]
    pub identity: Identity,
    /// Whether the process was asked to stop. A second signal would make it stop without saving.
    pub stopping: bool,
    /// The parts of the state that could not be saved during the stop, one sentence each.
    pub unsaved: Vec<String>,
}

/// Parses the content of a lock file. Returns `None` if it names no holder.
pub fn parse_holder(content: &[u8]) -> Option<Holder> {
    // The rest of an older and longer document may follow the first one.
    serde_json::Deserializer::from_slice(content)
        .into_iter()
        .next()?
        .ok()
}
