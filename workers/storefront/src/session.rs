//! Sessions of customers: a random id in a signed cookie. The server stores data under the hash of
//! the id and stores no sessions.
//!
//! The signature prevents session fixation: an id that the server did not issue is rejected. The
//! cookie contains when the id was issued and when it was last renewed, so the server enforces two
//! limits without a store:
//!
//! - idle: a cookie expires [`IDLE`] after its last renewal. A cookie in use is renewed at most
//!   once per [`RENEW_AFTER`].
//! - absolute: an id expires [`ABSOLUTE`] after it was issued, however often it is used.
//!
//! The id changes at checkout and at staff sign-in. A person who knows the old id does not learn
//! the new one, and an order belongs to the new one. The cookie lists the previous ids with their
//! times of issue, so that the browser still sees the orders placed under them.
//!
//! The new id at checkout is derived from the old id and the form's idempotency key. A form that is
//! sent twice at once therefore gets the same id twice, and finds its own order.

use aws_lc_rs::hmac;
use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use time::Duration;

use crate::cookies::{self, SameSite};
use crate::random::{digest, random_token};
use crate::settings::Settings;

/// Maximum time between two renewals of a session. Longer than the lifetime of a cart.
pub const IDLE: Duration = Duration::days(7);
/// Maximum age of a session id.
pub const ABSOLUTE: Duration = Duration::days(30);
/// Minimum time between two renewals of a cookie.
const RENEW_AFTER: Duration = Duration::hours(1);

/// Maximum of previous ids in a cookie: one order a day until the oldest id expires (30 days), and
/// ten more. The cookie stays far below the 4,096 bytes that browsers must accept (RFC 6265,
/// section 6.1).
const PREVIOUS_MAX: usize = 40;
/// Length of an id: 128 bits in Base64.
const ID_LEN: usize = 22;
/// Length of a previous id: the id, and its second of issue as eight hexadecimal digits.
const PREVIOUS_LEN: usize = ID_LEN + 8;
const VERSION: &str = "1";

/// A session that the server issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of the id. All data of the session is stored under this key.
    pub hash: String,
    id: Id,
    previous: Vec<Id>,
    /// When the cookie was last renewed, in Unix seconds.
    renewed_at: i64,
    /// The cookie to set, if the browser does not have it yet.
    cookie: Option<HeaderValue>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Id {
    text: String,
    /// When the id was issued, in Unix seconds.
    issued_at: i64,
}

/// Returns the name of the cookie.
pub fn name(settings: &Settings) -> &'static str {
    // The prefix makes browsers require `Secure` and bind the cookie to exactly this host.
    if settings.secure_cookies {
        "__Host-sid"
    } else {
        "sid"
    }
}

/// Returns the session of the request, if the server issued it and it has not expired.
pub fn of(headers: &HeaderMap, settings: &Settings) -> Option<Session> {
    let value = cookies::read(headers, name(settings))?;
    let (signed, signature) = value.rsplit_once('.')?;
    let signature = BASE64.decode(signature).ok()?;
    // The check takes constant time and comes before the content is parsed.
    settings
        .signing_key
        .find(|key| hmac::verify(&mac_key(key), &labeled(signed), &signature).ok())?;
    let parts: [&str; 5] = signed.split('.').collect::<Vec<_>>().try_into().ok()?;
    let [version, id, issued_at, renewed_at, previous] = parts;
    if version != VERSION || id.len() != ID_LEN {
        return None;
    }
    let (issued_at, renewed_at): (i64, i64) = (issued_at.parse().ok()?, renewed_at.parse().ok()?);
    let now = now(settings);
    if is_over(issued_at, now) || now - renewed_at >= IDLE.whole_seconds() {
        return None;
    }
    let previous = previous
        .as_bytes()
        .chunks(PREVIOUS_LEN)
        .filter_map(previous_id);
    let previous = previous.filter(|id| !is_over(id.issued_at, now)).collect();
    let id = Id {
        text: id.to_owned(),
        issued_at,
    };
    Some(Session {
        hash: digest(id.text.as_bytes()),
        id,
        previous,
        renewed_at,
        cookie: None,
    })
}

/// Returns the session of the request, or a new one.
pub fn of_or_new(headers: &HeaderMap, settings: &Settings) -> Session {
    of(headers, settings).unwrap_or_else(|| Session::begin(random_token(), Vec::new(), settings))
}

/// Returns a renewed cookie, if the last renewal is at least [`RENEW_AFTER`] ago.
pub fn renewal(headers: &HeaderMap, settings: &Settings) -> Option<HeaderValue> {
    let session = of(headers, settings)?;
    let now = now(settings);
    (now - session.renewed_at >= RENEW_AFTER.whole_seconds())
        .then(|| session.to_cookie(now, settings))
        .flatten()
}

impl Session {
    fn begin(id: String, previous: Vec<Id>, settings: &Settings) -> Session {
        let now = now(settings);
        let hash = digest(id.as_bytes());
        let session = Session {
            hash,
            id: Id {
                text: id,
                issued_at: now,
            },
            previous,
            renewed_at: now,
            cookie: None,
        };
        Session {
            cookie: session.to_cookie(now, settings),
            ..session
        }
    }

    /// Returns the session that owns an order placed from this session by a form with this
    /// idempotency key.
    #[must_use]
    pub fn after_checkout(&self, idempotency_key: &str, settings: &Settings) -> Session {
        let text = format!("checkout\0{}\0{idempotency_key}", self.id.text);
        // `find` starts with the current key, and there is always one.
        let derived = settings
            .signing_key
            .find(|key| Some(hmac::sign(&mac_key(key), text.as_bytes())));
        let id = derived.map_or_else(random_token, |derived| {
            BASE64.encode(&derived.as_ref()[..16])
        });
        self.followed_by(id, settings)
    }

    /// Returns the session after a change of rights, with a new random id.
    #[must_use]
    pub fn after_sign_in(&self, settings: &Settings) -> Session {
        self.followed_by(random_token(), settings)
    }

    /// Returns a session with this id that lists the present id as a previous one.
    fn followed_by(&self, id: String, settings: &Settings) -> Session {
        let previous = std::iter::once(&self.id)
            .chain(&self.previous)
            .take(PREVIOUS_MAX)
            .cloned()
            .collect();
        Session::begin(id, previous, settings)
    }

    /// Returns the hashes under which the browser's orders are stored, the current one first.
    pub fn hashes(&self) -> Vec<String> {
        let previous = self.previous.iter().map(|id| digest(id.text.as_bytes()));
        std::iter::once(self.hash.clone()).chain(previous).collect()
    }

    /// Returns true if data stored under this hash belongs to the browser.
    pub fn owns(&self, hash: &str) -> bool {
        let same = |own: &String| {
            aws_lc_rs::constant_time::verify_slices_are_equal(own.as_bytes(), hash.as_bytes())
        };
        self.hashes().iter().any(|own| same(own).is_ok())
    }

    /// Sets the cookie on a response, if the browser does not have it yet.
    pub fn onto(self, mut response: axum::response::Response) -> axum::response::Response {
        if let Some(cookie) = self.cookie {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        response
    }

    /// Returns the `Set-Cookie` value, signed with the current key.
    fn to_cookie(&self, now: i64, settings: &Settings) -> Option<HeaderValue> {
        let Id { text, issued_at } = &self.id;
        let previous: String = self
            .previous
            .iter()
            .map(|id| format!("{}{:08x}", id.text, id.issued_at))
            .collect();
        let signed = format!("{VERSION}.{text}.{issued_at}.{now}.{previous}");
        let signature = settings
            .signing_key
            .find(|key| Some(hmac::sign(&mac_key(key), &labeled(&signed))))?;
        let age_s = IDLE
            .whole_seconds()
            .min(issued_at + ABSOLUTE.whole_seconds() - now)
            .max(0);
        let value = format!("{signed}.{}", BASE64.encode(signature));
        let age = Duration::seconds(age_s);
        cookies::set(name(settings), &value, SameSite::Lax, age, settings)
    }
}

fn now(settings: &Settings) -> i64 {
    (settings.clock)().unix_timestamp()
}

/// Returns true for an id that is too old or was issued more than a minute in the future. The
/// minute allows for the clock of another storefront.
fn is_over(issued_at: i64, now: i64) -> bool {
    now - issued_at >= ABSOLUTE.whole_seconds() || issued_at - now > 60
}

/// Returns the key that signs sessions and staff tokens.
pub fn mac_key(key: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes())
}

/// Returns the text to sign, with a label. The same key signs staff tokens; the label keeps one
/// kind of signature from passing as the other.
fn labeled(signed: &str) -> Vec<u8> {
    [b"session\0", signed.as_bytes()].concat()
}

/// Parses a previous id and its time of issue.
fn previous_id(text: &[u8]) -> Option<Id> {
    let (id, issued_at) = std::str::from_utf8(text).ok()?.split_at_checked(ID_LEN)?;
    Some(Id {
        text: id.to_owned(),
        issued_at: i64::from_str_radix(issued_at, 16).ok()?,
    })
}
