//! What the templates show. Text and numbers only: a template decides nothing.

use app::ports::Source as _;
use app::use_cases::journey::{Awaited, Journey, Moment};
use app::use_cases::place_order::{Expected, ShownLine};
use askama::Template;
use domain::FieldError;
use domain::Timestamp;
use domain::address::{self, DeliveryAddress, Written};
use domain::cart::LINES_MAX;
use domain::hours::Zone;
use domain::ids::ProductId;
use domain::order::OrderType;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::customer::Receipt;
use crate::api::{Priced, PricedLine};
use crate::problem::Problem;
use crate::{App, Ports};

/// What every page has around it. It has no default: only [`Shell::of`] makes one, so that no page
/// forgets a closed shop.
pub struct Shell {
    /// `None` where the cart is not looked at.
    pub cart_count: Option<u32>,
    pub notice: Option<String>,
    /// That the shop is closed, and when it opens.
    pub closed: Option<String>,
    /// Whether there is a mailbox to look into: with a local AWS.
    pub has_mailbox: bool,
}

impl Shell {
    pub fn of<P: Ports>(app: &App<P>) -> Shell {
        let closed = app
            .settings
            .shops
            .home()
            .hours
            .closed_notice(app.ports.source().now());
        let has_mailbox = app.settings.mailbox.is_some();
        Shell {
            cart_count: None,
            notice: None,
            closed,
            has_mailbox,
        }
    }
}

#[derive(Template)]
#[template(path = "menu.html")]
pub struct MenuPage {
    pub shell: Shell,
    pub sections: Vec<MenuSection>,
    /// When the availability was read, if it cannot be read now.
    pub as_of: Option<String>,
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
    /// How many more may go into the cart.
    pub may: i64,
    pub in_cart: u32,
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
    /// The most that can be ordered.
    pub max: i64,
    /// How many are left, where there are fewer than may be ordered.
    pub left: Option<i64>,
    pub unit_price: String,
    pub line_total: String,
    /// What became of the price since the line was added.
    pub price_change: Option<String>,
    pub conflict: Option<String>,
}

#[derive(Template)]
#[template(path = "checkout.html")]
pub struct CheckoutPage {
    pub shell: Shell,
    pub form: CheckoutForm,
    pub errors: Vec<ErrorView>,
    /// Whether the order may have been placed.
    pub unsure: bool,
    pub choice: TimeChoice,
    pub address: Vec<AddressField>,
    pub lines: Vec<LineView>,
    pub subtotal: String,
    pub tax: String,
    pub total: String,
    pub shown: ShownOrder,
}

/// What the page shows of the order, as its form sends it back: the order is placed for that or not
/// at all.
pub struct ShownOrder {
    pub total_minor: i64,
    pub cart_version: i64,
    /// Each line as `product:quantity:unit price`, by commas.
    pub lines: String,
}

impl ShownOrder {
    pub fn of(priced: &Priced) -> ShownOrder {
        let line = |line: &PricedLine| {
            format!(
                "{}:{}:{}",
                line.line.product_id,
                line.line.quantity.get(),
                line.unit_price.minor
            )
        };
        let lines: Vec<_> = priced.lines.iter().map(line).collect();
        ShownOrder {
            total_minor: priced.total.minor,
            cart_version: priced.version,
            lines: lines.join(","),
        }
    }
}

#[derive(Clone, Default, serde::Deserialize)]
#[serde(default)]
pub struct CheckoutForm {
    pub name: String,
    pub phone: String,
    pub email: String,
    /// `email`, `sms` or `none`.
    pub notify: String,
    pub order_type: String,
    /// A date of the shop's calendar; empty for the first with a time.
    pub pickup_day: String,
    /// RFC 3339; empty for as soon as it is ready.
    pub pickup_at: String,
    pub address_line1: String,
    pub address_line2: String,
    pub address_city: String,
    pub address_postal_code: String,
    pub address_note: String,
    pub special_instructions: String,
    pub payment_token: String,
    pub idempotency_key: String,
    /// As [`ShownOrder`] was rendered.
    pub expected_total_minor: String,
    pub cart_version: String,
    pub shown_lines: String,
}

impl CheckoutForm {
    /// Where a delivery goes; `None` of an order that is none.
    ///
    /// # Errors
    /// Every wrong field.
    pub fn address(&self) -> Result<Option<DeliveryAddress>, Vec<FieldError>> {
        if self.order_type != OrderType::Delivery.code() {
            return Ok(None);
        }
        let written = Written {
            line1: &self.address_line1,
            line2: &self.address_line2,
            city: &self.address_city,
            postal_code: &self.address_postal_code,
            note: &self.address_note,
        };
        DeliveryAddress::parse(written).map(Some)
    }

    /// What the page that the form was on has shown; `None` when the form does not say it.
    pub fn shown(&self) -> Option<Expected> {
        let line = |text: &str| {
            let mut parts = text.split(':');
            let product_id = ProductId::parse(parts.next()?).ok()?;
            let (quantity, price) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Some(ShownLine {
                product_id,
                quantity: Some(quantity),
                unit_price_minor: price,
            })
        };
        Some(Expected {
            total_minor: Some(self.expected_total_minor.parse().ok()?),
            cart_version: Some(self.cart_version.parse().ok()?),
            // They decide nothing: one that cannot be read only names nothing that changed.
            lines: self
                .shown_lines
                .split(',')
                .filter_map(line)
                .take(LINES_MAX)
                .collect(),
        })
    }
}

/// The inputs of an address: name, field of the API, label, what browsers fill in, length, and
/// whether it may be empty.
const ADDRESS: [(&str, &str, &str, &str, usize, bool); 5] = [
    (
        "address_line1",
        "delivery_address.line1",
        "Street and number",
        "address-line1",
        address::LINE_MAX,
        false,
    ),
    (
        "address_line2",
        "delivery_address.line2",
        "Apartment or floor",
        "address-line2",
        address::LINE_MAX,
        true,
    ),
    (
        "address_city",
        "delivery_address.city",
        "City",
        "address-level2",
        address::CITY_MAX,
        false,
    ),
    (
        "address_postal_code",
        "delivery_address.postal_code",
        "ZIP code",
        "postal-code",
        address::POSTAL_CODE_MAX,
        false,
    ),
    (
        "address_note",
        "delivery_address.note",
        "Note for the rider",
        "off",
        address::NOTE_MAX,
        true,
    ),
];

pub struct AddressField {
    pub name: &'static str,
    pub label: &'static str,
    pub autocomplete: &'static str,
    pub max: usize,
    pub optional: bool,
    pub value: String,
    pub error: Option<String>,
}

impl AddressField {
    pub fn all(form: &CheckoutForm, errors: &[ErrorView]) -> Vec<AddressField> {
        let values = [
            &form.address_line1,
            &form.address_line2,
            &form.address_city,
            &form.address_postal_code,
            &form.address_note,
        ];
        let fields = ADDRESS.into_iter().zip(values);
        fields
            .map(
                |((name, field, label, autocomplete, max, optional), value)| AddressField {
                    name,
                    label,
                    autocomplete,
                    max,
                    optional,
                    value: value.clone(),
                    error: errors
                        .iter()
                        .find(|error| error.field == field)
                        .map(|error| error.message.clone()),
                },
            )
            .collect()
    }
}

/// The times that an order can be picked up at: those of one day.
pub struct TimeChoice {
    /// Whether it can be made at once.
    pub now: bool,
    pub days: Vec<TimeView>,
    /// The value of the chosen day.
    pub day: String,
    pub times: Vec<TimeView>,
}

/// A day or a time.
pub struct TimeView {
    pub value: String,
    pub label: String,
}

pub struct ErrorView {
    pub field: String,
    pub message: String,
}

impl ErrorView {
    /// In the words of the form, not of the API.
    pub fn of(error: &FieldError) -> ErrorView {
        let label = match error.field.as_str() {
            "order_type" => return ErrorView::about(error, "Choose how you take it."),
            "payment_token" => return ErrorView::about(error, "Choose how you pay."),
            "Idempotency-Key" => return ErrorView::about(error, "Please send the form again."),
            "items" => "Your cart",
            "customer.name" => "Name",
            "customer.phone" => "Phone",
            "customer.email" => "E-mail",
            "notify" => "How we tell you",
            "special_instructions" => "The note",
            "pickup_at" => "The time",
            field => ADDRESS
                .iter()
                .find(|(_, known, ..)| *known == field)
                .map_or("The order", |(_, _, label, ..)| *label),
        };
        ErrorView {
            field: error.field.clone(),
            message: format!("{label} {}", error.message),
        }
    }

    /// A sentence about the field of an error.
    pub fn about(error: &FieldError, message: impl Into<String>) -> ErrorView {
        ErrorView {
            field: error.field.clone(),
            message: message.into(),
        }
    }

    /// About no field.
    pub fn general(message: impl Into<String>) -> ErrorView {
        ErrorView {
            field: String::new(),
            message: message.into(),
        }
    }

    /// The id of the input that it is about, if the form has one for it.
    pub fn id(&self) -> Option<&str> {
        /// The inputs in which something can be wrong.
        const INPUTS: [&str; 8] = [
            "name",
            "phone",
            "email",
            "notify",
            "order_type",
            "pickup_at",
            "special_instructions",
            "payment_token",
        ];
        if let Some((name, ..)) = ADDRESS.iter().find(|(_, field, ..)| *field == self.field) {
            return Some(name);
        }
        self.field
            .rsplit('.')
            .next()
            .filter(|id| INPUTS.contains(id))
    }
}

impl CheckoutPage {
    pub fn of<P: Ports>(
        app: &App<P>,
        form: CheckoutForm,
        errors: Vec<ErrorView>,
        unsure: bool,
        choice: TimeChoice,
        receipt: Receipt,
    ) -> CheckoutPage {
        let Receipt {
            units,
            lines,
            totals: [subtotal, tax, total],
            shown,
        } = receipt;
        let shell = Shell {
            cart_count: Some(units),
            ..Shell::of(app)
        };
        let address = AddressField::all(&form, &errors);
        CheckoutPage {
            shell,
            form,
            errors,
            unsure,
            choice,
            address,
            lines,
            subtotal,
            tax,
            total,
            shown,
        }
    }

    fn message(&self, field: &str) -> Option<&str> {
        self.errors
            .iter()
            .find(|error| error.field == field)
            .map(|error| error.message.as_str())
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
    /// Why it ended early and what became of the money, or that nobody came.
    pub ended: Option<String>,
    pub lines: Vec<OrderLineView>,
    pub subtotal: String,
    pub tax: String,
    pub total: String,
    pub customer_name: String,
    pub placed_at: String,
    /// When and where it is handed over.
    pub handover: String,
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
    pub text: &'static str,
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
    pub board: Board,
}

#[derive(Template)]
#[template(path = "board_fragment.html")]
pub struct BoardFragment {
    pub board: Board,
}

pub struct Board {
    pub columns: Vec<BoardColumn>,
    /// Whether more orders are open than it shows.
    pub is_cut: bool,
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
    /// When it is due: `Pickup 8:30 am`, or `as soon as possible`.
    pub due: String,
    /// How long until then, or how late it is, or how long it has been ready.
    pub left: String,
    pub late: bool,
    /// Where a delivery goes, and what the rider must know.
    pub address: Option<String>,
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
    /// Whose clock the times are of.
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
    /// Times are those of `zone`, to the millisecond.
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

/// Date and time to the millisecond on the clock of a zone.
fn exact_text(zone: &Zone, at: Timestamp) -> String {
    const EXACT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]");
    // Formatting fails only for a component that a time lacks; it lacks none of these.
    zone.local(at).format(EXACT).unwrap_or_default()
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

/// A change of the stock that may have been made: the stock did not answer.
#[derive(Template)]
#[template(path = "unsure.html")]
pub struct UnsurePage {
    pub shell: Shell,
    pub product_id: String,
    /// The last part of the form's address.
    pub action: String,
    pub units: String,
    pub reason: String,
    pub movement_id: String,
}

#[derive(Template)]
#[template(path = "ledger.html")]
pub struct LedgerPage {
    pub shell: Shell,
    pub product_id: String,
    pub name: String,
    pub available: i64,
    /// Whose clock the times are of.
    pub zone: String,
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
    request_id: &'a str,
}

impl ProblemPage<'_> {
    /// A problem for a browser: its detail says it in words, its fields are for programs.
    pub fn render<P: Ports>(app: &App<P>, problem: &Problem, request_id: &str) -> String {
        let page = ProblemPage {
            shell: Shell::of(app),
            status: problem.status.as_u16(),
            title: problem.title,
            detail: &problem.detail,
            request_id,
        };
        Template::render(&page).unwrap_or_else(|_| problem.title.to_owned())
    }
}
