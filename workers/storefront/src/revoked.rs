//! The revoked staff tokens.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use uuid::Uuid;

/// The ids of revoked tokens, as last read. All clones share one set.
#[derive(Debug, Clone, Default)]
pub struct Revoked(Arc<RwLock<HashSet<Uuid>>>);

impl Revoked {
    /// Replaces the set.
    pub fn replace(&self, ids: Vec<Uuid>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = ids.into_iter().collect();
    }

    /// Adds one id at once, before the next read.
    pub fn add(&self, id: Uuid) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id);
    }

    /// Returns true if the token was revoked.
    pub fn contains(&self, id: Uuid) -> bool {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&id)
    }
}
