//! The reasons for which `haven up` ends: a signal, a second signal, or the loss of its state
//! directory.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chassis::run::{TerminationSignal, TerminationSignals};
use tokio_util::sync::CancellationToken;

use crate::mutex::locked;
use crate::state::Ground;

/// The error of a `haven up` that a second signal ended without saving anything.
#[derive(Debug, thiserror::Error)]
#[error(
    "stopped at once, by a second signal: the local AWS did not save its state; the next `haven up` restores what the database contains"
)]
pub struct Interrupted;

/// Receives the requests to stop, and notifies the tasks that wait for one.
#[derive(Debug, Clone)]
pub struct Stop {
    asked: CancellationToken,
    at_once: CancellationToken,
    lost: CancellationToken,
    why_lost: Arc<Mutex<Option<anyhow::Error>>>,
}

impl Stop {
    /// Listens for SIGINT, SIGTERM and SIGHUP. SIGHUP stays ignored if it was ignored at the start
    /// (`nohup`).
    ///
    /// # Errors
    /// When a signal handler cannot be installed.
    pub fn listen() -> anyhow::Result<Stop> {
        let mut signals = TerminationSignals::listen().context("listen for signals")?;
        let stop = Stop {
            asked: CancellationToken::new(),
            at_once: CancellationToken::new(),
            lost: CancellationToken::new(),
            why_lost: Arc::default(),
        };
        let heard = stop.clone();
        tokio::spawn(async move {
            let mut first: Option<Instant> = None;
            loop {
                let signal = signals.received().await;
                // A closed terminal sends SIGHUP several times, from the kernel and from the shell.
                // A repeated SIGHUP is therefore not a second request.
                let (name, again) = (signal.name(), signal != TerminationSignal::Hangup);
                match first {
                    None => {
                        eprintln!(
                            "\nStopping on {name}. A second Ctrl-C ends everything at once, and saves nothing."
                        );
                        first = Some(Instant::now());
                        heard.asked.cancel();
                    }
                    // One key press can arrive twice: from the terminal, and from a parent process
                    // that forwards it.
                    Some(first) if again && first.elapsed() > Duration::from_millis(500) => {
                        heard.at_once.cancel()
                    }
                    Some(_) => {}
                }
            }
        });
        Ok(stop)
    }

    /// Starts to check every second that the state directory is still the one whose lock is held.
    pub fn watch(&self, ground: Ground) {
        /// Half of the two seconds within which the loss must be detected.
        const LOOK: Duration = Duration::from_secs(1);
        let stop = self.clone();
        tokio::spawn(async move {
            let mut looks = tokio::time::interval(LOOK);
            loop {
                looks.tick().await;
                if let Err(why) = ground.check() {
                    *locked(&stop.why_lost) = Some(why);
                    stop.lost.cancel();
                    return;
                }
            }
        });
    }

    /// Waits until a stop was requested.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Returns whether a stop was requested.
    pub fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// Waits until the process must end without saving, and returns the reason: a second signal, or
    /// the loss of the state directory.
    pub async fn at_once(&self) -> anyhow::Error {
        tokio::select! {
            () = self.at_once.cancelled() => Interrupted.into(),
            () = self.lost.cancelled() => {
                let why = locked(&self.why_lost).take();
                why.unwrap_or_else(|| anyhow::anyhow!("the state directory was lost"))
            }
        }
    }

    /// Returns whether the state directory was deleted or replaced.
    pub fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }
}
