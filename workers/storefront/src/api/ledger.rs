//! Routes for staff about stock: the ledger of a product, and reorder suggestions.

use std::collections::HashMap;

use app::ports::ledger::{ENTRIES_MAX, Entry, Ledger as _};
use app::ports::stock::{Catalogue as _, StockedProduct};
use app::use_cases::suggest_reorders::{DAYS, DAYS_MAX, Reorder, suggest_reorders};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use domain::FieldError;
use domain::ids::ProductId;
use serde_json::{Value, json};

use super::orders::time_text;
use super::staff_only;
use crate::problem::Problem;
use crate::{App, Ports};

/// Default number of ledger entries on a page.
pub const PAGE: u32 = 50;

/// Lists the ledger entries of a product, newest first.
pub async fn entries<P: Ports>(
    State(app): State<App<P>>,
    Path(product_id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    staff_only(&app, &headers)?;
    let (mut limit, mut before, mut errors) = (PAGE, None, Vec::new());
    for (name, value) in &query {
        let good = match name.as_str() {
            "limit" => {
                let asked = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=ENTRIES_MAX).contains(limit));
                asked.map(|asked| limit = asked).is_some()
            }
            "before" => cursor(value)
                .map(|entry_id| before = Some(entry_id))
                .is_some(),
            _ => false,
        };
        if !good {
            errors.push(FieldError::new(
                name,
                "must be limit (1 to 200) or before (an entry's id), each legal",
            ));
        }
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let (product, entries) = page(&app, &product_id, before, limit).await?;
    let next = (entries.len() == limit as usize)
        .then(|| entries.last().map(|entry| &entry.entry_id))
        .flatten();
    Ok(Json(json!({
        "product_id": product.product.product_id,
        "entries": entries.iter().map(shown).collect::<Vec<_>>(),
        "next_before": next,
    })))
}

/// Returns the text if it can be the id of a ledger entry: ids begin with the year of the entry.
pub fn cursor(text: &str) -> Option<&str> {
    /// Maximum length of an id: the longest reference has a hundred characters of up to four bytes.
    const BYTES_MAX: usize = 500;
    let legal = text.len() <= BYTES_MAX && text.starts_with(|first: char| first.is_ascii_digit());
    legal.then_some(text)
}

/// Returns a product and a page of its ledger, newest first.
///
/// # Errors
/// Returns 404 for an unknown product, and 503 when the stock cannot be read.
pub async fn page<P: Ports>(
    app: &App<P>,
    product_id: &str,
    before: Option<&str>,
    limit: u32,
) -> Result<(StockedProduct, Vec<Entry>), Problem> {
    let product_id = ProductId::parse(product_id).map_err(|_| Problem::not_found())?;
    let product = app
        .ports
        .stock()
        .product(&product_id)
        .await?
        .ok_or_else(Problem::not_found)?;
    Ok((
        product,
        app.ports
            .stock()
            .entries(&product_id, before, limit)
            .await?,
    ))
}

fn shown(entry: &Entry) -> Value {
    let delta = entry.movement.delta();
    json!({
        "entry_id": entry.entry_id,
        "kind": entry.movement.code(),
        "units": entry.movement.units(),
        "available_change": delta.available,
        "reference": entry.reference,
        "actor": entry.actor,
        "note": entry.note,
        "at": time_text(entry.at),
    })
}

/// Lists reorder suggestions, most urgent first.
pub async fn suggestions<P: Ports>(
    State(app): State<App<P>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    staff_only(&app, &headers)?;
    let (mut days, mut errors) = (DAYS, Vec::new());
    for (name, value) in &query {
        let asked = value
            .parse()
            .ok()
            .filter(|days| name == "days" && (1..=DAYS_MAX).contains(days));
        match asked {
            Some(asked) => days = asked,
            None => errors.push(FieldError::new(
                name,
                format!("must be days, a whole number from 1 to {DAYS_MAX}"),
            )),
        }
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let reorders = suggest_reorders(
        app.ports.stock(),
        app.ports.source(),
        &app.settings.shops.home().hours,
        days,
    )
    .await?;
    Ok(Json(
        json!({ "days": days, "suggestions": reorders.iter().map(suggested).collect::<Vec<_>>() }),
    ))
}

fn suggested(reorder: &Reorder) -> Value {
    /// Rounds to two digits, because past sales do not predict more precisely.
    fn rounded(number: f64) -> f64 {
        (number * 100.0).round() / 100.0
    }
    let Reorder {
        product,
        sales,
        suggestion,
    } = reorder;
    json!({
        "product_id": product.product.product_id,
        "name": product.product.name,
        "available": product.counters.available,
        "low_stock_threshold": product.low_stock_threshold,
        "units_sold": sales.units,
        "over_days": rounded(sales.over.as_seconds_f64() / 86_400.0),
        "sold_per_day": rounded(suggestion.sold_per_day),
        "days_left": suggestion.days_left.map(rounded),
        "suggested_quantity": suggestion.quantity,
    })
}
