//! DynamoDB tables: products, stock holds, ledger entries, stream leases and order views.

/// The type of a key attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    Text,
    Number,
}

/// A key attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub attribute: &'static str,
    pub kind: KeyType,
}

/// A global secondary index that projects all attributes.
#[derive(Debug, PartialEq, Eq)]
pub struct Index {
    pub name: &'static str,
    pub partition: Key,
    pub sort: Option<Key>,
}

/// A DynamoDB table.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// The logical name of the table.
    pub slug: &'static str,
    /// The content of the table.
    pub about: &'static str,
    pub partition: Key,
    pub sort: Option<Key>,
    pub indexes: &'static [Index],
    /// Whether the table has a stream with new and old images.
    pub stream: bool,
    /// The attribute with the time at which an item expires. Nothing depends on when DynamoDB
    /// deletes an expired item.
    pub ttl_attribute: Option<&'static str>,
}

/// Returns a key attribute that contains text.
const fn text(attribute: &'static str) -> Key {
    Key {
        attribute,
        kind: KeyType::Text,
    }
}

/// Returns a key attribute that contains a number.
const fn number(attribute: &'static str) -> Key {
    Key {
        attribute,
        kind: KeyType::Number,
    }
}

/// The products with their stock counters.
pub const PRODUCTS: Table = Table {
    slug: "products",
    about: "The menu and the five stock counters of each product",
    partition: text("product_id"),
    sort: None,
    indexes: &[],
    stream: true,
    ttl_attribute: None,
};

/// The index that finds stock holds past their expiry. The index is sparse: a reservation has the
/// key attributes only while its units are reserved.
pub const HELD_BY_EXPIRY: Index = Index {
    name: "held-by-expiry",
    partition: number("held_shard"),
    sort: Some(text("expires_at")),
};

/// Number of partitions of [`HELD_BY_EXPIRY`]. Several partitions distribute the writes, because
/// every order writes to the index.
pub const HELD_SHARDS: u32 = 8;

/// The stock holds.
pub const RESERVATIONS: Table = Table {
    slug: "reservations",
    about: "The stock hold of each order: held, confirmed or released",
    partition: text("reservation_id"),
    sort: None,
    indexes: &[HELD_BY_EXPIRY],
    stream: false,
    ttl_attribute: Some("forget_at"),
};

/// The stock ledger.
pub const MOVEMENTS: Table = Table {
    slug: "movements",
    about: "The stock ledger: every entry of every product, with its reference, actor and reason",
    partition: text("product_id"),
    sort: Some(text("movement_id")),
    indexes: &[],
    stream: false,
    ttl_attribute: None,
};

/// The leases of stream shards.
pub const LEASES: Table = Table {
    slug: "leases",
    about: "The reader of each stream shard, and its checkpoint",
    partition: text("lease_id"),
    sort: None,
    indexes: &[],
    stream: false,
    ttl_attribute: None,
};

/// The index of a session's orders by order id, which sorts by time. The index is sparse: an order
/// without a session is in no list.
pub const BY_SESSION: Index = Index {
    name: "by-session",
    partition: text("session_hash"),
    sort: Some(text("order_id")),
};

/// The order views. They are derived from the orders and can be written again at any time. An item
/// expires 90 days after its order was placed.
pub const ORDER_VIEWS: Table = Table {
    slug: "order-views",
    about: "The order view: the orders in customers' lists",
    partition: text("order_id"),
    sort: None,
    indexes: &[BY_SESSION],
    stream: false,
    ttl_attribute: Some("forget_at"),
};

/// Every table.
pub const TABLES: &[&Table] = &[&PRODUCTS, &RESERVATIONS, &MOVEMENTS, &LEASES, &ORDER_VIEWS];
