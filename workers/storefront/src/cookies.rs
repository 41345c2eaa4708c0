//! Cookies: how they are read, and the attributes that all of ours have.
//!
//! The crate `cookie` parses and formats them. Its jar, and the extractors of `axum-extra`, would
//! take the last of two cookies with one name; here the first one counts, which browsers send for
//! the most specific path.

use axum::http::{HeaderMap, HeaderValue, header};
use cookie::Cookie;
pub use cookie::SameSite;
use time::Duration;

use crate::settings::Settings;

/// Returns the value of the cookie with this name.
pub fn read(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|pairs| pairs.to_str().ok())
        .flat_map(Cookie::split_parse)
        .flatten()
        .find(|cookie| cookie.name() == name)
        .map(|cookie| cookie.value().to_owned())
}

/// Returns a `Set-Cookie` value that scripts cannot read, for every path of exactly this host.
pub fn set(
    name: &str,
    value: &str,
    same_site: SameSite,
    max_age: Duration,
    settings: &Settings,
) -> Option<HeaderValue> {
    let cookie = Cookie::build((name, value))
        .path("/")
        .http_only(true)
        .same_site(same_site)
        .max_age(max_age)
        .secure(settings.secure_cookies);
    HeaderValue::from_str(&cookie.to_string()).ok()
}
