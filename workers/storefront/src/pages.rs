//! HTML pages: plain forms that work without JavaScript, over the same use cases as the API.

mod customer;
pub mod kept_form;
mod lookup;
mod mailbox;
mod slots;
mod staff;
mod stock;
mod views;

use askama::Template;
use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use crate::problem::Problem;
use crate::static_files;
use crate::{App, Ports};

pub use customer::carry_cart;
pub use views::ProblemPage;

/// Returns the routes of the pages and the static files.
pub fn routes<P: Ports>() -> Router<App<P>> {
    Router::new()
        .route("/", get(customer::show_menu::<P>))
        .route("/cart", get(customer::cart::<P>))
        .route("/cart/items", post(customer::add::<P>))
        .route("/cart/items/{product_id}", post(customer::set::<P>))
        .route(
            "/cart/items/{product_id}/remove",
            post(customer::remove::<P>),
        )
        .route("/cart/clear", post(customer::clear::<P>))
        .route(
            "/checkout",
            get(customer::checkout::<P>).post(customer::place::<P>),
        )
        .route("/checkout/times", post(customer::other_day::<P>))
        .route("/orders", get(lookup::lookup::<P>).post(lookup::find::<P>))
        .route("/orders/{id}", get(customer::order::<P>))
        .route("/orders/{id}/open", post(lookup::open::<P>))
        .route("/orders/{id}/fragment", get(customer::order_fragment::<P>))
        .route("/orders/{id}/cancel", post(customer::cancel::<P>))
        .route("/staff", get(staff::board::<P>))
        .route("/staff/board", get(staff::board_fragment::<P>))
        .route("/staff/orders", get(staff::search::<P>))
        .route("/staff/mailbox", get(mailbox::list::<P>))
        .route("/staff/mailbox/{id}", get(mailbox::mail::<P>))
        .route("/staff/orders/{id}", get(staff::journey::<P>))
        .route("/staff/orders/{id}/status", post(staff::set_status::<P>))
        .route("/staff/stock", get(stock::stock::<P>))
        .route("/staff/stock/{product_id}", get(stock::ledger::<P>))
        .route(
            "/staff/stock/{product_id}/restock",
            post(stock::restock::<P>),
        )
        .route("/staff/stock/{product_id}/adjust", post(stock::adjust::<P>))
        .route(
            "/staff/stock/{product_id}/write-off",
            post(stock::write_off::<P>),
        )
        .route(
            "/staff/sign-in",
            get(staff::sign_in::<P>).post(staff::signed_in::<P>),
        )
        .route("/staff/sign-out", post(staff::sign_out::<P>))
        .route("/static/{*path}", get(static_files::serve))
}

/// Renders a template.
///
/// # Errors
/// Returns 503 when the template cannot be rendered.
fn page(template: &impl Template) -> Result<Response, Problem> {
    let html = template.render().map_err(|error| {
        tracing::error!(error = %error, "A page could not be rendered");
        Problem::busy(2, "The page could not be made. Please try again.")
    })?;
    Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response())
}
