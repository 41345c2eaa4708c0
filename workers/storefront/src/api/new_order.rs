//! The request that places an order.

use app::use_cases::place_order::Expected;
use deserr::{Deserr, IntoValue, Map as _, Value, ValuePointerRef};
use domain::FieldError;
use domain::Timestamp;
use domain::address::{DeliveryAddress, Written};
use domain::cart::{LINES_MAX, Lines};
use domain::channel::Preferences;
use domain::ids::LocationId;
use utoipa::ToSchema;

use super::cart::CartItem;
use crate::problem::Problem;
use crate::request::{Invalid, Parsed, Text};
use crate::schema;

/// A new order of listed products or of the session's cart.
#[derive(Deserr, ToSchema)]
#[deserr(error = Invalid, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    pub customer: Person,
    #[schema(required = false)]
    #[deserr(default)]
    pub notify: Option<Channels>,
    /// The products, unless the cart is ordered.
    #[schema(value_type = Vec<CartItem>, required = false, min_items = 1, max_items = 49)]
    #[deserr(default)]
    items: Option<Vec<CartItem>>,
    /// If true, orders the session's cart instead of items.
    #[schema(value_type = bool, required = false)]
    #[deserr(default)]
    cart: Option<bool>,
    #[schema(schema_with = schema::order_type, required = false)]
    #[deserr(default)]
    order_type: Option<Text>,
    /// The address of a delivery. Required with order_type delivery from version 0.2.0 on. Earlier
    /// versions accept an order without an address and return a warning.
    #[schema(value_type = AddressBody, required = false)]
    #[deserr(default)]
    pub delivery_address: Option<ParsedAddress>,
    /// The shop's own location by default.
    #[schema(value_type = String, required = false)]
    #[deserr(default)]
    pub location_id: Option<Parsed<LocationId>>,
    /// A time in an open pickup slot; as soon as possible by default.
    #[schema(value_type = String, required = false, format = DateTime)]
    #[deserr(default)]
    pub pickup_at: Option<Parsed<Timestamp>>,
    #[schema(value_type = String, required = false, max_length = 500)]
    #[deserr(default)]
    pub special_instructions: Option<Text>,
    /// The total that the customer saw. If the total has changed, the order is refused (409
    /// price-changed).
    #[schema(value_type = i64, required = false)]
    #[deserr(default)]
    expected_total_minor: Option<i64>,
    /// With cart: the version of the cart that the customer saw. If the cart has changed, the order
    /// is refused (409 price-changed).
    #[schema(value_type = i64, required = false)]
    #[deserr(default)]
    cart_version: Option<i64>,
    /// The payment gateway's token of the card.
    #[schema(value_type = String, pattern = "^tok_[a-z0-9_]+$", example = "tok_ok")]
    pub payment_token: Text,
}

/// The person who orders.
///
/// Texts are normalized before they are counted: line ends, Unicode NFC, and no invisible or
/// bidirectional characters.
#[derive(Deserr, ToSchema)]
#[deserr(error = Invalid, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct Person {
    #[schema(value_type = String, min_length = 1, max_length = 100, example = "Ana")]
    pub name: Text,
    /// Stored in E.164, with its extension in phone_extension. A number without a country code
    /// belongs to the location's country.
    #[schema(value_type = String, min_length = 1, max_length = 40, example = "+1 202 555 0123")]
    pub phone: Text,
    /// Stored with its domain in Punycode.
    #[schema(value_type = String, min_length = 1, max_length = 254, example = "ana@example.com")]
    pub email: Text,
}

/// How to notify the customer. If sms is true, the customer gets text messages, or an e-mail when
/// a text message cannot be sent. Otherwise the customer gets e-mails if email is true.
#[derive(Deserr, ToSchema)]
#[deserr(error = Invalid, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct Channels {
    /// True by default.
    #[schema(value_type = bool, required = false)]
    #[deserr(default)]
    email: Option<bool>,
    /// False by default. If true, customer.phone must not have an extension.
    #[schema(value_type = bool, required = false)]
    #[deserr(default)]
    sms: Option<bool>,
}

impl Channels {
    /// Returns the preferences, with the default for each channel that is not named.
    pub fn preferences(channels: Option<Channels>) -> Preferences {
        let usual = Preferences::default();
        let (email, sms) = channels.map_or((None, None), |asked| (asked.email, asked.sms));
        Preferences {
            email: email.unwrap_or(usual.email),
            sms: sms.unwrap_or(usual.sms),
        }
    }
}

/// The address of a delivery.
#[derive(Default, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeliveryAddress)]
pub struct AddressBody {
    #[schema(value_type = String, required = true, min_length = 1, max_length = 100)]
    line1: Option<Text>,
    #[schema(value_type = String, required = false, max_length = 100)]
    line2: Option<Text>,
    #[schema(value_type = String, required = true, min_length = 1, max_length = 90)]
    city: Option<Text>,
    #[schema(value_type = String, required = true, min_length = 1, max_length = 12)]
    postal_code: Option<Text>,
    #[schema(value_type = String, required = false, max_length = 200)]
    note: Option<Text>,
}

/// The address of a delivery, with the rules of the domain.
pub struct ParsedAddress(pub DeliveryAddress);

/// Written by hand, because one response names wrong types, unknown fields and broken rules of the
/// domain together.
impl Deserr<Invalid> for ParsedAddress {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        location: ValuePointerRef,
    ) -> Result<ParsedAddress, Invalid> {
        let Value::Map(fields) = value else {
            return Err(Invalid::of("must be an object", location));
        };
        let (mut body, mut errors) = (AddressBody::default(), Vec::new());
        for (name, value) in fields.into_iter() {
            let at = location.push_key(&name);
            let field = match name.as_str() {
                "line1" => &mut body.line1,
                "line2" => &mut body.line2,
                "city" => &mut body.city,
                "postal_code" => &mut body.postal_code,
                "note" => &mut body.note,
                _ => {
                    errors.push(Invalid::unknown(at));
                    continue;
                }
            };
            match Option::deserialize_from_value(value.into_value(), at) {
                Ok(text) => *field = text,
                Err(invalid) => errors.extend(Invalid::into_fields(invalid)),
            }
        }
        let text = |text: Option<Text>| text.unwrap_or_default().0;
        let [line1, line2, city, postal_code, note] = [
            body.line1,
            body.line2,
            body.city,
            body.postal_code,
            body.note,
        ]
        .map(text);
        let written = Written {
            line1: &line1,
            line2: &line2,
            city: &city,
            postal_code: &postal_code,
            note: &note,
        };
        match DeliveryAddress::parse(written) {
            Ok(address) if errors.is_empty() => Ok(ParsedAddress(address)),
            parsed => {
                errors.extend(parsed.err().unwrap_or_default());
                Err(Invalid::from(errors))
            }
        }
    }
}

impl NewOrder {
    /// Returns the order's type, a pickup by default.
    pub fn order_type(&self) -> String {
        let named = self.order_type.as_ref().map(|Text(named)| named.as_str());
        named.unwrap_or("pickup").to_owned()
    }

    /// Returns the total and the cart version that the customer saw, without lines.
    pub fn expected(&self) -> Expected {
        Expected {
            total_minor: self.expected_total_minor,
            cart_version: self.cart_version,
            lines: Vec::new(),
        }
    }

    /// Takes the listed products, or returns `None` for an order of the cart.
    ///
    /// # Errors
    /// Returns 422 if the request has both items and cart, or neither, or too many products.
    pub fn take_lines(&mut self) -> Result<Option<Lines>, Problem> {
        let is_of_cart = self.cart.unwrap_or_default();
        let mut errors = Vec::new();
        if self.cart_version.is_some() && !is_of_cart {
            errors.push(FieldError::new(
                "cart_version",
                "is allowed only with \"cart\": true",
            ));
        }
        let lines = match self.items.take() {
            None if is_of_cart => None,
            None => {
                errors.push(FieldError::new("items", "is required, or \"cart\": true"));
                None
            }
            Some(_) if is_of_cart => {
                let message = "must not be given together with \"cart\": true";
                errors.push(FieldError::new("items", message));
                None
            }
            Some(items) => Lines::merge(items.into_iter().map(CartItem::line))
                .map_err(|error| errors.push(error))
                .ok(),
        };
        if errors.is_empty() {
            Ok(lines)
        } else {
            Err(Problem::fields(errors))
        }
    }
}

const _: () = assert!(LINES_MAX == 49, "the schema of `items` has another maximum");
