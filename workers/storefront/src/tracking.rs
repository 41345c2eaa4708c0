//! Tracking tokens: a person who has one may follow its order and cancel it.
//!
//! Programs send a token in the header `Tracking-Token`, or in `?token=` if they are older than the
//! header. Browsers send it in a cookie. The link in a mail has the token in its fragment, which no
//! server, proxy or log sees. A script of the order's page sends it once and receives the cookie.

use std::collections::HashMap;

use axum::http::{HeaderMap, HeaderValue};
use domain::ids::OrderId;

use crate::cookies::{self, SameSite};
use crate::session;
use crate::settings::Settings;
use crate::text::header_text;

const HEADER: &str = "tracking-token";
/// Maximum of orders that one browser follows by token; a new one replaces the oldest.
const ORDERS_MAX: usize = 10;
/// Maximum length of a token that is read. Issued tokens have 22 characters.
const TOKEN_MAX: usize = 64;

fn name(settings: &Settings) -> &'static str {
    if settings.secure_cookies {
        "__Host-track"
    } else {
        "track"
    }
}

/// Returns true if the request carries the order's token, in the header, the query or the cookie.
pub fn is_carried(
    token: &str,
    order_id: OrderId,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
    settings: &Settings,
) -> bool {
    let in_header = header_text(headers, HEADER);
    let in_query = query.get("token").map(String::as_str);
    let kept = kept(headers, settings);
    let in_cookie = kept
        .iter()
        .filter(|(id, _)| *id == order_id)
        .map(|(_, token)| token.as_str());
    in_header
        .into_iter()
        .chain(in_query)
        .chain(in_cookie)
        .any(|sent| is_same(sent, token))
}

/// Compares a token in constant time.
pub fn is_same(sent: &str, token: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(sent.as_bytes(), token.as_bytes()).is_ok()
}

/// Returns the `Set-Cookie` value that adds the order to those that the browser follows, for as long
/// as a session lasts.
pub fn cookie_with(
    order_id: OrderId,
    token: &str,
    headers: &HeaderMap,
    settings: &Settings,
) -> Option<HeaderValue> {
    let others = kept(headers, settings)
        .into_iter()
        .filter(|(id, _)| *id != order_id);
    let orders = std::iter::once((order_id, token.to_owned()))
        .chain(others)
        .take(ORDERS_MAX);
    let orders: Vec<_> = orders
        .map(|(id, token)| format!("{}.{token}", id.0.simple()))
        .collect();
    let value = orders.join("~");
    cookies::set(
        name(settings),
        &value,
        SameSite::Lax,
        session::ABSOLUTE,
        settings,
    )
}

/// Returns the orders and tokens in the cookie. The cookie is not signed: the caller compares each
/// token with its order's.
fn kept(headers: &HeaderMap, settings: &Settings) -> Vec<(OrderId, String)> {
    let value = cookies::read(headers, name(settings)).unwrap_or_default();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let read = |pair: &str| {
        let (id, token) = pair.split_once('.')?;
        let plain = !token.is_empty() && token.len() <= TOKEN_MAX && token.bytes().all(legal);
        plain
            .then(|| Some((id.parse().ok()?, token.to_owned())))
            .flatten()
    };
    value.split('~').filter_map(read).take(ORDERS_MAX).collect()
}
