//! Routes for staff about the history of stock: the ledger of a product, and reorder suggestions.

use std::collections::HashMap;

use app::ports::ledger::{ENTRIES_MAX, Entry};
use app::use_cases::suggest_reorders::{DAYS, DAYS_MAX, Reorder, suggest_reorders};
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use contract::route::RouteId;
use domain::ids::ProductId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::desk::stock::{LEDGER_PAGE, ledger_cursor, ledger_page};
use crate::ports::Ports;
use crate::problem::Problem;
use crate::request;
use crate::staff::Staff;
use crate::state::App;
use crate::text::time_text;

/// A page of a product's ledger.
#[derive(Serialize, ToSchema)]
#[schema(as = Ledger)]
pub struct LedgerView {
    #[schema(value_type = String, example = "flat-white")]
    product_id: ProductId,
    entries: Vec<LedgerEntry>,
    /// The value of `before` for the next page, or null on the last page.
    next_before: Option<String>,
}

/// A ledger entry.
#[derive(Serialize, ToSchema)]
pub struct LedgerEntry {
    entry_id: String,
    #[schema(example = "reserve")]
    kind: &'static str,
    units: u32,
    /// The change of the available units.
    available_change: i64,
    /// The order id, or the movement id of a change by staff.
    reference: String,
    actor: String,
    note: Option<String>,
    #[schema(format = DateTime)]
    at: String,
}

impl LedgerEntry {
    fn of(entry: &Entry) -> LedgerEntry {
        LedgerEntry {
            entry_id: entry.entry_id.clone(),
            kind: entry.movement.code(),
            units: entry.movement.units(),
            available_change: entry.movement.delta().available,
            reference: entry.reference.clone(),
            actor: entry.actor.clone(),
            note: entry.note.clone(),
            at: time_text(entry.at),
        }
    }
}

/// Lists the ledger entries of a product, newest first.
#[utoipa::path(
    get,
    path = RouteId::ReadLedger.path(),
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200),
        ("before" = Option<String>, Query, description = "Only entries before this one"),
    ),
    responses((status = 200, description = "The entries", body = LedgerView))
)]
pub async fn entries<P: Ports>(
    State(app): State<App<P>>,
    Path(product_id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    _staff: Extension<Staff>,
) -> Result<Json<LedgerView>, Problem> {
    let (mut limit, mut before) = (LEDGER_PAGE, None);
    let rule =
        format!("is unknown or invalid; use limit (1-{ENTRIES_MAX}) or before (an entry's id)");
    request::query(&query, &rule, |name, value| {
        match name {
            "limit" => limit = request::number(value, ENTRIES_MAX)?,
            "before" => before = Some(ledger_cursor(value)?.to_owned()),
            _ => return None,
        }
        Some(())
    })?;
    let (product, entries) = ledger_page(&app, &product_id, before.as_deref(), limit).await?;
    let is_full = entries.len() == limit as usize;
    let last = entries.last().filter(|_| is_full);
    Ok(Json(LedgerView {
        product_id: product.product.product_id,
        entries: entries.iter().map(LedgerEntry::of).collect(),
        next_before: last.map(|entry| entry.entry_id.clone()),
    }))
}

/// Reorder suggestions.
#[derive(Serialize, ToSchema)]
pub struct Suggestions {
    /// The number of days over which sales are counted.
    days: u32,
    suggestions: Vec<SuggestionView>,
}

/// The suggested order of one product.
#[derive(Serialize, ToSchema)]
#[schema(as = Suggestion)]
pub struct SuggestionView {
    #[schema(value_type = String, example = "flat-white")]
    product_id: ProductId,
    #[schema(example = "Flat white")]
    name: String,
    available: i64,
    low_stock_threshold: i64,
    units_sold: i64,
    /// The number of days in which these units were sold.
    over_days: f64,
    sold_per_day: f64,
    /// Days until the product is sold out, or null without sales.
    days_left: Option<f64>,
    suggested_quantity: i64,
}

impl SuggestionView {
    fn of(reorder: &Reorder) -> SuggestionView {
        /// Rounds to two digits, because past sales do not predict more precisely.
        fn rounded(number: f64) -> f64 {
            (number * 100.0).round() / 100.0
        }
        let Reorder {
            product,
            sales,
            suggestion,
        } = reorder;
        SuggestionView {
            product_id: product.product.product_id.clone(),
            name: product.product.name.clone(),
            available: product.counters.available,
            low_stock_threshold: product.low_stock_threshold,
            units_sold: sales.units,
            over_days: rounded(sales.over.as_seconds_f64() / 86_400.0),
            sold_per_day: rounded(suggestion.sold_per_day),
            days_left: suggestion.days_left.map(rounded),
            suggested_quantity: suggestion.quantity,
        }
    }
}

/// Lists reorder suggestions, most urgent first.
#[utoipa::path(
    get,
    path = RouteId::ListSuggestions.path(),
    params(("days" = Option<u32>, Query, minimum = 1, maximum = 90,
        description = "The number of days over which sales are counted")),
    responses((status = 200, description = "The suggestions", body = Suggestions))
)]
pub async fn suggestions<P: Ports>(
    State(app): State<App<P>>,
    Query(query): Query<HashMap<String, String>>,
    _staff: Extension<Staff>,
) -> Result<Json<Suggestions>, Problem> {
    let mut days = DAYS;
    let rule = format!("is unknown or invalid; use days (1-{DAYS_MAX})");
    request::query(&query, &rule, |name, value| {
        days = request::number(value, DAYS_MAX).filter(|_| name == "days")?;
        Some(())
    })?;
    let reorders = suggest_reorders(
        app.stock(),
        app.ports.source(),
        &app.settings.shops.home().hours,
        days,
    )
    .await?;
    Ok(Json(Suggestions {
        days,
        suggestions: reorders.iter().map(SuggestionView::of).collect(),
    }))
}
