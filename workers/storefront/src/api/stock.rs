//! Routes for staff about stock: counters, and changes of them.

use app::ports::stock::{AdjustmentKind, Catalogue as _, StockedProduct};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::{Extension, Json};
use contract::route::RouteId;
use deserr::Deserr;
use domain::ids::ProductId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::desk::stock::{
    self, StockChange, UNITS_MAX, corrected, delivered, movement_id, written_off,
};
use crate::ports::Ports;
use crate::problem::Problem;
use crate::request::{self, Invalid, Note, Parse, Parsed, Rule};
use crate::schema;
use crate::staff::Staff;
use crate::state::App;
use crate::text::time_text;

/// The stock of all products.
#[derive(Serialize, ToSchema)]
pub struct Inventory {
    products: Vec<StockView>,
}

/// The stock of a product. `received` is the sum of the four counters before it.
#[derive(Serialize, ToSchema)]
#[schema(as = Stock)]
pub struct StockView {
    #[schema(value_type = String, example = "flat-white")]
    product_id: ProductId,
    #[schema(example = "Flat white")]
    name: String,
    available: i64,
    reserved: i64,
    sold: i64,
    written_off: i64,
    received: i64,
    low_stock_threshold: i64,
    #[schema(schema_with = schema::availability)]
    availability: &'static str,
    #[schema(format = DateTime)]
    last_restocked: Option<String>,
    version: i64,
}

impl StockView {
    fn of(product: &StockedProduct) -> StockView {
        let counters = product.counters;
        StockView {
            product_id: product.product.product_id.clone(),
            name: product.product.name.clone(),
            available: counters.available,
            reserved: counters.reserved,
            sold: counters.sold,
            written_off: counters.written_off,
            received: counters.received,
            low_stock_threshold: product.low_stock_threshold,
            availability: product.availability().code(),
            last_restocked: product.last_restocked.map(time_text),
            version: product.version,
        }
    }
}

/// The client's id of a change.
#[derive(Debug)]
struct MovementId(String);

impl Parse for MovementId {
    fn parse(text: &str) -> Result<MovementId, Rule> {
        Ok(MovementId(movement_id(text)?))
    }
}

fn is_delivered(units: i64) -> Result<AdjustmentKind, Rule> {
    delivered(units).ok_or_else(|| Rule(format!("must be a whole number from 1 to {UNITS_MAX}")))
}

fn is_written_off(units: i64) -> Result<AdjustmentKind, Rule> {
    written_off(units).ok_or_else(|| Rule(format!("must be a whole number from 1 to {UNITS_MAX}")))
}

fn is_corrected(units: i64) -> Result<AdjustmentKind, Rule> {
    let rule =
        "must be a whole number other than 0: negative for lost units, positive for found units";
    corrected(units).ok_or_else(|| Rule(rule.to_owned()))
}

/// Units that a supplier delivered.
#[derive(Deserr, ToSchema)]
#[deserr(error = Invalid, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct Restock {
    #[schema(value_type = i64, minimum = 1, maximum = 100_000, example = 24)]
    #[deserr(try_from(i64) = is_delivered -> Rule)]
    quantity: AdjustmentKind,
    #[schema(value_type = String, min_length = 1, max_length = 300, example = "delivery of Monday")]
    reason: Parsed<Note>,
    /// The client's id of the change. A repeat with the same id counts only once.
    #[schema(value_type = String, required = false, min_length = 1, max_length = 100)]
    #[deserr(default)]
    movement_id: Option<Parsed<MovementId>>,
}

/// Units that were spilled, broken or too old.
#[derive(Deserr, ToSchema)]
#[deserr(error = Invalid, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct WriteOff {
    #[schema(value_type = i64, minimum = 1, maximum = 100_000, example = 1)]
    #[deserr(try_from(i64) = is_written_off -> Rule)]
    quantity: AdjustmentKind,
    #[schema(value_type = String, min_length = 1, max_length = 300, example = "spilled")]
    reason: Parsed<Note>,
    /// The client's id of the change. A repeat with the same id counts only once.
    #[schema(value_type = String, required = false, min_length = 1, max_length = 100)]
    #[deserr(default)]
    movement_id: Option<Parsed<MovementId>>,
}

/// Units that were lost or found.
#[derive(Deserr, ToSchema)]
#[deserr(error = Invalid, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct Adjustment {
    /// Negative for lost units, positive for found units; not 0.
    #[schema(value_type = i64, minimum = -100_000, maximum = 100_000, example = 2)]
    #[deserr(try_from(i64) = is_corrected -> Rule)]
    change: AdjustmentKind,
    #[schema(value_type = String, min_length = 1, max_length = 300, example = "count of Sunday")]
    reason: Parsed<Note>,
    /// The client's id of the change. A repeat with the same id counts only once.
    #[schema(value_type = String, required = false, min_length = 1, max_length = 100)]
    #[deserr(default)]
    movement_id: Option<Parsed<MovementId>>,
}

/// Lists the stock counters of every product.
#[utoipa::path(
    get,
    path = RouteId::ListStock.path(),
    responses((status = 200, description = "The stock", body = Inventory))
)]
pub async fn inventory<P: Ports>(
    State(app): State<App<P>>,
    _staff: Extension<Staff>,
) -> Result<Json<Inventory>, Problem> {
    let products = app.stock().products().await?;
    let products = products.iter().map(StockView::of).collect();
    Ok(Json(Inventory { products }))
}

/// Adds units that a supplier delivered.
#[utoipa::path(
    post,
    path = RouteId::Restock.path(),
    request_body = Restock,
    responses((status = 200, description = "The stock after the change", body = StockView))
)]
pub async fn restock<P: Ports>(
    State(app): State<App<P>>,
    Path(product_id): Path<String>,
    Extension(staff): Extension<Staff>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<StockView>, Problem> {
    let body: Restock = request::body(&headers, &body)?;
    let (kind, reason) = (body.quantity, body.reason);
    change(&app, &product_id, staff, kind, reason, body.movement_id).await
}

/// Corrects the stock after a count.
#[utoipa::path(
    post,
    path = RouteId::AdjustStock.path(),
    request_body = Adjustment,
    responses((status = 200, description = "The stock after the change", body = StockView))
)]
pub async fn adjust<P: Ports>(
    State(app): State<App<P>>,
    Path(product_id): Path<String>,
    Extension(staff): Extension<Staff>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<StockView>, Problem> {
    let body: Adjustment = request::body(&headers, &body)?;
    let (kind, reason) = (body.change, body.reason);
    change(&app, &product_id, staff, kind, reason, body.movement_id).await
}

/// Removes units that were spilled, broken or too old.
#[utoipa::path(
    post,
    path = RouteId::WriteOffStock.path(),
    request_body = WriteOff,
    responses((status = 200, description = "The stock after the change", body = StockView))
)]
pub async fn write_off<P: Ports>(
    State(app): State<App<P>>,
    Path(product_id): Path<String>,
    Extension(staff): Extension<Staff>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<StockView>, Problem> {
    let body: WriteOff = request::body(&headers, &body)?;
    let (kind, reason) = (body.quantity, body.reason);
    change(&app, &product_id, staff, kind, reason, body.movement_id).await
}

/// Changes the stock according to the body, and returns the counters of the product.
async fn change<P: Ports>(
    app: &App<P>,
    product_id: &str,
    staff: Staff,
    kind: AdjustmentKind,
    Parsed(Note(reason)): Parsed<Note>,
    movement_id: Option<Parsed<MovementId>>,
) -> Result<Json<StockView>, Problem> {
    let change = StockChange {
        kind,
        reason,
        movement_id: movement_id.map(|Parsed(MovementId(id))| id),
    };
    let product = stock::adjust(app, product_id, change, staff.name).await?;
    Ok(Json(StockView::of(&product)))
}
