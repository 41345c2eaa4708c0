//! The protocol of the payment gateway, and of any other JSON API over HTTP. Calls are named by
//! method and path, and failures are problem documents.

use serde_json::json;

use crate::http::{Message, response};

/// Returns the name of a call, such as `POST /v1/charges`, without the query.
pub(crate) fn name(request: &Message) -> String {
    let path = request.first.1.split('?').next().unwrap_or_default();
    format!("{} {path}", request.first.0)
}

pub(crate) fn failure(status: u16, code: &str) -> Vec<u8> {
    let body = json!({ "type": "about:blank", "title": code, "status": status }).to_string();
    response(
        status,
        &[("content-type", "application/problem+json")],
        &body,
    )
}
