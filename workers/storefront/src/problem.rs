//! Errors as `application/problem+json` (RFC 9457), or as a page for browsers.

pub mod body;
pub mod refusals;

use std::error::Error;
use std::time::Duration;

use app::ports::StoreError;
use axum::Extension;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contract::cause::chain;
use domain::FieldError;
use domain::access::Action;
use strum::{EnumIter, IntoStaticStr};

use body::{Body, InvalidField};

use crate::ports::SecurityEvent;
use crate::staff::TokenRefusal;
use crate::text::{header_text, seconds};

/// Seconds after which a client may retry while a dependency is unavailable.
const RETRY_AFTER_S: u32 = 2;

/// The kinds of problems. The code of a kind is the last part of the member `type`, and stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, EnumIter)]
#[strum(serialize_all = "kebab-case")]
pub enum Kind {
    /// A request that cannot be parsed, found by the framework.
    BadRequest,
    /// A request that cannot be parsed, with the part at fault.
    Malformed,
    /// No staff token, or one that is not accepted.
    Unauthorized,
    /// The role may not perform the action.
    Forbidden,
    /// Another site made a browser send the request.
    CrossSite,
    /// An unknown address, or one that the actor may not see.
    NotFound,
    MethodNotAllowed,
    /// The body did not arrive in time.
    TooSlow,
    /// The status of the order does not allow the change.
    IllegalTransition,
    /// The order is not what the customer saw.
    PriceChanged,
    /// The pickup slot is full.
    SlotFull,
    /// The shop has fewer units than the order.
    SoldOut,
    /// The stock has fewer units than the correction removes.
    TooFew,
    /// The order has another version than `If-Match`.
    Stale,
    /// The body is too long.
    TooLarge,
    /// The body is not JSON.
    MediaType,
    /// Fields have values that are not allowed.
    Invalid,
    /// `If-Match` is missing.
    PreconditionRequired,
    /// The client is over a limit.
    TooMany,
    /// A defect of the storefront.
    Internal,
    /// The storefront or a dependency cannot serve the request now. Nothing was done.
    Unavailable,
    /// A write may have been executed.
    Uncertain,
}

impl Kind {
    /// Returns the code of the kind in the member `type`.
    pub fn code(self) -> &'static str {
        self.into()
    }

    /// Returns the status code of the kind.
    pub const fn status(self) -> StatusCode {
        match self {
            Kind::BadRequest | Kind::Malformed => StatusCode::BAD_REQUEST,
            Kind::Unauthorized => StatusCode::UNAUTHORIZED,
            Kind::Forbidden | Kind::CrossSite => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Kind::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Kind::IllegalTransition
            | Kind::PriceChanged
            | Kind::SlotFull
            | Kind::SoldOut
            | Kind::TooFew => StatusCode::CONFLICT,
            Kind::Stale => StatusCode::PRECONDITION_FAILED,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
            Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Kind::Unavailable | Kind::Uncertain => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// An error as the client sees it: every handler returns one for a failed request. The cause goes
/// to the log only.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The kind of the problem.
    pub kind: Kind,
    /// Status code of the response.
    pub status: StatusCode,
    /// Value of the header `Retry-After`, in seconds.
    pub retry_after_s: Option<u32>,
    /// The security event of the refusal, for the log and the metric; never sent to the client.
    pub security: Option<SecurityEvent>,
    /// The body for programs. Pages show its title and its detail.
    pub body: Box<Body>,
}

impl Problem {
    /// Creates a problem without field errors, `Retry-After` or additional members.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        let status = kind.status();
        let body = Body {
            r#type: format!("https://brewhaven.example/problems/{}", kind.code()),
            title: title(status),
            status: status.as_u16(),
            detail: detail.into(),
            ..Body::default()
        };
        Problem {
            kind,
            status,
            retry_after_s: None,
            security: None,
            body: Box::new(body),
        }
    }

    /// Returns the general problem of an error response that the framework made.
    pub fn of_status(status: StatusCode) -> Problem {
        let problem = match status {
            StatusCode::NOT_FOUND => Problem::not_found(),
            StatusCode::METHOD_NOT_ALLOWED => Problem::new(
                Kind::MethodNotAllowed,
                "This address does not accept this method. Use a method that the header Allow lists.",
            ),
            status if status.is_server_error() => Problem::new(
                Kind::Internal,
                "Something went wrong on our side. Please try again.",
            ),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::new(
                Kind::BadRequest,
                "The request cannot be read. Send a content type that this address accepts.",
            ),
            _ => Problem::new(
                Kind::BadRequest,
                "The request cannot be read. Check its address, its headers and its body.",
            ),
        };
        problem.with_status(status)
    }

    fn with_status(mut self, status: StatusCode) -> Problem {
        self.status = status;
        self.body.status = status.as_u16();
        self.body.title = title(status);
        self
    }

    /// Replaces the detail.
    #[must_use]
    pub fn detailed(mut self, detail: impl Into<String>) -> Problem {
        self.body.detail = detail.into();
        self
    }

    /// Replaces the invalid fields, and keeps the detail.
    #[must_use]
    pub fn naming(mut self, errors: impl IntoIterator<Item = FieldError>) -> Problem {
        self.body.errors = errors.into_iter().map(InvalidField::from).collect();
        self
    }

    /// Sets additional members.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(&mut Body)) -> Problem {
        set(&mut self.body);
        self
    }

    /// Attaches a security event.
    #[must_use]
    pub fn noting(self, event: SecurityEvent) -> Problem {
        Problem {
            security: Some(event),
            ..self
        }
    }

    /// Sets the header `Retry-After`.
    #[must_use]
    fn retry_after(self, seconds: u32) -> Problem {
        Problem {
            retry_after_s: Some(seconds),
            ..self
        }
    }

    /// Returns 404 for an unknown address, or for one that the actor may not see.
    pub fn not_found() -> Problem {
        Problem::new(
            Kind::NotFound,
            "Nothing was found at this address, or you do not have access to it. Check the address or sign in.",
        )
    }

    /// Returns 404 for an order that does not exist or is outside the actor's scope. Both cases
    /// have the same response and event, so a client cannot tell them apart.
    pub fn no_such_order() -> Problem {
        Problem::not_found().noting(SecurityEvent::ForeignLookup)
    }

    /// Returns 422 with the invalid fields.
    pub fn fields(errors: impl IntoIterator<Item = FieldError>) -> Problem {
        let problem = Problem::new(Kind::Invalid, "").naming(errors);
        let named = problem.body.errors.iter().map(|error| error.field.as_str());
        let detail = format!("Please correct: {}.", named.collect::<Vec<_>>().join(", "));
        problem.detailed(detail)
    }

    /// Returns 422 with one invalid field.
    pub fn field(field: &str, message: impl Into<String>) -> Problem {
        Problem::fields([FieldError::new(field, message)])
    }

    /// Returns 400 for a request that cannot be parsed.
    pub fn malformed(field: &str, message: impl Into<String>) -> Problem {
        let message = message.into();
        let detail = format!("{field}: {message}");
        Problem::new(Kind::Malformed, detail).naming([FieldError::new(field, message)])
    }

    /// Returns 401 with the reason why the staff token is not accepted.
    pub fn unauthorized(why: TokenRefusal) -> Problem {
        Problem::new(Kind::Unauthorized, why.detail()).noting(SecurityEvent::Unauthorized)
    }

    /// Returns 403 with the roles that may perform the action.
    pub fn forbidden(action: Action) -> Problem {
        let roles: Vec<_> = action
            .staff()
            .unwrap_or_default()
            .iter()
            .map(|role| role.code())
            .collect();
        let detail = format!(
            "Your role does not allow this action ({}). Ask someone with one of these roles: {}.",
            action.code(),
            roles.join(", ")
        );
        Problem::new(Kind::Forbidden, detail)
            .noting(SecurityEvent::Forbidden)
            .with(|body| body.needs_role = roles)
    }

    /// Returns 503 with `Retry-After`.
    pub fn busy(retry_after_s: u32, detail: impl Into<String>) -> Problem {
        Problem::new(Kind::Unavailable, detail).retry_after(retry_after_s)
    }

    /// Returns 503 after a cart change whose result is unknown.
    pub fn cart_uncertain(error: StoreError) -> Problem {
        let detail =
            "We do not know whether your cart was changed. Check it before you change it again.";
        Problem::uncertain(&error, detail)
    }

    /// Returns 503 after a write whose result is unknown, because it may have been executed.
    /// `detail` must say how to find out, or why a repeat is harmless: a plain "try again" could
    /// execute the write twice.
    pub fn uncertain(error: &(dyn Error + 'static), detail: impl Into<String>) -> Problem {
        tracing::warn!(error = %chain(error), "Answered 503: a write may have been executed");
        Problem::new(Kind::Uncertain, detail).retry_after(RETRY_AFTER_S)
    }

    /// Returns 429 with `Retry-After`.
    pub fn too_many(after: Duration) -> Problem {
        Problem::new(
            Kind::TooMany,
            "Too many requests came from your network. Please try again in a moment.",
        )
        .retry_after(seconds(after))
        .noting(SecurityEvent::OverLimit)
    }

    /// Returns 413 with the limit in KiB.
    pub fn too_large(bytes_max: usize) -> Problem {
        let detail = format!("The body must be at most {} KiB.", bytes_max / 1024);
        Problem::new(Kind::TooLarge, detail)
    }

    /// Returns 408 with the limit in seconds.
    pub fn too_slow(within: Duration) -> Problem {
        let detail = format!(
            "The body must arrive within {} seconds. Send the request again.",
            within.as_secs()
        );
        Problem::new(Kind::TooSlow, detail)
    }

    /// Returns the body for programs.
    pub fn json(&self, request_id: &str) -> String {
        let body = Body {
            request_id: request_id.to_owned(),
            ..(*self.body).clone()
        };
        // Texts, numbers and lists always serialize.
        serde_json::to_string(&body).unwrap_or_default()
    }
}

/// Returns the reason phrase of the status with one capital letter, such as `Not found`.
fn title(status: StatusCode) -> String {
    let phrase = status.canonical_reason().unwrap_or("Error");
    let (first, rest) = phrase.split_at(1);
    format!("{first}{}", rest.to_ascii_lowercase())
}

/// `security::outermost` writes the body, because only that layer has the request id and knows
/// whether a browser asks.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let retry = self.retry_after_s;
        let retry = retry.map(|seconds| [(header::RETRY_AFTER, seconds)]);
        let realm = [(header::WWW_AUTHENTICATE, "Bearer realm=\"staff\"")];
        let realm = (self.status == StatusCode::UNAUTHORIZED).then_some(realm);
        (self.status, retry, realm, Extension(self)).into_response()
    }
}

/// Returns true if a browser asks for a page, outside the API.
pub fn wants_page(headers: &HeaderMap, path: &str) -> bool {
    let accepts = header_text(headers, header::ACCEPT).unwrap_or_default();
    accepts.contains("text/html") && !path.starts_with("/api/")
}

/// Answers 404 for a path without a route.
pub async fn no_such_page() -> Problem {
    Problem::not_found()
}
