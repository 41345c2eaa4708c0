//! Style sheet, scripts and pictures, embedded in the binary. Pages load nothing from other hosts.

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::problem::Problem;
use crate::random::digest;
use crate::text::header_text;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        const FILES: &[(&str, &[u8])] = &[$(($name, include_bytes!(concat!("../static/", $name)))),*];
    };
}

files![
    "haven.css",
    "haven.js",
    "notices.js",
    "signin.js",
    "track.js",
    "favicon.svg",
    "images/almond-tart.svg",
    "images/banana-bread.svg",
    "images/cappuccino.svg",
    "images/chai-latte.svg",
    "images/cinnamon-bun.svg",
    "images/cold-brew.svg",
    "images/croissant.svg",
    "images/decaf-filter.svg",
    "images/earl-grey.svg",
    "images/egg-brioche.svg",
    "images/espresso.svg",
    "images/flat-white.svg",
    "images/green-sencha.svg",
    "images/ham-cheese-toastie.svg",
    "images/house-tea.svg",
    "images/hummus-ciabatta.svg",
    "images/latte.svg",
    "images/mocha.svg",
];

/// Serves an embedded file with its `ETag`.
///
/// # Errors
/// Returns 404 for an unknown name.
pub async fn serve(Path(path): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let (name, bytes) = FILES
        .iter()
        .find(|(name, _)| *name == path)
        .ok_or_else(Problem::not_found)?;
    let kind = match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        _ => "image/svg+xml",
    };
    let tag = format!("\"{}\"", &digest(bytes)[..16]);
    let known = header_text(&headers, header::IF_NONE_MATCH);
    let caching = [
        (header::ETAG, tag.as_str()),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    if known == Some(&tag) {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    Ok((caching, [(header::CONTENT_TYPE, kind)], *bytes).into_response())
}
