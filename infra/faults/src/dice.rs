//! Random numbers that a seed determines: SplitMix64 (Steele, Lea, Flood, 2014), a small generator
//! with the same results on every machine.

#[derive(Debug, Clone)]
/// A random number generator.
pub struct Dice(u64);

impl Dice {
    #[must_use]
    /// Starts a generator from a seed.
    pub const fn of(seed: u64) -> Dice {
        Dice(seed)
    }

    /// Returns the next 64 random bits.
    pub fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from 0 to `end - 1`, or 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.throw() % end }
    }

    /// Returns a number from `from` to `to`, both included.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// Returns true in `times` of 1,000 cases.
    pub fn permille(&mut self, times: u32) -> bool {
        times > 0 && self.below(1_000) < u64::from(times)
    }

    /// Returns a number from 0.0 up to, but not including, 1.0.
    pub fn fraction(&mut self) -> f64 {
        (self.throw() >> 11) as f64 / (1u64 << 53) as f64
    }
}
