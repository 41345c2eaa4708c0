//! Data of the page templates: text and numbers only, without logic.

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

/// The frame of every page. Only [`Shell::of`] creates one, so that no page omits the notice of a
/// closed shop.
pub struct Shell {
    /// Units in the cart; `None` on pages that do not read the cart.
    pub cart_count: Option<u32>,
    /// A message about the last action.
    pub notice: Option<String>,
    /// The notice that the shop is closed and when it opens.
    pub closed: Option<String>,
    /// True with a local AWS, which has a mailbox page.
    pub has_mailbox: bool,
}

impl Shell {
    /// Creates the frame without a cart count and without a message.
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

/// The menu.
#[derive(Template)]
#[template(path = "menu.html")]
pub struct MenuPage {
    pub shell: Shell,
    pub sections: Vec<MenuSection>,
    /// When the availability was read, if it cannot be read now.
    pub as_of: Option<String>,
}

/// The products of one type on the menu.
pub struct MenuSection {
    pub title: &'static str,
    pub products: Vec<ProductCard>,
}

/// A product on the menu.
pub struct ProductCard {
    pub product_id: String,
    pub name: String,
    pub description: String,
    pub price: String,
    pub image_url: String,
    pub availability: &'static str,
    pub badge: String,
    pub out: bool,
    /// Number of units that can still be added to the cart.
    pub may: i64,
    pub in_cart: u32,
}

/// The cart.
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

/// A line of the cart.
pub struct LineView {
    pub product_id: String,
    pub name: String,
    pub image_url: String,
    pub quantity: u32,
    /// Maximum quantity that can be ordered.
    pub max: i64,
    /// Available units, if there are fewer than the maximum of a line.
    pub left: Option<i64>,
    pub unit_price: String,
    pub line_total: String,
    /// A sentence about the price, if it changed since the line was added.
    pub price_change: Option<String>,
    pub conflict: Option<String>,
}

/// The checkout form with the order.
#[derive(Template)]
#[template(path = "checkout.html")]
pub struct CheckoutPage {
    pub shell: Shell,
    pub form: CheckoutForm,
    pub errors: Vec<ErrorView>,
    /// True when the order may have been placed.
    pub unsure: bool,
    pub choice: TimeChoice,
    pub address: Vec<AddressField>,
    pub lines: Vec<LineView>,
    pub subtotal: String,
    pub tax: String,
    pub total: String,
    pub shown: ShownOrder,
}

/// The amounts that the page shows, as its form sends them back. The order is placed for these
/// amounts or not at all.
pub struct ShownOrder {
    pub total_minor: i64,
    pub cart_version: i64,
    /// The lines as `product:quantity:unit price`, separated by commas.
    pub lines: String,
}

impl ShownOrder {
    /// Returns the amounts of a priced cart.
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

/// The fields of the checkout form, as sent.
#[derive(Clone, Default, serde::Deserialize)]
#[serde(default)]
pub struct CheckoutForm {
    pub name: String,
    pub phone: String,
    pub email: String,
    /// `email`, `sms` or `none`.
    pub notify: String,
    pub order_type: String,
    /// A date on the shop's calendar; empty for the first day with free times.
    pub pickup_day: String,
    /// A time in RFC 3339; empty for as soon as possible.
    pub pickup_at: String,
    pub address_line1: String,
    pub address_line2: String,
    pub address_city: String,
    pub address_postal_code: String,
    pub address_note: String,
    pub special_instructions: String,
    pub payment_token: String,
    pub idempotency_key: String,
    /// The value of [`ShownOrder`], like the next two fields.
    pub expected_total_minor: String,
    pub cart_version: String,
    pub shown_lines: String,
}

impl CheckoutForm {
    /// Returns the delivery address, or `None` for another type of order.
    ///
    /// # Errors
    /// Returns every invalid field.
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

    /// Returns the amounts that the form's page showed, or `None` if the form lacks them.
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
            // Lines only make messages more precise, so an invalid line is ignored.
            lines: self
                .shown_lines
                .split(',')
                .filter_map(line)
                .take(LINES_MAX)
                .collect(),
        })
    }
}

/// The inputs of an address: name, field of the API, label, `autocomplete` value, maximum length,
/// and whether it may be empty.
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

/// An input of the delivery address.
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
    /// Returns all inputs with the form's values and errors.
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

/// The pickup times of one day.
pub struct TimeChoice {
    /// True when an order can be made at once.
    pub now: bool,
    pub days: Vec<TimeView>,
    /// Value of the chosen day.
    pub day: String,
    pub times: Vec<TimeView>,
}

/// A day or a time, as an option of a list.
pub struct TimeView {
    pub value: String,
    pub label: String,
}

/// An error beside a field, or above the form.
pub struct ErrorView {
    pub field: String,
    pub message: String,
}

impl ErrorView {
    /// Creates an error with the form's name of the field instead of the API's.
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

    /// Creates an error with this sentence beside the field of `error`.
    pub fn about(error: &FieldError, message: impl Into<String>) -> ErrorView {
        ErrorView {
            field: error.field.clone(),
            message: message.into(),
        }
    }

    /// Creates an error that belongs to no field.
    pub fn general(message: impl Into<String>) -> ErrorView {
        ErrorView {
            field: String::new(),
            message: message.into(),
        }
    }

    /// Returns the id of the error's input, if the form has one.
    pub fn id(&self) -> Option<&str> {
        /// The inputs that can be invalid, other than those of an address.
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
    /// Creates the page for an order and a choice of times.
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

/// The page of an order.
#[derive(Template)]
#[template(path = "order.html")]
pub struct OrderPage {
    pub shell: Shell,
    pub order: OrderView,
}

/// The part of the order's page that its script refreshes.
#[derive(Template)]
#[template(path = "order_fragment.html")]
pub struct OrderFragment {
    pub order: OrderView,
}

/// An order as its page shows it.
pub struct OrderView {
    pub number: String,
    pub status_label: &'static str,
    pub steps: Vec<StepView>,
    /// Why the order ended early and what happened to the money, or that nobody collected it.
    pub ended: Option<String>,
    pub lines: Vec<OrderLineView>,
    pub subtotal: String,
    pub tax: String,
    pub total: String,
    pub customer_name: String,
    pub placed_at: String,
    /// When and where the order is handed over.
    pub handover: String,
    pub can_cancel: bool,
    pub cancel_url: String,
    pub events_url: String,
    pub fragment_url: String,
    pub history: Vec<HistoryView>,
}

/// A step of the order.
pub struct StepView {
    pub label: &'static str,
    /// `done`, `current` or `todo`.
    pub state: &'static str,
}

/// A line of the order.
pub struct OrderLineView {
    pub quantity: u32,
    pub name: String,
    pub line_total: String,
}

/// A status change of the order.
pub struct HistoryView {
    pub at: String,
    pub text: &'static str,
}

/// The form that finds an order.
#[derive(Template)]
#[template(path = "lookup.html")]
pub struct LookupPage {
    pub shell: Shell,
    pub order_number: String,
    pub email: String,
    pub error: Option<&'static str>,
}

/// The staff board.
#[derive(Template)]
#[template(path = "board.html")]
pub struct BoardPage {
    pub shell: Shell,
    pub board: Board,
}

/// The part of the board that its script refreshes.
#[derive(Template)]
#[template(path = "board_fragment.html")]
pub struct BoardFragment {
    pub board: Board,
}

/// The columns of the board.
pub struct Board {
    pub columns: Vec<BoardColumn>,
    /// True when more orders are open than the board shows.
    pub is_cut: bool,
}

/// The orders with one status.
pub struct BoardColumn {
    pub title: &'static str,
    pub cards: Vec<BoardCard>,
}

/// An order on the board.
pub struct BoardCard {
    pub order_id: String,
    pub number: String,
    /// Position in the day's queue; `None` until the order has a ticket.
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
    pub change: StockChange,
    /// A new id per rendered form: a form that is sent twice changes the stock once.
    pub movement_id: String,
}

/// The content of a row's form: empty, or the refused input with its error.
#[derive(Default)]
pub struct StockChange {
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

/// An error page.
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
    /// Renders a problem for a browser. Shows the detail only, because the field errors are for
    /// programs.
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
