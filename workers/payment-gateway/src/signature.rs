//! The signature of a webhook: `Payment-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256(secret, t +
//! "." + body)>`.
//!
//! The module depends on nothing else in this crate, so that a receiver can copy the file.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;

/// The header with the signature.
pub const HEADER: &str = "Payment-Signature";

/// Maximum length of the header. A time and several signatures (two secrets during a rotation) are
/// much shorter.
const HEADER_BYTES_MAX: usize = 1024;

/// Why a webhook is refused. The variant is for the log and not for the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureError {
    /// The header cannot be parsed.
    Malformed,
    /// No signature matches the body.
    Mismatch,
    /// The signature is too old or from the future: a replay, or a wrong clock.
    OutsideTolerance,
}

/// Returns the header's value for `body`, signed at `timestamp` in Unix seconds.
pub fn sign(secret: &str, timestamp: i64, body: &[u8]) -> String {
    let timestamp = timestamp.to_string();
    let tag = hmac::sign(&key(secret), &signed_bytes(&timestamp, body));
    format!("t={timestamp},v1={}", hex(tag.as_ref()))
}

/// Checks that `header` signs exactly these bytes of `body`, at most `tolerance` before or after
/// `now` (in Unix seconds).
///
/// Pass the bytes as received, not a re-serialized body. During a rotation of the secret, call the
/// function once per secret. A header may also have several `v1` signatures, of which one must
/// match.
///
/// # Errors
/// Returns the reason when the header is malformed, no signature matches, or the time is out of
/// range.
pub fn verify(
    secret: &str,
    header: &str,
    body: &[u8],
    now: i64,
    tolerance: Duration,
) -> Result<(), SignatureError> {
    let Header {
        timestamp,
        signed_at,
        tags,
    } = parse(header).ok_or(SignatureError::Malformed)?;
    let key = key(secret);
    let message = signed_bytes(timestamp, body);
    // `hmac::verify` compares in constant time.
    if !tags
        .iter()
        .any(|tag| hmac::verify(&key, &message, tag).is_ok())
    {
        return Err(SignatureError::Mismatch);
    }
    if now.abs_diff(signed_at) > tolerance.as_secs() {
        return Err(SignatureError::OutsideTolerance);
    }
    Ok(())
}

struct Header<'a> {
    /// The text as received, because the signature covers it.
    timestamp: &'a str,
    signed_at: i64,
    tags: Vec<Vec<u8>>,
}

fn parse(header: &str) -> Option<Header<'_>> {
    if header.len() > HEADER_BYTES_MAX {
        return None;
    }
    let mut timestamp = None;
    let mut tags = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=')? {
            ("t", _) if timestamp.is_some() => return None,
            ("t", value) => timestamp = Some(value),
            ("v1", value) => tags.push(unhex(value)?),
            // A signature scheme of a later version.
            _ => {}
        }
    }
    let timestamp = timestamp.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    let signed_at = timestamp.parse().ok()?;
    (!tags.is_empty()).then_some(Header {
        timestamp,
        signed_at,
        tags,
    })
}

fn key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

fn signed_bytes(timestamp: &str, body: &[u8]) -> Vec<u8> {
    [timestamp.as_bytes(), b".", body].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    fn digit(byte: u8) -> Option<u8> {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    }
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SignatureError::Malformed => "the signature header is malformed",
            SignatureError::Mismatch => "the signature does not match the body",
            SignatureError::OutsideTolerance => "the signature is too old or from the future",
        })
    }
}

impl std::error::Error for SignatureError {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;
    const TOLERANCE: Duration = Duration::from_secs(300);

    #[track_caller]
    fn check(header: &str, body: &str, expected: Result<(), SignatureError>) {
        assert_eq!(
            verify("whsec", header, body.as_bytes(), NOW, TOLERANCE),
            expected,
            "{header}"
        );
    }

    fn signed(secret: &str, timestamp: i64) -> String {
        sign(secret, timestamp, b"{\"a\":1}")
    }

    #[test]
    fn a_known_answer() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac whsec
        let expected =
            "t=1700000000,v1=8ad37ba156048ae0e0a5533c75cdf26fee88b07f93cb57ee4c80adb053012032";
        assert_eq!(signed("whsec", NOW), expected);
    }

    #[test]
    fn a_fresh_signature_over_these_bytes_is_believed() {
        check(&signed("whsec", NOW), "{\"a\":1}", Ok(()));
        check(&signed("whsec", NOW - 300), "{\"a\":1}", Ok(()));
        check(&signed("whsec", NOW + 300), "{\"a\":1}", Ok(()));
        check(
            &format!("{},v0=old", signed("whsec", NOW)),
            "{\"a\":1}",
            Ok(()),
        );
    }

    #[test]
    fn forged_reserialised_and_old_webhooks_are_not_believed() {
        check(
            &signed("other", NOW),
            "{\"a\":1}",
            Err(SignatureError::Mismatch),
        );
        check(
            &signed("whsec", NOW),
            "{\"a\": 1}",
            Err(SignatureError::Mismatch),
        );
        check(
            &signed("whsec", NOW).replace("t=1700000000", "t=1700000001"),
            "{\"a\":1}",
            Err(SignatureError::Mismatch),
        );
        check(
            &format!("t={NOW},v1="),
            "{\"a\":1}",
            Err(SignatureError::Mismatch),
        );
        check(
            &signed("whsec", NOW - 301),
            "{\"a\":1}",
            Err(SignatureError::OutsideTolerance),
        );
        check(
            &signed("whsec", NOW + 301),
            "{\"a\":1}",
            Err(SignatureError::OutsideTolerance),
        );
    }

    #[test]
    fn one_of_two_signatures_is_enough_while_a_secret_rotates() {
        let (_, old) = signed("old", NOW)
            .split_once(',')
            .map(|(t, v)| (t.to_owned(), v.to_owned()))
            .unwrap();
        check(
            &format!("{},{old}", signed("whsec", NOW)),
            "{\"a\":1}",
            Ok(()),
        );
    }

    #[test]
    fn nonsense_is_malformed() {
        let tag = "00".repeat(32);
        for header in [
            "",
            "t",
            "t=1",
            "v1=00",
            "t=,v1=00",
            "t=-1,v1=00",
            "t=+1,v1=00",
            "t=1,v1=0",
            "t=1,v1=zz",
            "t=1,v1=é0",
            "t=99999999999999999999,v1=00",
            &format!("t=1,t=1,v1={tag}"),
            &"v1=00,".repeat(1000),
        ] {
            check(header, "{\"a\":1}", Err(SignatureError::Malformed));
        }
    }
}
