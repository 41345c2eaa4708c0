//! The relay: what waits in the outbox goes to its destinations, each by itself.

use std::time::Duration;

use contract::event::Route;
use contract::messages::Envelope;
use contract::retry::Backoff;
use futures::future::join_all;

use crate::ports::orders::{OrderStore, Outgoing};
use crate::ports::publisher::Publisher;
use crate::ports::{Source, Unavailable};

/// Rows taken at once: ten batches of ten.
pub const ROWS: u32 = 100;
/// Between tries of a row that its destination did not take.
const BETWEEN_TRIES: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(60),
};
/// A row that cannot be read is looked at again so much later: a newer program may be able to.
const UNREADABLE: Duration = Duration::from_secs(15 * 60);

/// What one round came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relayed {
    pub sent: u64,
    /// Rows that their destination did not take, put off for a while.
    pub failed: u64,
    /// What one destination said, if one failed.
    pub why: Option<String>,
    /// Rows that cannot be read, and why; put off for long.
    pub unreadable: Vec<(i64, String)>,
}

impl Relayed {
    /// Whether there was nothing to do.
    pub fn idle(&self) -> bool {
        self.sent == 0 && self.failed == 0 && self.unreadable.is_empty()
    }
}

/// Rows of one destination. Those of an older program go to all of their kind's, and are a load of
/// their own.
struct Load {
    routes: &'static [Route],
    /// Their ids and the tries that failed.
    rows: Vec<(i64, u32)>,
    messages: Vec<Envelope>,
}

/// Sends what waits and marks what was sent; what was not taken is put off. A crash between the two
/// sends it again; consumers know it by its id. `chance` is drawn from 0.0..1.0 a row.
pub async fn relay_some(
    orders: &impl OrderStore,
    publisher: &impl Publisher,
    source: &impl Source,
    chance: &(impl Fn() -> f64 + Sync),
    which: Outgoing,
) -> Result<Relayed, Unavailable> {
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
    // At once, and each settled when it ends: a slow destination does not keep back what another
    // has taken.
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

async fn send(
    orders: &impl OrderStore,
    publisher: &impl Publisher,
    source: &impl Source,
    chance: &impl Fn() -> f64,
    load: Load,
) -> Result<Relayed, Unavailable> {
    let mut results = vec![Ok(()); load.messages.len()];
    for route in load.routes {
        for (result, sent) in results
            .iter_mut()
            .zip(publisher.publish(*route, &load.messages).await)
        {
            if let Err(why) = sent {
                *result = Err(format!("{}: {why}", route.code()));
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
