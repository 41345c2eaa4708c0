//! The access check in front of every handler, by the action of its route.

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use contract::route::Surface;
use domain::access::{Action, Actor, Denial, Resource, may};

use crate::ports::{Ports, SecurityEvent};
use crate::problem::Problem;
use crate::staff::{self, Staff, TokenRefusal};
use crate::state::{App, Guarded};

/// Passes a request to its handler if the actor may perform the route's action.
///
/// Handlers decide on what depends on one order or on a signature. They call `may` as well. A
/// handler behind an action for staff gets the member of staff as an extension of the request: a
/// request that was not checked has none, and fails.
pub async fn check<P: Ports>(
    State(Guarded { app, route }): State<Guarded<P>>,
    mut request: Request,
    next: Next,
) -> Response {
    let decided_by_handler = match route.action {
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
    if !decided_by_handler && route.action.staff().is_some() {
        match authorize(&app, request.headers(), route.action) {
            Ok(staff) => drop(request.extensions_mut().insert(staff)),
            Err(refusal) => return refusal.answer(route.surface),
        }
    }
    next.run(request).await
}

/// Returns the actor that the request proves.
pub fn actor(staff: Option<&Staff>) -> Actor {
    staff.map_or(Actor::Visitor, |staff| Actor::Staff(staff.role))
}

/// The result of a failed access check.
#[derive(Debug, Clone, Copy)]
struct Refused {
    denial: Denial,
    token: Option<TokenRefusal>,
    action: Action,
}

impl Refused {
    /// Returns the error response for a program: 401, 403 or 404.
    fn problem(self) -> Problem {
        match self.denial {
            Denial::NotSignedIn => {
                Problem::unauthorized(self.token.unwrap_or(TokenRefusal::Missing))
            }
            Denial::NotVisible => Problem::not_found().noting(event_of(self.token)),
            Denial::Role => Problem::forbidden(self.action),
        }
    }

    /// Answers a refused request. Redirects a browser that is not signed in to the sign-in page.
    fn answer(self, surface: Surface) -> Response {
        if surface == Surface::Page
            && matches!(self.denial, Denial::NotSignedIn | Denial::NotVisible)
        {
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
fn authorize<P: Ports>(
    app: &App<P>,
    headers: &HeaderMap,
    action: Action,
) -> Result<Staff, Refused> {
    let staff = staff::of(headers, &app.settings, app.now());
    let allowed = may(actor(staff.as_ref().ok()), action, Resource::Shop);
    match (allowed, staff) {
        (Ok(()), Ok(staff)) => Ok(staff),
        (allowed, staff) => Err(Refused {
            denial: allowed.err().unwrap_or(Denial::NotSignedIn),
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
    let refused = event_of(token) == SecurityEvent::Unauthorized;
    let event = refused.then_some(Extension(SecurityEvent::Unauthorized));
    (event, Redirect::to("/staff/sign-in")).into_response()
}
