//! Sessions of customers: a random id in a signed cookie. The server keeps things under the id's
//! hash and stores no session.
//!
//! The signature makes an id that the server did not issue worthless: nobody can plant one in
//! another person's browser. The cookie carries when it was issued and last renewed, so the server
//! enforces both ends without a store:
//!
//! - idle: a cookie that was not renewed for [`IDLE`] is over. One that is used is renewed, at most
//!   once in [`RENEW_AFTER`].
//! - absolute: an id is over [`ABSOLUTE`] after it was issued, however often it was used.
//!
//! The id changes at checkout and at staff sign-in. Whoever knew the id before does not know the
//! one after, and an order belongs to the one after. The cookie lists the ids before, each with the
//! time of its issue, so that the browser still sees the orders that it placed under them. The id
//! after a checkout is derived from the id before and the form's idempotency key: a form that is
//! sent twice at once is answered with the same id twice, and finds its own order.

use aws_lc_rs::hmac;
use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use time::Duration;

use crate::{Settings, digest, random_token};

/// Longer than a cart lives.
pub const IDLE: Duration = Duration::days(7);
pub const ABSOLUTE: Duration = Duration::days(30);
const RENEW_AFTER: Duration = Duration::hours(1);

/// Ids before the present one: an order a day until the first of them is over, and some more. With
/// these a cookie stays far below the 4,096 bytes that browsers keep (RFC 6265, section 6.1).
const PREVIOUS_MAX: usize = 40;
/// An id: 128 bits in Base64.
const ID_LEN: usize = 22;
/// An id before: itself, and the second of its issue in hexadecimal.
const PREVIOUS_LEN: usize = ID_LEN + 8;
const VERSION: &str = "1";

/// A session that the server issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Everything of the session is kept under this.
    pub hash: String,
    id: Id,
    previous: Vec<Id>,
    /// Unix seconds.
    renewed_at: i64,
    /// The cookie to be set, where the browser does not have it yet.
    cookie: Option<HeaderValue>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Id {
    text: String,
    /// Unix seconds.
    issued_at: i64,
}

/// The cookie's name.
pub fn name(settings: &Settings) -> &'static str {
    // The prefix makes browsers insist on Secure and this very host.
    if settings.secure_cookies {
        "__Host-sid"
    } else {
        "sid"
    }
}

/// The session that the request belongs to, if the server issued it and it is not over.
pub fn of(headers: &HeaderMap, settings: &Settings) -> Option<Session> {
    let value = cookie(headers, name(settings))?;
    let (signed, signature) = value.rsplit_once('.')?;
    let signature = BASE64.decode(signature).ok()?;
    // In constant time, and before anything in it is read.
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

/// The session of the request, or a new one.
pub fn of_or_new(headers: &HeaderMap, settings: &Settings) -> Session {
    of(headers, settings).unwrap_or_else(|| Session::begin(random_token(), Vec::new(), settings))
}

/// The cookie that puts off the idle end, once the session was not renewed for a while.
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

    /// The session that an order belongs to which is placed from this one by a form with this
    /// idempotency key.
    #[must_use]
    pub fn after_checkout(&self, idempotency_key: &str, settings: &Settings) -> Session {
        let text = format!("checkout\0{}\0{idempotency_key}", self.id.text);
        // Today's key first: there always is one.
        let derived = settings
            .signing_key
            .find(|key| Some(hmac::sign(&mac_key(key), text.as_bytes())));
        let id = derived.map_or_else(random_token, |derived| {
            BASE64.encode(&derived.as_ref()[..16])
        });
        self.followed_by(id, settings)
    }

    /// The session after a change of rights.
    #[must_use]
    pub fn after_sign_in(&self, settings: &Settings) -> Session {
        self.followed_by(random_token(), settings)
    }

    fn followed_by(&self, id: String, settings: &Settings) -> Session {
        let previous = std::iter::once(&self.id)
            .chain(&self.previous)
            .take(PREVIOUS_MAX)
            .cloned()
            .collect();
        Session::begin(id, previous, settings)
    }

    /// The hashes under which the browser's orders are kept, the present one first.
    pub fn hashes(&self) -> Vec<String> {
        let previous = self.previous.iter().map(|id| digest(id.text.as_bytes()));
        std::iter::once(self.hash.clone()).chain(previous).collect()
    }

    /// Whether what is kept under this hash is the browser's.
    pub fn owns(&self, hash: &str) -> bool {
        let same = |own: &String| {
            aws_lc_rs::constant_time::verify_slices_are_equal(own.as_bytes(), hash.as_bytes())
        };
        self.hashes().iter().any(|own| same(own).is_ok())
    }

    /// Sets the cookie on an answer, where the browser does not have it yet.
    pub fn onto(self, mut response: axum::response::Response) -> axum::response::Response {
        if let Some(cookie) = self.cookie {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        response
    }

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
        let secure = if settings.secure_cookies {
            "; Secure"
        } else {
            ""
        };
        let (name, signature) = (name(settings), BASE64.encode(signature));
        let cookie = format!(
            "{name}={signed}.{signature}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age_s}{secure}"
        );
        HeaderValue::from_str(&cookie).ok()
    }
}

fn now(settings: &Settings) -> i64 {
    (settings.clock)().unix_timestamp()
}

/// A clock that is a minute ahead of another storefront's is no reason to lose a cart.
fn is_over(issued_at: i64, now: i64) -> bool {
    now - issued_at >= ABSOLUTE.whole_seconds() || issued_at - now > 60
}

fn mac_key(key: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes())
}

/// The key signs staff tokens too: nothing that it signed as one thing passes for another.
fn labeled(signed: &str) -> Vec<u8> {
    [b"session\0", signed.as_bytes()].concat()
}

fn previous_id(text: &[u8]) -> Option<Id> {
    let (id, issued_at) = std::str::from_utf8(text).ok()?.split_at_checked(ID_LEN)?;
    Some(Id {
        text: id.to_owned(),
        issued_at: i64::from_str_radix(issued_at, 16).ok()?,
    })
}

/// A cookie's value.
pub fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let pairs = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    pairs.flat_map(|pairs| pairs.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then(|| value.to_owned())
    })
}
