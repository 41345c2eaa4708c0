//! The payment gateway's signature of a webhook: `t=<unix seconds>,v1=<hex HMAC-SHA256(secret, t +
//! "." + body)>`.

use std::time::Duration;

use aws_lc_rs::hmac;

/// The header with the signature.
pub const HEADER: &str = "Payment-Signature";
/// Maximum difference between the signature's time and now, against replays of recorded messages.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// Returns true if the gateway signed the body within [`TOLERANCE`] of `now`, in Unix seconds.
/// During a rotation of the secret the header may have several `v1` signatures; one valid signature
/// is enough.
pub fn verify(secret: &str, header: &str, body: &[u8], now: i64) -> bool {
    let mut parts = header
        .split(',')
        .filter_map(|part| part.trim().split_once('='));
    let Some(("t", at)) = parts.next() else {
        return false;
    };
    let Ok(seconds) = at.parse::<i64>() else {
        return false;
    };
    if now.abs_diff(seconds) > TOLERANCE.as_secs() {
        return false;
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signed = [at.as_bytes(), b".", body].concat();
    parts
        .filter(|(version, _)| *version == "v1")
        .any(|(_, signature)| {
            hex::decode(signature)
                .is_ok_and(|signature| hmac::verify(&key, &signed, &signature).is_ok())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn signed(at: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        let signature = hmac::sign(&key, format!("{at}.body").as_bytes());
        signature
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    #[test]
    fn a_message_is_good_as_long_as_it_is_fresh_and_no_longer() {
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
    fn one_good_signature_of_several_is_enough_and_what_is_none_is_passed_over() {
        let good = signed(NOW);
        for others in ["v1=abc", "v1=a\u{e9}b", "v1=zz", "v0=00", "v1="] {
            assert!(
                verify(
                    "secret",
                    &format!("t={NOW},{others},v1={good}"),
                    b"body",
                    NOW
                ),
                "{others}"
            );
            assert!(
                !verify("secret", &format!("t={NOW},{others}"), b"body", NOW),
                "{others}"
            );
        }
        assert!(!verify(
            "another",
            &format!("t={NOW},v1={good}"),
            b"body",
            NOW
        ));
        assert!(!verify(
            "secret",
            &format!("t={NOW},v1={good}"),
            b"another",
            NOW
        ));
    }
}
