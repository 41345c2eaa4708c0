//! One transaction of DynamoDB, tried again when it met another.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::Duration;

use app::ports::Unavailable;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, TransactWriteItem};

/// Tries when transactions meet on one product, before the message goes back to its queue.
const TRIES: u32 = 12;
/// The longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// How a transaction ended.
pub enum Written {
    Done,
    /// Some condition did not hold: the reason of each action, in order.
    Refused(Vec<CancellationReason>),
}

/// Why nothing is known to be written.
pub enum Failed {
    /// An action cannot be done on what is in the table, a counter that is no number for instance.
    /// None was done.
    Unfit(Unavailable),
    /// No answer, or none that helps.
    Unanswered(Unavailable),
}

impl From<Failed> for Unavailable {
    fn from(failed: Failed) -> Unavailable {
        let (Failed::Unfit(why) | Failed::Unanswered(why)) = failed;
        why
    }
}

pub fn refused(reason: &CancellationReason) -> bool {
    reason.code.as_deref() == Some("ConditionalCheckFailed")
}

/// Writes all or nothing. Transactions that met another one are tried again; other failures are
/// not. The first action is one that decides alone: a record that must be new, or as it was read.
pub async fn write(client: &Client, actions: Vec<TransactWriteItem>) -> Result<Written, Failed> {
    let mut last = String::new();
    for attempt in 1..=TRIES {
        let sent = client
            .transact_write_items()
            .set_transact_items(Some(actions.clone()))
            .send()
            .await;
        let error = match sent {
            Ok(_) => return Ok(Written::Done),
            Err(error) => error,
        };
        last = crate::why(&error);
        match error.into_service_error() {
            TransactWriteItemsError::TransactionCanceledException(cancelled) => {
                let reasons = cancelled.cancellation_reasons.unwrap_or_default();
                let of = |code: &str| {
                    reasons
                        .iter()
                        .any(|reason| reason.code.as_deref() == Some(code))
                };
                // Beside a conflict, the other reasons are no answer yet: the transaction that was
                // met may be this very order's.
                if reasons.first().is_some_and(refused) {
                    return Ok(Written::Refused(reasons));
                }
                if !of("TransactionConflict")
                    && !of("ThrottlingError")
                    && !of("ProvisionedThroughputExceeded")
                {
                    if of("ConditionalCheckFailed") {
                        return Ok(Written::Refused(reasons));
                    }
                    return Err(Failed::Unfit(Unavailable::new("stock", last)));
                }
            }
            TransactWriteItemsError::TransactionInProgressException(_) => {}
            _ => break,
        }
        tokio::time::sleep(jittered(attempt)).await;
    }
    Err(Failed::Unanswered(Unavailable::new("stock", last)))
}

/// Doubling from 5 ms, half of it by chance: those who met must not meet again.
fn jittered(attempt: u32) -> Duration {
    let step = Duration::from_millis(5 << attempt.min(6)).min(WAIT_MAX);
    // A hasher of the standard library is seeded at random; chance of this quality is enough.
    let chance = RandomState::new().hash_one(attempt) as f64 / u64::MAX as f64;
    step.mul_f64(0.5 + chance / 2.0)
}
