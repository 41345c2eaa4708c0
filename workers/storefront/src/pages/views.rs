//! Data of the templates for staff: text and numbers only, without logic.

use app::use_cases::journey::{Awaited, Journey, Moment};
use askama::Template;
use domain::Timestamp;
use domain::hours::Zone;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::shell::Shell;

/// The staff board.
#[derive(Template)]
#[template(path = "board.html")]
pub struct BoardPage {
    pub shell: Shell,
    pub board: Board,
}

/// The part of the staff board that its script refreshes.
#[derive(Template)]
#[template(path = "board_fragment.html")]
pub struct BoardFragment {
    pub board: Board,
}

/// The columns of the staff board.
pub struct Board {
    pub columns: Vec<BoardColumn>,
    /// True when more orders are open than the staff board shows.
    pub is_cut: bool,
}

/// The orders with one status.
pub struct BoardColumn {
    pub title: &'static str,
    pub cards: Vec<BoardCard>,
}

/// An order on the staff board.
pub struct BoardCard {
    pub order_id: String,
    pub number: String,
    /// Position in the sequence of the day; `None` until the order has a ticket.
    pub ticket: Option<String>,
    pub version: i64,
    pub customer_name: String,
    pub order_type: &'static str,
    /// When the order is due, such as `8:30 am`, or that it is due as soon as possible.
    pub due: String,
    /// Time until then, how late the order is, or how long it has been ready.
    pub left: String,
    pub late: bool,
    /// Address of a delivery, with the note for the rider.
    pub address: Option<String>,
    pub lines: Vec<String>,
    pub note: Option<String>,
    pub actions: Vec<BoardAction>,
}

/// A button on an order's card.
pub struct BoardAction {
    pub label: &'static str,
    pub status: &'static str,
}

/// The timeline of an order.
#[derive(Template)]
#[template(path = "journey.html")]
pub struct JourneyPage {
    pub shell: Shell,
    /// Name of the time zone of all times on the page.
    pub zone: String,
    pub number: String,
    pub order_id: String,
    pub status: String,
    pub state: String,
    pub reason: Option<String>,
    pub moments: Vec<MomentView>,
    pub awaited: Vec<AwaitedView>,
    pub trace_ids: Vec<String>,
}

/// An entry of the timeline.
pub struct MomentView {
    pub at: String,
    /// Time since the previous entry, such as `+182 ms`.
    pub gap: String,
    pub record: &'static str,
    pub what: String,
    pub by: Option<String>,
    pub note: Option<String>,
}

/// A message or an answer that the order waits for.
pub struct AwaitedView {
    pub what: String,
    pub since: String,
    pub until: Option<String>,
}

impl JourneyPage {
    /// Creates the page with times in `zone`, to the millisecond.
    pub fn of(journey: Journey, shell: Shell, zone: &Zone) -> JourneyPage {
        let time_text = |at: Timestamp| exact_text(zone, at);
        let moment = |moment: Moment| MomentView {
            at: time_text(moment.at),
            gap: format!("+{} ms", moment.gap_ms),
            record: moment.record.code(),
            what: moment.what,
            by: moment.by,
            note: moment.note,
        };
        let awaited = |awaited: Awaited| AwaitedView {
            what: awaited.what,
            since: time_text(awaited.since),
            until: awaited.until.map(time_text),
        };
        JourneyPage {
            shell,
            zone: zone.name().to_owned(),
            number: journey.order_number,
            order_id: journey.order_id.to_string(),
            status: journey.status,
            state: journey.state,
            reason: journey.reason,
            moments: journey.moments.into_iter().map(moment).collect(),
            awaited: journey.awaited.into_iter().map(awaited).collect(),
            trace_ids: journey.trace_ids.into_iter().collect(),
        }
    }
}

/// Returns date and time to the millisecond in a time zone.
fn exact_text(zone: &Zone, at: Timestamp) -> String {
    const EXACT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]");
    // Formatting fails only when the time lacks a component, and it has all of these.
    zone.local(at).format(EXACT).unwrap_or_default()
}

/// The stock of all products.
#[derive(Template)]
#[template(path = "stock.html")]
pub struct StockPage {
    pub shell: Shell,
    /// Number of days over which sales are counted.
    pub days: u32,
    /// True if the reader's role orders from suppliers.
    pub suggests: bool,
    pub rows: Vec<StockRow>,
}

/// The stock of one product.
pub struct StockRow {
    pub product_id: String,
    pub name: String,
    pub availability: &'static str,
    pub badge: String,
    pub available: i64,
    pub reserved: i64,
    pub sold: i64,
    pub written_off: i64,
    pub received: i64,
    pub sold_per_day: String,
    pub days_left: String,
    pub order: String,
    pub change: StockForm,
    /// A new id per rendered form: a form that is sent twice changes the stock once.
    pub movement_id: String,
}

/// The content of a row's form: empty, or the refused input with its error.
#[derive(Default)]
pub struct StockForm {
    pub units: String,
    pub reason: String,
    pub error: Option<String>,
}

/// The page after a stock change whose result is unknown.
#[derive(Template)]
#[template(path = "unsure.html")]
pub struct UnsurePage {
    pub shell: Shell,
    pub product_id: String,
    /// The last part of the form's path.
    pub action: String,
    pub units: String,
    pub reason: String,
    pub movement_id: String,
}

/// The ledger of a product.
#[derive(Template)]
#[template(path = "ledger.html")]
pub struct LedgerPage {
    pub shell: Shell,
    pub product_id: String,
    pub name: String,
    pub available: i64,
    /// Name of the time zone of all times on the page.
    pub zone: String,
    pub entries: Vec<LedgerRow>,
    /// The cursor of the next page.
    pub older: Option<String>,
}

/// A ledger entry.
pub struct LedgerRow {
    pub at: String,
    pub kind: &'static str,
    pub units: u32,
    pub reference: String,
    pub actor: String,
    pub note: String,
}

/// The sign-in form.
#[derive(Template)]
#[template(path = "signin.html")]
pub struct SignInPage {
    pub shell: Shell,
    pub error: Option<&'static str>,
}
