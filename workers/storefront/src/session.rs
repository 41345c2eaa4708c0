//! The customer's session: a random token in a cookie, of which the server keeps only the hash.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::{Settings, digest, random_token};

/// The hash under which everything of the session is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub hash: String,
    /// The cookie to be set, for a session that has just begun.
    pub begun: Option<HeaderValue>,
}

fn name(settings: &Settings) -> &'static str {
    // The prefix makes browsers insist on Secure and this very host.
    if settings.secure_cookies { "__Host-sid" } else { "sid" }
}

/// The session that the request belongs to, if it does.
pub fn of(headers: &HeaderMap, settings: &Settings) -> Option<Session> {
    let token = cookie(headers, name(settings))?;
    // Ours are 22 characters; anything longer is somebody's experiment.
    (token.len() <= 64 && !token.is_empty()).then(|| Session { hash: digest(token.as_bytes()), begun: None })
}

pub fn of_or_new(headers: &HeaderMap, settings: &Settings) -> Session {
    of(headers, settings).unwrap_or_else(|| {
        let token = random_token();
        let secure = if settings.secure_cookies { "; Secure" } else { "" };
        /// As long as its cart may live, and some more.
        const AGE_S: u32 = 7 * 24 * 3600;
        let cookie = format!("{}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={AGE_S}{secure}", name(settings));
        Session { hash: digest(token.as_bytes()), begun: HeaderValue::from_str(&cookie).ok() }
    })
}

impl Session {
    /// Sets the cookie on an answer, if the session has just begun.
    pub fn onto(self, mut response: axum::response::Response) -> axum::response::Response {
        if let Some(cookie) = self.begun {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        response
    }
}

/// A cookie's value.
pub fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    pairs.flat_map(|pairs| pairs.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then(|| value.to_owned())
    })
}
