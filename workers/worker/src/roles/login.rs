//! What a role does when the database refuses its login, and the one that is read again as well
//! (ADR 0010, 0013).

use std::time::Duration;

use adapter_sql::ConnectError;
use anyhow::Context as _;
use chassis::{Process, chance};
use contract::cause::chain;
use tokio::task::JoinHandle;

use crate::stores::Store;

/// How often the login is tried. One more connection a minute and process is nothing to the server.
const TRY_EVERY: Duration = Duration::from_secs(60);
/// Within this, at a moment of chance, a role leaves: the tasks of a service must not all leave at
/// once. Connections that are open go on meanwhile, and live for half an hour (sqlx,
/// `PoolOptions::max_lifetime`).
const LEAVE_WITHIN: Duration = Duration::from_secs(180);

/// Tries the login until shutdown; once it is refused, begins the shutdown and gives the reason.
pub fn watch(store: Store, process: Process) -> JoinHandle<anyhow::Result<()>> {
    tokio::spawn(async move {
        let shutdown = process.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            refused = until_refused(|| store.check_login()) => {
                process.shutdown.cancel();
                Err(refused).context("start anew with the login of today")
            }
        }
    })
}

async fn until_refused<F: Future<Output = Result<(), ConnectError>>>(
    check: impl Fn() -> F,
) -> ConnectError {
    loop {
        tokio::time::sleep(TRY_EVERY).await;
        // That it cannot be reached is told by whoever needs it.
        if let Err(refused @ ConnectError::LoginRefused { .. }) = check().await {
            let pause = LEAVE_WITHIN.mul_f64(chance::fraction());
            tracing::warn!(error = %chain(&refused), pause_s = pause.as_secs(), "The login was changed; leaving soon");
            tokio::time::sleep(pause).await;
            // An error of the moment, or a change that was taken back, costs nobody a restart.
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

    /// How many checks it takes to leave, and when.
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
    async fn a_role_leaves_when_its_login_stays_refused() {
        let (asked, after) = left_after(|_| Err(refused())).await;
        assert_eq!(asked, 2);
        assert!(
            after >= TRY_EVERY && after <= TRY_EVERY + LEAVE_WITHIN + Duration::from_secs(1),
            "{after:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_is_away_and_a_refusal_of_a_moment_are_no_reason_to_leave() {
        let (asked, _) = left_after(|time| match time {
            1 => Err(StoreError::new(Backend::Orders, "connection refused").into()),
            2 | 5.. => Err(refused()),
            _ => Ok(()),
        })
        .await;
        assert_eq!(asked, 6);
    }
}
