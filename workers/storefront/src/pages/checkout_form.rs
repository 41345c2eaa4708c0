//! The checkout form: its fields as sent, its errors, and the page that shows it.

use app::ports::carts::Cart;
use app::use_cases::place_order::{Expected, ShownLine};
use askama::Template;
use domain::FieldError;
use domain::address::{self, DeliveryAddress, Written};
use domain::cart::LINES_MAX;
use domain::ids::ProductId;
use domain::order::OrderType;

use super::cart::{LineView, line_view};
use super::shell::Shell;
use crate::desk::cart::{Priced, PricedLine, price};
use crate::ports::Ports;
use crate::problem::Problem;
use crate::state::App;

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

macro_rules! address {
    ($($name:literal $field:literal $label:literal $autocomplete:literal $max:ident $optional:literal;)*) => {
        /// The inputs of an address: name, field of the API, label, `autocomplete` value, maximum
        /// length, and whether it may be empty.
        const ADDRESS: &[(&str, &str, &str, &str, usize, bool)] =
            &[$(($name, $field, $label, $autocomplete, address::$max, $optional)),*];
    };
}

address! {
    "address_line1" "delivery_address.line1" "Street and number" "address-line1" LINE_MAX false;
    "address_line2" "delivery_address.line2" "Apartment or floor" "address-line2" LINE_MAX true;
    "address_city" "delivery_address.city" "City" "address-level2" CITY_MAX false;
    "address_postal_code" "delivery_address.postal_code" "ZIP code" "postal-code" POSTAL_CODE_MAX false;
    "address_note" "delivery_address.note" "Note for the rider" "off" NOTE_MAX true;
}

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
        let fields = ADDRESS.iter().copied().zip(values);
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
            "order_type" => return ErrorView::about(error, "Choose pickup, eat in or delivery."),
            "payment_token" => return ErrorView::about(error, "Choose a payment method."),
            "Idempotency-Key" => return ErrorView::about(error, "Please submit the form again."),
            "items" => "Your cart",
            "customer.name" => "Name",
            "customer.phone" => "Phone",
            "customer.email" => "E-mail",
            "notify" => "Notification",
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
        let address = AddressField::all(&form, &errors);
        CheckoutPage {
            shell: Shell::counting(app, units),
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

/// A cart with its prices as text, and the values that the form sends back.
pub struct Receipt {
    /// Number of units.
    pub units: u32,
    /// Lines of the cart.
    pub lines: Vec<LineView>,
    /// Subtotal, tax and total.
    pub totals: [String; 3],
    /// The amounts that the form sends back.
    pub shown: ShownOrder,
}

/// Returns a cart with its prices as text.
///
/// # Errors
/// Returns 503 when the menu cannot be read, and 422 when an amount overflows.
pub async fn receipt_of<P: Ports>(app: &App<P>, cart: &Cart) -> Result<Receipt, Problem> {
    let products = app.menu.products(&app.ports).await?;
    let priced = price(app, &products, cart)?;
    let shown = ShownOrder::of(&priced);
    let totals = [priced.subtotal, priced.tax, priced.total].map(|money| money.to_string());
    let lines = priced.lines.into_iter().map(line_view).collect();
    Ok(Receipt {
        units: cart.lines.units(),
        lines,
        totals,
        shown,
    })
}
