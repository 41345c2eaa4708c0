//! Random numbers for jitter and for the ids of spans. Code that decides takes a random number as
//! an argument; this module draws it.

use std::hash::{BuildHasher as _, RandomState};

/// Returns a random number from 0.0 (inclusive) to 1.0 (exclusive).
pub fn fraction() -> f64 {
    // A double has 53 bits of precision.
    (bits() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Returns 64 random bits, which are not safe for secrets. The standard library gives each of its
/// hashers a new key, derived from 128 bits that the system drew for the thread.
pub fn bits() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_stay_in_range_and_differ() {
        let drawn: Vec<f64> = (0..100).map(|_| fraction()).collect();
        assert!(
            drawn.iter().all(|fraction| (0.0..1.0).contains(fraction)),
            "{drawn:?}"
        );
        assert!(drawn.windows(2).all(|pair| pair[0] != pair[1]), "{drawn:?}");
    }
}
