//! HTML pages: plain forms that work without JavaScript, over the same use cases as the API.

pub mod customer;
pub mod kept_form;
pub mod lookup;
pub mod mailbox;
mod slots;
pub mod staff;
pub mod stock;
mod views;

use askama::Template;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};

use crate::problem::Problem;

pub use customer::carry_cart;
pub use views::ProblemPage;

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
