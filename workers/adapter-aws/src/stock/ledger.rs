//! The ledger of stock in DynamoDB: one item per entry, under its product and sorted by time.
//!
//! The same table has a marker item for each adjustment that was made, so that an adjustment is
//! made once. The sort key of a marker begins with a letter and that of an entry with a year, so
//! all entries sort before all markers.

use app::ports::ledger::{ENTRIES_MAX, Entry, Hold, Ledger};
use app::ports::{Backend, StoreError};
use contract::cause::chain;
use domain::ids::ProductId;
use domain::stock::Movement;
use domain::text::{printable, shown};

use super::{DynamoStock, record_of};
use crate::items::{
    Item, corrupt, get_number, get_text, get_time, item_of, number, text, time_value,
};
use crate::tables::Readable;

/// The character after `9`: every entry's key is smaller.
const AFTER_ENTRIES: &str = ":";

/// Returns the sort key of an adjustment's marker.
pub(super) fn marker_key(movement_id: &str) -> String {
    format!("id#{movement_id}")
}

/// Returns the item of a ledger entry.
pub(super) fn entry_item(entry: &Entry) -> Item {
    let mut item = item_of([
        ("product_id", text(entry.product_id.as_str())),
        ("movement_id", text(&entry.entry_id)),
        ("kind", text(entry.movement.code())),
        ("units", number(i64::from(entry.movement.units()))),
        ("reference", text(&entry.reference)),
        ("actor", text(&entry.actor)),
        ("at", time_value(entry.at)),
    ]);
    if let Some(note) = &entry.note {
        item.insert("note".to_owned(), text(note));
    }
    item
}

fn entry(item: &Item) -> Result<Entry, StoreError> {
    let text = |name| get_text(item, name).ok_or_else(|| corrupt(name));
    let units = get_number(item, "units").and_then(|units| u32::try_from(units).ok());
    let movement = Movement::from_code(&text("kind")?, units.ok_or_else(|| corrupt("units"))?);
    Ok(Entry {
        entry_id: text("movement_id")?,
        product_id: ProductId::parse(&text("product_id")?).map_err(|_| corrupt("product_id"))?,
        movement: movement.ok_or_else(|| corrupt("kind"))?,
        reference: printable(&text("reference")?),
        actor: shown(text("actor")?),
        note: get_text(item, "note").map(shown),
        at: get_time(item, "at").ok_or_else(|| corrupt("at"))?,
    })
}

fn hold(item: &Item) -> Result<Hold, StoreError> {
    let order_id = get_text(item, "reservation_id").and_then(|id| id.parse().ok());
    let record = record_of(item)?;
    Ok(Hold {
        order_id: order_id.ok_or_else(|| corrupt("reservation_id"))?,
        state: record.state,
        lines: record.lines,
    })
}

/// Reads an item, or logs it and returns `None`. An item that was written by hand may be invalid,
/// and must not hide the others.
fn readable<T>(item: &Item, read: fn(&Item) -> Result<T, StoreError>) -> Option<T> {
    read(item)
        .inspect_err(
            |error| tracing::error!(error = %chain(error), "An invalid item of the stock ledger was skipped"),
        )
        .ok()
}

impl<R: Readable> Ledger for DynamoStock<R> {
    async fn entries(
        &self,
        product_id: &ProductId,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        let page = self
            .tables
            .movements
            .as_read()
            .query(&self.client)
            .key_condition_expression("product_id = :product AND movement_id < :before")
            .expression_attribute_values(":product", text(product_id.as_str()))
            .expression_attribute_values(":before", text(before.unwrap_or(AFTER_ENTRIES)))
            .scan_index_forward(false)
            .consistent_read(true)
            .limit(i32::try_from(limit.clamp(1, ENTRIES_MAX)).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| StoreError::new(Backend::Stock, crate::cause(error)))?;
        Ok(page
            .items()
            .iter()
            .filter_map(|item| readable(item, entry))
            .collect())
    }

    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        let table = self.tables.reservations.as_read();
        let items = table.scan(&self.client, Backend::Stock).await?;
        Ok(items
            .iter()
            .filter_map(|item| readable(item, hold))
            .collect())
    }
}
