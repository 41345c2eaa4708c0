//! Error responses as `application/problem+json` (RFC 9457). The body contains no internal details.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::books::Refusal;
use crate::clerk::Turned;

/// An error response.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    /// The last part of the member `type`, for programs.
    name: &'static str,
    /// The member `title`, for people.
    title: &'static str,
    detail: Option<String>,
    errors: Vec<FieldError>,
}

/// An invalid field.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Name of the field.
    pub field: String,
    /// The rule that the value breaks.
    pub message: String,
}

impl FieldError {
    /// Makes the error of one field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> FieldError {
        FieldError {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// Makes a constructor for each problem from its status, the last part of its `type`, and its title.
macro_rules! problems {
    ($($(#[$doc:meta])* $constructor:ident $status:ident $name:literal $title:literal;)*) => {
        impl Problem {
            $($(#[$doc])*
            pub fn $constructor() -> Problem {
                Problem::new(StatusCode::$status, $name, $title)
            })*
        }
    };
}

problems! {
    /// Returns 400 for a body that cannot be parsed.
    malformed BAD_REQUEST "malformed-request" "The request cannot be read";
    /// Returns 400 for a missing or unusable idempotency key.
    key_missing BAD_REQUEST "idempotency-key-missing" "A usable idempotency key is required";
    /// Returns 422 for a key of another request.
    key_reused UNPROCESSABLE_ENTITY "idempotency-key-reused"
        "The idempotency key was used for another request";
    /// Returns 404 for an unknown charge.
    no_charge NOT_FOUND "charge-unknown" "There is no such charge";
    /// Returns 404 for an unknown path.
    no_route NOT_FOUND "not-found" "There is nothing here";
    /// Returns 405.
    no_method METHOD_NOT_ALLOWED "method-not-allowed" "This cannot be done here";
    /// Returns 500, the failure of `tok_flaky`.
    failed INTERNAL_SERVER_ERROR "internal-error" "The gateway failed";
    /// Returns 503 while the gateway stops.
    unavailable SERVICE_UNAVAILABLE "unavailable" "The gateway is stopping";
}

impl Problem {
    /// Returns 422 with all invalid fields.
    pub fn invalid(errors: Vec<FieldError>) -> Problem {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let problem = Problem::new(status, "invalid-fields", "Fields are invalid");
        Problem { errors, ..problem }
    }

    /// Returns an error for a body that is too large or incomplete.
    pub fn body_unread(status: StatusCode) -> Problem {
        let title = "The body is too large or did not arrive";
        Problem::new(status, "body-unread", title)
    }

    /// Returns 401.
    pub fn unauthorized() -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized")
            .detailed("send `Authorization: Bearer <api key>` with the gateway's PAYMENT_API_KEY")
    }

    /// Returns 504 at the end of a held request, as a load balancer in front of a hanging gateway
    /// does.
    pub fn outcome_unknown() -> Problem {
        let title = "The gateway did not answer in time";
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "outcome-unknown", title)
            .detailed("the charge may or may not have been executed: ask by its idempotency key")
    }

    fn new(status: StatusCode, name: &'static str, title: &'static str) -> Problem {
        Problem {
            status,
            name,
            title,
            detail: None,
            errors: Vec::new(),
        }
    }

    /// Adds what is wrong with this request.
    pub fn detailed(self, detail: impl Into<String>) -> Problem {
        Problem {
            detail: Some(detail.into()),
            ..self
        }
    }
}

impl From<Turned> for Problem {
    fn from(turned: Turned) -> Problem {
        match turned {
            Turned::Refused(Refusal::KeyReused) => Problem::key_reused(),
            Turned::Refused(Refusal::UnknownCharge) => Problem::no_charge(),
            Turned::Refused(Refusal::MoreThanRefundable { refundable_minor }) => {
                let rule = format!("at most {refundable_minor} of this charge can be refunded");
                Problem::invalid(vec![FieldError::new("amount_minor", rule)])
            }
            Turned::Closed => Problem::unavailable(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            r#type: String,
            title: &'static str,
            status: u16,
            #[serde(skip_serializing_if = "Option::is_none")]
            detail: Option<String>,
            errors: Vec<FieldError>,
        }
        const PROBLEM_JSON: (HeaderName, HeaderValue) = (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        const RETRY_AFTER: (HeaderName, HeaderValue) =
            (header::RETRY_AFTER, HeaderValue::from_static("1"));

        let body = Json(Body {
            r#type: format!("/problems/{}", self.name),
            title: self.title,
            status: self.status.as_u16(),
            detail: self.detail,
            errors: self.errors,
        });
        // A 401 names the authentication scheme (RFC 9110, section 11.6.1).
        const CHALLENGE: (HeaderName, HeaderValue) =
            (header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                (self.status, [PROBLEM_JSON, RETRY_AFTER], body).into_response()
            }
            StatusCode::UNAUTHORIZED => {
                (self.status, [PROBLEM_JSON, CHALLENGE], body).into_response()
            }
            status => (status, [PROBLEM_JSON], body).into_response(),
        }
    }
}
