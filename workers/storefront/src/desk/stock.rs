//! Changes of the stock by staff, and the ledger of a product.

use std::time::Duration;

use app::ports::ledger::{Entry, Ledger as _};
use app::ports::stock::{
    Adjusted, Adjustment, AdjustmentKind, Adjustments as _, Catalogue as _, StockedProduct,
};
use app::ports::{Backend, Source as _};
use domain::FieldError;
use domain::access::Action;
use domain::customer::NAME_MAX;
use domain::ids::ProductId;
use domain::text::line;
use serde_json::json;
use uuid::Uuid;

use crate::audit;
use crate::ports::{Ports, within};
use crate::problem::{Kind, Problem};
use crate::state::App;

/// Maximum of units of one delivery or correction, against typing errors.
pub const UNITS_MAX: u32 = 100_000;
/// Maximum time for a stock change, retries included. It is shorter than the limit of a request, so
/// that the answer can name the movement id.
const ADJUSTED_WITHIN: Duration = Duration::from_secs(8);

/// Default number of ledger entries on a page.
pub const LEDGER_PAGE: u32 = 50;

/// A stock change as the client requested it.
pub struct StockChange {
    /// The kind and the number of units.
    pub kind: AdjustmentKind,
    /// Why the stock changes. A reason is required, because the ledger is read much later.
    pub reason: String,
    /// The client's id of the change, with which a repeat is counted once.
    pub movement_id: Option<String>,
}

/// Returns the change for units that were delivered, or `None` for an invalid number.
pub fn delivered(units: i64) -> Option<AdjustmentKind> {
    let units = u32::try_from(units).ok()?;
    (1..=UNITS_MAX)
        .contains(&units)
        .then_some(AdjustmentKind::Restock(units))
}

/// Returns the change for units that were lost (negative) or found, or `None` for an invalid
/// number.
pub fn corrected(units: i64) -> Option<AdjustmentKind> {
    (units != 0 && units.unsigned_abs() <= u64::from(UNITS_MAX))
        .then_some(AdjustmentKind::Correct(units))
}

/// Returns the change for units that were thrown away, or `None` for an invalid number.
pub fn written_off(units: i64) -> Option<AdjustmentKind> {
    (1..=i64::from(UNITS_MAX))
        .contains(&units)
        .then(|| AdjustmentKind::Correct(-units))
}

/// Returns a client's id of a change in its stored form.
///
/// # Errors
/// Returns a field error for a text that is not one short line.
pub fn movement_id(id: &str) -> Result<String, FieldError> {
    // `line` refuses texts that look like card numbers, and the digits of a UUID can match by
    // chance.
    match Uuid::parse_str(id) {
        Ok(_) => Ok(id.to_owned()),
        Err(_) => line("movement_id", id, NAME_MAX),
    }
}

/// Changes the stock, and records who did it and why in the ledger and the audit log.
///
/// # Errors
/// Returns 404 for an unknown product, and 409 when there are too few units. Returns 422 for a
/// movement id that was used for another change, and 503 with the movement id when the result is
/// unknown.
pub async fn adjust<P: Ports>(
    app: &App<P>,
    product_id: &str,
    change: StockChange,
    actor: String,
) -> Result<StockedProduct, Problem> {
    let product_id = ProductId::parse(product_id).map_err(|_| Problem::not_found())?;
    let source = app.ports.source();
    let movement_id = change
        .movement_id
        .unwrap_or_else(|| source.uuid().to_string());
    let adjustment = Adjustment {
        movement_id: movement_id.clone(),
        product_id,
        change: change.kind,
        actor,
        reason: change.reason,
        at: source.now(),
    };
    let adjusted = app.stock().adjust(&adjustment);
    let adjusted = within(ADJUSTED_WITHIN, Backend::Stock, adjusted).await;
    app.menu.forget();
    let adjusted = adjusted.flatten().map_err(|error| {
        let detail = format!(
            "We do not know yet whether the stock was changed. Send the same change again with movement_id \
             {movement_id}. It counts only once."
        );
        // With this id the client can repeat the change safely and search the ledger.
        Problem::uncertain(&error, detail).with(|body| body.movement_id = Some(movement_id))
    })?;
    match adjusted {
        Adjusted::Now(product) => {
            let (action, change) = match adjustment.change {
                AdjustmentKind::Restock(units) => (Action::ReceiveStock, i64::from(units)),
                AdjustmentKind::Correct(units) if units < 0 => (Action::WriteOffStock, units),
                AdjustmentKind::Correct(units) => (Action::CorrectStock, units),
            };
            let subject = format!("product/{}", adjustment.product_id);
            // The entry has no counters from before the change: after a repeat with the same
            // movement id they are unknown.
            let after = json!({ "change": change, "available": product.counters.available, "reason": adjustment.reason,
                "movement_id": adjustment.movement_id });
            // A repeat adds no second audit entry, and adds the first one if it was not written.
            let act_id = format!("stock/{}/{}", adjustment.product_id, adjustment.movement_id);
            audit::append(
                app,
                adjustment.actor,
                action,
                subject,
                Some(after),
                Some(act_id),
            )
            .await;
            Ok(product)
        }
        Adjusted::NoSuchProduct => Err(Problem::not_found()),
        Adjusted::IdReused => Err(Problem::field(
            "movement_id",
            "was used for another change; use a new id for this change",
        )),
        Adjusted::TooFew => Err(Problem::new(
            Kind::TooFew,
            "The stock has fewer units than this change removes. Check the stock and remove fewer units.",
        )
        .naming([FieldError::new("change", "removes more units than the stock has")])),
    }
}

/// Returns the text if it can be the id of a ledger entry: ids begin with the year of the entry.
pub fn ledger_cursor(text: &str) -> Option<&str> {
    /// Maximum length of an id: the longest reference has a hundred characters of up to four bytes.
    const BYTES_MAX: usize = 500;
    let legal = text.len() <= BYTES_MAX && text.starts_with(|first: char| first.is_ascii_digit());
    legal.then_some(text)
}

/// Returns a product and a page of its ledger, newest first.
///
/// # Errors
/// Returns 404 for an unknown product, and 503 when the stock cannot be read.
pub async fn ledger_page<P: Ports>(
    app: &App<P>,
    product_id: &str,
    before: Option<&str>,
    limit: u32,
) -> Result<(StockedProduct, Vec<Entry>), Problem> {
    let product_id = ProductId::parse(product_id).map_err(|_| Problem::not_found())?;
    let product = app
        .stock()
        .product(&product_id)
        .await?
        .ok_or_else(Problem::not_found)?;
    Ok((
        product,
        app.stock().entries(&product_id, before, limit).await?,
    ))
}
