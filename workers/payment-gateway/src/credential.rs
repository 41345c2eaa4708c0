//! The credential that every call must carry: `Authorization: Bearer <api key>`.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::problem::Problem;

/// The SHA-256 of the key. Digests have one length, so a comparison in constant time does not tell how long the key is.
#[derive(Clone)]
pub struct Credential([u8; 32]);

impl Credential {
    pub fn new(api_key: &str) -> Credential {
        Credential(sha256(api_key))
    }

    /// Returns whether the headers carry the key, in exactly one `Authorization` header.
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let Some((scheme, key)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else { return false };
        // RFC 9110, section 11.1: the scheme is case-insensitive, and spaces may follow it.
        scheme.eq_ignore_ascii_case("bearer")
            && verify_slices_are_equal(&self.0, &sha256(key.trim_start_matches(' '))).is_ok()
    }
}

fn sha256(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    bytes
}

/// Refuses a call without the credential before its body is read. Only the health check is open: it says nothing of the
/// ledger, and a load balancer has no key.
pub async fn demand(State(credential): State<Credential>, request: Request, next: Next) -> Response {
    if request.uri().path() == "/healthz" || credential.is_in(request.headers()) {
        next.run(request).await
    } else {
        Problem::unauthorized().into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(values: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().expect("a header value"));
        }
        Credential::new("s3cret").is_in(&headers)
    }

    #[test]
    fn the_scheme_has_any_case_and_the_key_is_exact() {
        for good in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret"] {
            assert!(accepts(&[good]), "{good}");
        }
        for bad in
            ["", "Bearer", "Bearer ", "s3cret", "Basic s3cret", "Bearer s3cre", "Bearer s3cret2", "Bearer S3CRET"]
        {
            assert!(!accepts(&[bad]), "{bad}");
        }
    }

    #[test]
    fn no_header_and_two_headers_are_refused() {
        assert!(!accepts(&[]));
        assert!(!accepts(&["Bearer s3cret", "Bearer s3cret"]));
    }
}
