//! Places an order: validates the request, computes the price from the menu, and stores the order
//! before the request is answered.

mod canonical;
mod expected;

use domain::address::DeliveryAddress;
use domain::card::refuse_card_number;
use domain::cart::{Line, Lines};
use domain::channel::Preferences;
use domain::customer::{Customer, parse_instructions};
use domain::ids::{LocationId, OrderId, OrderNumber, ProductId};
use domain::money::Money;
use domain::order::{HistoryEntry, Item, Order, OrderType, Status, Totals};
use domain::saga::State;
use domain::{FieldError, Timestamp};
use time::format_description::well_known::Rfc3339;

use super::change_order::CUSTOMER;
use super::idempotency::{key_hash, key_use};
use super::progress::{ask_for, order_created};
use super::{ASK_AGAIN, Maker};
use crate::location::Location;
use crate::ports::orders::{KeyUse, NewOrder, OrderStore, Placement, SlotClaim, StoredOrder};
use crate::ports::scope::Scope;
use crate::ports::stock::{Stock, StockedProduct};
use crate::ports::{Backend, PortFuture, Source, StoreError};

pub use expected::{Changed, Difference, Differs, Expected, ShownLine};

use canonical::canonical;
use expected::changed;

/// Maximum length of an idempotency key, in bytes.
pub const KEY_MAX: usize = 200;
/// Maximum time from now to the pickup time.
pub const PICKUP_AHEAD: time::Duration = time::Duration::days(7);
/// Time for which a pickup time in the past is still accepted. A customer who chose it in time
/// needs a moment to submit the order.
const PICKUP_LATE: time::Duration = time::Duration::minutes(1);

/// Returns whether a pickup time is too far in the past for an order that is placed now.
pub fn is_past(pickup_at: Timestamp, now: Timestamp) -> bool {
    pickup_at < now - PICKUP_LATE
}

/// Returns whether a pickup time is too far in the future for an order that is placed now.
pub fn is_too_far_ahead(pickup_at: Timestamp, now: Timestamp) -> bool {
    pickup_at > now + PICKUP_AHEAD
}

/// An order as the customer requests it.
#[derive(Debug, Clone)]
pub struct Request {
    pub customer_name: String,
    pub customer_phone: String,
    pub customer_email: String,
    /// The channels on which the customer wants notifications.
    pub notify: Preferences,
    pub order_type: String,
    /// The location in the request. `None` for the default location of the storefront.
    pub location_id: Option<LocationId>,
    pub pickup_at: Option<Timestamp>,
    pub special_instructions: String,
    /// The address, for a delivery.
    pub delivery_address: Option<DeliveryAddress>,
    /// Whether a delivery without an address is rejected.
    pub address_required: bool,
    /// The payment gateway's token for the card.
    pub payment_token: String,
    pub lines: Lines,
    /// Whether the request orders the content of the cart instead of listing products. A repetition
    /// of such a request arrives when the cart is already empty.
    pub from_cart: bool,
    pub idempotency_key: String,
    /// SHA-256 of the session, in hexadecimal, if there is one.
    pub session_hash: Option<String>,
    /// SHA-256 of the other sessions of the same browser. Orders that were placed from one of them
    /// belong to the customer too.
    pub other_sessions: Vec<String>,
    pub traceparent: Option<String>,
    /// The content that the customer saw, which is not part of the request hash. A request that was
    /// rejected as changed can therefore be repeated with the same key and the current content.
    pub expected: Expected,
}

/// An accepted order, as it was when it was accepted. A repeated request returns the same content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub order: Order,
    pub tracking_token: String,
    /// Whether the order was placed by an earlier request with the same key.
    pub replayed: bool,
}

/// The reason why an order was not placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The request is invalid. Every invalid field is listed.
    Fields(Vec<FieldError>),
    /// The idempotency key is missing or malformed. Every invalid field is listed, the key last.
    Key(Vec<FieldError>),
    /// The order cannot be made at its pickup time.
    Pickup(PickupRefusal),
    /// These lines name products that are not on the menu.
    NotOnMenu(Vec<UnknownLine>),
    /// These products have fewer available units than requested.
    SoldOut(Vec<ProductId>),
    /// The pickup slot that starts at this time is full.
    SlotFull(Timestamp),
    /// The idempotency key was used for a different request.
    KeyReused,
    /// Too many orders are not confirmed yet.
    ShopFull { retry_after_s: u32 },
    /// The order is not what the customer saw. Nothing was placed, and the idempotency key is still
    /// unused.
    Changed(Box<Changed>),
    /// A store could not answer. Nothing was placed.
    Unavailable(StoreError),
    /// The database did not answer, so the order may have been placed. A repeat of the request with
    /// the same key returns the result.
    Uncertain(StoreError),
}

/// The reason why an order cannot be made at its pickup time. `opens` is the next time at which the
/// shop opens, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PickupRefusal {
    /// The shop is closed now, and the request names no time.
    Required { opens: Option<Timestamp> },
    /// The time is in the past.
    Past,
    /// The time is more than [`PICKUP_AHEAD`] away.
    TooFarAhead,
    /// The shop is closed at that time.
    Closed { opens: Option<Timestamp> },
}

impl PickupRefusal {
    /// Returns what is wrong with the time. The text continues the name of the field.
    pub const fn reason(self) -> &'static str {
        match self {
            PickupRefusal::Required { .. } => "is required because the shop is closed now",
            PickupRefusal::Past => "is in the past",
            PickupRefusal::TooFarAhead => "must be within the next seven days",
            PickupRefusal::Closed { .. } => "is outside the opening hours",
        }
    }

    /// Returns the error of the field `pickup_at`.
    pub fn field_error(self) -> FieldError {
        let message = match self {
            PickupRefusal::Required { opens: Some(opens) }
            | PickupRefusal::Closed { opens: Some(opens) } => format!(
                "{}; it opens at {}",
                self.reason(),
                opens.format(&Rfc3339).unwrap_or_default()
            ),
            PickupRefusal::Required { opens: None }
            | PickupRefusal::Closed { opens: None }
            | PickupRefusal::Past
            | PickupRefusal::TooFarAhead => self.reason().to_owned(),
        };
        FieldError::new("pickup_at", message)
    }
}

/// A line of a request whose product is not on the menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownLine {
    /// The place of the line in the request, from 0.
    pub index: usize,
    pub product_id: ProductId,
}

impl UnknownLine {
    /// Returns the error of the line's product.
    pub fn field_error(&self) -> FieldError {
        FieldError::new(
            format!("items[{}].product_id", self.index),
            format!("there is no product {}", self.product_id),
        )
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Refusal::Unavailable(error)
    }
}

/// The dependencies of [`place_order`] that are not ports, and the current limits.
pub struct PlaceOrderDeps<'a, Src> {
    pub source: &'a Src,
    pub maker: &'a Maker,
    /// Returns the SHA-256 in hexadecimal.
    pub digest: fn(&[u8]) -> String,
    /// A new random token of at least 128 bits.
    pub tracking_token: String,
    /// The value of the live parameter `order/max_queue_size`.
    pub pending_max: u64,
}

/// The menu with prices and available units.
pub trait Offers: Sync {
    /// Returns the product of a line. The number of available units may be cached when it suffices
    /// for the line, and is read from the table when it does not.
    fn offer(&self, line: &Line) -> impl PortFuture<Option<StockedProduct>>;
}

impl<T: Stock> Offers for T {
    async fn offer(&self, line: &Line) -> Result<Option<StockedProduct>, StoreError> {
        self.product(&line.product_id).await
    }
}

/// Places an order.
///
/// The same key with the same request returns the same order, for any number of repeated or
/// concurrent calls.
///
/// # Errors
/// [`Refusal`] with the reason.
pub async fn place_order<O: OrderStore, T: Offers, S: Source>(
    orders: &O,
    offers: &T,
    shop: &Location,
    deps: PlaceOrderDeps<'_, S>,
    request: Request,
) -> Result<Accepted, Refusal> {
    let checked = check(&request, shop)?;
    let key_hash = key_hash(&shop.tenant_id, &request.idempotency_key, deps.digest);
    let request_hash = (deps.digest)(canonical(&request, &checked).as_bytes());

    // The key is looked up first: a repeated request must succeed even if the product has sold out
    // since.
    let used = key_use(
        orders,
        &Scope::of(shop),
        &shop.tenant_id,
        &request.idempotency_key,
        deps.digest,
    )
    .await?;
    if let Some(used) = used {
        return replay(orders, shop, used, &request, &request_hash).await;
    }
    if request.lines.is_empty() {
        return Err(nothing_to_order(&request, shop, deps.digest));
    }
    let slot = slot_of(shop, request.pickup_at, deps.source.now())?;
    if orders.pending_orders(&Scope::of(shop)).await? >= deps.pending_max {
        return Err(Refusal::ShopFull { retry_after_s: 30 });
    }
    let items = price(offers, shop, &request.lines).await?;
    let totals = Totals::of(&items, shop.tax).map_err(|error| Refusal::Fields(vec![error]))?;
    // The payment gateway rejects a charge of zero.
    if totals.total.minor <= 0 {
        return Err(Refusal::Fields(vec![FieldError::new(
            "items",
            "must have a total above zero",
        )]));
    }

    if let Some(changed) = changed(&request, &items, totals, deps.digest) {
        return Err(Refusal::Changed(Box::new(changed)));
    }

    // One timestamp is the creation time and determines the day of the order number, so that the
    // two agree.
    let now = deps.source.now();
    let day = shop.hours.zone.date_of(now);
    let number = orders
        .next_number(&shop.tenant_id, &shop.location_id, day)
        .await?;
    let order = Order {
        order_id: OrderId(deps.source.uuid()),
        tenant_id: shop.tenant_id.clone(),
        location_id: shop.location_id.clone(),
        order_number: OrderNumber::of(number).to_string(),
        order_type: checked.order_type,
        customer: checked.customer,
        special_instructions: checked.special_instructions,
        delivery_address: request.delivery_address.clone(),
        pickup_at: request.pickup_at,
        items,
        totals,
        state: State::Placed,
        status: Status::Pending,
        version: 1,
        reason: None,
        created_at: now,
        updated_at: now,
    };
    let first = HistoryEntry {
        seq: 1,
        from: None,
        to: Status::Pending,
        step: State::Placed.step(),
        actor: CUSTOMER.to_owned(),
        note: None,
        at: now,
    };
    let mut outbox = Vec::with_capacity(2);
    if let Some(command) = State::Placed.awaits() {
        outbox.push(deps.maker.envelope(
            deps.source,
            Some(order.order_id),
            ask_for(command, &order),
        ));
    }
    outbox.push(
        deps.maker
            .envelope(deps.source, Some(order.order_id), order_created(&order)),
    );
    let new = NewOrder {
        order,
        day,
        tracking_token: deps.tracking_token,
        session_hash: request.session_hash.clone(),
        key_hash,
        request_hash: request_hash.clone(),
        payment_token: request.payment_token.clone(),
        next_action_at: now + ASK_AGAIN,
        slot,
        history: first,
        outbox,
    };
    let placed = orders.place(std::slice::from_ref(&new)).await.pop();
    let placed =
        placed.unwrap_or_else(|| Err(StoreError::new(Backend::Orders, "no answer to a placement")));
    match placed.map_err(Refusal::Uncertain)? {
        Placement::Placed => Ok(Accepted {
            order: new.order,
            tracking_token: new.tracking_token,
            replayed: false,
        }),
        Placement::KeyUsed(used) => replay(orders, shop, used, &request, &request_hash).await,
        Placement::SlotFull => Err(Refusal::SlotFull(
            new.slot.map_or(now, |slot| slot.starts_at),
        )),
    }
}

/// Returns the refusal for an order of an empty cart. When the customer saw lines, another browser
/// tab emptied or ordered the cart in the meantime.
fn nothing_to_order(request: &Request, shop: &Location, digest: fn(&[u8]) -> String) -> Refusal {
    let zero = Money::zero(shop.currency);
    let totals = Totals {
        subtotal: zero,
        rate: shop.tax,
        tax: zero,
        total: zero,
    };
    match changed(request, &[], totals, digest) {
        Some(changed) => Refusal::Changed(Box::new(changed)),
        None => Refusal::Fields(vec![FieldError::new(
            "items",
            "must have at least one product",
        )]),
    }
}

/// Returns the place in a pickup slot for an order with a pickup time. An order without one takes
/// no place and is accepted only while the shop is open.
///
/// The check runs after the lookup of the key, so that a repeated request succeeds at any time.
fn slot_of(
    shop: &Location,
    pickup_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<SlotClaim>, Refusal> {
    let opens_after = |at| shop.hours.opens_after(at);
    let Some(at) = pickup_at else {
        if shop.hours.is_open(now) {
            return Ok(None);
        }
        let opens = opens_after(now);
        return Err(Refusal::Pickup(PickupRefusal::Required { opens }));
    };
    if is_past(at, now) {
        return Err(Refusal::Pickup(PickupRefusal::Past));
    }
    if is_too_far_ahead(at, now) {
        return Err(Refusal::Pickup(PickupRefusal::TooFarAhead));
    }
    match shop.hours.slot_at(at, shop.slots) {
        Some(slot) => Ok(Some(SlotClaim {
            starts_at: slot.starts_at,
            capacity: shop.slots.capacity,
        })),
        None => Err(Refusal::Pickup(PickupRefusal::Closed {
            opens: opens_after(at),
        })),
    }
}

/// The validated parts of a request.
struct Checked {
    customer: Customer,
    order_type: OrderType,
    special_instructions: String,
}

/// Validates the request without any port.
fn check(request: &Request, shop: &Location) -> Result<Checked, Refusal> {
    let mut errors = Vec::new();
    let (name, phone, email) = (
        &request.customer_name,
        &request.customer_phone,
        &request.customer_email,
    );
    let customer = Customer::parse(name, phone, email, shop.country);
    let customer = customer.map_err(|wrong| errors.extend(wrong)).ok();
    let customer = customer.and_then(|one| {
        one.told_by(request.notify)
            .map_err(|wrong| errors.push(wrong))
            .ok()
    });
    let special_instructions = parse_instructions(&request.special_instructions)
        .map_err(|e| errors.push(e))
        .ok();
    let order_type = OrderType::from_code(&request.order_type);
    if order_type.is_none() {
        let legal = OrderType::ALL.map(OrderType::code).join(", ");
        errors.push(FieldError::new(
            "order_type",
            format!("must be one of {legal}"),
        ));
    }
    let delivers = order_type == Some(OrderType::Delivery);
    match &request.delivery_address {
        None if delivers && request.address_required => {
            errors.push(FieldError::new(
                "delivery_address",
                "is required for a delivery",
            ));
        }
        Some(_) if order_type.is_some() && !delivers => {
            errors.push(FieldError::new(
                "delivery_address",
                "is only for order_type delivery",
            ));
        }
        None | Some(_) => {}
    }
    if request.lines.is_empty() && !request.from_cart {
        errors.push(FieldError::new("items", "must have at least one product"));
    }
    let token = &request.payment_token;
    let is_token = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !token.starts_with("tok_") || token.len() > 64 || !token.bytes().all(is_token) {
        errors.push(FieldError::new(
            "payment_token",
            "must be the gateway's token, such as tok_ok; never a card number",
        ));
    } else if let Err(error) = refuse_card_number("payment_token", token) {
        errors.push(error);
    }
    let key = &request.idempotency_key;
    if key.is_empty()
        || key.len() > KEY_MAX
        || !key
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    {
        let message =
            format!("is required: 1 to {KEY_MAX} printable ASCII characters, new for each order");
        errors.push(FieldError::new("Idempotency-Key", message));
        return Err(Refusal::Key(errors));
    }
    match (customer, order_type, special_instructions) {
        (Some(customer), Some(order_type), Some(special_instructions)) if errors.is_empty() => {
            Ok(Checked {
                customer,
                order_type,
                special_instructions,
            })
        }
        _ => Err(Refusal::Fields(errors)),
    }
}

/// Returns the items with the prices of the menu. Products with too few available units are
/// rejected here, although only the saga reserves stock.
async fn price(offers: &impl Offers, shop: &Location, lines: &Lines) -> Result<Vec<Item>, Refusal> {
    let (mut items, mut unknown, mut short) = (Vec::new(), Vec::new(), Vec::new());
    for (index, line) in lines.iter().enumerate() {
        let Some(found) = offers.offer(line).await? else {
            unknown.push(UnknownLine {
                index,
                product_id: line.product_id.clone(),
            });
            continue;
        };
        if found.product.price.currency != shop.currency {
            return Err(StoreError::new(
                Backend::Menu,
                format!("{} is not priced in {:?}", line.product_id, shop.currency),
            )
            .into());
        }
        if found.counters.available < i64::from(line.quantity.get()) {
            short.push(line.product_id.clone());
        }
        items.push(Item {
            product_id: found.product.product_id,
            name: found.product.name,
            quantity: line.quantity,
            unit_price: found.product.price,
        });
    }
    if !unknown.is_empty() {
        return Err(Refusal::NotOnMenu(unknown));
    }
    if !short.is_empty() {
        return Err(Refusal::SoldOut(short));
    }
    Ok(items)
}

/// Returns the order that an earlier request with the same key placed.
async fn replay(
    orders: &impl OrderStore,
    shop: &Location,
    used: KeyUse,
    request: &Request,
    request_hash: &str,
) -> Result<Accepted, Refusal> {
    // The key of another customer's session is reported as reused, without any data of its order.
    let own = |owner: &String| {
        request
            .session_hash
            .iter()
            .chain(&request.other_sessions)
            .any(|session| session == owner)
    };
    let foreign = !used.session_hash.as_ref().is_none_or(own);
    if foreign || used.request_hash != request_hash {
        return Err(Refusal::KeyReused);
    }
    // Keys are unique within a tenant. A key that was used at another location is therefore
    // reported as reused, without any data of its order.
    let stored = orders.load_in(&Scope::of(shop), used.order_id).await?;
    let StoredOrder {
        mut order,
        tracking_token,
        ..
    } = stored.ok_or(Refusal::KeyReused)?;
    // The response describes the order as it was first returned.
    (order.state, order.status, order.version) = (State::Placed, Status::Pending, 1);
    Ok(Accepted {
        order,
        tracking_token,
        replayed: true,
    })
}
