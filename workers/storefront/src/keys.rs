//! Secrets that rotate while the process runs. For a while the previous value is accepted too.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// The accepted values of a secret, the current one first. Cloning is cheap, and all clones share
/// the values.
#[derive(Clone)]
pub struct Keys(Arc<RwLock<Vec<String>>>);

/// Number of accepted values: the current and the previous one (`AWSCURRENT` and `AWSPREVIOUS`).
const ACCEPTED_MAX: usize = 2;

impl Keys {
    /// Creates a set with one value.
    pub fn new(key: impl Into<String>) -> Keys {
        Keys(Arc::new(RwLock::new(vec![key.into()])))
    }

    /// Replaces the values; the current one comes first. Ignores empty values, and keeps the old
    /// values when no others are left. A secret that cannot be read must not lock everybody out,
    /// and anybody could sign with an empty key.
    pub fn set(&self, keys: Vec<String>) {
        let keys: Vec<_> = keys
            .into_iter()
            .filter(|key| !key.is_empty())
            .take(ACCEPTED_MAX)
            .collect();
        if !keys.is_empty() {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
        }
    }

    /// Returns the first `Some` from `ask`, trying the current value first.
    pub fn find<T>(&self, ask: impl FnMut(&str) -> Option<T>) -> Option<T> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(String::as_str)
            .find_map(ask)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_previous_key_is_accepted_until_the_next_change() {
        let keys = Keys::new("monday");
        let accepts = |key: &str| {
            keys.clone()
                .find(|known| (known == key).then_some(()))
                .is_some()
        };
        keys.set(vec!["tuesday".to_owned(), "monday".to_owned()]);
        assert!(accepts("tuesday") && accepts("monday"));
        keys.set(vec!["wednesday".to_owned(), "tuesday".to_owned()]);
        assert!(accepts("wednesday") && accepts("tuesday") && !accepts("monday"));
        keys.set(Vec::new());
        keys.set(vec![String::new()]);
        assert!(accepts("wednesday") && !accepts(""));
        assert_eq!(format!("{keys:?}"), "***");
    }
}
