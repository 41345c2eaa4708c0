//! What the templates show. Text and numbers only: a template decides nothing.

use app::use_cases::journey::{Awaited, Journey, Moment, time_text};
use askama::Template;
use domain::FieldError;

use crate::problem::Problem;

/// What every page has around it.
#[derive(Default)]
pub struct Shell {
    /// `None` where the cart is not looked at.
    pub cart_count: Option<u32>,
    pub notice: Option<String>,
}

#[derive(Template)]
#[template(path = "menu.html")]
pub struct MenuPage {
    pub shell: Shell,
    pub sections: Vec<MenuSection>,
}

pub struct MenuSection {
    pub title: &'static str,
    pub products: Vec<ProductCard>,
}

pub struct ProductCard {
    pub product_id: String,
    pub name: String,
    pub description: String,
    pub price: String,
    pub image_url: String,
    pub availability: &'static str,
    pub badge: String,
    pub out: bool,
}

#[derive(Template)]
#[template(path = "cart.html")]
pub struct CartPage {
    pub shell: Shell,
    pub lines: Vec<LineView>,
    pub subtotal: String,
    pub tax: String,
    pub total: String,
    pub blocked: bool,
}

pub struct LineView {
    pub product_id: String,
    pub name: String,
    pub image_url: String,
    pub quantity: u32,
    pub unit_price: String,
    pub line_total: String,
    pub conflict: Option<String>,
}

#[derive(Template)]
#[template(path = "checkout.html")]
pub struct CheckoutPage {
    pub shell: Shell,
    pub form: CheckoutForm,
    pub errors: Vec<ErrorView>,
    pub times: Vec<TimeView>,
    pub lines: Vec<LineView>,
    pub subtotal: String,
    pub tax: String,
    pub total: String,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub struct CheckoutForm {
    pub name: String,
    pub phone: String,
    pub email: String,
    /// `email`, `sms` or `none`.
    pub notify: String,
    pub order_type: String,
    /// RFC 3339; empty for as soon as it is ready.
    pub pickup_at: String,
    pub special_instructions: String,
    pub payment_token: String,
    pub idempotency_key: String,
}

/// A time that an order can be picked up at.
pub struct TimeView {
    pub value: String,
    pub label: String,
}

pub struct ErrorView {
    pub field: String,
    pub message: String,
}

impl ErrorView {
    pub fn of(error: &FieldError) -> ErrorView {
        let label = match error.field.as_str() {
            "customer.name" => "Name",
            "customer.phone" => "Phone",
            "customer.email" => "E-mail",
            "notify" => "How we tell you",
            "special_instructions" => "The note",
            "pickup_at" => "The time",
            _ => "The order",
        };
        ErrorView { field: error.field.clone(), message: format!("{label} {}", error.message) }
    }

    /// The id of the input that it is about, if the form has one for it.
    pub fn id(&self) -> Option<&str> {
        /// The inputs in which something can be wrong.
        const INPUTS: [&str; 8] =
            ["name", "phone", "email", "notify", "order_type", "pickup_at", "special_instructions", "payment_token"];
        self.field.rsplit('.').next().filter(|id| INPUTS.contains(id))
    }
}

impl CheckoutPage {
    fn message(&self, field: &str) -> Option<&str> {
        self.errors.iter().find(|error| error.field == field).map(|error| error.message.as_str())
    }

    fn wrong(&self, field: &str) -> bool {
        self.message(field).is_some()
    }
}

#[derive(Template)]
#[template(path = "order.html")]
pub struct OrderPage {
    pub shell: Shell,
    pub order: OrderView,
}

#[derive(Template)]
#[template(path = "order_fragment.html")]
pub struct OrderFragment {
    pub order: OrderView,
}

pub struct OrderView {
    pub number: String,
    pub status_label: &'static str,
    pub steps: Vec<StepView>,
    pub ended: Option<String>,
    pub lines: Vec<OrderLineView>,
    pub subtotal: String,
    pub tax: String,
    pub total: String,
    pub customer_name: String,
    pub placed_at: String,
    pub can_cancel: bool,
    pub cancel_url: String,
    pub events_url: String,
    pub fragment_url: String,
    pub history: Vec<HistoryView>,
}

pub struct StepView {
    pub label: &'static str,
    /// `done`, `current` or `todo`.
    pub state: &'static str,
}

pub struct OrderLineView {
    pub quantity: u32,
    pub name: String,
    pub line_total: String,
}

pub struct HistoryView {
    pub at: String,
    pub text: String,
    pub actor: String,
}

#[derive(Template)]
#[template(path = "lookup.html")]
pub struct LookupPage {
    pub shell: Shell,
    pub order_number: String,
    pub email: String,
    pub error: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "board.html")]
pub struct BoardPage {
    pub shell: Shell,
    pub columns: Vec<BoardColumn>,
}

#[derive(Template)]
#[template(path = "board_fragment.html")]
pub struct BoardFragment {
    pub columns: Vec<BoardColumn>,
}

pub struct BoardColumn {
    pub title: &'static str,
    pub cards: Vec<BoardCard>,
}

pub struct BoardCard {
    pub order_id: String,
    pub number: String,
    /// Its place at the counter; `None` until it has a ticket.
    pub ticket: Option<String>,
    pub version: i64,
    pub customer_name: String,
    pub order_type: &'static str,
    pub age: String,
    pub late: bool,
    pub lines: Vec<String>,
    pub note: Option<String>,
    pub actions: Vec<BoardAction>,
}

pub struct BoardAction {
    pub label: &'static str,
    pub status: &'static str,
}

#[derive(Template)]
#[template(path = "journey.html")]
pub struct JourneyPage {
    pub shell: Shell,
    pub number: String,
    pub order_id: String,
    pub status: String,
    pub state: String,
    pub reason: Option<String>,
    pub moments: Vec<MomentView>,
    pub awaited: Vec<AwaitedView>,
    pub trace_ids: Vec<String>,
}

pub struct MomentView {
    pub at: String,
    /// Such as `+182 ms`.
    pub gap: String,
    pub record: &'static str,
    pub what: String,
    pub by: Option<String>,
    pub note: Option<String>,
}

pub struct AwaitedView {
    pub what: String,
    pub since: String,
    pub until: Option<String>,
}

impl JourneyPage {
    pub fn of(journey: Journey) -> JourneyPage {
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
            shell: Shell::default(),
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

#[derive(Template)]
#[template(path = "stock.html")]
pub struct StockPage {
    pub shell: Shell,
    /// Over which sales are looked at.
    pub days: u32,
    /// Whether the reader's role buys from suppliers.
    pub suggests: bool,
    pub rows: Vec<StockRow>,
}

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
    pub change: StockChange,
    /// New for each rendered form: sent twice, it changes the stock once.
    pub movement_id: String,
}

/// What stands in a row's form: nothing, or what was refused and why.
#[derive(Default)]
pub struct StockChange {
    pub units: String,
    pub reason: String,
    pub error: Option<String>,
}

#[derive(Template)]
#[template(path = "ledger.html")]
pub struct LedgerPage {
    pub shell: Shell,
    pub product_id: String,
    pub name: String,
    pub available: i64,
    pub entries: Vec<LedgerRow>,
    /// Where the next page begins.
    pub older: Option<String>,
}

pub struct LedgerRow {
    pub at: String,
    pub kind: &'static str,
    pub units: u32,
    pub reference: String,
    pub actor: String,
    pub note: String,
}

#[derive(Template)]
#[template(path = "signin.html")]
pub struct SignInPage {
    pub shell: Shell,
    pub error: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "problem.html")]
pub struct ProblemPage<'a> {
    shell: Shell,
    status: u16,
    title: &'a str,
    detail: &'a str,
    errors: Vec<&'a FieldError>,
    request_id: &'a str,
}

impl ProblemPage<'_> {
    /// A problem for a browser.
    pub fn render(problem: &Problem, request_id: &str) -> String {
        let page = ProblemPage {
            shell: Shell::default(),
            status: problem.status.as_u16(),
            title: problem.title,
            detail: &problem.detail,
            errors: problem.errors.iter().filter(|error| !problem.detail.contains(&error.message)).collect(),
            request_id,
        };
        Template::render(&page).unwrap_or_else(|_| problem.title.to_owned())
    }
}
