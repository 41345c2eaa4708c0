//! Proofs that need no other process: a model of the saga whose every state is checked, and a
//! simulation of the real use cases with seeded faults. Each proof has a test with planted mistakes
//! that shows it can fail.

pub mod model;
pub mod simulate;

/// Exit code of a proof that found a violation.
pub const EXIT_BROKEN: u8 = 2;

/// Returns the exit code of a proof.
pub fn outcome(holds: bool) -> u8 {
    if holds { 0 } else { EXIT_BROKEN }
}
