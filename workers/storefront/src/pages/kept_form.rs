//! Returns the checkout form with the customer's input when the request fails. A layer may refuse
//! it (limits, overload, an unavailable dependency), or the handler may fail. The form keeps its
//! idempotency key, so that a repeat places one order.
//!
//! The page is made from the form and from data in memory. It calls no dependency, because the
//! failure may be an overload of that dependency.

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Form};
use contract::route::RouteId;
use domain::money::Money;

use super::cart::LineView;
use super::checkout_form::{CheckoutForm, CheckoutPage, ErrorView, Receipt, ShownOrder};
use super::shell::page;
use super::slots::choice_by_hours;
use crate::menu;
use crate::ports::{Observation, Ports, Shed};
use crate::problem::{Kind, Problem, wants_page};
use crate::shed::{BODY_MAX, with_body};
use crate::state::{App, Guarded};

/// Returns whether the route takes the checkout form.
pub fn is_form(id: RouteId) -> bool {
    matches!(id, RouteId::CheckoutPageOrder | RouteId::CheckoutPageTimes)
}

/// Answers a checkout form that failed for a temporary reason with the form.
pub async fn keep<P: Ports>(
    State(Guarded { app, route }): State<Guarded<P>>,
    request: Request,
    next: Next,
) -> Response {
    let places = route.id == RouteId::CheckoutPageOrder;
    if !wants_page(request.headers(), route.path) {
        return next.run(request).await;
    }
    let request = match with_body(request).await {
        Ok(request) => request,
        Err(problem) => {
            if problem.kind == Kind::TooSlow {
                app.ports.observe(Observation::Shed(Shed::Slow));
            }
            return problem.into_response();
        }
    };
    let (parts, body) = request.into_parts();
    // The body was already read, so this call does not wait.
    let body = to_bytes(body, BODY_MAX).await.unwrap_or_default();
    let mut copy = Request::new(Body::from(body.clone()));
    (*copy.method_mut(), *copy.headers_mut()) = (Method::POST, parts.headers.clone());
    let refused = next.run(Request::from_parts(parts, Body::from(body))).await;
    let Some(problem) = refused
        .extensions()
        .get::<Problem>()
        .filter(|problem| passes(problem))
    else {
        return refused;
    };
    let Ok(Form(form)) = Form::<CheckoutForm>::from_request(copy, &()).await else {
        return refused;
    };
    let unsure = matches!(problem.kind, Kind::Uncertain | Kind::Internal);
    let message = match (unsure, places) {
        (true, true) => {
            "We do not know yet whether your order was placed. Press the button again. Your order is placed only once."
        }
        (true, false) => "That did not work. Please try again.",
        (false, _) => &problem.body.detail,
    };
    let kept = render(
        &app,
        form,
        vec![ErrorView::general(message)],
        unsure && places,
    );
    match kept {
        Ok(kept) => {
            let after = refused.headers().get(header::RETRY_AFTER);
            let after = after.map(|after| [(header::RETRY_AFTER, after.clone())]);
            let event = problem.security.map(Extension);
            (problem.status, after, event, kept).into_response()
        }
        Err(_) => refused,
    }
}

/// Returns true if the same form may succeed in a moment.
fn passes(problem: &Problem) -> bool {
    problem.retry_after_s.is_some() || problem.kind == Kind::Internal
}

/// Renders the form with the order as the form itself shows it.
///
/// # Errors
/// Returns 503 when the template cannot be rendered.
pub fn render<P: Ports>(
    app: &App<P>,
    form: CheckoutForm,
    errors: Vec<ErrorView>,
    unsure: bool,
) -> Result<Response, Problem> {
    let choice = choice_by_hours(app, &form);
    let receipt = as_shown(app, &form);
    page(&CheckoutPage::of(
        app, form, errors, unsure, choice, receipt,
    ))
}

/// Returns the order as the customer's page showed it. The amounts are not trusted: they are
/// compared when the order is placed.
fn as_shown<P: Ports>(app: &App<P>, form: &CheckoutForm) -> Receipt {
    let shown = form.shown().unwrap_or_default();
    let (known, currency) = (app.menu.last(), app.settings.shops.home().currency);
    let money = |minor: i64| Money::new(minor, currency).to_string();
    let (mut lines, mut units, mut subtotal) = (Vec::new(), 0_u32, 0_i64);
    for line in &shown.lines {
        let quantity = line.quantity.unwrap_or_default();
        let line_total = line.unit_price_minor.saturating_mul(i64::from(quantity));
        (units, subtotal) = (
            units.saturating_add(quantity),
            subtotal.saturating_add(line_total),
        );
        lines.push(LineView {
            product_id: line.product_id.to_string(),
            name: menu::name_of(&known, &line.product_id),
            image_url: String::new(),
            quantity,
            max: i64::from(quantity),
            left: None,
            unit_price: money(line.unit_price_minor),
            line_total: money(line_total),
            price_change: None,
            conflict: None,
        });
    }
    let total = shown.total_minor.unwrap_or_default();
    let totals = [subtotal, total.saturating_sub(subtotal), total].map(money);
    let shown = ShownOrder {
        total_minor: total,
        cart_version: shown.cart_version.unwrap_or_default(),
        lines: form.shown_lines.clone(),
    };
    Receipt {
        units,
        lines,
        totals,
        shown,
    }
}
