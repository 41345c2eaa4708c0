//! Stock of products. Every change is idempotent, because the record of a stock hold or of a ledger
//! entry shows what was applied before.

use domain::Timestamp;
use domain::cart::{Line, Lines};
use domain::ids::{OrderId, ProductId};
use domain::menu::Product;
use domain::stock::{Availability, Counters, Movement};

use super::ledger::HoldState;
use super::{PortFuture, StoreError};

/// A product with its stock counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockedProduct {
    pub product: Product,
    pub counters: Counters,
    /// The number of available units at or below which staff are notified.
    pub low_stock_threshold: i64,
    /// The version, which increases with every change of the counters.
    pub version: i64,
    pub last_restocked: Option<Timestamp>,
}

impl StockedProduct {
    /// Returns the availability that customers see.
    pub fn availability(&self) -> Availability {
        self.counters.availability(self.low_stock_threshold)
    }
}

/// One change of a product's item, as the stream of the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockChange {
    /// `None` when the product was added.
    pub before: Option<StockedProduct>,
    /// `None` when the product was removed.
    pub after: Option<StockedProduct>,
}

/// The result of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// The units are reserved, by this call or by an earlier one for this order.
    Held,
    /// The hold was confirmed before, so the message is a duplicate.
    Confirmed,
    /// Nothing was reserved, because these products have too few available units.
    TooFew(Vec<ProductId>),
    /// Nothing was reserved, because the order was released before. A later reservation fails too.
    Released,
}

/// The result of confirming a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// The units are sold, by this call or by an earlier one.
    Sold,
    /// The order has no hold that could be confirmed.
    NoHold,
}

/// A change of the stock of one order by its saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderMove {
    pub order_id: OrderId,
    /// The lines of the order. They never change, so the hold has the same lines.
    pub lines: Lines,
    pub to: MoveTo,
    pub now: Timestamp,
}

/// The change of a stock hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveTo {
    /// Reserve the units until `expires_at`.
    Reserve { expires_at: Timestamp },
    /// Sell the reserved units.
    Confirm,
}

/// The result of an [`OrderMove`], with the variant of its [`MoveTo`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    Reserve(Reserved),
    Confirm(Confirmed),
}

/// A stock hold past its expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredHold {
    pub order_id: OrderId,
    pub expires_at: Timestamp,
}

/// A change of stock by a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    /// The id of the change. A repeated change with the same id is applied once.
    pub movement_id: String,
    pub product_id: ProductId,
    /// The delivered units, or the correction of a count.
    pub change: AdjustmentKind,
    pub actor: String,
    pub reason: String,
    pub at: Timestamp,
}

/// The kind of a change by a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdjustmentKind {
    /// Units were delivered.
    Restock(u32),
    /// Units are missing (negative) or were found again (positive).
    Correct(i64),
}

impl AdjustmentKind {
    /// Returns the change of the counters. The number of units is limited to [`u32::MAX`], which
    /// the counters then reject.
    pub fn movement(self) -> Movement {
        let units = |change: i64| u32::try_from(change.unsigned_abs()).unwrap_or(u32::MAX);
        match self {
            AdjustmentKind::Restock(count) => Movement::Restock(count),
            AdjustmentKind::Correct(change) if change < 0 => Movement::WriteOff(units(change)),
            AdjustmentKind::Correct(change) => Movement::WriteOn(units(change)),
        }
    }
}

/// The reference and the note of the first ledger entry of a product.
pub const OPENING: &str = "opening";

/// The result of a change by a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adjusted {
    /// The product after the change.
    Now(StockedProduct),
    /// No product has this id.
    NoSuchProduct,
    /// The counters do not allow the change: too few units are available or written off.
    TooFew,
    /// The id was used before for a different change.
    IdReused,
}

/// The stock of products.
pub trait Stock: Send + Sync {
    /// Returns every product.
    fn products(&self) -> impl PortFuture<Vec<StockedProduct>>;

    /// Returns a product.
    fn product(&self, id: &ProductId) -> impl PortFuture<Option<StockedProduct>>;

    /// Reserves all lines of an order until `expires_at`, or nothing.
    fn reserve(
        &self,
        order_id: OrderId,
        lines: &Lines,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> impl PortFuture<Reserved>;

    /// Sells the units that are reserved for an order.
    fn confirm(&self, order_id: OrderId, now: Timestamp) -> impl PortFuture<Confirmed>;

    /// Applies the changes of many orders, each independently. Returns one result for each, in the
    /// same order. An implementation may combine them into fewer calls.
    fn move_orders(
        &self,
        moves: &[OrderMove],
    ) -> impl Future<Output = Vec<Result<Moved, StoreError>>> + Send {
        async move {
            let mut answers = Vec::with_capacity(moves.len());
            for OrderMove {
                order_id,
                lines,
                to,
                now,
            } in moves
            {
                answers.push(match to {
                    MoveTo::Reserve { expires_at } => self
                        .reserve(*order_id, lines, *now, *expires_at)
                        .await
                        .map(Moved::Reserve),
                    MoveTo::Confirm => self.confirm(*order_id, *now).await.map(Moved::Confirm),
                });
            }
            answers
        }
    }

    /// Releases the units that are reserved or sold for an order. Without a hold, the call leaves a
    /// record that makes a later reservation fail.
    fn release(&self, order_id: OrderId, now: Timestamp) -> impl PortFuture<()>;

    /// Returns at most `limit` holds that expired before `now`. An implementation with pages reads
    /// until it has all holds or `limit`.
    fn expired_holds(&self, now: Timestamp, limit: u32) -> impl PortFuture<Vec<ExpiredHold>>;

    /// Applies a change by a person.
    fn adjust(&self, adjustment: &Adjustment) -> impl PortFuture<Adjusted>;

    /// Adds a product with its first units. Returns false and changes nothing when the product
    /// exists.
    fn add_product(
        &self,
        product: &Product,
        received: u32,
        low_stock_threshold: i64,
        now: Timestamp,
    ) -> impl PortFuture<bool>;
}

/// Read access to products and their counters, for roles without write access to the tables.
pub trait Catalogue: Send + Sync {
    /// Returns every product.
    fn products(&self) -> impl PortFuture<Vec<StockedProduct>>;

    /// Returns a product.
    fn product(&self, id: &ProductId) -> impl PortFuture<Option<StockedProduct>>;
}

impl<T: Stock> Catalogue for T {
    fn products(&self) -> impl PortFuture<Vec<StockedProduct>> {
        Stock::products(self)
    }

    fn product(&self, id: &ProductId) -> impl PortFuture<Option<StockedProduct>> {
        Stock::product(self, id)
    }
}

/// Changes of stock by people, for roles that move no stock for orders.
pub trait Adjustments: Send + Sync {
    /// Applies a change by a person.
    fn adjust(&self, adjustment: &Adjustment) -> impl PortFuture<Adjusted>;
}

impl<T: Stock> Adjustments for T {
    fn adjust(&self, adjustment: &Adjustment) -> impl PortFuture<Adjusted> {
        Stock::adjust(self, adjustment)
    }
}

/// The record of a stock hold, for the order timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    pub state: HoldState,
    /// The lines. Empty when the release came before the reservation.
    pub lines: Vec<Line>,
    pub created_at: Option<Timestamp>,
    /// The time at which the hold expires, if units were reserved.
    pub expires_at: Option<Timestamp>,
    /// The time at which the units were sold or released.
    pub settled_at: Option<Timestamp>,
}

/// Read access to stock holds.
pub trait Reservations: Send + Sync {
    /// Returns the stock hold of an order.
    fn reservation(&self, order_id: OrderId) -> impl PortFuture<Option<Reservation>>;
}
