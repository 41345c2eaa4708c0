//! The inventory worker: staff are told once when a product falls to its threshold, and once when it is sold out.

use contract::messages::Message;
use domain::ids::EventId;
use domain::stock::Availability;
use uuid::Uuid;

use super::Maker;
use super::run_saga::Apply;
use crate::ports::orders::{Applied, Change};
use crate::ports::stock::{Stock, StockedProduct};
use crate::ports::stream::StockRecord;
use crate::ports::{Source, Unavailable};

/// Takes in one change of a product; gives the level that staff were told of, if they were told now.
pub async fn watch_record(
    applier: &impl Apply,
    source: &impl Source,
    maker: &Maker,
    record: &StockRecord,
) -> Result<Option<Availability>, Unavailable> {
    let Some(after) = &record.after else { return Ok(None) };
    // A new product is expected to be there, so that one that comes sold out is news.
    let before = record.before.as_ref().map_or(Availability::InStock, StockedProduct::availability);
    let Some(level) = before.worsened_to(after.availability()) else { return Ok(None) };
    if record.before.is_none() {
        // A product's first record says no more than a look at the table: whichever comes first tells it.
        return Ok(tell(applier, source, maker, after, level, rebuild_id(after, level)).await?.then_some(level));
    }
    let told = tell(applier, source, maker, after, level, crossing_id(after)).await?;
    // So that a later rebuild, which cannot know of this crossing, does not tell it again.
    remember(applier, source, maker, rebuild_id(after, level)).await?;
    Ok(told.then_some(level))
}

/// Reads the whole table, after records of the stream were lost: tells what is low or out and was not told since the
/// product was last restocked or corrected. Gives how many were told.
pub async fn rebuild(
    applier: &impl Apply,
    stock: &impl Stock,
    source: &impl Source,
    maker: &Maker,
) -> Result<u64, Unavailable> {
    let mut told = 0;
    for product in stock.products().await? {
        let level = product.availability();
        if level != Availability::InStock {
            told += u64::from(tell(applier, source, maker, &product, level, rebuild_id(&product, level)).await?);
        }
    }
    Ok(told)
}

async fn tell(
    applier: &impl Apply,
    source: &impl Source,
    maker: &Maker,
    product: &StockedProduct,
    level: Availability,
    event_id: EventId,
) -> Result<bool, Unavailable> {
    let message = Message::StockLevelReached {
        product_id: product.product.product_id.to_string(),
        name: product.product.name.clone(),
        level: level.code().to_owned(),
        available: product.counters.available,
        low_stock_threshold: product.low_stock_threshold,
    };
    let change = Change {
        consumer: maker.role,
        event_id,
        order: None,
        payment: None,
        outbox: vec![maker.envelope_with(event_id, source.now(), None, message)],
        at: source.now(),
        delivery: None,
    };
    Ok(applier.apply_one(change).await? == Applied::Applied)
}

async fn remember(
    applier: &impl Apply,
    source: &impl Source,
    maker: &Maker,
    event_id: EventId,
) -> Result<(), Unavailable> {
    let change = Change {
        consumer: maker.role,
        event_id,
        order: None,
        payment: None,
        outbox: Vec::new(),
        at: source.now(),
        delivery: None,
    };
    applier.apply_one(change).await.map(|_| ())
}

/// One crossing has one id, however often its record is read.
fn crossing_id(product: &StockedProduct) -> EventId {
    derived_id(&format!("crossing/{}/{}", product.product.product_id, product.version))
}

fn rebuild_id(product: &StockedProduct, level: Availability) -> EventId {
    let counters = product.counters;
    let name = format!(
        "rebuild/{}/{}/{}/{}",
        product.product.product_id,
        level.code(),
        counters.received,
        counters.written_off
    );
    derived_id(&name)
}

fn derived_id(name: &str) -> EventId {
    /// Ours alone: the ids derived in it meet no others.
    const NAMESPACE: Uuid = Uuid::from_u128(0x6272_6577_2d68_6176_656e_2d73_746f_636b);
    EventId(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
}
