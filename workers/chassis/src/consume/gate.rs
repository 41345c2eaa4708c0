//! Limits receives by the breakers of the handler's dependencies: none while a breaker is open, one
//! message while it is half-open.

use std::sync::Arc;
use std::time::Duration;

use contract::queue::BATCH_MAX;
use futures::future::select_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::Breaker;
use crate::breaker::Flow;

/// The time to wait for more free slots. A receive of ten messages costs as much as a receive of
/// one.
const SLOTS_LINGER: Duration = Duration::from_millis(10);

#[derive(Clone)]
pub(super) struct Gate {
    needs: Arc<[Breaker]>,
    /// The number of all slots.
    concurrency: usize,
}

impl Gate {
    pub(super) fn new(needs: Vec<Breaker>, concurrency: usize) -> Gate {
        Gate {
            needs: needs.into(),
            concurrency,
        }
    }

    /// Returns the flow that the most restrictive breaker allows.
    pub(super) fn flow(&self) -> Flow {
        self.needs
            .iter()
            .map(Breaker::flow)
            .min()
            .unwrap_or(Flow::All)
    }

    /// Waits until a receive is allowed, and returns the slots for it. While the flow is `One`,
    /// returns one slot, and only when no other slot is taken.
    pub(super) async fn slots(
        &self,
        slots: Arc<Semaphore>,
        enough: usize,
    ) -> Vec<OwnedSemaphorePermit> {
        loop {
            let flow = self.flow();
            let taken = async {
                match flow {
                    Flow::Nothing => std::future::pending().await,
                    Flow::One => self.only_slot(slots.clone()).await,
                    Flow::All => free_slots(slots.clone(), enough).await,
                }
            };
            tokio::select! {
                biased;
                () = self.other_than(flow) => {}
                taken = taken => if self.flow() == flow { return taken },
            }
        }
    }

    /// Returns one slot after all slots were free: no message is in flight and no other receive
    /// runs.
    async fn only_slot(&self, slots: Arc<Semaphore>) -> Vec<OwnedSemaphorePermit> {
        let all = u32::try_from(self.concurrency).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let Ok(mut all) = slots.acquire_many_owned(all).await else {
            return Vec::new();
        };
        all.split(1).into_iter().collect()
    }

    async fn other_than(&self, flow: Flow) {
        if self.needs.is_empty() {
            return std::future::pending().await;
        }
        loop {
            let seen: Vec<_> = self.needs.iter().map(|need| (need, need.flow())).collect();
            if seen.iter().map(|(_, flow)| *flow).min() != Some(flow) {
                return;
            }
            select_all(
                seen.into_iter()
                    .map(|(need, flow)| Box::pin(need.flows_otherwise_than(flow))),
            )
            .await;
        }
    }
}

/// Returns up to `enough` slots, at least one.
async fn free_slots(slots: Arc<Semaphore>, enough: usize) -> Vec<OwnedSemaphorePermit> {
    let mut taken = Vec::with_capacity(BATCH_MAX);
    // The semaphore is never closed.
    taken.extend(slots.clone().acquire_owned().await);
    let top_up = async {
        while taken.len() < enough {
            taken.extend(slots.clone().acquire_owned().await);
        }
    };
    // Other slots can stay taken for long, so the receive asks for as many messages as are free.
    let _ = timeout(SLOTS_LINGER, top_up).await;
    taken
}
