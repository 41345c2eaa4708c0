//! The action of each route, and the access check in front of every handler.
//!
//! The table is complete: the storefront answers 404 for a route without a row. A new route
//! therefore needs a decision before it works. A test compares the table with the routers.

use app::ports::Source as _;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::access::{Action, Actor, Denial, Resource, may};
use serde_json::json;

use crate::problem::Problem;
use crate::security::SecurityEvent;
use crate::staff::{self, Staff, TokenRefusal};
use crate::{App, Ports};

/// Method, path and action of every route. `HEAD` is treated as `GET`.
#[rustfmt::skip]
pub const ROUTES: &[(&str, &str, Action)] = &[
    ("GET", "/api/v1/menu", Action::ReadMenu),
    ("GET", "/api/v1/menu/{product_id}", Action::ReadMenu),
    ("GET", "/api/v1/cart", Action::KeepCart),
    ("DELETE", "/api/v1/cart", Action::KeepCart),
    ("POST", "/api/v1/cart/items", Action::KeepCart),
    ("PUT", "/api/v1/cart/items/{product_id}", Action::KeepCart),
    ("DELETE", "/api/v1/cart/items/{product_id}", Action::KeepCart),
    ("GET", "/api/v1/pickup-slots", Action::ReadSlots),
    ("GET", "/api/v1/orders", Action::ListOwnOrders),
    ("POST", "/api/v1/orders", Action::PlaceOrder),
    ("GET", "/api/v1/orders/{id}", Action::ReadOrder),
    ("GET", "/api/v1/orders/{id}/events", Action::ReadOrder),
    ("GET", "/api/v1/orders/{id}/journey", Action::ReadTimeline),
    ("POST", "/api/v1/orders/{id}/cancel", Action::CancelOrder),
    ("GET", "/api/v1/admin/orders", Action::ListOrders),
    // The row has the weakest action, because a barista may move and support may only cancel. The
    // handlers check again when they know the status.
    ("POST", "/api/v1/admin/orders/status", Action::CancelOrderAsStaff),
    ("PUT", "/api/v1/admin/orders/{id}/status", Action::CancelOrderAsStaff),
    ("GET", "/api/v1/admin/inventory", Action::ReadStock),
    ("POST", "/api/v1/admin/inventory/{product_id}/restock", Action::ReceiveStock),
    ("POST", "/api/v1/admin/inventory/{product_id}/adjust", Action::CorrectStock),
    ("POST", "/api/v1/admin/inventory/{product_id}/write-off", Action::WriteOffStock),
    ("GET", "/api/v1/admin/inventory/{product_id}/ledger", Action::ReadStock),
    ("GET", "/api/v1/admin/stock/suggestions", Action::ReadSuggestions),
    ("POST", "/webhooks/payment", Action::ReceiveWebhook),
    ("GET", "/openapi.json", Action::ReadFiles),
    ("GET", "/", Action::ReadMenu),
    ("GET", "/cart", Action::KeepCart),
    ("POST", "/cart/items", Action::KeepCart),
    ("POST", "/cart/items/{product_id}", Action::KeepCart),
    ("POST", "/cart/items/{product_id}/remove", Action::KeepCart),
    ("POST", "/cart/clear", Action::KeepCart),
    ("GET", "/checkout", Action::PlaceOrder),
    ("POST", "/checkout", Action::PlaceOrder),
    ("POST", "/checkout/times", Action::PlaceOrder),
    ("GET", "/orders", Action::FindOrder),
    ("POST", "/orders", Action::FindOrder),
    // The tracking token in the body decides.
    ("POST", "/orders/{id}/open", Action::FindOrder),
    ("GET", "/orders/{id}", Action::ReadOrder),
    ("GET", "/orders/{id}/fragment", Action::ReadOrder),
    ("POST", "/orders/{id}/cancel", Action::CancelOrder),
    ("GET", "/staff", Action::ReadBoard),
    ("GET", "/staff/board", Action::ReadBoard),
    ("GET", "/staff/orders", Action::ReadBoard),
    ("GET", "/staff/mailbox", Action::ReadMailbox),
    ("GET", "/staff/mailbox/{id}", Action::ReadMailbox),
    ("GET", "/staff/orders/{id}", Action::ReadTimeline),
    ("POST", "/staff/orders/{id}/status", Action::CancelOrderAsStaff),
    ("GET", "/staff/stock", Action::ReadStock),
    ("GET", "/staff/stock/{product_id}", Action::ReadStock),
    ("POST", "/staff/stock/{product_id}/restock", Action::ReceiveStock),
    ("POST", "/staff/stock/{product_id}/adjust", Action::CorrectStock),
    ("POST", "/staff/stock/{product_id}/write-off", Action::WriteOffStock),
    ("GET", "/staff/sign-in", Action::SignIn),
    ("POST", "/staff/sign-in", Action::SignIn),
    ("POST", "/staff/sign-out", Action::SignOut),
    ("GET", "/static/{*path}", Action::ReadFiles),
];

/// Returns the action of a route, and `None` when the path has no row for the method.
pub fn action_of(method: &Method, path: &str) -> Option<Action> {
    let method = if *method == Method::HEAD {
        "GET"
    } else {
        method.as_str()
    };
    ROUTES
        .iter()
        .find(|(known, at, _)| *known == method && *at == path)
        .map(|(_, _, action)| *action)
}

/// Passes a request to its handler if the actor may perform the route's action.
///
/// Handlers decide on what depends on one order or on a signature. They call `may` as well.
pub async fn check<P: Ports>(State(app): State<App<P>>, request: Request, next: Next) -> Response {
    let Some(path) = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned())
    else {
        return next.run(request).await;
    };
    let Some(action) = action_of(request.method(), &path) else {
        if ROUTES.iter().any(|(_, known, _)| *known == path) {
            // The router answers 405.
            return next.run(request).await;
        }
        tracing::error!(path, "A route is not in the access table");
        return Problem::not_found().into_response();
    };
    let decided_by_handler = match action {
        Action::ReadOrder | Action::CancelOrder | Action::ReceiveWebhook => true,
        Action::ReadMenu
        | Action::ReadSlots
        | Action::KeepCart
        | Action::PlaceOrder
        | Action::ListOwnOrders
        | Action::FindOrder
        | Action::ReadTimeline
        | Action::ReadMailbox
        | Action::ReadBoard
        | Action::ListOrders
        | Action::MoveOrder
        | Action::CancelOrderAsStaff
        | Action::ReadStock
        | Action::ReadSuggestions
        | Action::ReceiveStock
        | Action::CorrectStock
        | Action::WriteOffStock
        | Action::SignIn
        | Action::SignOut
        | Action::ReadFiles => false,
    };
    if !decided_by_handler
        && action.staff().is_some()
        && let Err(refusal) = authorize(&app, request.headers(), action)
    {
        return refusal.answer(&path);
    }
    next.run(request).await
}

/// Returns the actor that the request proves.
pub fn actor(staff: Option<&Staff>) -> Actor {
    staff.map_or(Actor::Visitor, |staff| Actor::Staff(staff.role))
}

/// The result of a failed access check.
#[derive(Debug, Clone, Copy)]
pub struct Refused {
    denial: Denial,
    token: Option<TokenRefusal>,
    action: Action,
}

impl Refused {
    /// Returns the error response for a program: 401, 403 or 404.
    pub fn problem(self) -> Problem {
        match self.denial {
            Denial::NotSignedIn => {
                Problem::unauthorized(self.token.unwrap_or(TokenRefusal::Missing))
            }
            Denial::NotVisible => Problem::not_found().noting(event_of(self.token)),
            Denial::Role => forbidden(self.action),
        }
    }

    /// Answers a refused request. Redirects a browser that is not signed in to the sign-in page.
    fn answer(self, path: &str) -> Response {
        let is_page = path.starts_with("/staff");
        if is_page && matches!(self.denial, Denial::NotSignedIn | Denial::NotVisible) {
            return to_sign_in(self.token);
        }
        self.problem().into_response()
    }
}

/// Returns the member of staff who sent the request, if they may perform the action in the shop.
///
/// # Errors
/// Returns the reason when the request has no accepted token, or its role may not perform the
/// action.
pub fn authorize<P: Ports>(
    app: &App<P>,
    headers: &HeaderMap,
    action: Action,
) -> Result<Staff, Refused> {
    let staff = staff::of(headers, &app.settings, app.ports.source().now());
    match (
        may(actor(staff.as_ref().ok()), action, Resource::Shop),
        staff,
    ) {
        (Ok(()), Ok(staff)) => Ok(staff),
        (Ok(()), Err(token)) => Err(Refused {
            denial: Denial::NotSignedIn,
            token: Some(token),
            action,
        }),
        (Err(denial), staff) => Err(Refused {
            denial,
            token: staff.err(),
            action,
        }),
    }
}

/// Returns the security event of a request for something that the actor may not see. A token that
/// was sent and not accepted counts as unauthorized.
pub const fn event_of(token: Option<TokenRefusal>) -> SecurityEvent {
    match token {
        None | Some(TokenRefusal::Missing) => SecurityEvent::ForeignLookup,
        Some(
            TokenRefusal::OldFormat
            | TokenRefusal::Forged
            | TokenRefusal::Expired
            | TokenRefusal::Revoked
            | TokenRefusal::NotForPeople,
        ) => SecurityEvent::Unauthorized,
    }
}

/// Redirects a browser to the sign-in page. Records a security event only for a token that was sent
/// and not accepted; a request without a token is harmless.
pub fn to_sign_in(token: Option<TokenRefusal>) -> Response {
    let mut response = Redirect::to("/staff/sign-in").into_response();
    if event_of(token) == SecurityEvent::Unauthorized {
        response
            .extensions_mut()
            .insert(SecurityEvent::Unauthorized);
    }
    response
}

/// Returns a 403 that lists the roles that may perform the action.
pub fn forbidden(action: Action) -> Problem {
    let roles: Vec<_> = action
        .staff()
        .unwrap_or_default()
        .iter()
        .map(|role| role.code())
        .collect();
    let detail = format!(
        "Your role may not do this ({}). It needs one of: {}.",
        action.code(),
        roles.join(", ")
    );
    Problem {
        more: vec![("needs_role", json!(roles))],
        security: Some(SecurityEvent::Forbidden),
        ..Problem::new(StatusCode::FORBIDDEN, "forbidden", "Forbidden", detail)
    }
}
