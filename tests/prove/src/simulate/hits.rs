//! Counts of what occurred in a run. A fault that never occurred was not tested.

use strum::VariantArray;

/// Faults, followed by situations that need several events at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray)]
pub enum Hit {
    Failure,
    LostReply,
    SlowCall,
    Crash,
    DuplicateMessage,
    Reordered,
    LeaseEnded,
    LostDelete,
    PartialBatch,
    HandlerCut,
    Outage,
    ClockForward,
    ClockBack,
    LateCharge,
    LateReserve,
    StreamReplayed,
    StreamLost,
    RepeatedKey,
    SoldOut,
    Declined,
    UnknownPayment,
    FlakyGateway,
    Refund,
    CustomerCancel,
    StaffCancel,
    StaleEdit,
    Restock,
    Conflict,
    DuplicateDelivery,
    TimedOutOrder,
    HoldExpiredUnpaid,
}

impl Hit {
    /// All kinds of hits.
    pub const ALL: [Hit; Hit::VARIANTS.len()] = domain::array_of(Hit::VARIANTS);
}

/// Number of occurrences of each hit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hits([u64; Hit::ALL.len()]);

impl Hits {
    /// Counts a hit.
    pub fn count(&mut self, hit: Hit) {
        self.0[hit as usize] += 1;
    }

    /// Returns how often a hit occurred.
    pub fn of(&self, hit: Hit) -> u64 {
        self.0[hit as usize]
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Hits) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }

    /// Returns the hits that never occurred.
    pub fn never(&self) -> Vec<Hit> {
        Hit::ALL
            .into_iter()
            .filter(|hit| self.of(*hit) == 0)
            .collect()
    }
}
