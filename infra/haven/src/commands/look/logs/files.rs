//! The log files of the roles of this machine.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use platform::state::State;

use super::entry::{Batch, Filter, Newest};

/// A log file, which is read up to an offset.
pub struct Tail {
    role: &'static str,
    path: PathBuf,
    offset: u64,
}

impl Tail {
    /// Makes the unread log file of a role.
    pub fn new(state: &Path, role: &'static str) -> Tail {
        Tail {
            role,
            path: State::log_path(state, role),
            offset: 0,
        }
    }

    /// Passes each whole line after the offset to `line`. A file that does not exist has none.
    fn each_line(&mut self, mut line: impl FnMut(&str)) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        if file.metadata()?.len() < self.offset {
            // The log was set aside, and a new one begun.
            self.offset = 0;
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut file = BufReader::new(file);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let read = file.read_until(b'\n', &mut bytes)?;
            // The rest of a line that is being written is read next time.
            if bytes.last() != Some(&b'\n') {
                return Ok(());
            }
            self.offset += read as u64;
            line(&String::from_utf8_lossy(&bytes));
        }
    }
}

/// Reads the lines of all files that were not read before, and keeps the newest `limit`.
///
/// # Errors
/// When a file cannot be read.
pub fn read(files: &mut [Tail], filter: &Filter, limit: usize) -> anyhow::Result<Batch> {
    let mut logs = Vec::new();
    for file in files {
        let mut newest = Newest::new(limit);
        let role = file.role;
        file.each_line(|line| {
            if let Some(entry) = filter.entry(role, line) {
                newest.add(entry);
            }
        })
        .with_context(|| format!("read {}", file.path.display()))?;
        logs.push(newest);
    }
    Ok(Batch::of(logs, limit))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use uuid::Uuid;

    use super::*;
    use crate::commands::look::logs::entry::line;

    #[test]
    fn new_lines_are_read_once_and_in_order() {
        let folder = std::env::temp_dir().join(format!("haven-logs-{}", Uuid::now_v7()));
        fs::create_dir_all(&folder).expect("a directory");
        let mut files = ["sweeper", "storefront", "order-worker"].map(|role| Tail {
            role,
            path: folder.join(role),
            offset: 0,
        });
        let messages = |files: &mut [Tail], limit: usize| {
            let batch = read(files, &Filter::ALL, limit).expect("read");
            let messages = batch
                .entries
                .iter()
                .map(|entry| entry.log["message"].as_str());
            let messages: Vec<String> = messages.flatten().map(str::to_owned).collect();
            (messages.join(" "), batch.total)
        };
        let message =
            |time: &str, text: &str| line(time, "INFO", &format!("\"message\":\"{text}\""));
        let old = message("08:00:00", "one") + &message("08:00:02", "three") + "{\"half\":";
        fs::write(folder.join("sweeper"), &old).expect("written");
        fs::write(folder.join("storefront"), message("08:00:01", "two")).expect("written");
        assert_eq!(messages(&mut files, 9), ("one two three".to_owned(), 3));
        assert_eq!(messages(&mut files, 9), (String::new(), 0));
        // A smaller file is a new one.
        fs::write(folder.join("sweeper"), message("08:00:03", "four")).expect("written");
        assert_eq!(messages(&mut files, 9), ("four".to_owned(), 1));
        for file in &mut files {
            file.offset = 0;
        }
        assert_eq!(
            messages(&mut files, 1),
            ("four".to_owned(), 2),
            "the newest of all files"
        );
        fs::remove_dir_all(folder).expect("removed");
    }
}
