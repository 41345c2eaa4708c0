//! Progress of a long start: the current phase, and the duration of each finished one.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Prints one line per finished phase. On a terminal, a spinner shows the current phase.
pub struct Phases {
    started: Instant,
    terminal: bool,
}

impl Phases {
    /// Starts the clock of the whole start.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Runs one phase, and prints its result line with its duration. The spinner shows `doing`
    /// meanwhile.
    ///
    /// # Errors
    /// The error of the phase.
    pub async fn run<T>(
        &self,
        doing: &str,
        phase: impl Future<Output = anyhow::Result<(T, String)>>,
    ) -> anyhow::Result<T> {
        let begun = Instant::now();
        let spinner = self.terminal.then(|| {
            let style = ProgressStyle::with_template("  {spinner} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let spinner = ProgressBar::new_spinner()
                .with_style(style)
                .with_message(doing.to_owned());
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        let outcome = phase.await;
        if let Some(spinner) = spinner {
            spinner.finish_and_clear();
        }
        let (value, result) = outcome?;
        eprintln!("  {:>6.1} s  {result}", begun.elapsed().as_secs_f64());
        Ok(value)
    }

    /// Returns the time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Default for Phases {
    fn default() -> Self {
        Self::new()
    }
}
