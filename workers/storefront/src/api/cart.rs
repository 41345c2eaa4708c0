//! The cart of the session.

use app::ports::carts::{CART_LIFETIME, CartStore as _};
use app::ports::stock::StockedProduct;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use domain::FieldError;
use domain::cart::{Line, Lines};
use domain::ids::ProductId;
use domain::money::Money;
use serde_json::{Value, json};

use crate::fields::{Fields, object};
use crate::problem::Problem;
use crate::rates::Client;
use crate::session::Session;
use crate::{App, Ports, menu, session};

/// A cart with today's prices and what is wrong with it.
pub struct Priced {
    pub lines: Vec<PricedLine>,
    pub subtotal: Money,
    pub tax: Money,
    pub total: Money,
}

pub struct PricedLine {
    pub line: Line,
    pub name: String,
    pub image_url: String,
    pub unit_price: Money,
    pub line_total: Money,
    /// Why it cannot be ordered as it is.
    pub conflict: Option<String>,
}

/// Prices are the menu's of this moment; a line that cannot be had says so and stays.
pub fn price<P: Ports>(app: &App<P>, products: &[StockedProduct], lines: &Lines) -> Result<Priced, Problem> {
    let too_much = |_| Problem::field("items", "cost more than can be counted");
    let zero = Money::zero(app.settings.shops.home().currency);
    let (mut priced, mut subtotal) = (Vec::new(), zero);
    for line in lines {
        let found = menu::find(products, &line.product_id);
        let unit_price = found.map_or(zero, |found| found.product.price);
        let line_total = unit_price.times(line.quantity.get()).map_err(too_much)?;
        subtotal = subtotal.plus(line_total).map_err(too_much)?;
        priced.push(PricedLine {
            line: line.clone(),
            name: found.map_or_else(|| line.product_id.to_string(), |found| found.product.name.clone()),
            image_url: found.map(|found| found.product.image_url.clone()).unwrap_or_default(),
            unit_price,
            line_total,
            conflict: conflict(found, line),
        });
    }
    let tax = subtotal.tax(app.settings.shops.home().tax).map_err(too_much)?;
    Ok(Priced { lines: priced, subtotal, tax, total: subtotal.plus(tax).map_err(too_much)? })
}

fn conflict(found: Option<&StockedProduct>, line: &Line) -> Option<String> {
    let Some(found) = found else { return Some("is no longer on the menu".to_owned()) };
    match found.counters.available {
        available if available <= 0 => Some("is sold out".to_owned()),
        available if available < i64::from(line.quantity.get()) => Some(format!("only {available} left")),
        _ => None,
    }
}

/// What is to be added, if the shop has it.
pub async fn check_add<P: Ports>(app: &App<P>, line: &Line) -> Result<(), Problem> {
    let products = app.menu.products(app.ports.stock()).await?;
    let Some(found) = menu::find(&products, &line.product_id) else {
        return Err(Problem::field("product_id", format!("there is no product {}", line.product_id)));
    };
    match conflict(Some(found), line) {
        None => Ok(()),
        Some(why) => Err(Problem {
            errors: vec![FieldError::new("product_id", format!("{} {why}", found.product.name))],
            ..Problem::new(StatusCode::CONFLICT, "sold-out", "Sold out", format!("{} {why}.", found.product.name))
        }),
    }
}

/// Adds to the session's cart, unless that would begin one more cart than its client may.
pub async fn add_line<P: Ports>(
    app: &App<P>,
    client: Client,
    session: &Session,
    line: &Line,
) -> Result<Lines, Problem> {
    let carts = app.ports.carts();
    if let Err(too_many) = app.rates.may_begin_cart(client)
        && carts.get(&session.hash).await?.is_empty()
    {
        return Err(too_many);
    }
    let lines = carts.add(&session.hash, line).await?;
    let is_new = lines.units() == line.quantity.get();
    if is_new
        && let Some(shared) = app.rates.begun_cart(client)
        && app.ports.count(&shared.key, shared.window).await.is_some_and(|count| count > shared.most)
    {
        carts.clear(&session.hash).await?;
        return Err(Problem::too_many(CART_LIFETIME));
    }
    Ok(lines)
}

pub async fn show<P: Ports>(State(app): State<App<P>>, headers: HeaderMap) -> Result<Response, Problem> {
    let lines = match session::of(&headers, &app.settings) {
        Some(session) => app.ports.carts().get(&session.hash).await?,
        None => Lines::default(),
    };
    Ok(Json(view(&app, &lines).await?).into_response())
}

pub async fn add<P: Ports>(
    State(app): State<App<P>>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut errors = Vec::new();
    let mut fields = Fields::new(object(&headers, &body)?, "", &mut errors);
    let product_id = ProductId::parse(&fields.text("product_id"));
    if let Err(error) = &product_id {
        fields.wrong("product_id", error.message.clone());
    }
    let quantity = fields.quantity("quantity");
    fields.finish();
    let (Ok(product_id), Some(quantity), []) = (product_id, quantity, errors.as_slice()) else {
        return Err(Problem::fields(errors));
    };
    let line = Line { product_id, quantity };
    check_add(&app, &line).await?;
    let session = session::of_or_new(&headers, &app.settings);
    let lines = add_line(&app, client, &session, &line).await?;
    let view = view(&app, &lines).await?;
    Ok(session.onto((StatusCode::OK, Json(view)).into_response()))
}

pub async fn set<P: Ports>(
    State(app): State<App<P>>,
    Path(product_id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut errors = Vec::new();
    let mut fields = Fields::new(object(&headers, &body)?, "", &mut errors);
    let quantity = fields.quantity("quantity");
    fields.finish();
    let (Some(quantity), []) = (quantity, errors.as_slice()) else { return Err(Problem::fields(errors)) };
    let product_id = ProductId::parse(&product_id).map_err(|_| Problem::not_found())?;
    let session = session::of(&headers, &app.settings).ok_or_else(Problem::not_found)?;
    let lines = app.ports.carts().set(&session.hash, &product_id, quantity).await?;
    let lines = lines.ok_or_else(Problem::not_found)?;
    Ok(Json(view(&app, &lines).await?).into_response())
}

pub async fn remove<P: Ports>(
    State(app): State<App<P>>,
    Path(product_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let product_id = ProductId::parse(&product_id).map_err(|_| Problem::not_found())?;
    let lines = match session::of(&headers, &app.settings) {
        Some(session) => app.ports.carts().remove(&session.hash, &product_id).await?,
        None => Lines::default(),
    };
    Ok(Json(view(&app, &lines).await?).into_response())
}

pub async fn clear<P: Ports>(State(app): State<App<P>>, headers: HeaderMap) -> Result<Response, Problem> {
    if let Some(session) = session::of(&headers, &app.settings) {
        app.ports.carts().clear(&session.hash).await?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn view<P: Ports>(app: &App<P>, lines: &Lines) -> Result<Value, Problem> {
    let products = app.menu.products(app.ports.stock()).await?;
    let priced = price(app, &products, lines)?;
    let shown = priced.lines.iter().map(|priced| {
        let mut shown = json!({
            "product_id": priced.line.product_id,
            "name": priced.name,
            "quantity": priced.line.quantity.get(),
            "unit_price_minor": priced.unit_price.minor,
            "line_total_minor": priced.line_total.minor,
        });
        if let Some(conflict) = &priced.conflict {
            shown["conflict"] = json!(conflict);
        }
        shown
    });
    Ok(json!({
        "lines": shown.collect::<Vec<_>>(),
        "units": lines.units(),
        "subtotal_minor": priced.subtotal.minor,
        "tax_minor": priced.tax.minor,
        "total_minor": priced.total.minor,
        "currency": priced.total.currency.code(),
    }))
}
