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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn off_a_terminal_a_phase_that_ends_is_one_line_and_a_failed_one_is_none() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let printed = lines.clone();
        let steps = Steps::in_lines("up", move |line: &str| {
            lines.lock().expect("no panic").push(line.to_owned());
        });
        let phases = Phases {
            started: Instant::now(),
            steps,
        };
        let done = phases.run("Deploying", async {
            Ok((7, "Stacks: 4 created".to_owned()))
        });
        assert_eq!(done.await.expect("it ends well"), 7);
        let failing = std::future::ready(Err(anyhow::anyhow!("port 8080 is in use")));
        let failed: anyhow::Result<()> = phases.run("Starting", failing).await;
        assert!(failed.is_err());
        let lines = printed.lock().expect("no panic").clone();
        assert!(
            matches!(lines.as_slice(), [line] if line.starts_with("up: Stacks: 4 created (")),
            "{lines:?}"
        );
    }
}
