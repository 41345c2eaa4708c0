//! Staff tokens: a name, a role and an end, signed. `haven staff token` makes them with the same functions.

use aws_lc_rs::hmac;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use domain::Timestamp;
use serde::{Deserialize, Serialize};

use crate::session::cookie;

/// The cookie of the staff pages.
pub const COOKIE: &str = "staff";
const VERSION: &str = "hv1";

/// Who is at work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staff {
    pub name: String,
    pub role: String,
    /// Unix seconds.
    pub exp: i64,
}

/// A token for a member of staff until `expires_at`.
pub fn issue(key: &str, name: &str, role: &str, expires_at: Timestamp) -> String {
    let staff = Staff { name: name.to_owned(), role: role.to_owned(), exp: expires_at.unix_timestamp() };
    // Three plain fields are always JSON.
    let body = format!("{VERSION}.{}", BASE64.encode(serde_json::to_vec(&staff).unwrap_or_default()));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), body.as_bytes());
    format!("{body}.{}", BASE64.encode(signature))
}

/// Who the token is for; `None` when it is forged, broken or over.
pub fn verify(key: &str, token: &str, now: Timestamp) -> Option<Staff> {
    let (body, signature) = token.rsplit_once('.')?;
    let signature = BASE64.decode(signature).ok()?;
    // In constant time, and before anything in it is read.
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), body.as_bytes(), &signature).ok()?;
    let payload = body.strip_prefix(VERSION)?.strip_prefix('.')?;
    let staff: Staff = serde_json::from_slice(&BASE64.decode(payload).ok()?).ok()?;
    (staff.exp > now.unix_timestamp()).then_some(staff)
}

/// The token of a request: bearer, or the cookie of the staff pages.
pub fn token(headers: &HeaderMap) -> Option<String> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer ")).map(|token| token.trim().to_owned());
    bearer.or_else(|| cookie(headers, COOKIE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unchanged_token_of_our_key_is_good_and_only_in_time() {
        let now = Timestamp::UNIX_EPOCH + time::Duration::days(20_000);
        let token = issue("key", "Ana", "staff", now + time::Duration::hours(1));
        assert_eq!(verify("key", &token, now).map(|staff| staff.name), Some("Ana".to_owned()));
        assert_eq!(verify("another key", &token, now), None);
        let end = now + time::Duration::hours(1);
        assert!(verify("key", &token, end - time::Duration::seconds(1)).is_some());
        assert_eq!(verify("key", &token, end), None);
        assert_eq!(verify("key", &token, now + time::Duration::hours(2)), None);
        let forged = issue("key", "Ana", "admin", now + time::Duration::hours(1));
        let (body, _) = forged.rsplit_once('.').expect("signed");
        let (_, signature) = token.rsplit_once('.').expect("signed");
        for wrong in
            [format!("{body}.{signature}"), body.to_owned(), String::new(), "..".to_owned(), "hv1.e30.".to_owned()]
        {
            assert_eq!(verify("key", &wrong, now), None, "{wrong}");
        }
    }
}
