//! Progress of a long start: the current phase, and the duration of each finished one.

use std::time::{Duration, Instant};

use haven_console::progress::Steps;

/// Shows one line per phase.
pub struct Phases {
    started: Instant,
    steps: Steps,
}

impl Phases {
    /// Starts the clock of the whole start.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            steps: Steps::new("up"),
        }
    }

    /// Runs one phase, and prints its result line with its duration. A terminal shows `doing`
    /// meanwhile.
    ///
    /// # Errors
    /// The error of the phase.
    pub async fn run<T>(
        &self,
        doing: &str,
        phase: impl Future<Output = anyhow::Result<(T, String)>>,
    ) -> anyhow::Result<T> {
        let step = self.steps.begin(doing);
        let (value, result) = phase.await?;
        step.ok(&result);
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
