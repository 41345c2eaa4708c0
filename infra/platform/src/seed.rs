//! Adds the menu of a new shop, with its first stock, to the products table.

use anyhow::Context as _;
use app::ports::Source;
use app::ports::stock::Stock;
use domain::ids::ProductId;
use domain::menu::{Product, ProductType};
use domain::money::{Currency, Money};
use serde::Deserialize;
use serde_json::json;
use worker::stores::{Store, SystemSource};

use crate::audit::{Act, operator};

const MENU: &str = include_str!("../seed/menu.json");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    product_id: ProductId,
    name: String,
    description: String,
    #[serde(rename = "type")]
    kind: ProductType,
    price_minor: i64,
    currency: Currency,
    image: String,
    received: u32,
    low_stock_threshold: i64,
}

/// The result of seeding.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seeded {
    /// Products that were missing and were added with their first stock.
    pub added: Vec<ProductId>,
    /// How many products the menu has.
    pub all: usize,
}

/// Adds the missing products of the menu with their first stock, and records them in the audit log.
///
/// # Errors
/// When a product cannot be added, or the audit row cannot be written. Products that were added
/// before the failure are recorded.
pub async fn seed_and_record(stock: &impl Stock, store: &Store) -> anyhow::Result<Seeded> {
    let mut seeded = Seeded::default();
    let outcome = seed(stock, &SystemSource, &mut seeded).await;
    let recorded = record(&seeded, store).await;
    outcome.and(recorded)?;
    Ok(seeded)
}

/// Adds the missing products of the menu with their first stock, and does not change existing ones.
/// `seeded` is updated after each product, so it is correct after a failure too.
///
/// # Errors
/// When a product cannot be added.
pub async fn seed(
    stock: &impl Stock,
    source: &impl Source,
    seeded: &mut Seeded,
) -> anyhow::Result<()> {
    let menu = menu()?;
    seeded.all = menu.len();
    for entry in menu {
        let product = Product {
            product_id: entry.product_id.clone(),
            name: entry.name,
            description: entry.description,
            kind: entry.kind,
            price: Money::new(entry.price_minor, entry.currency),
            image_url: format!("/static/images/{}", entry.image),
        };
        let new = stock
            .add_product(
                &product,
                entry.received,
                entry.low_stock_threshold,
                source.now(),
            )
            .await;
        if new.with_context(|| format!("add {} to the menu", entry.product_id))? {
            seeded.added.push(entry.product_id);
        }
    }
    Ok(())
}

async fn record(seeded: &Seeded, store: &Store) -> anyhow::Result<()> {
    if seeded.added.is_empty() {
        return Ok(());
    }
    let added: Vec<_> = seeded.added.iter().map(ToString::to_string).collect();
    let after = json!({ "added": added });
    let act = Act::new(&operator(), "menu.seed", "menu").after(&after);
    act.append(store).await
}

fn menu() -> anyhow::Result<Vec<Entry>> {
    serde_json::from_str(MENU).context("read seed/menu.json")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_menu_has_every_kind_of_product_and_every_stock_state() {
        let menu = menu().expect("readable");
        let kinds: BTreeSet<_> = menu.iter().map(|entry| entry.kind).collect();
        let ids: BTreeSet<_> = menu.iter().map(|entry| &entry.product_id).collect();
        assert!(
            menu.len() >= 15 && kinds.len() == ProductType::ALL.len() && ids.len() == menu.len()
        );
        assert!(
            menu.iter().any(|entry| entry.received == 0),
            "one is sold out"
        );
        let low = |entry: &&Entry| {
            entry.received > 0 && i64::from(entry.received) <= entry.low_stock_threshold
        };
        assert!(menu.iter().filter(low).count() >= 2, "some are low");
        assert!(
            menu.iter()
                .all(|entry| entry.price_minor > 0 && !entry.description.is_empty())
        );
    }
}
