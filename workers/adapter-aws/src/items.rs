//! Conversion between DynamoDB items and domain types. Attribute names are part of the public
//! contract.

use std::collections::HashMap;

use app::ports::stock::StockedProduct;
use app::ports::{Backend, StoreError};
use aws_sdk_dynamodb::types::AttributeValue;
use domain::Timestamp;
use domain::cart::{Line, Lines, Quantity};
use domain::ids::ProductId;
use domain::menu::{Product, ProductType};
use domain::money::{Currency, Money};
use domain::stock::Counters;
use domain::text::{printable, shown};
use time::format_description::well_known::Rfc3339;

/// A DynamoDB item.
pub type Item = HashMap<String, AttributeValue>;

/// Returns a text attribute.
pub fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// Returns a number attribute.
pub fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Returns a time in RFC 3339 with microseconds.
pub fn time_text(at: Timestamp) -> String {
    // Fixed width and UTC, so that the text sorts by time in an index.
    let format = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
    );
    at.to_offset(time::UtcOffset::UTC)
        .format(format)
        .unwrap_or_default()
}

/// Returns a time attribute.
pub fn time_value(at: Timestamp) -> AttributeValue {
    text(time_text(at))
}

/// Returns a text attribute of an item, or `None` if it is missing or has another type.
pub fn get_text(item: &Item, name: &str) -> Option<String> {
    item.get(name)?.as_s().ok().cloned()
}

/// Returns an integer attribute of an item, or `None` if it is missing or has another type.
pub fn get_number(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// Returns a time attribute of an item, or `None` if it is missing or has another type.
pub fn get_time(item: &Item, name: &str) -> Option<Timestamp> {
    Timestamp::parse(&get_text(item, name)?, &Rfc3339).ok()
}

/// Makes an item of its attributes.
pub fn item_of<const N: usize>(attributes: [(&str, AttributeValue); N]) -> Item {
    attributes
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

/// Returns the error for an item with an invalid attribute.
pub fn corrupt(what: &str) -> StoreError {
    StoreError::new(Backend::Stock, format!("an item lacks a legal {what}"))
}

/// Returns the item of a new product.
pub fn product_item(product: &Product, received: u32, threshold: i64, now: Timestamp) -> Item {
    let counters = Counters::received(received);
    item_of([
        ("product_id", text(product.product_id.as_str())),
        ("name", text(&product.name)),
        ("description", text(&product.description)),
        ("type", text(product.kind.code())),
        ("price_minor", number(product.price.minor)),
        ("currency", text(product.price.currency.code())),
        ("image_url", text(&product.image_url)),
        ("available", number(counters.available)),
        ("reserved", number(counters.reserved)),
        ("sold", number(counters.sold)),
        ("written_off", number(counters.written_off)),
        ("received", number(counters.received)),
        ("low_stock_threshold", number(threshold)),
        ("last_restocked", time_value(now)),
        ("version", number(1)),
        ("created_at", time_value(now)),
        ("updated_at", time_value(now)),
    ])
}

/// Returns a name that is safe on a page, in a mail and in its subject. Items can come from
/// suppliers' lists or be written by hand. Returns `None` if nothing printable is left.
fn name(text: &str) -> Option<String> {
    let name = printable(text).trim().to_owned();
    (!name.is_empty()).then_some(name)
}

/// Reads a product with its counters.
///
/// # Errors
/// Returns `StoreError` when an attribute is missing or invalid.
pub fn stocked_product(item: &Item) -> Result<StockedProduct, StoreError> {
    let text = |name| get_text(item, name).ok_or_else(|| corrupt(name));
    let number = |name| get_number(item, name).ok_or_else(|| corrupt(name));
    let currency = Currency::from_code(&text("currency")?).ok_or_else(|| corrupt("currency"))?;
    Ok(StockedProduct {
        product: Product {
            product_id: ProductId::parse(&text("product_id")?)
                .map_err(|_| corrupt("product_id"))?,
            name: name(&text("name")?).ok_or_else(|| corrupt("name"))?,
            description: shown(text("description")?),
            kind: ProductType::from_code(&text("type")?).ok_or_else(|| corrupt("type"))?,
            price: Money::new(number("price_minor")?, currency),
            image_url: text("image_url")?,
        },
        counters: Counters {
            available: number("available")?,
            reserved: number("reserved")?,
            sold: number("sold")?,
            written_off: number("written_off")?,
            received: number("received")?,
        },
        low_stock_threshold: number("low_stock_threshold")?,
        version: number("version")?,
        last_restocked: get_time(item, "last_restocked"),
    })
}

/// Returns the lines of a reservation as a map from product to quantity.
pub fn lines_value(lines: &Lines) -> AttributeValue {
    let units = lines.iter().map(|line| {
        (
            line.product_id.to_string(),
            number(i64::from(line.quantity.get())),
        )
    });
    AttributeValue::M(units.collect())
}

/// Reads the lines of a reservation, sorted by product.
///
/// # Errors
/// Returns `StoreError` when a line is invalid.
pub fn get_lines(item: &Item) -> Result<Vec<Line>, StoreError> {
    // The record of an order that was released before it was reserved has no lines.
    let Some(AttributeValue::M(units)) = item.get("lines") else {
        return Ok(Vec::new());
    };
    let mut lines = units
        .iter()
        .map(|(product_id, count)| {
            let count = count
                .as_n()
                .ok()
                .and_then(|count| count.parse().ok())
                .and_then(Quantity::new);
            Ok(Line {
                product_id: ProductId::parse(product_id).map_err(|_| corrupt("line"))?,
                quantity: count.ok_or_else(|| corrupt("line"))?,
            })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    lines.sort_by(|a, b| a.product_id.cmp(&b.product_id));
    Ok(lines)
}
