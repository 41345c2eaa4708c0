//! Stock alerts, for the inventory worker: staff are notified once when a product falls to its
//! threshold, and once when it is sold out.
//!
//! Each observation is stored with the version of the product, in the transaction that writes the
//! alert. A stream record that is read again, by this worker or by one that overlaps with it, is
//! therefore recognized as old. After stream records were lost, [`rebuild`] compares the table with
//! the stored observations.

use contract::messages::Message;
use domain::ids::EventId;
use domain::stock::Availability;
use uuid::Uuid;

use super::{CONFLICTS_MAX, Maker};
use crate::ports::stock::{Catalogue, StockChange, StockedProduct};
use crate::ports::stock_watch::{Seen, StockWatch};
use crate::ports::{Backend, Source, StoreError};

/// Handles one stream record. Returns the level of the alert, if the record caused one.
///
/// # Errors
/// [`StoreError`] when the observations cannot be read or written, or keep changing.
pub async fn watch_record(
    watch: &impl StockWatch,
    source: &impl Source,
    maker: &Maker,
    change: &StockChange,
) -> Result<Option<Availability>, StoreError> {
    let Some(after) = &change.after else {
        return Ok(None);
    };
    // A new product counts as in stock before, so that a product that is added as sold out causes
    // an alert.
    let before = change
        .before
        .as_ref()
        .map_or(Availability::InStock, StockedProduct::availability);
    let now = seen(after);
    // Most changes do not change the level. They need no access to the store.
    if before == now.level {
        return Ok(None);
    }
    for _ in 0..CONFLICTS_MAX {
        let known = watch.seen(&after.product.product_id).await?;
        if known.is_some_and(|known| known.version >= now.version) {
            return Ok(None);
        }
        let told = before.worsened_to(now.level);
        if take_in(watch, source, maker, after, known, told).await? {
            return Ok(told);
        }
    }
    Err(StoreError::new(
        Backend::Stock,
        "the record of a product keeps changing",
    ))
}

/// Reads the whole products table, after records of the stream were lost. Returns the number of
/// alerts.
///
/// An alert is sent for every product whose level got worse since the last observation. Another one
/// is sent for a product that was delivered since and has fallen to the same level again.
///
/// # Errors
/// [`StoreError`] when the table or the observations cannot be read or written, or keep changing.
pub async fn rebuild(
    watch: &impl StockWatch,
    stock: &impl Catalogue,
    source: &impl Source,
    maker: &Maker,
) -> Result<u64, StoreError> {
    let mut told = 0;
    for product in stock.products().await? {
        told += u64::from(look_at(watch, stock, source, maker, &product).await?);
    }
    Ok(told)
}

/// Compares one product with its last observation. Returns whether an alert was sent.
async fn look_at(
    watch: &impl StockWatch,
    stock: &impl Catalogue,
    source: &impl Source,
    maker: &Maker,
    product: &StockedProduct,
) -> Result<bool, StoreError> {
    let product_id = &product.product.product_id;
    for _ in 0..CONFLICTS_MAX {
        let known = watch.seen(product_id).await?;
        // The product is read after the observation. A product with a lower version than the
        // observation must then come from a restored backup, in which versions are used a second
        // time.
        let Some(product) = stock.product(product_id).await? else {
            return Ok(false);
        };
        let now = seen(&product);
        let before = known.map_or(Availability::InStock, |known| known.level);
        let delivered = known.is_some_and(|known| now.received > known.received);
        let again = (delivered && now.level == before && now.level != Availability::InStock)
            .then_some(now.level);
        let told = before.worsened_to(now.level).or(again);
        let restored = known.is_some_and(|known| known.version > now.version);
        if told.is_none() && !restored && known.is_some_and(|known| known.level == now.level) {
            return Ok(false);
        }
        if take_in(watch, source, maker, &product, known, told).await? {
            return Ok(told.is_some());
        }
    }
    Err(StoreError::new(
        Backend::Stock,
        "the record of a product keeps changing",
    ))
}

/// Stores the observation of a product, with an alert if `told` is a level. Returns false when
/// another process stored one first.
async fn take_in(
    watch: &impl StockWatch,
    source: &impl Source,
    maker: &Maker,
    product: &StockedProduct,
    known: Option<Seen>,
    told: Option<Availability>,
) -> Result<bool, StoreError> {
    let now = seen(product);
    let product_id = &product.product.product_id;
    let alert = told.map(|level| {
        let message = Message::StockLevelReached {
            product_id: product_id.to_string(),
            name: product.product.name.clone(),
            level,
            available: product.counters.available,
            low_stock_threshold: product.low_stock_threshold,
        };
        maker.envelope_with(crossing_id(product, level), source.now(), None, message)
    });
    watch
        .remember(product_id, known, now, alert.as_ref(), source.now())
        .await
}

/// Returns the observation of a product.
fn seen(product: &StockedProduct) -> Seen {
    Seen {
        version: product.version,
        level: product.availability(),
        received: product.counters.received,
    }
}

/// Returns the event id of an alert. It is derived from the product and its version, so that a
/// repeated alert is a duplicate.
fn crossing_id(product: &StockedProduct, level: Availability) -> EventId {
    /// The namespace of these ids, which nothing else uses.
    const NAMESPACE: Uuid = Uuid::from_u128(0x6272_6577_2d68_6176_656e_2d73_746f_636b);
    let name = format!(
        "crossing/{}/{}/{}",
        product.product.product_id,
        product.version,
        level.code()
    );
    EventId(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
}

#[cfg(test)]
mod tests;
