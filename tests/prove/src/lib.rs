//! What the product claims, shown: by checking every state of a model, and by running the real
//! use-cases through seeded storms of faults. Each proof can fail, and has a test that sees it
//! fail.

pub mod model;
pub mod simulate;

/// A check of ours did not hold.
pub const EXIT_BROKEN: u8 = 2;

/// The exit code of a proof.
pub fn outcome(holds: bool) -> u8 {
    if holds { 0 } else { EXIT_BROKEN }
}
