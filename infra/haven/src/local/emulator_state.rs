//! What the local AWS could not save.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use super::state::State;

/// What follows when the local AWS was killed before it had written its files.
pub const KILLED: &str = "The local AWS did not stop in time and was killed, so it did not save its state. Messages, dead letters and \
     settings since its last clean stop are lost. The next `haven up` restores stock holds, sales and order views from the \
     database, and the sweeper asks again for every unfinished order.";

/// The log of the local AWS, from a moment on.
pub struct Log {
    path: PathBuf,
    from: u64,
}

impl Log {
    pub fn from_here(state: &State) -> Log {
        let path = State::log_path(state.folder(), "local-aws");
        let from = fs::metadata(&path).map(|log| log.len()).unwrap_or_default();
        Log { path, from }
    }

    /// Returns a sentence when the local AWS logged since then that it could not save a file.
    pub fn not_saved(self) -> Option<String> {
        let mut text = String::new();
        let mut log = File::open(&self.path).ok()?;
        log.seek(SeekFrom::Start(self.from)).ok()?;
        log.read_to_string(&mut text).ok()?;
        // MiniStack's core/persistence.py: "Persistence: failed to save %s: %s".
        let failed: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_once("Persistence: failed to save "))
            .map(|(_, rest)| rest)
            .collect();
        (!failed.is_empty()).then(|| {
            format!(
                "The local AWS could not save part of its state: {}. What it kept there since its last clean stop is lost; the next \
                 `haven up` restores what the database knows.",
                failed.join("; ")
            )
        })
    }
}
