//! The stock ledger and the stock holds, for reports, reorder suggestions and `haven reconcile`.

use domain::Timestamp;
use domain::cart::Line;
use domain::ids::{OrderId, ProductId};
use domain::stock::Movement;
use strum::{EnumString, IntoStaticStr, VariantArray};

use super::PortFuture;

/// Maximum number of entries in one page of the ledger.
pub const ENTRIES_MAX: u32 = 200;

/// Minimum time for which the record of a settled hold is kept: longer than any message can live.
/// The record may be deleted some days later.
pub const HOLDS_KEPT: time::Duration = time::Duration::days(30);
/// Age up to which an order certainly has the record of its hold. The record of an older order may
/// be deleted during a comparison.
pub const HOLDS_SURELY_KEPT: time::Duration = time::Duration::days(29);
const _: () = assert!(HOLDS_SURELY_KEPT.whole_days() < HOLDS_KEPT.whole_days());

/// A ledger entry: one change of one product's stock counters. The entry is written in the
/// transaction that changes the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The id of the entry in the ledger of its product. A later entry has a greater id.
    pub entry_id: String,
    pub product_id: ProductId,
    pub movement: Movement,
    /// The order id, or the id that staff gave to the change.
    pub reference: String,
    /// The author of the change: the name of a role or of a person.
    pub actor: String,
    pub note: Option<String>,
    pub at: Timestamp,
}

impl Entry {
    /// Returns the id of an entry. Ids sort by time, and equal arguments return equal ids.
    pub fn id_of(at: Timestamp, movement: Movement, reference: &str) -> String {
        let format = time::macros::format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
        );
        // Formatting fails only when the timestamp lacks a component, and these components always
        // exist.
        let at = at
            .to_offset(time::UtcOffset::UTC)
            .format(format)
            .unwrap_or_default();
        format!("{at}#{}#{reference}", movement.code())
    }
}

/// The state of a stock hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum HoldState {
    Held,
    Confirmed,
    Released,
}

domain::named_variants!(HoldState);

/// The record of a stock hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub order_id: OrderId,
    pub state: HoldState,
    /// The lines, sorted by product. Empty when the order was released before anything was
    /// reserved.
    pub lines: Vec<Line>,
}

/// The stock ledger and the stock holds.
pub trait Ledger: Send + Sync {
    /// Returns at most `limit` entries of a product, newest first. With `before`, only entries
    /// older than the entry with this id.
    fn entries(
        &self,
        product_id: &ProductId,
        before: Option<&str>,
        limit: u32,
    ) -> impl PortFuture<Vec<Entry>>;

    /// Returns every stock hold whose record is kept, in any order.
    fn holds(&self) -> impl PortFuture<Vec<Hold>>;
}
