//! Secrets that are changed while we run: for a while the one of before is good as well.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// The values of a secret that are good now: today's first. Cheap to clone; all clones change
/// together.
#[derive(Clone)]
pub struct Keys(Arc<RwLock<Vec<String>>>);

/// Today's and the one before (`AWSCURRENT` and `AWSPREVIOUS`).
const GOOD_MAX: usize = 2;

impl Keys {
    pub fn new(key: impl Into<String>) -> Keys {
        Keys(Arc::new(RwLock::new(vec![key.into()])))
    }

    /// From now on these are good, today's first. None at all, or an empty one, changes nothing: a
    /// secret that cannot be read must not lock everybody out, and an empty key is everybody's.
    pub fn set(&self, keys: Vec<String>) {
        let keys: Vec<_> = keys
            .into_iter()
            .filter(|key| !key.is_empty())
            .take(GOOD_MAX)
            .collect();
        if !keys.is_empty() {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
        }
    }

    /// What the first good key says that says anything.
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
    fn the_key_of_before_is_good_until_the_next_change_and_nothing_leaves_none() {
        let keys = Keys::new("monday");
        let good = |key: &str| {
            keys.clone()
                .find(|known| (known == key).then_some(()))
                .is_some()
        };
        keys.set(vec!["tuesday".to_owned(), "monday".to_owned()]);
        assert!(good("tuesday") && good("monday"));
        keys.set(vec!["wednesday".to_owned(), "tuesday".to_owned()]);
        assert!(good("wednesday") && good("tuesday") && !good("monday"));
        keys.set(Vec::new());
        keys.set(vec![String::new()]);
        assert!(good("wednesday") && !good(""));
        assert_eq!(format!("{keys:?}"), "***");
    }
}
