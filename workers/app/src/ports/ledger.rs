//! What was written about stock beside the counters: every movement, and every order's hold. For
//! those who look back, order from suppliers, or compare the books.

use std::future::Future;

use domain::Timestamp;
use domain::cart::Line;
use domain::ids::{OrderId, ProductId};
use domain::stock::Movement;

use super::Unavailable;

/// The longest page of a ledger.
pub const ENTRIES_MAX: u32 = 200;

/// A settled hold is remembered for so long: longer than any message can live. It may be forgotten
/// some days later.
pub const HOLDS_KEPT: time::Duration = time::Duration::days(30);
/// An order of this age may have lost its hold, or lose it while we look.
pub const HOLDS_SURELY_KEPT: time::Duration = time::Duration::days(29);
const _: () = assert!(HOLDS_SURELY_KEPT.whole_days() < HOLDS_KEPT.whole_days());

/// One movement of one product, written in the transaction that changed its counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Names the entry within its product's ledger; a later entry has a greater one.
    pub entry_id: String,
    pub product_id: ProductId,
    pub movement: Movement,
    /// The order, or the id that staff gave the movement.
    pub reference: String,
    /// Who did it: a role, or a person's name.
    pub actor: String,
    pub note: Option<String>,
    pub at: Timestamp,
}

impl Entry {
    /// The id of an entry: it sorts by time, and the same movement has the same id.
    pub fn id_of(at: Timestamp, movement: Movement, reference: &str) -> String {
        let format = time::macros::format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
        );
        // Formatting fails only for a component that a timestamp lacks; it lacks none of these.
        let at = at
            .to_offset(time::UtcOffset::UTC)
            .format(format)
            .unwrap_or_default();
        format!("{at}#{}#{reference}", movement.code())
    }
}

/// Where an order's hold stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HoldState {
    Held,
    Confirmed,
    Released,
}

impl HoldState {
    pub const fn code(self) -> &'static str {
        match self {
            HoldState::Held => "held",
            HoldState::Confirmed => "confirmed",
            HoldState::Released => "released",
        }
    }

    pub fn from_code(code: &str) -> Option<HoldState> {
        [HoldState::Held, HoldState::Confirmed, HoldState::Released]
            .into_iter()
            .find(|state| state.code() == code)
    }
}

/// The record of an order's hold on stock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub order_id: OrderId,
    pub state: HoldState,
    /// By product. Empty when it was released before anything was held.
    pub lines: Vec<Line>,
}

pub trait Ledger: Send + Sync {
    /// Up to `limit` entries of a product, newest first, those older than `before`.
    fn entries(
        &self,
        product_id: &ProductId,
        before: Option<&str>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Entry>, Unavailable>> + Send;

    /// Every order's hold that is remembered, in no order.
    fn holds(&self) -> impl Future<Output = Result<Vec<Hold>, Unavailable>> + Send;
}
