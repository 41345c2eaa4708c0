//! DynamoDB tables: stock, the holds on it, its ledger, how far streams were read, and the view of
//! orders.

/// Type of a key attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    Text,
    Number,
}

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

#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    pub slug: &'static str,
    pub about: &'static str,
    pub partition: Key,
    pub sort: Option<Key>,
    pub indexes: &'static [Index],
    /// A stream of old and new images.
    pub stream: bool,
    /// Housekeeping only: nothing relies on when DynamoDB deletes an expired item.
    pub ttl_attribute: Option<&'static str>,
}

const fn text(attribute: &'static str) -> Key {
    Key {
        attribute,
        kind: KeyType::Text,
    }
}

const fn number(attribute: &'static str) -> Key {
    Key {
        attribute,
        kind: KeyType::Number,
    }
}

pub const PRODUCTS: Table = Table {
    slug: "products",
    about: "The menu and the five stock counters of each product",
    partition: text("product_id"),
    sort: None,
    indexes: &[],
    stream: true,
    ttl_attribute: None,
};

/// The index that finds holds past their expiry. Sparse: a reservation carries its attributes only
/// while it is held.
pub const HELD_BY_EXPIRY: Index = Index {
    name: "held-by-expiry",
    partition: number("held_shard"),
    sort: Some(text("expires_at")),
};

/// Holds are spread over so many partitions of `HELD_BY_EXPIRY`, so that none is written for every
/// order.
pub const HELD_SHARDS: u32 = 8;

pub const RESERVATIONS: Table = Table {
    slug: "reservations",
    about: "One record for each order's hold on stock: held, confirmed or released",
    partition: text("reservation_id"),
    sort: None,
    indexes: &[HELD_BY_EXPIRY],
    stream: false,
    ttl_attribute: Some("forget_at"),
};

pub const MOVEMENTS: Table = Table {
    slug: "movements",
    about: "The ledger of stock: every movement of every product, with what it is for, who made it and why",
    partition: text("product_id"),
    sort: Some(text("movement_id")),
    indexes: &[],
    stream: false,
    ttl_attribute: None,
};

pub const LEASES: Table = Table {
    slug: "leases",
    about: "Which worker reads a stream's shard, and how far it has come",
    partition: text("lease_id"),
    sort: None,
    indexes: &[],
    stream: false,
    ttl_attribute: None,
};

/// A session's orders by their ids, which sort by time. Sparse: an order that came without a
/// session is in nobody's list.
pub const BY_SESSION: Index = Index {
    name: "by-session",
    partition: text("session_hash"),
    sort: Some(text("order_id")),
};

/// Derived from the orders, and made again from them at any time. An item goes 90 days after its
/// order was placed.
pub const ORDER_VIEWS: Table = Table {
    slug: "order-views",
    about: "What a customer's list of orders shows",
    partition: text("order_id"),
    sort: None,
    indexes: &[BY_SESSION],
    stream: false,
    ttl_attribute: Some("forget_at"),
};

pub const TABLES: &[&Table] = &[&PRODUCTS, &RESERVATIONS, &MOVEMENTS, &LEASES, &ORDER_VIEWS];
