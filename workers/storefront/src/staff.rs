//! Staff tokens: an id, a name, a role and an expiry, signed. `haven staff token` issues them with
//! the functions of this module.
//!
//! The signature proves that the shop issued the token, but not that the token is still valid. The
//! storefront therefore reads the ids of revoked tokens every few seconds ([`crate::Revoked`]). While the
//! database does not answer, the last list applies; everything that staff do needs the database
//! anyway.
//!
//! The format is our own: a JWT or a PASETO would refuse the tokens that were issued, and the format
//! is part of the public contract.

use app::ports::access::StaffToken;
use app::use_cases::staff_tokens::actor_name;
use aws_lc_rs::hmac;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use domain::Timestamp;
use domain::access::StaffRole;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cookies;
use crate::session::mac_key;
use crate::settings::Settings;
use crate::text::header_text;

/// The first part of a token. Tokens of the older format begin with [`VERSION_BEFORE`]; they have
/// no id and cannot be revoked.
const VERSION: &str = "hv2";
const VERSION_BEFORE: &str = "hv1.";

/// Returns the name of the cookie of the staff pages. The prefix makes browsers require `Secure`
/// and bind the cookie to exactly this host.
pub fn cookie_name(settings: &Settings) -> &'static str {
    if settings.secure_cookies {
        "__Host-staff"
    } else {
        "staff"
    }
}

/// A member of staff, as the token states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staff {
    /// Id of the token, by which it can be revoked.
    pub token_id: Uuid,
    /// Name of the person, for the audit log.
    pub name: String,
    /// Role of the person.
    pub role: StaffRole,
    /// When the token expires, in Unix seconds.
    pub expires_at: i64,
}

/// The reason why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefusal {
    /// The request has no token.
    Missing,
    /// The token has the format of a release whose tokens could not be revoked.
    OldFormat,
    /// The token was not signed with a key of this shop, or was changed.
    Forged,
    /// The token's time is over.
    Expired,
    /// The token was revoked or signed out.
    Revoked,
    /// The token is signed, but names a role or a person that no token may have.
    NotForPeople,
}

impl TokenRefusal {
    /// Returns what happened and what to do next, for the person who holds the token.
    pub const fn detail(self) -> &'static str {
        match self {
            TokenRefusal::Missing => {
                "No staff token was sent. Send one as `Authorization: Bearer TOKEN`; `haven staff token --name NAME` makes one."
            }
            TokenRefusal::OldFormat => {
                "This staff token has the format of an older release. Run `haven staff token --name NAME` for a new one."
            }
            TokenRefusal::Forged => {
                "This is not a staff token of this shop. Run `haven staff token --name NAME` for one."
            }
            TokenRefusal::Expired => {
                "This staff token has expired. Run `haven staff token --name NAME` for a new one."
            }
            TokenRefusal::Revoked => {
                "This staff token was revoked or signed out. Run `haven staff token --name NAME` for a new one."
            }
            TokenRefusal::NotForPeople => {
                "This staff token names a role or a person that no token may have. Run `haven staff token --name NAME` for a new one."
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Payload {
    id: Uuid,
    name: String,
    role: String,
    /// When the token expires, in Unix seconds.
    exp: i64,
}

/// Returns the text of a token. The caller must record the token first: see
/// `app::ports::access::StaffTokens`.
pub fn issue(key: &str, token: &StaffToken) -> String {
    sign(VERSION, key, token)
}

/// Returns the text of a token whose first part is `version`, so that one kind of token does not
/// pass as the other.
pub(crate) fn sign(version: &str, key: &str, token: &StaffToken) -> String {
    let payload = Payload {
        id: token.id,
        name: token.name.clone(),
        role: token.role.code().to_owned(),
        exp: token.expires_at.unix_timestamp(),
    };
    // Four plain fields always serialize.
    let body = format!(
        "{version}.{}",
        BASE64.encode(serde_json::to_vec(&payload).unwrap_or_default())
    );
    let signature = hmac::sign(&mac_key(key), body.as_bytes());
    format!("{body}.{}", BASE64.encode(signature))
}

/// Returns the member of staff that a signed and unexpired token names. [`accepted`] also checks
/// [`crate::Revoked`].
///
/// # Errors
/// Returns the reason why the token is not accepted.
pub fn verify(key: &str, token: &str, now: Timestamp) -> Result<Staff, TokenRefusal> {
    if token.starts_with(VERSION_BEFORE) {
        return Err(TokenRefusal::OldFormat);
    }
    verify_version(VERSION, key, token, now)
}

/// Verifies as [`verify`], for a token whose first part is `version`.
pub(crate) fn verify_version(
    version: &str,
    key: &str,
    token: &str,
    now: Timestamp,
) -> Result<Staff, TokenRefusal> {
    let (body, signature) = token.rsplit_once('.').ok_or(TokenRefusal::Forged)?;
    let signature = BASE64.decode(signature).map_err(|_| TokenRefusal::Forged)?;
    // The check takes constant time and comes before the content is parsed.
    hmac::verify(&mac_key(key), body.as_bytes(), &signature).map_err(|_| TokenRefusal::Forged)?;
    let payload = body
        .strip_prefix(version)
        .and_then(|body| body.strip_prefix('.'))
        .ok_or(TokenRefusal::Forged)?;
    let payload = BASE64.decode(payload).map_err(|_| TokenRefusal::Forged)?;
    let Payload {
        id,
        name,
        role,
        exp,
    } = serde_json::from_slice(&payload).map_err(|_| TokenRefusal::Forged)?;
    // Another program that has the key may have signed an invalid role or name.
    let role = StaffRole::from_code(&role).ok_or(TokenRefusal::NotForPeople)?;
    let name = actor_name("name", &name).map_err(|_| TokenRefusal::NotForPeople)?;
    if exp <= now.unix_timestamp() {
        return Err(TokenRefusal::Expired);
    }
    Ok(Staff {
        token_id: id,
        name,
        role,
        expires_at: exp,
    })
}

/// Returns the token of a request: the bearer token, or the cookie of the staff pages.
pub fn token(headers: &HeaderMap, settings: &Settings) -> Option<String> {
    let authorization = header_text(headers, header::AUTHORIZATION);
    // RFC 9110, section 11.1: the scheme is case-insensitive.
    let bearer = authorization.and_then(|value| value.trim().split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    bearer
        .map(|(_, token)| token.trim().to_owned())
        .or_else(|| cookies::read(headers, cookie_name(settings)))
}

/// Returns the member of staff whose token the request carries.
///
/// # Errors
/// Returns the reason why the token is missing or not accepted.
pub fn of(headers: &HeaderMap, settings: &Settings, now: Timestamp) -> Result<Staff, TokenRefusal> {
    match token(headers, settings) {
        Some(token) => accepted(&token, settings, now),
        None => Err(TokenRefusal::Missing),
    }
}

/// Returns the member of staff that the token names, if it neither expired nor was revoked. Tries
/// the current and the previous signing key.
///
/// # Errors
/// Returns the reason why the token is not accepted.
pub fn accepted(token: &str, settings: &Settings, now: Timestamp) -> Result<Staff, TokenRefusal> {
    let mut refusal = TokenRefusal::Forged;
    let verified = settings
        .signing_key
        .find(|key| match verify(key, token, now) {
            Ok(staff) => Some(staff),
            Err(why) => {
                // The current key reports a token of the previous key as forged. That result must
                // not replace a more precise one.
                if why != TokenRefusal::Forged {
                    refusal = why;
                }
                None
            }
        });
    let staff = verified.ok_or(refusal)?;
    if settings.revoked.contains(staff.token_id) {
        Err(TokenRefusal::Revoked)
    } else {
        Ok(staff)
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    const NOON: Timestamp = time::macros::datetime!(2026-03-01 12:00 UTC);

    fn token_of(name: &str, role: StaffRole) -> StaffToken {
        let expires_at = NOON + Duration::hours(1);
        StaffToken {
            id: Uuid::now_v7(),
            name: name.to_owned(),
            role,
            issued_at: NOON,
            expires_at,
            revoked_at: None,
        }
    }

    #[test]
    fn only_an_unchanged_token_of_our_key_is_good_and_only_in_time() {
        let recorded = token_of("Ana", StaffRole::Barista);
        let token = issue("key", &recorded);
        let staff = verify("key", &token, NOON).expect("ours");
        assert_eq!(
            (staff.token_id, staff.name.as_str(), staff.role),
            (recorded.id, "Ana", StaffRole::Barista)
        );
        assert_eq!(
            verify("another key", &token, NOON),
            Err(TokenRefusal::Forged)
        );
        let end = recorded.expires_at;
        assert!(verify("key", &token, end - Duration::seconds(1)).is_ok());
        assert_eq!(verify("key", &token, end), Err(TokenRefusal::Expired));
        let forged = issue("key", &token_of("Ana", StaffRole::Admin));
        let (body, _) = forged.rsplit_once('.').expect("signed");
        let (_, signature) = token.rsplit_once('.').expect("signed");
        for wrong in [
            format!("{body}.{signature}"),
            body.to_owned(),
            String::new(),
            "..".to_owned(),
            "hv2.e30.".to_owned(),
        ] {
            assert_eq!(
                verify("key", &wrong, NOON),
                Err(TokenRefusal::Forged),
                "{wrong}"
            );
        }
    }

    fn signed(version: &str, payload: &str) -> String {
        let body = format!("{version}.{}", BASE64.encode(payload));
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"key"), body.as_bytes());
        format!("{body}.{}", BASE64.encode(signature))
    }

    #[test]
    fn a_token_of_the_release_before_is_refused_with_the_command_to_run() {
        let token = signed("hv1", r#"{"name":"Ana","role":"staff","exp":4102444800}"#);
        let refusal = verify("key", &token, NOON).expect_err("no id");
        assert_eq!(refusal, TokenRefusal::OldFormat);
        assert!(refusal.detail().contains("haven staff token"));
    }

    #[test]
    fn a_role_or_a_name_that_no_token_may_have_is_refused_when_it_is_read() {
        for (name, role) in [
            ("Ana", "cleaner"),
            ("Ana", "Staff"),
            ("customer", "staff"),
            ("", "staff"),
            ("\\u200b", "staff"),
        ] {
            let id = Uuid::nil();
            let token = signed(
                VERSION,
                &format!(r#"{{"id":"{id}","name":"{name}","role":"{role}","exp":4102444800}}"#),
            );
            assert_eq!(
                verify("key", &token, NOON),
                Err(TokenRefusal::NotForPeople),
                "{name} {role}"
            );
        }
    }
}
