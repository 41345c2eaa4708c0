//! The places for requests that run at the same time, and the share of one client.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::role::STOREFRONT;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::rates::Client;

/// Maximum of requests that run at the same time.
const REQUESTS_MAX: usize = STOREFRONT.concurrency;
/// Maximum of requests of one client in flight, including those whose body is still arriving.
///
/// One client, such as an office behind one address, can use seven eighths of the places. It can
/// use neither the remaining eighth nor the waiting places, so another client still finds a free
/// place.
const OF_A_CLIENT_MAX: usize = REQUESTS_MAX - REQUESTS_MAX / 8;
/// Maximum of requests that wait for a place. A burst passes; an overload is refused within
/// [`WAITING_WITHIN`].
const WAITING_MAX: usize = REQUESTS_MAX / 4;
/// Maximum time that a request waits for a place.
const WAITING_WITHIN: Duration = Duration::from_millis(250);
/// The places for requests, and a short queue in front of them.
pub struct Admission {
    places: Semaphore,
    waiting: Semaphore,
    /// Requests in flight by client. Only clients with at least one are listed, so the connection
    /// limit bounds the map.
    in_flight: Mutex<HashMap<Client, usize>>,
}

/// One counted request of a client, until it is dropped.
pub struct InFlight<'a> {
    admission: &'a Admission,
    client: Client,
}

impl Default for Admission {
    fn default() -> Admission {
        let (places, waiting) = (Semaphore::new(REQUESTS_MAX), Semaphore::new(WAITING_MAX));
        Admission {
            places,
            waiting,
            in_flight: Mutex::default(),
        }
    }
}

impl Admission {
    fn in_flight(&self) -> MutexGuard<'_, HashMap<Client, usize>> {
        self.in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more request of the client. Returns `None` when the client is at its limit.
    pub fn enter(&self, client: Client) -> Option<InFlight<'_>> {
        let mut in_flight = self.in_flight();
        let theirs = in_flight.entry(client).or_default();
        if *theirs >= OF_A_CLIENT_MAX {
            return None;
        }
        *theirs += 1;
        Some(InFlight {
            admission: self,
            client,
        })
    }

    /// Waits up to [`WAITING_WITHIN`] for a place. Returns `None` at once when the queue is full
    /// too.
    pub async fn place(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.places.try_acquire() {
            return Some(place);
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        timeout(WAITING_WITHIN, self.places.acquire())
            .await
            .ok()?
            .ok()
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut in_flight = self.admission.in_flight();
        if let Some(theirs) = in_flight.get_mut(&self.client) {
            *theirs -= 1;
            if *theirs == 0 {
                in_flight.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn one_client_cannot_take_the_last_places() {
        let client = |number: u8| Client(Some([203, 0, 113, number].into()));
        let admission = Admission::default();
        let mut of_one: Vec<_> = (0..OF_A_CLIENT_MAX)
            .map(|_| admission.enter(client(1)).expect("counted"))
            .collect();
        assert!(
            admission.enter(client(1)).is_none(),
            "the client is at its limit"
        );
        assert!(
            OF_A_CLIENT_MAX < REQUESTS_MAX && admission.enter(client(2)).is_some(),
            "another client still gets a place"
        );
        of_one.pop();
        assert!(
            admission.enter(client(1)).is_some(),
            "a place is free again"
        );
        drop(of_one);
        assert!(
            admission.in_flight().is_empty(),
            "clients without a request are removed"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_waits_and_an_overload_is_refused_at_once() {
        let admission = Admission::default();
        let mut places: Vec<_> = (0..REQUESTS_MAX)
            .map(|_| admission.places.try_acquire().expect("free"))
            .collect();
        let begun = Instant::now();
        let arriving = join_all((0..20 * REQUESTS_MAX).map(|_| async {
            let place = admission.place().await;
            (place.is_some(), begun.elapsed())
        }));
        let leaving = async {
            tokio::time::sleep(WAITING_WITHIN / 2).await;
            places.truncate(REQUESTS_MAX - 10);
        };
        let (outcomes, ()) = futures::join!(arriving, leaving);
        let at_once = outcomes
            .iter()
            .filter(|(admitted, after)| !admitted && after.is_zero())
            .count();
        assert_eq!(
            at_once,
            20 * REQUESTS_MAX - WAITING_MAX,
            "more requests wait than the queue has places"
        );
        assert!(outcomes.iter().filter(|(admitted, _)| *admitted).count() >= 10);
        assert!(outcomes.iter().all(|(_, after)| *after <= WAITING_WITHIN));
    }
}
