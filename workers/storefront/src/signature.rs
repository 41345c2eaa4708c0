//! The payment gateway's signature of a webhook: `t=<unix seconds>,v1=<hex HMAC-SHA256(secret, t +
//! "." + body)>`.

use std::time::Duration;

use aws_lc_rs::hmac;

/// The header with the signature.
pub const HEADER: &str = "Payment-Signature";
/// Maximum difference between the signature's time and now, against replays of recorded messages.
pub const TOLERANCE: Duration = Duration::from_secs(300);
/// Maximum length of the header. A time and several signatures (two secrets during a rotation) are
/// much shorter.
const HEADER_BYTES_MAX: usize = 1024;

/// Returns true if the gateway signed exactly these bytes of `body` within [`TOLERANCE`] of `now`,
/// in Unix seconds. During a rotation of the secret the header may have several `v1` signatures;
/// one valid signature is enough.
pub fn verify(secret: &str, header: &str, body: &[u8], now: i64) -> bool {
    let Some(Header {
        timestamp,
        signed_at,
        tags,
    }) = parse(header)
    else {
        return false;
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signed = [timestamp.as_bytes(), b".", body].concat();
    now.abs_diff(signed_at) <= TOLERANCE.as_secs()
        // `hmac::verify` compares in constant time.
        && tags.iter().any(|tag| hmac::verify(&key, &signed, tag).is_ok())
}

struct Header<'a> {
    /// The text as received, because the signature covers it.
    timestamp: &'a str,
    signed_at: i64,
    tags: Vec<Vec<u8>>,
}

/// Parses the header, or returns `None` when any part of it is malformed.
fn parse(header: &str) -> Option<Header<'_>> {
    if header.len() > HEADER_BYTES_MAX {
        return None;
    }
    let mut parts = header.split(',').map(|part| part.trim().split_once('='));
    let Some(("t", timestamp)) = parts.next()? else {
        return None;
    };
    let signed_at = timestamp.parse().ok()?;
    let mut tags = Vec::new();
    for part in parts {
        match part? {
            ("t", _) => return None,
            ("v1", tag) => tags.push(hex::decode(tag).ok()?),
            // A signature scheme of a later version.
            _ => {}
        }
    }
    timestamp
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(Header {
            timestamp,
            signed_at,
            tags,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn signed(at: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        hex::encode(hmac::sign(&key, format!("{at}.body").as_bytes()))
    }

    #[test]
    fn the_signature_matches_a_known_value() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac whsec
        let header =
            "t=1700000000,v1=8ad37ba156048ae0e0a5533c75cdf26fee88b07f93cb57ee4c80adb053012032";
        assert!(verify("whsec", header, b"{\"a\":1}", NOW));
        assert!(!verify("whsec", header, b"{\"a\": 1}", NOW));
        let later = header.replace("t=1700000000", "t=1700000001");
        assert!(!verify("whsec", &later, b"{\"a\":1}", NOW));
    }

    #[test]
    fn a_signature_is_valid_within_the_tolerance_only() {
        for (age, good) in [
            (0, true),
            (300, true),
            (301, false),
            (-300, true),
            (-301, false),
        ] {
            let at = NOW - age;
            let header = format!("t={at},v1={}", signed(at));
            assert_eq!(verify("secret", &header, b"body", NOW), good, "{age} s old");
        }
    }

    #[test]
    fn one_valid_signature_of_several_is_enough() {
        let good = signed(NOW);
        let other = "00".repeat(32);
        for others in [format!("v1={other}").as_str(), "v1=00", "v1=", "v0=old"] {
            for header in [
                format!("t={NOW},{others},v1={good}"),
                format!("t={NOW},v1={good},{others}"),
            ] {
                assert!(verify("secret", &header, b"body", NOW), "{header}");
            }
            assert!(
                !verify("secret", &format!("t={NOW},{others}"), b"body", NOW),
                "{others}"
            );
        }
        let header = format!("t={NOW},v1={good}");
        assert!(!verify("another", &header, b"body", NOW));
        assert!(!verify("secret", &header, b"another", NOW));
    }

    #[test]
    fn a_header_with_a_malformed_part_is_refused() {
        let good = format!("v1={}", signed(NOW));
        for header in [
            String::new(),
            good.clone(),
            format!("t,{good}"),
            format!("t=,{good}"),
            format!("t=+{NOW},{good}"),
            format!("t=-{NOW},{good}"),
            format!("t=99999999999999999999,{good}"),
            format!("{good},t={NOW}"),
            format!("t={NOW},t={NOW},{good}"),
            format!("t={NOW},v1=abc,{good}"),
            format!("t={NOW},v1=zz,{good}"),
            format!("t={NOW},v1=a\u{e9}b,{good}"),
            format!("t={NOW},{good},"),
            format!("t={NOW},{good}{}", ",v1=00".repeat(200)),
        ] {
            assert!(!verify("secret", &header, b"body", NOW), "{header}");
        }
    }
}
