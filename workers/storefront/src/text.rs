//! Numbers and times as text, for every kind of response, and the text of headers.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AsHeaderName;
use domain::Timestamp;
use time::format_description::well_known::Rfc3339;

/// Returns the time in RFC 3339.
pub fn time_text(at: Timestamp) -> String {
    // Formatting fails only for years after 9999.
    at.format(&Rfc3339).unwrap_or_default()
}

/// Returns the duration in whole seconds, rounded up, at least one.
pub fn seconds(after: Duration) -> u32 {
    u32::try_from(after.as_millis().div_ceil(1_000))
        .unwrap_or(u32::MAX)
        .max(1)
}

/// Returns the value of a header, if it is text.
pub fn header_text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
