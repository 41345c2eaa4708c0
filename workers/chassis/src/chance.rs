//! Random numbers: for jitter and for names of spans. Rules take them as arguments; here they are
//! drawn.

use std::hash::{BuildHasher as _, RandomState};

/// From 0.0 up to, not including, 1.0.
pub fn fraction() -> f64 {
    // 53 bits: as many as a double holds exactly.
    (bits() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Good enough to tell spans apart and to spread retries; nothing secret is made of it. The
/// standard library keys each of its hashers anew, from 128 bits that the system drew for the
/// thread.
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
