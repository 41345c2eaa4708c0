//! Routes of the session's cart.

use app::ports::carts::{Cart, CartStore as _};
use app::ports::stock::StockedProduct;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use contract::route::RouteId;
use deserr::Deserr;
use domain::cart::Line;
use domain::ids::ProductId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::desk::cart::{PricedLine, add_to, price};
use crate::ports::Ports;
use crate::problem::Problem;
use crate::rates::Client;
use crate::request::{self, Invalid, Parsed, Units};
use crate::session;
use crate::state::App;

/// A product and its quantity.
#[derive(Deserr, ToSchema)]
#[deserr(error = Invalid, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct CartItem {
    #[schema(value_type = String, min_length = 1, max_length = 40, example = "flat-white")]
    product_id: Parsed<ProductId>,
    #[schema(value_type = i64, minimum = 1, maximum = 99, example = 2)]
    quantity: Units,
}

impl CartItem {
    /// Returns the item as a line of an order.
    pub fn line(self) -> Line {
        Line {
            product_id: self.product_id.0,
            quantity: self.quantity.0,
        }
    }
}

/// The quantity of a product.
#[derive(Deserr, ToSchema)]
#[deserr(error = Invalid, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
#[schema(as = Quantity)]
pub struct QuantityBody {
    #[schema(value_type = i64, minimum = 1, maximum = 99, example = 2)]
    quantity: Units,
}

/// A cart with the current prices.
#[derive(Serialize, ToSchema)]
#[schema(as = Cart)]
pub struct CartView {
    /// The version of the cart. Carts with equal lines have equal versions.
    version: i64,
    lines: Vec<CartLine>,
    /// Sum of the quantities.
    units: u32,
    subtotal_minor: i64,
    tax_minor: i64,
    total_minor: i64,
    #[schema(example = "USD")]
    currency: &'static str,
}

/// A line of a cart.
#[derive(Serialize, ToSchema)]
pub struct CartLine {
    #[schema(value_type = String, example = "flat-white")]
    product_id: ProductId,
    #[schema(example = "Flat white")]
    name: String,
    quantity: u32,
    unit_price_minor: i64,
    /// The price when the customer added the line.
    seen_unit_price_minor: Option<i64>,
    line_total_minor: i64,
    /// Units that the shop has.
    left: Option<i64>,
    /// Why the line cannot be ordered as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, example = "only 1 left")]
    conflict: Option<String>,
}

impl CartLine {
    fn of(priced: PricedLine) -> CartLine {
        CartLine {
            product_id: priced.line.product_id,
            name: priced.name,
            quantity: priced.line.quantity.get(),
            unit_price_minor: priced.unit_price.minor,
            seen_unit_price_minor: priced.seen_unit_price.map(|seen| seen.minor),
            line_total_minor: priced.line_total.minor,
            left: priced.left,
            conflict: priced.conflict,
        }
    }
}

fn view<P: Ports>(
    app: &App<P>,
    products: &[StockedProduct],
    cart: &Cart,
) -> Result<Json<CartView>, Problem> {
    let priced = price(app, products, cart)?;
    Ok(Json(CartView {
        version: priced.version,
        lines: priced.lines.into_iter().map(CartLine::of).collect(),
        units: cart.lines.units(),
        subtotal_minor: priced.subtotal.minor,
        tax_minor: priced.tax.minor,
        total_minor: priced.total.minor,
        currency: priced.total.currency.code(),
    }))
}

/// Returns the session's cart with current prices and conflicts.
#[utoipa::path(
    get,
    path = RouteId::ReadCart.path(),
    responses((status = 200, description = "The cart", body = CartView))
)]
pub async fn show<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
) -> Result<Json<CartView>, Problem> {
    let cart = match session::of(&headers, &app.settings) {
        Some(session) => app.carts().get(&session.hash).await?,
        None => Cart::default(),
    };
    let products = app.menu.products(&app.ports).await?;
    view(&app, &products, &cart)
}

/// Adds a product to the cart, and begins a session if there is none.
#[utoipa::path(
    post,
    path = RouteId::AddCartItem.path(),
    request_body = CartItem,
    responses((status = 200, description = "The cart", body = CartView))
)]
pub async fn add<P: Ports>(
    State(app): State<App<P>>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let line = request::body::<CartItem>(&headers, &body)?.line();
    let session = session::of_or_new(&headers, &app.settings);
    // The menu is read before the cart is changed, so that a failed read cannot answer a changed
    // cart with an error.
    let products = app.menu.products(&app.ports).await?;
    let cart = add_to(&app, client, &session, &line).await?;
    Ok(session.onto(view(&app, &products, &cart)?.into_response()))
}

/// Sets the quantity of a product in the cart.
#[utoipa::path(
    put,
    path = RouteId::SetCartItem.path(),
    request_body = QuantityBody,
    responses((status = 200, description = "The cart", body = CartView))
)]
pub async fn set<P: Ports>(
    State(app): State<App<P>>,
    Path(product_id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<CartView>, Problem> {
    let QuantityBody { quantity } = request::body(&headers, &body)?;
    let product_id = ProductId::parse(&product_id).map_err(|_| Problem::not_found())?;
    let session = session::of(&headers, &app.settings).ok_or_else(Problem::not_found)?;
    let products = app.menu.products(&app.ports).await?;
    let carts = app.carts();
    let cart = carts
        .set(&session.hash, &product_id, quantity.0)
        .await
        .map_err(Problem::cart_uncertain)?
        .ok_or_else(Problem::not_found)?;
    view(&app, &products, &cart)
}

/// Removes a product from the cart.
#[utoipa::path(
    delete,
    path = RouteId::RemoveCartItem.path(),
    responses((status = 200, description = "The cart", body = CartView))
)]
pub async fn remove<P: Ports>(
    State(app): State<App<P>>,
    Path(product_id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<CartView>, Problem> {
    let product_id = ProductId::parse(&product_id).map_err(|_| Problem::not_found())?;
    let products = app.menu.products(&app.ports).await?;
    let cart = match session::of(&headers, &app.settings) {
        Some(session) => {
            let removed = app.carts().remove(&session.hash, &product_id).await;
            removed.map_err(Problem::cart_uncertain)?
        }
        None => Cart::default(),
    };
    view(&app, &products, &cart)
}

/// Empties the cart.
#[utoipa::path(
    delete,
    path = RouteId::ClearCart.path(),
    responses((status = 204, description = "The cart is empty"))
)]
pub async fn clear<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    if let Some(session) = session::of(&headers, &app.settings) {
        let changed = app.carts().clear(&session.hash).await;
        changed.map_err(Problem::cart_uncertain)?;
    }
    Ok(StatusCode::NO_CONTENT)
}
