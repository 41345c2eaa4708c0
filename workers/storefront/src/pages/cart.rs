//! The cart page and its forms.

use std::collections::HashMap;

use app::ports::carts::CartStore as _;
use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::{Extension, Form};
use domain::cart::{Line, Quantity};
use domain::ids::ProductId;

use super::shell::{Shell, page};
use crate::desk::cart::{PricedLine, add_to, price};
use crate::ports::Ports;
use crate::problem::Problem;
use crate::rates::Client;
use crate::session;
use crate::state::App;

/// The cart.
#[derive(Template)]
#[template(path = "cart.html")]
pub struct CartPage {
    pub shell: Shell,
    pub lines: Vec<LineView>,
    pub subtotal: String,
    pub tax: String,
    pub total: String,
    pub blocked: bool,
}

/// A line of the cart.
pub struct LineView {
    pub product_id: String,
    pub name: String,
    pub image_url: String,
    pub quantity: u32,
    /// Maximum quantity that can be ordered.
    pub max: i64,
    /// Available units, if there are fewer than the maximum of a line.
    pub left: Option<i64>,
    pub unit_price: String,
    pub line_total: String,
    /// A sentence about the price, if it changed since the line was added.
    pub price_change: Option<String>,
    pub conflict: Option<String>,
}

/// Shows the cart.
pub async fn show<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let session = session::of_or_new(&headers, &app.settings);
    let cart = app.carts().get(&session.hash).await?;
    let products = app.menu.products(&app.ports).await?;
    let priced = price(&app, &products, &cart)?;
    let [subtotal, tax, total] =
        [priced.subtotal, priced.tax, priced.total].map(|money| money.to_string());
    let lines: Vec<_> = priced.lines.into_iter().map(line_view).collect();
    let blocked = lines.iter().any(|line| line.conflict.is_some());
    Ok(session.onto(page(&CartPage {
        shell: Shell::counting(&app, cart.lines.units()),
        lines,
        subtotal,
        tax,
        total,
        blocked,
    })?))
}

/// Returns a line with its amounts as text.
pub fn line_view(line: PricedLine) -> LineView {
    let changed = line.seen_unit_price.filter(|seen| *seen != line.unit_price);
    LineView {
        product_id: line.line.product_id.to_string(),
        quantity: line.line.quantity.get(),
        max: line
            .left
            .unwrap_or_default()
            .clamp(1, i64::from(Quantity::MAX)),
        left: line
            .left
            .filter(|left| *left > 0 && *left < i64::from(Quantity::MAX)),
        unit_price: line.unit_price.to_string(),
        line_total: line.line_total.to_string(),
        price_change: changed.map(|seen| {
            format!(
                "The price of {} changed from {seen} to {} since you added it.",
                line.name, line.unit_price
            )
        }),
        conflict: line
            .conflict
            .map(|conflict| sentence(conflict.strip_prefix("is ").unwrap_or(&conflict))),
        name: line.name,
        image_url: line.image_url,
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).chain(['.']).collect())
        .unwrap_or_default()
}

/// Adds a product to the cart.
pub async fn add<P: Ports>(
    State(app): State<App<P>>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let line = Line {
        product_id: product_id(form.get("product_id"))?,
        quantity: quantity(&form)?,
    };
    let session = session::of_or_new(&headers, &app.settings);
    let cart = add_to(&app, client, &session, &line).await?;
    // A script needs the new count; a browser needs a page to go to.
    let response = if headers.contains_key("x-requested-with") {
        StatusCode::NO_CONTENT.into_response()
    } else {
        Redirect::to("/cart").into_response()
    };
    let count = [("x-cart-count", cart.lines.units())];
    Ok(session.onto((count, response).into_response()))
}

/// Sets the quantity of a product in the cart.
pub async fn set<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let (id, quantity) = (product_id(Some(&id))?, quantity(&form)?);
    if let Some(session) = session::of(&headers, &app.settings) {
        let changed = app.carts().set(&session.hash, &id, quantity).await;
        changed.map_err(Problem::cart_uncertain)?;
    }
    Ok(Redirect::to("/cart").into_response())
}

/// Removes a product from the cart.
pub async fn remove<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = product_id(Some(&id))?;
    if let Some(session) = session::of(&headers, &app.settings) {
        let changed = app.carts().remove(&session.hash, &id).await;
        changed.map_err(Problem::cart_uncertain)?;
    }
    Ok(Redirect::to("/cart").into_response())
}

/// Removes all products from the cart.
pub async fn clear<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Some(session) = session::of(&headers, &app.settings) {
        let changed = app.carts().clear(&session.hash).await;
        changed.map_err(Problem::cart_uncertain)?;
    }
    Ok(Redirect::to("/cart").into_response())
}

fn product_id(text: Option<&String>) -> Result<ProductId, Problem> {
    let text = text.map(String::as_str).unwrap_or_default();
    let unknown = |error| {
        Problem::fields([error]).detailed("This product does not exist. Choose one from the menu.")
    };
    ProductId::parse(text).map_err(unknown)
}

fn quantity(form: &HashMap<String, String>) -> Result<Quantity, Problem> {
    let quantity = form
        .get("quantity")
        .and_then(|text| text.trim().parse().ok())
        .and_then(Quantity::new);
    quantity.ok_or_else(|| {
        Problem::field("quantity", "must be a whole number from 1 to 99")
            .detailed("Choose a whole number from 1 to 99.")
    })
}
