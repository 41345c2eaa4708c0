//! The key pairs that the front accepts.

use std::fmt;

const KEY_ID_PREFIX: &str = "AKIA";
/// The alphabet of access key ids: AWS writes them in base32. MiniStack would interpret an id of
/// twelve digits as an account id.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// An access key id and its secret. `Debug` hides the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl Keys {
    /// Makes a random pair with the lengths that AWS uses: an id of 20 characters with 80 random
    /// bits, and a secret of 240 random bits.
    ///
    /// # Panics
    /// When the system has no random bytes.
    pub fn random() -> Keys {
        let mut bytes = [0; 56];
        #[expect(
            clippy::expect_used,
            reason = "without random bytes nothing that follows is safe"
        )]
        aws_lc_rs::rand::fill(&mut bytes).expect("random bytes of the system");
        let (id, secret) = bytes.split_at(16);
        let id = id
            .iter()
            .map(|byte| char::from(BASE32[usize::from(byte % 32)]));
        let secret = secret
            .iter()
            .map(|byte| char::from(BASE64[usize::from(byte % 64)]));
        Keys {
            access_key_id: KEY_ID_PREFIX.chars().chain(id).collect(),
            secret_access_key: secret.collect(),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Keys")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn pairs_have_the_shape_of_aws_keys_and_differ() {
        let drawn: Vec<Keys> = (0..200).map(|_| Keys::random()).collect();
        for keys in &drawn {
            let (id, secret) = (&keys.access_key_id, &keys.secret_access_key);
            assert!(
                id.starts_with("AKIA")
                    && id.len() == 20
                    && id.bytes().all(|byte| BASE32.contains(&byte)),
                "{id}"
            );
            assert!(
                secret.len() == 40 && secret.bytes().all(|byte| BASE64.contains(&byte)),
                "{secret}"
            );
        }
        assert_eq!(
            drawn
                .iter()
                .map(|keys| &keys.access_key_id)
                .collect::<BTreeSet<_>>()
                .len(),
            drawn.len()
        );
        assert_eq!(
            drawn
                .iter()
                .map(|keys| &keys.secret_access_key)
                .collect::<BTreeSet<_>>()
                .len(),
            drawn.len()
        );
    }

    #[test]
    fn debug_output_has_no_secret() {
        let keys = Keys::random();
        assert!(!format!("{keys:?}").contains(&keys.secret_access_key));
    }
}
