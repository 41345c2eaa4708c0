//! The part of a log that a process writes from a given moment on.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

/// A log from a given position on.
pub struct LogTail {
    path: PathBuf,
    from: u64,
}

impl LogTail {
    /// Starts at the present end of a log, or at the beginning of one that does not exist yet.
    pub fn from_here(path: PathBuf) -> LogTail {
        let from = std::fs::metadata(&path).map_or(0, |log| log.len());
        LogTail { path, from }
    }

    /// Returns the text that was written since, at most its last `longest` bytes.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn read(&self, longest: u64) -> io::Result<String> {
        let mut text = Vec::new();
        let mut log = File::open(&self.path)?;
        let last = log.metadata()?.len().saturating_sub(longest);
        log.seek(SeekFrom::Start(self.from.max(last)))?;
        log.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
