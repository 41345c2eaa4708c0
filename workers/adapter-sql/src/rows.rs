//! Conversions between rows and the domain's types. A value that cannot be converted is reported as
//! [`StoreError`], because the row cannot be used until an operator corrects it.

use app::ports::orders::{Payment, PaymentKind, PaymentState, StoredOrder, address_of};
use app::ports::{Backend, StoreError};
use domain::Timestamp;
use domain::cart::Quantity;
use domain::channel::Preferences;
use domain::customer::Customer;
use domain::ids::{LocationId, OrderId, ProductId, TenantId};
use domain::money::{Currency, Money, TaxRate};
use domain::order::{HistoryEntry, Item, Order, OrderType, Status, Step, Totals};
use domain::saga::State;
use domain::text::{printable, shown};

use crate::values::Id;

/// Maximum number of orders in one list.
pub const LIST_MAX: u32 = 200;
pub const ORDER_COLUMNS: &str = "order_id, tenant_id, location_id, order_number, order_type, customer_name, customer_phone, \
    customer_phone_extension, customer_email, notify_email, notify_sms, special_instructions, delivery_address, pickup_at, subtotal_minor, tax_basis_points, \
    tax_rate_millionths, tax_minor, total_minor, currency, state, status, version, reason, session_hash, tracking_token, created_at, updated_at";

/// Returns the error for a stored value that is not valid; `what` names the expected value.
pub fn corrupt(what: &str, value: &str) -> StoreError {
    StoreError::new(
        Backend::Orders,
        format!("{value:?} is stored where {what} should be"),
    )
}

/// Parses an order status.
pub fn status(text: &str) -> Result<Status, StoreError> {
    Status::from_code(text).ok_or_else(|| corrupt("a status", text))
}

/// Parses a saga state.
pub fn state(text: &str) -> Result<State, StoreError> {
    State::from_code(text).ok_or_else(|| corrupt("a state", text))
}

fn currency(text: &str) -> Result<Currency, StoreError> {
    Currency::from_code(text).ok_or_else(|| corrupt("a currency", text))
}

/// Returns the tax rate that applied to the order when it was placed. The location's rate may have
/// changed since.
fn rate(basis_points: i32, millionths: Option<i32>) -> Result<TaxRate, StoreError> {
    let read =
        |units: i32| u32::try_from(units).map_err(|_| corrupt("a tax rate", &units.to_string()));
    Ok(TaxRate::stored(
        read(basis_points)?,
        millionths.map(read).transpose()?,
    ))
}

row! {
    /// A row of `orders`, without the items.
    pub struct OrderRow {
        pub order_id: Id,
        tenant_id: String,
        location_id: String,
        order_number: String,
        order_type: String,
        customer_name: String,
        customer_phone: String,
        customer_phone_extension: Option<String>,
        customer_email: String,
        notify_email: bool,
        notify_sms: bool,
        special_instructions: String,
        delivery_address: Option<String>,
        pickup_at: Option<Timestamp>,
        subtotal_minor: i64,
        tax_basis_points: i32,
        tax_rate_millionths: Option<i32>,
        tax_minor: i64,
        total_minor: i64,
        currency: String,
        state: String,
        status: String,
        version: i64,
        reason: Option<String>,
        session_hash: Option<String>,
        tracking_token: String,
        created_at: Timestamp,
        updated_at: Timestamp,
    }
}

row! {
    /// A row of `order_items`.
    pub struct ItemRow {
        pub order_id: Id,
        product_id: String,
        name: String,
        quantity: i32,
        unit_price_minor: i64,
    }
}

impl OrderRow {
    /// Converts the row and its items into an order. Fails if a value is not valid.
    pub fn with_items<'a>(
        self,
        items: impl Iterator<Item = &'a ItemRow>,
    ) -> Result<StoredOrder, StoreError> {
        let currency = currency(&self.currency)?;
        let money = |minor| Money::new(minor, currency);
        let items = items
            .map(|row| {
                let quantity = u32::try_from(row.quantity).ok().and_then(Quantity::new);
                Ok(Item {
                    product_id: ProductId::parse(&row.product_id)
                        .map_err(|_| corrupt("a product id", &row.product_id))?,
                    name: printable(&row.name),
                    quantity: quantity
                        .ok_or_else(|| corrupt("a quantity", &row.quantity.to_string()))?,
                    unit_price: money(row.unit_price_minor),
                })
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        Ok(StoredOrder {
            order: Order {
                order_id: OrderId(self.order_id.0),
                tenant_id: TenantId::parse(&self.tenant_id)
                    .map_err(|_| corrupt("a tenant", &self.tenant_id))?,
                location_id: LocationId::parse(&self.location_id)
                    .map_err(|_| corrupt("a location", &self.location_id))?,
                order_number: self.order_number,
                order_type: OrderType::from_code(&self.order_type)
                    .ok_or_else(|| corrupt("an order type", &self.order_type))?,
                customer: Customer {
                    name: shown(self.customer_name),
                    phone: shown(self.customer_phone),
                    phone_extension: self.customer_phone_extension,
                    email: self.customer_email,
                    notify: Preferences {
                        email: self.notify_email,
                        sms: self.notify_sms,
                    },
                },
                special_instructions: shown(self.special_instructions),
                delivery_address: address_of(self.delivery_address.as_deref())?,
                pickup_at: self.pickup_at,
                items,
                totals: Totals {
                    subtotal: money(self.subtotal_minor),
                    rate: rate(self.tax_basis_points, self.tax_rate_millionths)?,
                    tax: money(self.tax_minor),
                    total: money(self.total_minor),
                },
                state: state(&self.state)?,
                status: status(&self.status)?,
                version: self.version,
                reason: self.reason.map(shown),
                created_at: self.created_at,
                updated_at: self.updated_at,
            },
            tracking_token: self.tracking_token,
            session_hash: self.session_hash,
        })
    }
}

row! {
    /// A row of `order_history`.
    pub struct HistoryRow {
        seq: i64,
        from_status: Option<String>,
        to_status: String,
        step: String,
        actor: String,
        note: Option<String>,
        at: Timestamp,
    }
}

impl HistoryRow {
    /// Converts the row into a history entry. Fails if a status or a step is not valid.
    pub fn into_entry(self) -> Result<HistoryEntry, StoreError> {
        Ok(HistoryEntry {
            seq: self.seq,
            from: self.from_status.as_deref().map(status).transpose()?,
            to: status(&self.to_status)?,
            step: Step::from_code(&self.step).ok_or_else(|| corrupt("a step", &self.step))?,
            actor: shown(self.actor),
            note: self.note.map(shown),
            at: self.at,
        })
    }
}

row! {
    /// A row of `payments`, without the order id and the kind.
    pub struct PaymentRow {
        amount_minor: i64,
        currency: String,
        state: String,
        token: Option<String>,
        charge_id: Option<String>,
        reason: Option<String>,
    }
}

impl PaymentRow {
    /// Converts the row into a payment. Fails if the currency or the state is not valid.
    pub fn into_payment(self, order_id: OrderId, kind: PaymentKind) -> Result<Payment, StoreError> {
        Ok(Payment {
            order_id,
            kind,
            amount: Money::new(self.amount_minor, currency(&self.currency)?),
            state: PaymentState::from_code(&self.state)
                .ok_or_else(|| corrupt("a payment state", &self.state))?,
            token: self.token,
            charge_id: self.charge_id,
            reason: self.reason,
        })
    }
}
