//! The API key that every call must have: `Authorization: Bearer <api key>`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::problem::Problem;

/// The SHA-256 of the API key. All digests have the same length, so a comparison in constant time
/// does not reveal the length of the key.
#[derive(Clone)]
pub struct Credential {
    digest: [u8; 32],
    refused: Arc<AtomicU64>,
}

impl Credential {
    /// Creates the credential of this key.
    pub fn new(api_key: &str) -> Credential {
        Credential {
            digest: sha256(api_key),
            refused: Arc::default(),
        }
    }

    /// Returns the number of calls without the key since the gateway started.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Returns true if the headers have the key in exactly one `Authorization` header.
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return false;
        };
        let Some((scheme, key)) = value.to_str().ok().and_then(|value| value.split_once(' '))
        else {
            return false;
        };
        // The scheme is case-insensitive, and spaces may follow it (RFC 9110, section 11.1).
        scheme.eq_ignore_ascii_case("bearer")
            && verify_slices_are_equal(&self.digest, &sha256(key.trim_start_matches(' '))).is_ok()
    }
}

fn sha256(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    bytes
}

/// Refuses a call without the key before its body is read. Only the health check is open: it
/// reveals nothing about the ledger, and load balancers have no key.
pub async fn demand(
    State(credential): State<Credential>,
    request: Request,
    next: Next,
) -> Response {
    if request.uri().path() == "/healthz" || credential.is_in(request.headers()) {
        return next.run(request).await;
    }
    credential.refused.fetch_add(1, Ordering::Relaxed);
    // The log has the route pattern, but no path and no header: an unknown client may send a secret
    // that was meant for another service.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str);
    tracing::warn!(event = "unauthorized", method = %request.method(), route, "Refused a call without the API key");
    Problem::unauthorized().into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(values: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                header::AUTHORIZATION,
                value.parse().expect("a header value"),
            );
        }
        Credential::new("s3cret").is_in(&headers)
    }

    #[test]
    fn the_scheme_has_any_case_and_the_key_is_exact() {
        for good in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret"] {
            assert!(accepts(&[good]), "{good}");
        }
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "s3cret",
            "Basic s3cret",
            "Bearer s3cre",
            "Bearer s3cret2",
            "Bearer S3CRET",
        ] {
            assert!(!accepts(&[bad]), "{bad}");
        }
    }

    #[test]
    fn no_header_and_two_headers_are_refused() {
        assert!(!accepts(&[]));
        assert!(!accepts(&["Bearer s3cret", "Bearer s3cret"]));
    }
}
