//! The parameters of the model, and the counts of what occurred in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strum::VariantArray;

use super::world::Mistake;

/// Events that must occur for the check to be meaningful.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray)]
pub enum Hit {
    Redelivery,
    Crash,
    Duplicate,
    Conflict,
    LostReply,
    LostRequest,
    LateRequest,
    Cancel,
    TimeOut,
    SoldOut,
}

impl Hit {
    /// All kinds of hits.
    pub const ALL: [Hit; Hit::VARIANTS.len()] = domain::array_of(Hit::VARIANTS);
}

/// Number of occurrences of each hit.
#[derive(Debug, Default)]
pub struct Hits([AtomicU64; Hit::ALL.len()]);

impl Hits {
    /// Counts a hit.
    pub fn count(&self, hit: Hit) {
        self.0[hit as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often a hit occurred.
    pub fn of(&self, hit: Hit) -> u64 {
        self.0[hit as usize].load(Ordering::Relaxed)
    }
}

/// The model's parameters. `mistake` is a planted mistake.
#[derive(Debug, Clone)]
pub struct ModelShop {
    pub orders: u8,
    pub workers: u8,
    pub units: i8,
    pub mistake: Option<Mistake>,
    pub hits: Arc<Hits>,
}
