//! The outbox relay: sends the messages in the outbox to their destinations.
//!
//! One round works as follows:
//!
//! 1. `take_outbox` claims at most [`ROWS`] rows for this relay. For each order and route, it
//!    returns only the oldest unsent row, so messages cannot overtake each other.
//! 2. The rows are grouped by destination. All destinations are served concurrently.
//! 3. Sent rows are marked as published as soon as their destination has answered. Rows that failed
//!    are put off with a back-off.
//!
//! A crash between sending and marking leaves the row in the outbox. After the claim expires,
//! another relay sends the row again. The duplicate has the same event id, so consumers ignore it.
//! If rows were marked before they were sent, a crash would lose messages instead.

use std::time::Duration;

use contract::event::Route;
use contract::messages::Envelope;
use contract::retry::Backoff;
use futures::future::join_all;

use crate::ports::orders::{OrderStore, Outgoing, Unsendable};
use crate::ports::publisher::{PublishError, Publisher};
use crate::ports::{Source, StoreError};

/// Maximum number of rows in one round: ten batches of ten.
pub const ROWS: u32 = 100;
/// The back-off of a row after failed attempts.
const BETWEEN_TRIES: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(60),
};
/// Time until a row that cannot be decoded is tried again. A newer version of the program may be
/// able to decode it.
const UNREADABLE: Duration = Duration::from_secs(15 * 60);

/// The result of one round.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relayed {
    pub sent: u64,
    /// Rows that could not be sent and were put off.
    pub failed: u64,
    /// The error of one destination, if any failed.
    pub why: Option<PublishError>,
    /// The ids of rows that cannot be sent, with the reason.
    pub unreadable: Vec<(i64, Unsendable)>,
}

impl Relayed {
    /// Returns whether the round found no rows.
    pub fn idle(&self) -> bool {
        self.sent == 0 && self.failed == 0 && self.unreadable.is_empty()
    }
}

/// The rows for one destination. Rows from before the release that stores routes have every route
/// of their kind, and form groups of their own.
struct Load {
    routes: &'static [Route],
    /// The ids of the rows and their numbers of failed attempts.
    rows: Vec<(i64, u32)>,
    messages: Vec<Envelope>,
}

/// Runs one round. `chance` returns a random number from 0.0 to 1.0 for each row that is put off.
///
/// # Errors
/// [`StoreError`] when the outbox cannot be read or written.
pub async fn relay_some(
    orders: &impl OrderStore,
    publisher: &impl Publisher,
    source: &impl Source,
    chance: &(impl Fn() -> f64 + Sync),
    which: Outgoing,
) -> Result<Relayed, StoreError> {
    let now = source.now();
    let mut relayed = Relayed::default();
    let mut loads: Vec<Load> = Vec::new();
    for row in orders.take_outbox(which, now, ROWS).await? {
        match row.letter {
            Err(why) => relayed.unreadable.push((row.id, why)),
            Ok(letter) => {
                let index = loads
                    .iter()
                    .position(|load| load.routes == letter.routes)
                    .unwrap_or_else(|| {
                        loads.push(Load {
                            routes: letter.routes,
                            rows: Vec::new(),
                            messages: Vec::new(),
                        });
                        loads.len() - 1
                    });
                loads[index].rows.push((row.id, row.attempts));
                loads[index].messages.push(letter.envelope);
            }
        }
    }
    if !relayed.unreadable.is_empty() {
        let rows: Vec<_> = relayed
            .unreadable
            .iter()
            .map(|(id, _)| (*id, now + UNREADABLE))
            .collect();
        orders.put_off(&rows).await?;
    }
    // Concurrent destinations do not wait for each other: a slow one does not delay marking the
    // rows of the others.
    for part in join_all(
        loads
            .into_iter()
            .map(|load| send(orders, publisher, source, chance, load)),
    )
    .await
    {
        let part = part?;
        relayed.sent += part.sent;
        relayed.failed += part.failed;
        relayed.why = relayed.why.or(part.why);
    }
    Ok(relayed)
}

/// Sends the rows of one group and marks or puts off each of them.
async fn send(
    orders: &impl OrderStore,
    publisher: &impl Publisher,
    source: &impl Source,
    chance: &impl Fn() -> f64,
    load: Load,
) -> Result<Relayed, StoreError> {
    let mut results = vec![Ok(()); load.messages.len()];
    for route in load.routes {
        for (result, sent) in results
            .iter_mut()
            .zip(publisher.publish(*route, &load.messages).await)
        {
            if sent.is_err() {
                *result = sent;
            }
        }
    }
    let now = source.now();
    let (mut sent, mut late, mut failure) = (Vec::new(), Vec::new(), None);
    for ((id, attempts), result) in load.rows.into_iter().zip(results) {
        match result {
            Ok(()) => sent.push(id),
            Err(why) => {
                late.push((
                    id,
                    now + BETWEEN_TRIES.delay(attempts.saturating_add(1), chance()),
                ));
                failure = failure.or(Some(why));
            }
        }
    }
    if !sent.is_empty() {
        orders.mark_published(&sent, now).await?;
    }
    if !late.is_empty() {
        orders.put_off(&late).await?;
    }
    Ok(Relayed {
        sent: sent.len() as u64,
        failed: late.len() as u64,
        why: failure,
        unreadable: Vec::new(),
    })
}

#[cfg(test)]
mod tests;
