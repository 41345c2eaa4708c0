//! The start and the stop of a process.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{Health, Metrics};

/// Exit code for bad usage or configuration (sysexits.h).
pub const EX_USAGE: u8 = 64;

/// The process cannot listen on an address. The address comes from a setting, so the exit code of
/// the process is [`EX_USAGE`].
#[derive(Debug, thiserror::Error)]
#[error("{variable}: {}", why_not(.address, .error))]
pub struct CannotListen {
    variable: &'static str,
    address: SocketAddr,
    error: std::io::Error,
}

fn why_not(address: &SocketAddr, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => format!("{address} is already in use; choose another port"),
        ErrorKind::PermissionDenied => {
            format!("the port of {address} is reserved for root; choose a port from 1024 on")
        }
        _ => format!("cannot listen on {address} ({error}); choose an address of this machine"),
    }
}

/// Listens on an address that came from a variable.
///
/// # Errors
/// Returns [`CannotListen`] when the address is in use, reserved, or not of this machine.
pub async fn listen(
    variable: &'static str,
    address: SocketAddr,
) -> Result<TcpListener, CannotListen> {
    let listening = TcpListener::bind(address).await;
    listening.map_err(|error| CannotListen {
        variable,
        address,
        error,
    })
}

/// The values that all loops of one process share.
#[derive(Clone)]
pub struct Process {
    pub metrics: Metrics,
    pub health: Health,
    /// Cancelled once, when the process is asked to stop.
    pub shutdown: CancellationToken,
    /// The time from `shutdown` to the end of the process.
    pub drain: Duration,
}

/// Creates a runtime for a service that mostly waits. Each worker thread costs memory even when
/// idle.
///
/// # Errors
/// Returns an error when the system cannot start the threads.
pub fn runtime(worker_threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    /// Threads for blocking work such as file access and name lookups, which is rare here. The
    /// default of tokio is 512.
    const BLOCKING_THREADS: usize = 8;

    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads.max(1))
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("haven")
        .enable_all()
        .build()
}

/// A signal that asks a process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TerminationSignal {
    Terminate,
    Interrupt,
    /// A closed terminal.
    Hangup,
}

impl TerminationSignal {
    /// Returns the name of the signal.
    pub fn name(self) -> &'static str {
        match self {
            TerminationSignal::Terminate => "SIGTERM",
            TerminationSignal::Interrupt => "SIGINT",
            TerminationSignal::Hangup => "SIGHUP",
        }
    }
}

/// Receives the signals that ask a process to stop. A SIGHUP that was ignored when the process
/// started, as under `nohup`, stays ignored.
#[derive(Debug)]
pub struct TerminationSignals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl TerminationSignals {
    /// Listens from now on. Call the function inside a runtime, before the process starts work that
    /// needs a clean stop.
    ///
    /// # Errors
    /// Returns an error when a signal handler cannot be installed.
    #[expect(
        clippy::disallowed_methods,
        reason = "the place that listens for signals"
    )]
    pub fn listen() -> std::io::Result<TerminationSignals> {
        let hangup = (!ignores_hangup()).then(|| signal(SignalKind::hangup()));
        Ok(TerminationSignals {
            hangup: hangup.transpose()?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal.
    pub async fn received(&mut self) -> TerminationSignal {
        tokio::select! {
            _ = self.terminate.recv() => TerminationSignal::Terminate,
            _ = self.interrupt.recv() => TerminationSignal::Interrupt,
            () = received(&mut self.hangup) => TerminationSignal::Hangup,
        }
    }
}

/// Returns a token that the first of the [`TerminationSignals`] cancels.
///
/// Further signals have no effect. A Ctrl-C in a terminal reaches every process of the group, and
/// the SIGTERM of the supervisor follows. If a second signal stopped the process at once, it would
/// cut every drain short. SIGKILL stops a process at once.
///
/// # Errors
/// Returns an error when a signal handler cannot be installed.
pub fn shutdown_signal() -> std::io::Result<CancellationToken> {
    let mut signals = TerminationSignals::listen()?;
    let shutdown = CancellationToken::new();
    let on_signal = shutdown.clone();
    tokio::spawn(async move {
        let name = signals.received().await.name();
        tracing::info!(signal = name, "Stopping on {name}");
        on_signal.cancel();
    });
    Ok(shutdown)
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Returns whether SIGHUP is ignored. Call this before a handler for SIGHUP is installed.
#[cfg(target_os = "linux")]
fn ignores_hangup() -> bool {
    // proc(5): a mask in hexadecimal, whose lowest bit is signal 1.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .is_some_and(has_hangup)
}

/// Returns whether SIGHUP is ignored. Call this before a handler for SIGHUP is installed.
#[cfg(not(target_os = "linux"))]
fn ignores_hangup() -> bool {
    let pid = std::process::id().to_string();
    let asked = std::process::Command::new("ps")
        .args(["-o", "sigignore=", "-p", &pid])
        .output();
    asked.is_ok_and(|asked| has_hangup(&String::from_utf8_lossy(&asked.stdout)))
}

fn has_hangup(mask: &str) -> bool {
    u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_of_ignored_signals_is_parsed() {
        assert!(has_hangup("\t0000000000001001\n"));
        assert!(!has_hangup("\t0000000000001000\n") && !has_hangup("unknown"));
    }

    #[test]
    fn sighup_asks_the_process_to_stop() {
        if ignores_hangup() {
            println!("skipped: this test runs under nohup");
            return;
        }
        let runtime = runtime(1).expect("a runtime");
        runtime.block_on(async {
            let shutdown = shutdown_signal().expect("listening");
            let kill = format!("kill -HUP {}", std::process::id());
            let sent = tokio::process::Command::new("sh")
                .args(["-c", &kill])
                .status()
                .await
                .expect("a shell");
            assert!(sent.success());
            let cancelled =
                tokio::time::timeout(Duration::from_secs(5), shutdown.cancelled()).await;
            assert!(cancelled.is_ok());
        });
    }

    #[test]
    fn sigterm_asks_the_process_to_stop_and_a_second_one_does_not_kill_it() {
        let runtime = runtime(1).expect("a runtime");
        runtime.block_on(async {
            let shutdown = shutdown_signal().expect("listening");
            for _ in 0..2 {
                let kill = format!("kill -TERM {}", std::process::id());
                let sent = tokio::process::Command::new("sh")
                    .args(["-c", &kill])
                    .status()
                    .await
                    .expect("a shell");
                assert!(sent.success());
                let cancelled =
                    tokio::time::timeout(Duration::from_secs(5), shutdown.cancelled()).await;
                assert!(cancelled.is_ok());
            }
        });
    }
}
