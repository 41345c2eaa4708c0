//! Proofs that need no other process: a model of the saga whose every state is checked, and a
//! simulation of the real use cases with seeded faults. Each proof has a test with planted mistakes
//! that shows it can fail.

pub mod model;
pub mod simulate;
