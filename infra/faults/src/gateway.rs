//! The payment gateway's protocol, and any other JSON over HTTP: calls by method and path, problems
//! as the gateway says them.

use serde_json::json;

use crate::http::{Message, response};

/// `POST /v1/charges`: what follows a `?` is left out, and so is who exactly.
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
