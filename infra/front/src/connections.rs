//! Decides which connections may stay open: all that have sent a valid signature, and a limited
//! number of others.
//!
//! Another account on the machine can connect too, and could hold connections until the shop gets
//! none. Therefore a new connection must send a signed request within [`PROVEN_WITHIN`]. If more
//! than [`UNPROVEN_MAX`] connections have not done so, the oldest is closed. A connection with a
//! valid signature belongs to the owner and no longer counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// The time for the first signed request, including its body.
pub(crate) const PROVEN_WITHIN: Duration = Duration::from_secs(10);
/// The limit of connections without a valid signature. Clients of the shop sign their first request
/// within milliseconds, so few of them count at any time.
pub(crate) const UNPROVEN_MAX: usize = 128;

/// The connections without a valid signature so far.
#[derive(Default)]
pub(crate) struct Unproven {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    next: u64,
    /// The connections in the order of their arrival.
    waiting: BTreeMap<u64, Arc<Standing>>,
}

/// The decision about one connection.
#[derive(Default)]
pub(crate) struct Standing {
    proven: Notify,
    evicted: Notify,
}

impl Standing {
    /// Waits for the decision: true after a valid signature, false after an eviction or the end of
    /// the time.
    pub async fn decided(&self) -> bool {
        tokio::select! {
            () = self.proven.notified() => true,
            () = self.evicted.notified() => false,
            () = tokio::time::sleep(PROVEN_WITHIN) => false,
        }
    }
}

/// The entry of a connection without a valid signature. Dropping the value removes the entry.
pub(crate) struct Place {
    unproven: Arc<Unproven>,
    number: u64,
    pub standing: Arc<Standing>,
}

impl Unproven {
    /// Adds a connection, and evicts the oldest one if there are too many.
    pub fn add(self: &Arc<Self>) -> Place {
        let standing = Arc::new(Standing::default());
        let mut entries = self.entries();
        let number = entries.next;
        entries.next += 1;
        entries.waiting.insert(number, Arc::clone(&standing));
        let oldest = (entries.waiting.len() > UNPROVEN_MAX)
            .then(|| entries.waiting.pop_first())
            .flatten();
        drop(entries);
        if let Some((_, oldest)) = oldest {
            oldest.evicted.notify_one();
        }
        Place {
            unproven: Arc::clone(self),
            number,
            standing,
        }
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Lets the connection stay, after a valid signature.
    pub fn prove(&self) {
        self.unproven.entries().waiting.remove(&self.number);
        self.standing.proven.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.unproven.entries().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn the_oldest_connection_without_a_signature_is_closed_first() {
        let unproven = Arc::<Unproven>::default();
        let first = unproven.add();
        let second = unproven.add();
        first.prove();
        let others: Vec<Place> = (0..UNPROVEN_MAX - 1).map(|_| unproven.add()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let decided =
            |place: &Place| runtime.block_on(async { place.standing.decided().now_or_never() });
        assert_eq!(decided(&first), Some(true));
        assert_eq!(decided(&second), None, "as many as may be");
        let last = unproven.add();
        assert_eq!(decided(&second), Some(false));
        assert_eq!(decided(&last), None);
        drop(others);
        assert_eq!(unproven.entries().waiting.len(), 1);
    }
}
