//! Units of products. Every verb may be repeated: the record of a reservation tells what was
//! already done.

use std::future::Future;

use domain::Timestamp;
use domain::cart::{Line, Lines};
use domain::ids::{OrderId, ProductId};
use domain::menu::Product;
use domain::stock::{Availability, Counters, Movement};

use super::Unavailable;
use super::ledger::HoldState;

/// A product with its counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockedProduct {
    pub product: Product,
    pub counters: Counters,
    /// At or below this many available, staff are told.
    pub low_stock_threshold: i64,
    /// Grows with every change of the counters.
    pub version: i64,
    pub last_restocked: Option<Timestamp>,
}

impl StockedProduct {
    pub fn availability(&self) -> Availability {
        self.counters.availability(self.low_stock_threshold)
    }
}

/// One change of a product's item, as the stream of the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockChange {
    /// `None` when the product was added.
    pub before: Option<StockedProduct>,
    /// `None` when the product was taken away.
    pub after: Option<StockedProduct>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// Held now, or held already for this very order.
    Held,
    /// Already confirmed: an old message came again.
    Confirmed,
    /// Nothing was taken; these products have too little.
    TooFew(Vec<ProductId>),
    /// The order was released before: nothing was taken, and nothing ever will be.
    Released,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// Sold now, or sold already.
    Sold,
    /// There is no hold to turn into a sale.
    NoHold,
}

/// The units of one order, as its saga moves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderMove {
    pub order_id: OrderId,
    /// The order's own. Its hold has the same: they never change.
    pub lines: Lines,
    pub to: MoveTo,
    pub now: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveTo {
    Reserve { expires_at: Timestamp },
    Confirm,
}

/// What became of an `OrderMove`: each kind has its own answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    Reserve(Reserved),
    Confirm(Confirmed),
}

/// A hold past its expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredHold {
    pub order_id: OrderId,
    pub expires_at: Timestamp,
}

/// A change of stock by a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    /// Names the change: the same one twice is made once.
    pub movement_id: String,
    pub product_id: ProductId,
    /// Units delivered (`Restock`), or found missing (negative) or found again (positive)
    /// (`Correct`).
    pub change: AdjustmentKind,
    pub actor: String,
    pub reason: String,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdjustmentKind {
    Restock(u32),
    Correct(i64),
}

impl AdjustmentKind {
    /// What it does to the counters. More than the counters can hold is refused there.
    pub fn movement(self) -> Movement {
        let units = |change: i64| u32::try_from(change.unsigned_abs()).unwrap_or(u32::MAX);
        match self {
            AdjustmentKind::Restock(count) => Movement::Restock(count),
            AdjustmentKind::Correct(change) if change < 0 => Movement::WriteOff(units(change)),
            AdjustmentKind::Correct(change) => Movement::WriteOn(units(change)),
        }
    }
}

/// The reference and the note of a product's first units in its ledger.
pub const OPENING: &str = "opening";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adjusted {
    /// The product after the change.
    Now(StockedProduct),
    NoSuchProduct,
    /// The counters do not allow it: fewer are available, or fewer were written off.
    TooFew,
    /// The movement's id was used for another change.
    IdReused,
}

pub trait Stock: Send + Sync {
    fn products(&self) -> impl Future<Output = Result<Vec<StockedProduct>, Unavailable>> + Send;

    fn product(
        &self,
        id: &ProductId,
    ) -> impl Future<Output = Result<Option<StockedProduct>, Unavailable>> + Send;

    /// Holds all lines for the order until `expires_at`, or none.
    fn reserve(
        &self,
        order_id: OrderId,
        lines: &Lines,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> impl Future<Output = Result<Reserved, Unavailable>> + Send;

    /// Turns the order's hold into a sale.
    fn confirm(
        &self,
        order_id: OrderId,
        now: Timestamp,
    ) -> impl Future<Output = Result<Confirmed, Unavailable>> + Send;

    /// Moves the units of many orders, each as if by itself; the answers are in the order of the
    /// moves. A store may need fewer calls for many than for one after the other.
    fn move_orders(
        &self,
        moves: &[OrderMove],
    ) -> impl Future<Output = Vec<Result<Moved, Unavailable>>> + Send {
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

    /// Gives back what is held or sold for the order. With nothing held it leaves a mark, so that a
    /// reserve that comes later takes nothing.
    fn release(
        &self,
        order_id: OrderId,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Up to `limit` holds that have expired.
    fn expired_holds(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<ExpiredHold>, Unavailable>> + Send;

    fn adjust(
        &self,
        adjustment: &Adjustment,
    ) -> impl Future<Output = Result<Adjusted, Unavailable>> + Send;

    /// Adds a product with its first units; false, and nothing changed, when it is there already.
    fn add_product(
        &self,
        product: &Product,
        received: u32,
        low_stock_threshold: i64,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, Unavailable>> + Send;
}

/// Looking at products and their counters, for a role that moves no stock: it has no more rights
/// than that.
pub trait Catalogue: Send + Sync {
    fn products(&self) -> impl Future<Output = Result<Vec<StockedProduct>, Unavailable>> + Send;

    fn product(
        &self,
        id: &ProductId,
    ) -> impl Future<Output = Result<Option<StockedProduct>, Unavailable>> + Send;
}

impl<T: Stock> Catalogue for T {
    fn products(&self) -> impl Future<Output = Result<Vec<StockedProduct>, Unavailable>> + Send {
        Stock::products(self)
    }

    fn product(
        &self,
        id: &ProductId,
    ) -> impl Future<Output = Result<Option<StockedProduct>, Unavailable>> + Send {
        Stock::product(self, id)
    }
}

/// Changing the units of products by hand, for a role that moves the stock of no order.
pub trait Adjustments: Send + Sync {
    fn adjust(
        &self,
        adjustment: &Adjustment,
    ) -> impl Future<Output = Result<Adjusted, Unavailable>> + Send;
}

impl<T: Stock> Adjustments for T {
    fn adjust(
        &self,
        adjustment: &Adjustment,
    ) -> impl Future<Output = Result<Adjusted, Unavailable>> + Send {
        Stock::adjust(self, adjustment)
    }
}

/// What is recorded of an order's hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    pub state: HoldState,
    /// Empty where a release came before the reserve.
    pub lines: Vec<Line>,
    pub created_at: Option<Timestamp>,
    /// Of a hold.
    pub expires_at: Option<Timestamp>,
    /// When the hold became a sale or was given back.
    pub settled_at: Option<Timestamp>,
}

/// Looking at a hold without changing it.
pub trait Reservations: Send + Sync {
    fn reservation(
        &self,
        order_id: OrderId,
    ) -> impl Future<Output = Result<Option<Reservation>, Unavailable>> + Send;
}
