//! SHA-256 digests of templates and plans.

use sha2::{Digest as _, Sha256};

/// Returns the SHA-256 hash of a text in hexadecimal.
pub fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
