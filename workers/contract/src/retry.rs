//! The back-off between retries. The random number is an argument, which makes tests deterministic.

use std::time::Duration;

/// Exponential back-off between a base and a cap, with equal jitter (AWS Architecture Blog,
/// "Exponential Backoff and Jitter").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The exponential step after the first failed attempt.
    pub base: Duration,
    /// The largest exponential step.
    pub cap: Duration,
}

impl Backoff {
    /// Returns the pause after `attempts` failed attempts.
    ///
    /// `chance` is a random number from 0.0 to 1.0. The pause is between half of the exponential
    /// step and the whole step. Jitter keeps clients from retrying at the same time, and the lower
    /// bound keeps the pause from becoming zero.
    pub fn delay(self, attempts: u32, chance: f64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(20);
        let step = self.base.saturating_mul(1 << doublings).min(self.cap);
        step.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }
}

/// The pause between two deliveries of a message whose handler failed. The cap keeps the promise
/// that the platform recovers within a minute after a fault has ended: an order takes three hops.
pub const BETWEEN_ATTEMPTS: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(20),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_offs_double_up_to_the_cap_and_are_never_zero() {
        let backoff = Backoff {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(60),
        };
        let longest = [1, 2, 3, 4, 50].map(|attempts| backoff.delay(attempts, 1.0).as_secs());
        assert_eq!(longest, [1, 2, 4, 8, 60]);
        let shortest = [1, 2, 50].map(|attempts| backoff.delay(attempts, 0.0).as_millis());
        assert_eq!(shortest, [500, 1_000, 30_000]);
    }
}
