//! The frame of every page, and how a page is rendered.

use app::ports::carts::CartStore as _;
use askama::Template;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};

use crate::ports::Ports;
use crate::problem::Problem;
use crate::session::Session;
use crate::state::App;

/// The frame of every page. Only [`Shell::of`] creates one, so that no page omits the notice of a
/// closed shop.
pub struct Shell {
    /// Units in the cart; `None` on pages that do not read the cart.
    pub cart_count: Option<u32>,
    /// A message about the last action.
    pub notice: Option<String>,
    /// The notice that the shop is closed and when it opens.
    pub closed: Option<String>,
    /// True with a local AWS, which has a mailbox page.
    pub has_mailbox: bool,
}

impl Shell {
    /// Creates the frame without a cart count and without a message.
    pub fn of<P: Ports>(app: &App<P>) -> Shell {
        let closed = app.settings.shops.home().hours.closed_notice(app.now());
        let has_mailbox = app.settings.mailbox.is_some();
        Shell {
            cart_count: None,
            notice: None,
            closed,
            has_mailbox,
        }
    }

    /// Creates the frame with the number of units in the cart.
    pub fn counting<P: Ports>(app: &App<P>, units: u32) -> Shell {
        Shell {
            cart_count: Some(units),
            ..Shell::of(app)
        }
    }

    /// Creates the frame with the number of units in the session's cart, or zero when the cart
    /// cannot be read.
    pub async fn with_cart<P: Ports>(app: &App<P>, session: &Session) -> Shell {
        let cart = app.carts().get(&session.hash).await;
        Shell::counting(app, cart.unwrap_or_default().lines.units())
    }
}

/// Renders a template.
///
/// # Errors
/// Returns 503 when the template cannot be rendered.
pub fn page(template: &impl Template) -> Result<Response, Problem> {
    let html = template.render().map_err(|error| {
        tracing::error!(error = %error, "A page could not be rendered");
        Problem::busy(2, "The page could not be rendered. Please try again.")
    })?;
    Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response())
}

/// An error page.
#[derive(Template)]
#[template(path = "problem.html")]
pub struct ProblemPage<'a> {
    shell: Shell,
    status: u16,
    title: &'a str,
    detail: &'a str,
    request_id: &'a str,
}

impl ProblemPage<'_> {
    /// Renders a problem for a browser. Shows the detail only, because the field errors are for
    /// programs.
    pub fn render<P: Ports>(app: &App<P>, problem: &Problem, request_id: &str) -> String {
        let page = ProblemPage {
            shell: Shell::of(app),
            status: problem.status.as_u16(),
            title: &problem.body.title,
            detail: &problem.body.detail,
            request_id,
        };
        Template::render(&page).unwrap_or_else(|_| problem.body.title.clone())
    }
}
