//! The menu that a new shop starts with.

use anyhow::Context as _;
use app::ports::Source;
use app::ports::stock::Stock;
use domain::ids::ProductId;
use domain::menu::{Product, ProductType};
use domain::money::{Currency, Money};
use serde::Deserialize;

const MENU: &str = include_str!("../../seed/menu.json");

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

/// Adds what is missing of the menu and its first stock; what is there is left alone. Gives how many were added, and
/// how many there are.
pub async fn seed(stock: &impl Stock, source: &impl Source) -> anyhow::Result<(usize, usize)> {
    let menu = menu()?;
    let mut added = 0;
    for entry in &menu {
        let product = Product {
            product_id: entry.product_id.clone(),
            name: entry.name.clone(),
            description: entry.description.clone(),
            kind: entry.kind,
            price: Money::new(entry.price_minor, entry.currency),
            image_url: format!("/static/images/{}", entry.image),
        };
        let new = stock.add_product(&product, entry.received, entry.low_stock_threshold, source.now()).await;
        added += usize::from(new.with_context(|| format!("add {} to the menu", entry.product_id))?);
    }
    Ok((added, menu.len()))
}

fn menu() -> anyhow::Result<Vec<Entry>> {
    serde_json::from_str(MENU).context("read seed/menu.json")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_menu_is_one_that_a_shop_could_open_with() {
        let menu = menu().expect("readable");
        let kinds: BTreeSet<_> = menu.iter().map(|entry| entry.kind).collect();
        let ids: BTreeSet<_> = menu.iter().map(|entry| &entry.product_id).collect();
        assert!(menu.len() >= 15 && kinds.len() == ProductType::ALL.len() && ids.len() == menu.len());
        assert!(menu.iter().any(|entry| entry.received == 0), "one is sold out");
        let low = |entry: &&Entry| entry.received > 0 && i64::from(entry.received) <= entry.low_stock_threshold;
        assert!(menu.iter().filter(low).count() >= 2, "some are low");
        assert!(menu.iter().all(|entry| entry.price_minor > 0 && !entry.description.is_empty()));
    }
}
