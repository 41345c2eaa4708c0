//! Tracking tokens: whoever has one may follow its order and cancel it.
//!
//! A token reaches us in the header `Tracking-Token` from programs, in `?token=` from programs of
//! before there was the header, and in a cookie from browsers. The link in a mail has it in its
//! fragment, which no server, proxy or log sees; a script of the order's page sends it once and
//! gets the cookie.

use std::collections::HashMap;

use axum::http::{HeaderMap, HeaderValue};
use domain::ids::OrderId;

use crate::Settings;
use crate::session::cookie;

const HEADER: &str = "tracking-token";
/// Orders that one browser follows by token; the oldest makes room.
const ORDERS_MAX: usize = 10;
/// As long as a session may live.
const AGE_S: i64 = crate::session::ABSOLUTE.whole_seconds();
/// Ours have 22 characters.
const TOKEN_MAX: usize = 64;

fn name(settings: &Settings) -> &'static str {
    if settings.secure_cookies {
        "__Host-track"
    } else {
        "track"
    }
}

/// Whether the request carries the order's token.
pub fn is_carried(
    token: &str,
    order_id: OrderId,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
    settings: &Settings,
) -> bool {
    let in_header = headers.get(HEADER).and_then(|value| value.to_str().ok());
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

/// In constant time.
pub fn is_same(sent: &str, token: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(sent.as_bytes(), token.as_bytes()).is_ok()
}

/// The cookie that lets the browser follow one more order.
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
    let secure = if settings.secure_cookies {
        "; Secure"
    } else {
        ""
    };
    let (name, orders) = (name(settings), orders.join("~"));
    HeaderValue::from_str(&format!(
        "{name}={orders}; Path=/; HttpOnly; SameSite=Lax; Max-Age={AGE_S}{secure}"
    ))
    .ok()
}

/// The orders that the browser follows. Nothing in it is trusted: each token is compared with its
/// order's.
fn kept(headers: &HeaderMap, settings: &Settings) -> Vec<(OrderId, String)> {
    let value = cookie(headers, name(settings)).unwrap_or_default();
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
