//! Errors as `application/problem+json` (RFC 9457), or as a page for browsers.

use std::error::Error;
use std::time::Duration;

use app::ports::Unavailable;
use app::ports::carts::CartError;
use app::use_cases::change_order::ChangeRefusal;
use app::use_cases::place_order::{Changed, Difference, Differs, Refusal};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contract::cause::chain;
use domain::FieldError;
use domain::money::Money;
use serde_json::{Value, json};

use crate::security::SecurityEvent;
use crate::shed::seconds;
use crate::staff::TokenRefusal;

/// Seconds after which a client may retry while a dependency is unavailable.
const RETRY_AFTER_S: u32 = 2;

/// An error as the client sees it: every handler returns one for a failed request. The cause goes to
/// the log only.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Status code of the response.
    pub status: StatusCode,
    /// Last part of the member `type`: stable, for programs.
    pub kind: &'static str,
    /// Member `title`.
    pub title: &'static str,
    /// Member `detail`: what to do next.
    pub detail: String,
    /// Invalid fields, for the member `errors`.
    pub errors: Vec<FieldError>,
    /// Value of the header `Retry-After`, in seconds.
    pub retry_after_s: Option<u32>,
    /// The security event of the refusal, for the log and the metric; never sent to the client.
    pub security: Option<SecurityEvent>,
    /// Additional members, such as the current `version`.
    pub more: Vec<(&'static str, Value)>,
}

impl Problem {
    /// Creates a problem without field errors, `Retry-After` or additional members.
    pub fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Problem {
        let detail = detail.into();
        let (errors, more) = (Vec::new(), Vec::new());
        Problem {
            status,
            kind,
            title,
            detail,
            errors,
            retry_after_s: None,
            security: None,
            more,
        }
    }

    /// Returns 404 for an unknown address, or for one that the actor may not see.
    pub fn not_found() -> Problem {
        Problem::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "Not found",
            "There is nothing here, or it is not yours to see.",
        )
    }

    /// Returns 404 for an order that does not exist or is outside the actor's scope. Both cases
    /// have the same response and event, so a client cannot tell them apart.
    pub fn no_such_order() -> Problem {
        Problem::not_found().noting(SecurityEvent::ForeignLookup)
    }

    /// Attaches a security event.
    #[must_use]
    pub fn noting(self, event: SecurityEvent) -> Problem {
        Problem {
            security: Some(event),
            ..self
        }
    }

    /// Returns 422 with the invalid fields.
    pub fn fields(errors: Vec<FieldError>) -> Problem {
        let named: Vec<_> = errors.iter().map(field).collect();
        let detail = format!("Please correct: {}.", named.join(", "));
        Problem {
            errors,
            ..Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid",
                "The request is not right",
                detail,
            )
        }
    }

    /// Returns 422 with one invalid field.
    pub fn field(field: &str, message: impl Into<String>) -> Problem {
        Problem::fields(vec![FieldError::new(field, message)])
    }

    /// Returns 400 for a request that cannot be parsed.
    pub fn malformed(field: &str, message: impl Into<String>) -> Problem {
        let message = message.into();
        Problem {
            errors: vec![FieldError::new(field, message.clone())],
            ..Problem::new(
                StatusCode::BAD_REQUEST,
                "malformed",
                "The request cannot be read",
                format!("{field}: {message}"),
            )
        }
    }

    /// Returns 401 with the reason why the staff token is not accepted.
    pub fn unauthorized(why: TokenRefusal) -> Problem {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "Staff only",
            why.detail(),
        )
        .noting(SecurityEvent::Unauthorized)
    }

    /// Returns 503 with `Retry-After`.
    pub fn busy(retry_after_s: u32, detail: impl Into<String>) -> Problem {
        Problem {
            retry_after_s: Some(retry_after_s),
            ..Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "Not now",
                detail,
            )
        }
    }

    /// Returns 503 after a cart change whose result is unknown.
    pub fn cart_uncertain(error: &Unavailable) -> Problem {
        let detail =
            "We cannot say whether your cart was changed. Look into it before you change it again.";
        Problem::uncertain(error, detail)
    }

    /// Returns 503 after a write whose result is unknown, because it may have been executed.
    /// `detail` must say how to find out, or why a repeat is harmless: a plain "try again" could
    /// execute the write twice.
    pub fn uncertain(error: &(dyn Error + 'static), detail: impl Into<String>) -> Problem {
        tracing::warn!(error = %chain(error), "Answered 503: a write may have been executed");
        Problem {
            retry_after_s: Some(RETRY_AFTER_S),
            ..Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "uncertain",
                "Service unavailable",
                detail,
            )
        }
    }

    /// Returns 429 with `Retry-After`.
    pub fn too_many(after: Duration) -> Problem {
        Problem {
            retry_after_s: Some(seconds(after)),
            ..Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many",
                "Too many",
                "That was asked for too often from here. Please try again in a moment.",
            )
        }
        .noting(SecurityEvent::OverLimit)
    }

    /// Returns 413 with the limit in KiB.
    pub fn too_large(bytes_max: usize) -> Problem {
        let detail = format!("The body must be at most {} KiB.", bytes_max / 1024);
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "Too large",
            detail,
        )
    }

    /// Returns 408 with the limit in seconds.
    pub fn too_slow(within: Duration) -> Problem {
        let detail = format!("The body must arrive within {} seconds.", within.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "Too slow", detail)
    }

    /// Returns the body for programs.
    pub fn json(&self, request_id: &str) -> Value {
        // Additional members come first, so that the members of RFC 9457 replace one of the same
        // name.
        let mut body: Value = self
            .more
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        body["type"] = json!(format!("https://brewhaven.example/problems/{}", self.kind));
        body["title"] = json!(self.title);
        body["status"] = json!(self.status.as_u16());
        body["detail"] = json!(self.detail);
        body["request_id"] = json!(request_id);
        if !self.errors.is_empty() {
            let errors = self
                .errors
                .iter()
                .map(|error| json!({ "field": field(error), "message": error.message }));
            body["errors"] = errors.collect();
        }
        body
    }
}

/// Returns the name of a field, or `(empty)` for an empty name as in `{"": 1}` or `?=1`.
fn field(error: &FieldError) -> &str {
    if error.field.is_empty() {
        "(empty)"
    } else {
        &error.field
    }
}

/// `security::around` writes the body, because only that layer has the request id and knows whether
/// a browser asks.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"staff\""),
            );
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Answers 404 for a path without a route.
pub async fn no_such_page() -> Problem {
    Problem::not_found()
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Problem {
        tracing::warn!(error = %chain(&error), "Answered 503");
        Problem::busy(
            RETRY_AFTER_S,
            "We cannot do that at the moment. Please try again.",
        )
    }
}

impl From<CartError> for Problem {
    fn from(error: CartError) -> Problem {
        match error {
            CartError::Limit(error) => Problem::fields(vec![error]),
            CartError::Unavailable(error) => error.into(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        match refusal {
            Refusal::Fields(errors)
                if errors.iter().any(|error| error.field == "Idempotency-Key") =>
            {
                Problem {
                    errors,
                    ..Problem::malformed("Idempotency-Key", "is required, new for each order")
                }
            }
            Refusal::Fields(errors) => Problem::fields(errors),
            Refusal::SoldOut(products) => {
                let names: Vec<_> = products.iter().map(ToString::to_string).collect();
                let errors = names.iter().map(|name| {
                    FieldError::new("items", format!("{name} is sold out, or has fewer left"))
                });
                Problem {
                    errors: errors.collect(),
                    more: vec![("sold_out", json!(names))],
                    ..Problem::new(
                        StatusCode::CONFLICT,
                        "sold-out",
                        "Sold out",
                        format!("Too few left of: {}.", names.join(", ")),
                    )
                }
            }
            Refusal::SlotFull(starts_at) => Problem {
                errors: vec![FieldError::new(
                    "pickup_at",
                    "has no place left: choose another time",
                )],
                more: vec![("slot", json!(crate::api::orders::time_text(starts_at)))],
                ..Problem::new(
                    StatusCode::CONFLICT,
                    "slot-full",
                    "No place left",
                    "Every place of this pick-up time is taken.",
                )
            },
            Refusal::KeyReused => Problem::field(
                "Idempotency-Key",
                "was used for another request: use a new key for a new order",
            ),
            Refusal::ShopFull { retry_after_s } => Problem::busy(
                retry_after_s,
                "Many orders are waiting just now. Please try again in a moment.",
            ),
            Refusal::Changed(changed) => price_changed(&changed),
            Refusal::Uncertain(error) => Problem::uncertain(
                &error,
                "We cannot say yet whether the order was placed. Send the same request with the same Idempotency-Key: \
                 it is placed once.",
            ),
            Refusal::Unavailable(error) => error.into(),
        }
    }
}

impl From<ChangeRefusal> for Problem {
    fn from(refusal: ChangeRefusal) -> Problem {
        match refusal {
            ChangeRefusal::NotFound => Problem::no_such_order(),
            ChangeRefusal::Stale(now) => Problem {
                more: vec![
                    ("version", json!(now.version)),
                    ("order_status", json!(now.status.code())),
                    ("changed_by", json!(now.by)),
                ],
                ..Problem::new(
                    StatusCode::PRECONDITION_FAILED,
                    "stale",
                    "Somebody was faster",
                    format!(
                        "{} has changed the order since you looked at it: it is {} now, at version {}.",
                        now.by.as_deref().unwrap_or("Somebody"),
                        now.status.code(),
                        now.version
                    ),
                )
            },
            ChangeRefusal::Illegal { from, to } => Problem::new(
                StatusCode::CONFLICT,
                "illegal-transition",
                "That does not follow",
                format!(
                    "An order that is {} cannot become {}.",
                    from.code(),
                    to.code()
                ),
            ),
            ChangeRefusal::Unavailable(error) => Problem::uncertain(
                &error,
                "We cannot say whether the order was changed. Look at it, and repeat the change if it was not.",
            ),
        }
    }
}

/// Returns 409 with the new total and each difference from the offer that the customer saw.
fn price_changed(changed: &Changed) -> Problem {
    let total = changed.totals.total;
    let changes = changed.differences.iter().map(|difference| {
        let mut change =
            json!({ "kind": difference.kind.code(), "was": difference.was, "now": difference.now });
        if let Some((product_id, name)) = &difference.product {
            (change["product_id"], change["name"]) = (json!(product_id), json!(name));
        }
        change
    });
    let mut more = vec![
        ("changes", changes.collect()),
        ("subtotal_minor", json!(changed.totals.subtotal.minor)),
        ("tax_minor", json!(changed.totals.tax.minor)),
        ("total_minor", json!(total.minor)),
        ("currency", json!(total.currency.code())),
    ];
    more.extend(
        changed
            .cart_version
            .map(|version| ("cart_version", json!(version))),
    );
    let errors = changed.differences.iter().filter_map(|difference| {
        let field = match difference.kind {
            Differs::Total => "expected_total_minor",
            Differs::CartVersion => "cart_version",
            Differs::UnitPrice | Differs::Quantity => return None,
        };
        Some(FieldError::new(
            field,
            format!("is {} now, and not {}", difference.now, difference.was),
        ))
    });
    let next = match total.minor {
        0 => "your cart is empty".to_owned(),
        _ => format!("order again to accept {total}"),
    };
    let detail = format!(
        "{} Nothing was placed: {next}.",
        what_changed(changed).join(" ")
    );
    Problem {
        errors: errors.collect(),
        more,
        ..Problem::new(StatusCode::CONFLICT, "price-changed", "Conflict", detail)
    }
}

/// Returns one sentence per difference, for people.
pub fn what_changed(changed: &Changed) -> Vec<String> {
    let money = |minor| Money::new(minor, changed.totals.total.currency);
    let sentence = |difference: &Difference| {
        let (was, now) = (difference.was, difference.now);
        let name = difference
            .product
            .as_ref()
            .map_or("", |(_, name)| name.as_str());
        match (difference.kind, was, now) {
            (Differs::Total, ..) => {
                format!("The total changed from {} to {}.", money(was), money(now))
            }
            (Differs::CartVersion, ..) => "Your cart changed since you looked at it.".to_owned(),
            (Differs::UnitPrice, ..) => {
                format!("{name} now costs {}, not {}.", money(now), money(was))
            }
            (Differs::Quantity, 0, now) => format!("{now} × {name} came into your cart."),
            (Differs::Quantity, _, 0) => format!("{name} is no longer in your cart."),
            (Differs::Quantity, was, now) => format!("{now} × {name} are in your cart, not {was}."),
        }
    };
    changed.differences.iter().map(sentence).collect()
}
