//! Accepting an order: checked, priced from the menu, and durable before the answer leaves.

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
use super::{ASK_AGAIN, Maker, Shop};
use crate::ports::carts::version_of;
use crate::ports::orders::{KeyUse, NewOrder, OrderStore, Placement, SlotClaim, StoredOrder};
use crate::ports::scope::Scope;
use crate::ports::stock::{Stock, StockedProduct};
use crate::ports::{Source, Unavailable};

/// Longest idempotency key, in bytes.
pub const KEY_MAX: usize = 200;
/// A pick-up time may lie so far ahead.
pub const PICKUP_AHEAD: time::Duration = time::Duration::days(7);
/// A pick-up time that has come is accepted for so long: whoever chose it in time still has to
/// press the button.
const PICKUP_LATE: time::Duration = time::Duration::minutes(1);

/// Returns whether an order that is placed now comes too late for a pick-up time.
pub fn is_past(pickup_at: Timestamp, now: Timestamp) -> bool {
    pickup_at < now - PICKUP_LATE
}

/// Returns whether a pick-up time lies too far ahead for an order that is placed now.
pub fn is_too_far_ahead(pickup_at: Timestamp, now: Timestamp) -> bool {
    pickup_at > now + PICKUP_AHEAD
}

/// An order as a customer asks for it.
#[derive(Debug, Clone)]
pub struct Request {
    pub customer_name: String,
    pub customer_phone: String,
    pub customer_email: String,
    /// By which channels the customer wants to hear of it.
    pub notify: Preferences,
    pub order_type: String,
    /// The location that was named; `None` for the one that the storefront serves by itself.
    pub location_id: Option<LocationId>,
    pub pickup_at: Option<Timestamp>,
    pub special_instructions: String,
    /// Only of a delivery.
    pub delivery_address: Option<DeliveryAddress>,
    /// A delivery without an address is refused.
    pub address_required: bool,
    /// The gateway's name for the card.
    pub payment_token: String,
    pub lines: Lines,
    /// The request said "what is in my cart", not which products: its repeat comes when the cart is
    /// empty.
    pub from_cart: bool,
    pub idempotency_key: String,
    /// SHA-256 in hex of the session, if there is one.
    pub session_hash: Option<String>,
    /// What the browser's other sessions are, by the same: what was placed from one of them is its
    /// own.
    pub other_sessions: Vec<String>,
    pub traceparent: Option<String>,
    /// No part of what makes two requests the same: a request that was refused because it differed
    /// comes again under its key with what is right.
    pub expected: Expected,
}

/// What the customer was shown before they pressed the button.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// `None` when the client did not say.
    pub total_minor: Option<i64>,
    /// As [`version_of`] computes it; only of an order of what is in the cart.
    pub cart_version: Option<i64>,
    /// Decides nothing: names what changed.
    pub lines: Vec<ShownLine>,
}

/// A line as the customer saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownLine {
    pub product_id: ProductId,
    /// `None` when the price alone is remembered.
    pub quantity: Option<u32>,
    pub unit_price_minor: i64,
}

/// An order that would cost something else than was shown, or consist of something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub differences: Vec<Difference>,
    /// What it costs now.
    pub totals: Totals,
    /// The cart's version now, of an order of what is in the cart.
    pub cart_version: Option<i64>,
}

/// One thing that is not as it was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub kind: Differs,
    /// Of a line: the product and its name.
    pub product: Option<(ProductId, String)>,
    pub was: i64,
    pub now: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differs {
    /// Of the whole order, in minor units.
    Total,
    CartVersion,
    /// Of a line, in minor units.
    UnitPrice,
    /// Of a line; 0 where the line was not there, or is not there now.
    Quantity,
}

impl Differs {
    pub const fn code(self) -> &'static str {
        match self {
            Differs::Total => "total",
            Differs::CartVersion => "cart_version",
            Differs::UnitPrice => "unit_price",
            Differs::Quantity => "quantity",
        }
    }
}

/// An accepted order, as it was when it was accepted: a replay gives the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub order: Order,
    pub tracking_token: String,
    pub replayed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Something is wrong with the request; every wrong field is named.
    Fields(Vec<FieldError>),
    /// Fewer are there than were asked for.
    SoldOut(Vec<ProductId>),
    /// No place is left in the pick-up slot that starts then.
    SlotFull(Timestamp),
    /// The key was used for another request.
    KeyReused,
    /// Too many orders are waiting.
    ShopFull { retry_after_s: u32 },
    /// It would not be what the customer was shown. Nothing was placed, and the key is still free.
    Changed(Box<Changed>),
    /// Nothing was placed.
    Unavailable(Unavailable),
    /// The order may have been placed: no answer came. The same request under the same key settles
    /// it.
    Uncertain(Unavailable),
}

impl From<Unavailable> for Refusal {
    fn from(error: Unavailable) -> Self {
        Refusal::Unavailable(error)
    }
}

/// What the use-case may not make up, and the limits in force now.
pub struct Means<'a, Src> {
    pub source: &'a Src,
    pub maker: &'a Maker,
    /// SHA-256 in hex.
    pub digest: fn(&[u8]) -> String,
    /// A new unguessable token of at least 128 bits.
    pub tracking_token: String,
    /// `order/max_queue_size`.
    pub pending_max: u64,
}

/// What is sold, for what, and whether there is enough of it.
pub trait Offers: Sync {
    /// The product; its count may be a moment old where it suffices for the line, and is exact
    /// where it does not.
    fn offer(
        &self,
        line: &Line,
    ) -> impl Future<Output = Result<Option<StockedProduct>, Unavailable>> + Send;
}

impl<T: Stock> Offers for T {
    async fn offer(&self, line: &Line) -> Result<Option<StockedProduct>, Unavailable> {
        self.product(&line.product_id).await
    }
}

/// Accepts the order or says what is wrong with it. The same key and request give the same answer,
/// however often and however concurrently they come.
pub async fn place_order<O: OrderStore, T: Offers, S: Source>(
    orders: &O,
    offers: &T,
    shop: &Shop,
    means: Means<'_, S>,
    request: Request,
) -> Result<Accepted, Refusal> {
    let checked = check(&request, shop)?;
    let key_hash = key_hash(&shop.tenant_id, &request.idempotency_key, means.digest);
    let request_hash = (means.digest)(canonical(&request, &checked).as_bytes());

    // First the key: a repeat must get its answer even if the product has sold out since.
    let used = key_use(
        orders,
        &Scope::of(shop),
        &shop.tenant_id,
        &request.idempotency_key,
        means.digest,
    )
    .await?;
    if let Some(used) = used {
        return replay(orders, shop, used, &request, &request_hash).await;
    }
    if request.lines.is_empty() {
        return Err(nothing_to_order(&request, shop, means.digest));
    }
    let slot = slot_of(shop, request.pickup_at, means.source.now())?;
    if orders.pending_orders(&Scope::of(shop)).await? >= means.pending_max {
        return Err(Refusal::ShopFull { retry_after_s: 30 });
    }
    let items = price(offers, shop, &request.lines).await?;
    let totals = Totals::of(&items, shop.tax).map_err(|error| Refusal::Fields(vec![error]))?;
    // No gateway charges nothing.
    if totals.total.minor <= 0 {
        return Err(Refusal::Fields(vec![FieldError::new(
            "items",
            "must cost something",
        )]));
    }

    if let Some(changed) = changed(&request, &items, totals, means.digest) {
        return Err(Refusal::Changed(Box::new(changed)));
    }

    // One instant decides the day of the number and stands in the order.
    let now = means.source.now();
    let day = shop.hours.zone.date_of(now);
    let number = orders
        .next_number(&shop.tenant_id, &shop.location_id, day)
        .await?;
    let order = Order {
        order_id: OrderId(means.source.uuid()),
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
        outbox.push(means.maker.envelope(
            means.source,
            Some(order.order_id),
            ask_for(command, &order),
        ));
    }
    outbox.push(
        means
            .maker
            .envelope(means.source, Some(order.order_id), order_created(&order)),
    );
    let new = NewOrder {
        order,
        day,
        tracking_token: means.tracking_token,
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
        placed.unwrap_or_else(|| Err(Unavailable::new("orders", "no answer to a placement")));
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

/// Why an empty cart is not ordered: another tab emptied it, or ordered what was in it, since the
/// customer looked.
fn nothing_to_order(request: &Request, shop: &Shop, digest: fn(&[u8]) -> String) -> Refusal {
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

/// What is not as the customer was shown; `None` when the total and the cart are, or were not said.
fn changed(
    request: &Request,
    items: &[Item],
    totals: Totals,
    digest: fn(&[u8]) -> String,
) -> Option<Changed> {
    let expected = &request.expected;
    let cart_version = request
        .from_cart
        .then(|| version_of(&request.lines, digest));
    let of_order = |kind, was: Option<i64>, now: Option<i64>| {
        let (was, now) = (was?, now?);
        (was != now).then_some(Difference {
            kind,
            product: None,
            was,
            now,
        })
    };
    let total = of_order(
        Differs::Total,
        expected.total_minor,
        Some(totals.total.minor),
    );
    let cart = of_order(Differs::CartVersion, expected.cart_version, cart_version);
    let mut differences: Vec<_> = total.into_iter().chain(cart).collect();
    if differences.is_empty() {
        return None;
    }
    let shown_in_full = expected.lines.iter().any(|line| line.quantity.is_some());
    for item in items {
        let of_line = |kind, was, now| Difference {
            kind,
            product: Some((item.product_id.clone(), item.name.clone())),
            was,
            now,
        };
        let (price, quantity) = (item.unit_price.minor, i64::from(item.quantity.get()));
        let shown = expected
            .lines
            .iter()
            .find(|line| line.product_id == item.product_id);
        match shown {
            Some(shown) if shown.unit_price_minor != price => {
                differences.push(of_line(Differs::UnitPrice, shown.unit_price_minor, price));
            }
            Some(_) => {}
            None if shown_in_full => differences.push(of_line(Differs::Quantity, 0, quantity)),
            None => {}
        }
        match shown.and_then(|shown| shown.quantity).map(i64::from) {
            Some(was) if was != quantity => {
                differences.push(of_line(Differs::Quantity, was, quantity))
            }
            _ => {}
        }
    }
    for shown in &expected.lines {
        let gone = !items.iter().any(|item| item.product_id == shown.product_id);
        if let (true, Some(was)) = (gone, shown.quantity) {
            let product = Some((shown.product_id.clone(), shown.product_id.to_string()));
            differences.push(Difference {
                kind: Differs::Quantity,
                product,
                was: i64::from(was),
                now: 0,
            });
        }
    }
    Some(Changed {
        differences,
        totals,
        cart_version,
    })
}

/// The slot that an order for then takes a place in; one for now takes none, and is made while the
/// shop is open. Asked after the key was looked for: a repeat gets its answer, whatever time it is
/// by then.
fn slot_of(
    shop: &Shop,
    pickup_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<SlotClaim>, Refusal> {
    let refused = |message: String| Refusal::Fields(vec![FieldError::new("pickup_at", message)]);
    let opens_after = |at: Timestamp| match shop.hours.opens_after(at) {
        Some(opens) => format!(
            "; it opens at {}",
            opens.format(&Rfc3339).unwrap_or_default()
        ),
        None => String::new(),
    };
    let Some(at) = pickup_at else {
        if shop.hours.is_open(now) {
            return Ok(None);
        }
        return Err(refused(format!(
            "is required, since the shop is closed now{}",
            opens_after(now)
        )));
    };
    if is_past(at, now) {
        return Err(refused("is past".to_owned()));
    }
    if is_too_far_ahead(at, now) {
        return Err(refused("must lie in the next seven days".to_owned()));
    }
    match shop.hours.slot_at(at, shop.slots) {
        Some(slot) => Ok(Some(SlotClaim {
            starts_at: slot.starts_at,
            capacity: shop.slots.capacity,
        })),
        None => Err(refused(format!(
            "is when the shop is closed{}",
            opens_after(at)
        ))),
    }
}

struct Checked {
    customer: Customer,
    order_type: OrderType,
    special_instructions: String,
}

fn check(request: &Request, shop: &Shop) -> Result<Checked, Refusal> {
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

/// The request in one unambiguous text, so that "the same body" does not depend on spelling. Free
/// text comes last and has its length before it.
fn canonical(request: &Request, checked: &Checked) -> String {
    let mut text = format!(
        "v1\n{}\n{}\n",
        checked.order_type.code(),
        request.payment_token
    );
    // No product's id begins so.
    if let Some(location_id) = &request.location_id {
        text.push_str(&format!("@{location_id}\n"));
    }
    if request.from_cart {
        text.push_str("cart\n");
    } else {
        for line in &request.lines {
            text.push_str(&format!("{} {}\n", line.product_id, line.quantity.get()));
        }
    }
    text.push_str(&format!(
        "{:?}\n",
        request.pickup_at.map(Timestamp::unix_timestamp)
    ));
    let notify = checked.customer.notify;
    // What most want is left out: a request from before there was a choice is still the same
    // request.
    if notify != Preferences::default() {
        text.push_str(&format!("notify {} {}\n", notify.email, notify.sms));
    }
    if let Some(DeliveryAddress {
        line1,
        line2,
        city,
        postal_code,
        note,
    }) = &request.delivery_address
    {
        let (line2, note) = (
            line2.as_deref().unwrap_or_default(),
            note.as_deref().unwrap_or_default(),
        );
        text.push_str("to\n");
        for free in [line1.as_str(), line2, city, postal_code, note] {
            text.push_str(&format!("{}:{free}\n", free.len()));
        }
    }
    // As they were typed: a key that was used before texts were normalized is still the key of the
    // same request.
    let Request {
        customer_name,
        customer_phone,
        customer_email,
        special_instructions,
        ..
    } = request;
    for free in [
        customer_name,
        customer_phone,
        customer_email,
        special_instructions,
    ]
    .map(|free| free.trim())
    {
        text.push_str(&format!("{}:{free}\n", free.len()));
    }
    text
}

/// The price is the menu's, never the customer's. Too little stock is said here already, though
/// only the saga holds it.
async fn price(offers: &impl Offers, shop: &Shop, lines: &Lines) -> Result<Vec<Item>, Refusal> {
    let (mut items, mut unknown, mut short) = (Vec::new(), Vec::new(), Vec::new());
    for (index, line) in lines.iter().enumerate() {
        let Some(found) = offers.offer(line).await? else {
            let field = format!("items[{index}].product_id");
            unknown.push(FieldError::new(
                field,
                format!("there is no product {}", line.product_id),
            ));
            continue;
        };
        if found.product.price.currency != shop.currency {
            return Err(Unavailable::new(
                "menu",
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
        return Err(Refusal::Fields(unknown));
    }
    if !short.is_empty() {
        return Err(Refusal::SoldOut(short));
    }
    Ok(items)
}

async fn replay(
    orders: &impl OrderStore,
    shop: &Shop,
    used: KeyUse,
    request: &Request,
    request_hash: &str,
) -> Result<Accepted, Refusal> {
    // Another session's key is treated as a used one: its order is nobody else's business.
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
    // Keys are unique over all locations of a tenant: one that was used at another is a used one,
    // and says nothing more.
    let stored = orders.load_in(&Scope::of(shop), used.order_id).await?;
    let StoredOrder {
        mut order,
        tracking_token,
        ..
    } = stored.ok_or(Refusal::KeyReused)?;
    // The first answer, not today's.
    (order.state, order.status, order.version) = (State::Placed, Status::Pending, 1);
    Ok(Accepted {
        order,
        tracking_token,
        replayed: true,
    })
}
