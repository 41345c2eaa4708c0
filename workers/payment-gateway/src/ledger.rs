//! The ledger file: append-only JSON, one entry per line. An entry counts only when it is in the
//! file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};

use crate::books::{Books, Entry, Inconsistent};

/// The open ledger file.
pub struct Ledger {
    file: File,
    path: PathBuf,
    /// Lines that the next [`Ledger::sync`] writes.
    pending: Vec<u8>,
}

/// Opens the ledger, or creates an empty one, and rebuilds the books from it.
///
/// A crash during a write leaves an incomplete last line. No client got an answer about it, so the
/// line is cut off with a warning.
///
/// # Errors
/// Returns an error that names the line when any other line cannot be parsed or contradicts earlier
/// ones. Returns an error when another gateway has the file open, or when the file cannot be read
/// or locked.
pub fn open(path: &Path) -> anyhow::Result<(Ledger, Books)> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)
        .with_context(|| format!("open the ledger {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            bail!("another gateway has the ledger {} open", path.display())
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("lock the ledger {}", path.display()));
        }
    }
    sync_directory_of(path).with_context(|| format!("make the ledger {} last", path.display()))?;
    let mut ledger = Ledger {
        file,
        path: path.to_owned(),
        pending: Vec::new(),
    };
    let books = ledger
        .replay()
        .with_context(|| format!("read the ledger {}", path.display()))?;
    Ok((ledger, books))
}

impl Ledger {
    /// Adds an entry to the group, which [`Ledger::sync`] writes.
    ///
    /// # Errors
    /// Returns an error when the entry cannot be encoded.
    pub fn append(&mut self, entry: &Entry) -> anyhow::Result<()> {
        serde_json::to_writer(&mut self.pending, entry).context("encode a ledger entry")?;
        self.pending.push(b'\n');
        Ok(())
    }

    /// Writes and syncs the group.
    ///
    /// # Errors
    /// Returns an error when the file cannot be written. The end of the file is then unknown, and
    /// the ledger must not be used again: a second sync could succeed although the kernel dropped
    /// the pages of the first.
    pub fn sync(&mut self) -> anyhow::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let context = || format!("write the ledger {}", self.path.display());
        self.file.write_all(&self.pending).with_context(context)?;
        self.file.sync_data().with_context(context)?;
        self.pending.clear();
        Ok(())
    }

    /// Creates a ledger over any file, for example one that cannot be written.
    #[cfg(test)]
    pub fn over(file: File) -> Ledger {
        Ledger {
            file,
            path: PathBuf::from("test"),
            pending: Vec::new(),
        }
    }

    fn replay(&mut self) -> anyhow::Result<Books> {
        let mut books = Books::default();
        let mut reader = BufReader::new(self.file.try_clone()?);
        let mut line = Vec::new();
        let mut good_bytes: u64 = 0;
        for number in 1_u64.. {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            let is_torn = !line.ends_with(b"\n");
            match serde_json::from_slice::<Entry>(&line) {
                Ok(entry) => books.record(entry).map_err(|Inconsistent(why)| {
                    anyhow!("line {number} does not follow from those before it: {why}")
                })?,
                Err(error) if is_torn => {
                    tracing::warn!(line = number, bytes = read, %error, "dropped the torn last line of the ledger");
                    self.file.set_len(good_bytes)?;
                    self.file.sync_data()?;
                    break;
                }
                Err(error) => {
                    return Err(anyhow!(error).context(format!("line {number} cannot be read")));
                }
            }
            if is_torn {
                // The line is complete except for its line end, which is added.
                self.pending.push(b'\n');
                self.sync()?;
                break;
            }
            good_bytes += read as u64;
        }
        Ok(books)
    }
}

/// Syncs the directory of a file, because only then is a new file name durable.
fn sync_directory_of(path: &Path) -> std::io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}
