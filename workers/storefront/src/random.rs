//! Digests and random tokens.

/// Returns the SHA-256 of `bytes` in lower-case hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}

/// Returns 128 random bits as URL-safe Base64 (22 characters).
pub fn random_token() -> String {
    use base64::Engine as _;
    let mut bytes = [0u8; 16];
    // The system's random source does not fail after it was initialized. A panic is better than a
    // token that somebody can guess.
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes),
        Err(_) => panic!("the system has no random numbers"),
    }
}
