//! Stops a role when the database refuses its login permanently, also after the login was read
//! again (ADR 0010, 0013).

use std::time::Duration;

use adapter_sql::ConnectError;
use anyhow::Context as _;
use chassis::{Process, chance};
use contract::cause::chain;
use tokio::task::JoinHandle;

use crate::stores::Store;

/// Pause between two tests of the login. One more connection a minute for each process is no load.
const TRY_EVERY: Duration = Duration::from_secs(60);
/// Maximum of the random time before a role exits, so that the tasks of a service do not exit
/// together. Open connections continue meanwhile, for up to half an hour (sqlx,
/// `PoolOptions::max_lifetime`).
const LEAVE_WITHIN: Duration = Duration::from_secs(180);

/// Tests the login until shutdown. When the login is refused, starts the shutdown and returns the
/// reason.
pub fn watch(store: Store, process: Process) -> JoinHandle<anyhow::Result<()>> {
    tokio::spawn(async move {
        let shutdown = process.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            refused = until_refused(|| store.check_login()) => {
                process.shutdown.cancel();
                Err(refused).context("restart the role with the present login")
            }
        }
    })
}

async fn until_refused<F: Future<Output = Result<(), ConnectError>>>(
    check: impl Fn() -> F,
) -> ConnectError {
    loop {
        tokio::time::sleep(TRY_EVERY).await;
        // Other errors are ignored here, because the callers of an unreachable database report it.
        if let Err(refused @ ConnectError::LoginRefused { .. }) = check().await {
            let pause = LEAVE_WITHIN.mul_f64(chance::fraction());
            tracing::warn!(error = %chain(&refused), pause_s = pause.as_secs(), "The database refuses the login; the role exits soon");
            tokio::time::sleep(pause).await;
            // A temporary refusal, or a change that was reverted, must not restart the role.
            if let Err(still @ ConnectError::LoginRefused { .. }) = check().await {
                return still;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use app::ports::{Backend, StoreError};

    use super::*;

    fn refused() -> ConnectError {
        ConnectError::LoginRefused {
            user: "barista".to_owned(),
            why: "password authentication failed".to_owned(),
        }
    }

    /// Returns the number of checks and the time until the role exits.
    async fn left_after(answer: impl Fn(u32) -> Result<(), ConnectError>) -> (u32, Duration) {
        let (asked, begun) = (Cell::new(0), tokio::time::Instant::now());
        let left = until_refused(async || {
            asked.set(asked.get() + 1);
            answer(asked.get())
        });
        assert!(matches!(left.await, ConnectError::LoginRefused { .. }));
        (asked.get(), begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_exits_when_its_login_stays_refused() {
        let (asked, after) = left_after(|_| Err(refused())).await;
        assert_eq!(asked, 2);
        assert!(
            after >= TRY_EVERY && after <= TRY_EVERY + LEAVE_WITHIN + Duration::from_secs(1),
            "{after:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_unavailable_database_and_a_temporary_refusal_do_not_end_the_role() {
        let (asked, _) = left_after(|time| match time {
            1 => Err(StoreError::new(Backend::Orders, "connection refused").into()),
            2 | 5.. => Err(refused()),
            _ => Ok(()),
        })
        .await;
        assert_eq!(asked, 6);
    }
}
