//! DynamoDB transactions with retries after conflicts.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::Duration;

use app::ports::{Backend, StoreError};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, TransactWriteItem};

/// Attempts when transactions conflict on one product. Afterwards the message goes back to its
/// queue.
const TRIES: u32 = 12;
/// Maximum pause between two attempts.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// The result of a transaction.
pub enum Written {
    /// All actions were executed.
    Done,
    /// A condition failed and nothing was executed. Contains the reason of each action, in order.
    Refused(Vec<CancellationReason>),
}

/// The error of a transaction that is not known to be executed.
pub enum Failed {
    /// An action does not fit the stored item, for example because a counter is not a number.
    /// Nothing was executed.
    Unfit(StoreError),
    /// There was no answer, or none that decides.
    Unanswered(StoreError),
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> StoreError {
        let (Failed::Unfit(why) | Failed::Unanswered(why)) = failed;
        why
    }
}

/// Returns true if the condition of an action failed.
pub fn refused(reason: &CancellationReason) -> bool {
    reason.code.as_deref() == Some("ConditionalCheckFailed")
}

/// Executes all actions or none. Retries conflicts and throttling only. The first action must
/// decide the result alone, such as a record that must be new or unchanged.
///
/// # Errors
/// Returns [`Failed`] when an action does not fit the stored item, or when the result is unknown.
pub async fn write(client: &Client, actions: Vec<TransactWriteItem>) -> Result<Written, Failed> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let sent = client
            .transact_write_items()
            .set_transact_items(Some(actions.clone()))
            .send()
            .await;
        let error = match sent {
            Ok(_) => return Ok(Written::Done),
            Err(error) => error,
        };
        let may_repeat = match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                let reasons = cancelled.cancellation_reasons();
                let of = |code: &str| {
                    reasons
                        .iter()
                        .any(|reason| reason.code.as_deref() == Some(code))
                };
                // With a conflict, the other reasons are not final: the other transaction may
                // belong to the same order.
                if reasons.first().is_some_and(refused) {
                    return Ok(Written::Refused(reasons.to_vec()));
                }
                if !of("TransactionConflict")
                    && !of("ThrottlingError")
                    && !of("ProvisionedThroughputExceeded")
                {
                    if of("ConditionalCheckFailed") {
                        return Ok(Written::Refused(reasons.to_vec()));
                    }
                    return Err(Failed::Unfit(unavailable(error)));
                }
                true
            }
            Some(TransactWriteItemsError::TransactionInProgressException(_)) => true,
            _ => false,
        };
        if !may_repeat || attempt == TRIES {
            return Err(Failed::Unanswered(unavailable(error)));
        }
        tokio::time::sleep(jittered(attempt)).await;
    }
}

fn unavailable(error: SdkError<TransactWriteItemsError>) -> StoreError {
    StoreError::new(Backend::Stock, crate::cause(error))
}

/// Returns a pause that doubles from 5 ms, half of it random, so that conflicting transactions do
/// not meet again.
fn jittered(attempt: u32) -> Duration {
    let step = Duration::from_millis(5 << attempt.min(6)).min(WAIT_MAX);
    // The standard library seeds its hasher at random, which is good enough for jitter.
    let chance = RandomState::new().hash_one(attempt) as f64 / u64::MAX as f64;
    step.mul_f64(0.5 + chance / 2.0)
}
