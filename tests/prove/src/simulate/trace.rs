//! The events of a run, in order. Their hash compares runs, and their text explains a failure.

use std::fmt;

use domain::ids::OrderId;

use super::task::{Who, name_of};

/// One event.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    at_ms: u64,
    who: Who,
    what: &'static str,
    outcome: &'static str,
    order: Option<OrderId>,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry {
            at_ms,
            who,
            what,
            outcome,
            order,
        } = self;
        write!(
            f,
            "{:>10.3} s  {:<18} {what} {outcome}",
            *at_ms as f64 / 1_000.0,
            name_of(*who)
        )?;
        order.map_or(Ok(()), |order| write!(f, "  {order}"))
    }
}

/// The events of a run and their hash.
#[derive(Debug, Clone)]
pub struct Trace {
    entries: Vec<Entry>,
    hash: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Trace {
            entries: Vec::new(),
            hash: FNV_OFFSET,
        }
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Returns the FNV-1a hash of bytes, which is not secure against deliberate collisions.
pub fn fnv(start: Option<u64>, bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(start.unwrap_or(FNV_OFFSET), |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)
        })
}

impl Trace {
    /// Adds an event.
    pub fn add(
        &mut self,
        at_ms: u64,
        who: Who,
        what: &'static str,
        outcome: &'static str,
        order: Option<OrderId>,
    ) {
        let id = order.map_or(0, |order| order.0.as_u128());
        let hash = fnv(Some(self.hash), &at_ms.to_le_bytes());
        let hash = fnv(Some(hash), &(who as u64).to_le_bytes());
        let hash = fnv(Some(hash), what.as_bytes());
        let hash = fnv(Some(hash), outcome.as_bytes());
        self.hash = fnv(Some(hash), &id.to_le_bytes());
        self.entries.push(Entry {
            at_ms,
            who,
            what,
            outcome,
            order,
        });
    }

    /// Returns the hash of all events.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Returns the number of events.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the number of events with an outcome.
    #[cfg(test)]
    pub fn count(&self, outcome: &str) -> u64 {
        let with = self.entries.iter().filter(|entry| entry.outcome == outcome);
        with.count() as u64
    }

    /// Returns the last events of an order, or of the whole run if `order` is `None`.
    pub fn last(&self, order: Option<OrderId>, count: usize) -> Vec<String> {
        let about = |entry: &&Entry| order.is_none() || entry.order == order;
        let entries: Vec<_> = self.entries.iter().filter(about).collect();
        entries[entries.len().saturating_sub(count)..]
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}
