//! The JSON API under `/api/v1/`, specified in `docs/interfaces.md`.

mod admin;
mod batch;
mod cart;
pub mod events;
mod journey;
mod ledger;
mod menu;
pub mod orders;
mod slots;
mod webhook;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::{get, post, put};

pub use admin::{
    adjust_stock, check as check_adjustment, may_set, move_order, newest_with_number, tickets_of,
};
pub use cart::{Priced, PricedLine, add_to as add_to_cart, price as cart_price};
pub use journey::of as journey_of;
pub use ledger::{PAGE as LEDGER_PAGE, cursor as ledger_cursor, page as ledger_page};
pub use slots::{Offered as OfferedSlot, TakenPlaces, offered as offered_slots};

use crate::problem::Problem;
use crate::staff::{self, Staff};
use crate::{App, Ports};
use app::ports::Source as _;

/// Returns the routes of the API.
pub fn routes<P: Ports>() -> Router<App<P>> {
    Router::new()
        .route("/api/v1/menu", get(menu::list::<P>))
        .route("/api/v1/menu/{product_id}", get(menu::one::<P>))
        .route(
            "/api/v1/cart",
            get(cart::show::<P>).delete(cart::clear::<P>),
        )
        .route("/api/v1/cart/items", post(cart::add::<P>))
        .route(
            "/api/v1/cart/items/{product_id}",
            put(cart::set::<P>).delete(cart::remove::<P>),
        )
        .route("/api/v1/pickup-slots", get(slots::list::<P>))
        .route(
            "/api/v1/orders",
            get(orders::list::<P>).post(orders::place::<P>),
        )
        .route("/api/v1/orders/{id}", get(orders::show::<P>))
        .route("/api/v1/orders/{id}/events", get(events::follow::<P>))
        .route("/api/v1/orders/{id}/journey", get(journey::show::<P>))
        .route("/api/v1/orders/{id}/cancel", post(orders::cancel::<P>))
        .route("/api/v1/admin/orders", get(admin::orders::<P>))
        .route(
            "/api/v1/admin/orders/status",
            post(batch::set_statuses::<P>),
        )
        .route(
            "/api/v1/admin/orders/{id}/status",
            put(admin::set_status::<P>),
        )
        .route("/api/v1/admin/inventory", get(admin::inventory::<P>))
        .route(
            "/api/v1/admin/inventory/{product_id}/restock",
            post(admin::restock::<P>),
        )
        .route(
            "/api/v1/admin/inventory/{product_id}/adjust",
            post(admin::adjust::<P>),
        )
        .route(
            "/api/v1/admin/inventory/{product_id}/write-off",
            post(admin::write_off::<P>),
        )
        .route(
            "/api/v1/admin/inventory/{product_id}/ledger",
            get(ledger::entries::<P>),
        )
        .route(
            "/api/v1/admin/stock/suggestions",
            get(ledger::suggestions::<P>),
        )
        .route("/webhooks/payment", post(webhook::payment::<P>))
        .route("/openapi.json", get(crate::openapi::serve))
}

/// Returns the member of staff who sent the request, if any. [`crate::access`] decides what their
/// role may do.
pub fn staff_of<P: Ports>(app: &App<P>, headers: &HeaderMap) -> Option<Staff> {
    staff::of(headers, &app.settings, app.ports.source().now()).ok()
}

/// Returns the member of staff behind a request that `access::check` let through.
///
/// # Errors
/// Returns 401 when the token is not accepted any more.
fn staff_only<P: Ports>(app: &App<P>, headers: &HeaderMap) -> Result<Staff, Problem> {
    staff::of(headers, &app.settings, app.ports.source().now()).map_err(Problem::unauthorized)
}
