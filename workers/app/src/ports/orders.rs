//! Orders, their history, their payments, and the messages in the outbox. The database of this port
//! is the source of truth.
//!
//! Data that belongs together is written together: each [`Change`] is one transaction.

use std::time::Duration;

use contract::cause::Cause;
use contract::event::{EventKind, Route};
use contract::messages::{Envelope, Undecodable};
use domain::Timestamp;
use domain::address::DeliveryAddress;
use domain::ids::{EventId, LocationId, OrderId, OrderNumber, TenantId};
use domain::money::Money;
use domain::order::{HistoryEntry, Order, Status};
use domain::saga::State;
use strum::{EnumString, IntoStaticStr, VariantArray};
use time::Date;

use super::access::AuditEntry;
use super::scope::Scope;
use super::{Backend, PortFuture, StoreError};

/// An order that is to be accepted.
#[derive(Debug, Clone)]
pub struct NewOrder {
    pub order: Order,
    /// The date in the time zone of the location. The order number is unique on this date.
    pub day: Date,
    /// A random token with which a customer may follow and cancel the order.
    pub tracking_token: String,
    /// SHA-256 of the customer's session, in hexadecimal. `None` for an order without a session.
    pub session_hash: Option<String>,
    /// SHA-256 of the idempotency key, in hexadecimal.
    pub key_hash: String,
    /// SHA-256 of the request that came with the key, in hexadecimal.
    pub request_hash: String,
    /// The payment gateway's token for the card, never a card number.
    pub payment_token: String,
    /// The time at which the sweeper looks at the order.
    pub next_action_at: Timestamp,
    /// The place in a pickup slot. The order is rejected when the slot is full.
    pub slot: Option<SlotClaim>,
    /// The first entry of the history.
    pub history: HistoryEntry,
    pub outbox: Vec<Envelope>,
}

/// A place in a pickup slot of the order's location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotClaim {
    pub starts_at: Timestamp,
    /// Total number of places in the slot.
    pub capacity: u32,
}

/// The result of placing an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// The order was accepted.
    Placed,
    /// The idempotency key was used before. Nothing was written.
    KeyUsed(KeyUse),
    /// The pickup slot is full. Nothing was written.
    SlotFull,
}

/// The first use of an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    pub order_id: OrderId,
    pub request_hash: String,
    pub session_hash: Option<String>,
}

/// An order with the data that decides who may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOrder {
    pub order: Order,
    pub tracking_token: String,
    pub session_hash: Option<String>,
}

/// The effects of one message or one request. They are applied in one transaction, at most once.
#[derive(Debug, Clone)]
pub struct Change {
    /// The slug of the role that applies it. With `event_id`, the key of the inbox.
    pub consumer: &'static str,
    pub event_id: EventId,
    pub order: Option<OrderChange>,
    pub payment: Option<PaymentChange>,
    pub outbox: Vec<Envelope>,
    pub at: Timestamp,
    /// The number of the delivery, counted from 1, which the inbox records. `None` when no queue
    /// delivered the message.
    pub delivery: Option<u32>,
}

impl Change {
    /// Returns a change that takes in an event and does nothing else.
    pub fn of(consumer: &'static str, event_id: EventId, at: Timestamp) -> Change {
        Change {
            consumer,
            event_id,
            order: None,
            payment: None,
            outbox: Vec::new(),
            at,
            delivery: None,
        }
    }
}

/// One or more transitions of an order's saga.
#[derive(Debug, Clone)]
pub struct OrderChange {
    pub order_id: OrderId,
    /// The version that was read. Nothing is applied when the order has another version.
    pub expected_version: i64,
    /// The state after the last transition.
    pub state: State,
    pub status: Status,
    /// The new reason. `None` keeps the stored one.
    pub reason: Option<String>,
    /// The time at which the sweeper looks at the order again. `None` for never.
    pub next_action_at: Option<Timestamp>,
    /// The new history entries, at least one. The first has the `seq` `expected_version + 1`. The
    /// `seq` of the last becomes the version of the order.
    pub history: Vec<HistoryEntry>,
    /// The audit entry for an act by staff, which is written in the same transaction.
    pub audit: Option<AuditEntry>,
}

/// The result of applying a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The change is applied.
    Applied,
    /// This consumer applied this event before. Nothing was written.
    Duplicate,
    /// The order or the payment changed since it was read. Read it again and decide again.
    Conflict,
}

/// The kind of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum PaymentKind {
    Charge,
    Refund,
}

domain::named_variants!(PaymentKind);

/// The state of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum PaymentState {
    /// The gateway has not been called, or its result is not stored. Calls use one idempotency key.
    Requested,
    /// The gateway was called and did not answer. Its result must be looked up before any other
    /// call.
    Unknown,
    Captured,
    Declined,
    Refunded,
}

domain::named_variants!(PaymentState);

/// A charge or a refund. An order has at most one of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    pub order_id: OrderId,
    pub kind: PaymentKind,
    pub amount: Money,
    pub state: PaymentState,
    /// The payment token of the card, for a charge.
    pub token: Option<String>,
    /// The gateway's id of the charge, once it is known.
    pub charge_id: Option<String>,
    /// The reason of a failure.
    pub reason: Option<String>,
}

impl Payment {
    /// Returns the refund of this charge.
    pub fn refund(&self, state: PaymentState, charge_id: &str, amount: Money) -> Payment {
        Payment {
            order_id: self.order_id,
            kind: PaymentKind::Refund,
            amount,
            state,
            token: None,
            charge_id: Some(charge_id.to_owned()),
            reason: None,
        }
    }
}

/// A change of a payment's state.
#[derive(Debug, Clone)]
pub struct PaymentChange {
    /// The state that was read. `None` to insert the payment.
    pub expected: Option<PaymentState>,
    pub payment: Payment,
}

/// Time for which claimed outbox rows belong to one relay.
///
/// After this time the rows of a relay that exited are sent by another. A relay that is only slow
/// can then send a row a second time, but never before an earlier row of the same order.
pub const OUTBOX_CLAIM: Duration = Duration::from_secs(10);

/// A message in the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    /// The id for [`OrderStore::mark_published`] and [`OrderStore::put_off`]. Ids increase within
    /// an order.
    pub id: i64,
    /// The number of failed attempts.
    pub attempts: u32,
    /// The message, or the reason why it cannot be sent.
    pub letter: Result<Letter, Unsendable>,
}

/// A message with its routes.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    pub envelope: Envelope,
    /// One route. Rows from before the release that stores routes have every route of their kind.
    pub routes: &'static [Route],
}

/// The reason why a row of the outbox cannot be sent. A newer version of the program may be able
/// to send it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
    #[error("{} does not go to {route}", kind.name())]
    NoSuchRoute { kind: EventKind, route: String },
}

impl OutboxRow {
    /// Decodes the columns of a row.
    pub fn read(id: i64, attempts: i32, route: Option<&str>, envelope: &str) -> OutboxRow {
        let letter = Envelope::decode(envelope)
            .map_err(Unsendable::from)
            .and_then(|envelope| {
                let routes = envelope.message.kind().routes();
                let routes = match route {
                    None => routes,
                    Some(code) => routes
                        .iter()
                        .find(|route| route.code() == code)
                        .map(std::slice::from_ref)
                        .ok_or_else(|| Unsendable::NoSuchRoute {
                            kind: envelope.message.kind(),
                            route: code.to_owned(),
                        })?,
                };
                Ok(Letter { envelope, routes })
            });
        OutboxRow {
            id,
            attempts: attempts.unsigned_abs(),
            letter,
        }
    }
}

/// An order whose `next_action_at` has passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub order_id: OrderId,
    pub state: State,
    pub version: i64,
    pub created_at: Timestamp,
    /// The time at which the order entered its state.
    pub since: Timestamp,
    pub pickup_at: Option<Timestamp>,
}

/// A filter for the list of orders, which is sorted from newest to oldest.
#[derive(Debug, Clone, Default)]
pub struct OrderFilter {
    /// The statuses. An empty list selects every status.
    pub statuses: Vec<Status>,
    /// Maximum number of orders, up to 200.
    pub limit: u32,
    /// Selects only orders created before this one, for the next page.
    pub before: Option<OrderId>,
    /// SHA-256 of sessions, in hexadecimal. An empty list selects the orders of every session.
    pub session_hashes: Vec<String>,
}

/// A selection of outbox rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outgoing {
    /// Rows with a route to a queue. An order waits until these messages arrive.
    Commands,
    /// Rows with a route to a topic or to the bus.
    Events,
    /// Every row.
    All,
}

impl Outgoing {
    /// Returns true for rows with a route to a queue, false for the others, and `None` for all.
    pub fn to_queues(self) -> Option<bool> {
        match self {
            Outgoing::Commands => Some(true),
            Outgoing::Events => Some(false),
            Outgoing::All => None,
        }
    }
}

/// Returns an address in its database form, which is JSON.
pub fn address_text(address: Option<&DeliveryAddress>) -> Option<String> {
    // Serialization cannot fail, because an address contains only strings.
    address.and_then(|address| serde_json::to_string(address).ok())
}

/// Parses the result of [`address_text`].
///
/// # Errors
/// [`StoreError`] when the text is not an address.
pub fn address_of(text: Option<&str>) -> Result<Option<DeliveryAddress>, StoreError> {
    text.map(serde_json::from_str).transpose().map_err(|error| {
        StoreError::new(
            Backend::Orders,
            Cause::about("an address cannot be read", error),
        )
    })
}

/// The store of orders, payments, inbox and outbox.
pub trait OrderStore: Send + Sync {
    /// Returns the next order number of a location on a date, counted from 0. Numbers can have gaps
    /// and are never repeated on a date. The call waits for no other order's commit.
    fn next_number(
        &self,
        tenant: &TenantId,
        location: &LocationId,
        day: Date,
    ) -> impl PortFuture<u64>;

    /// Accepts orders, in one commit where possible. Each order is written completely or not at
    /// all.
    ///
    /// Each placement writes the order, its items, the first history entry and the outbox rows. The
    /// idempotency key, the charge (`Requested`) and the place in a pickup slot belong to it too.
    ///
    /// Returns one result for each order, in the same order. When two orders have the same key, one
    /// is placed and the other returns [`Placement::KeyUsed`].
    fn place(
        &self,
        orders: &[NewOrder],
    ) -> impl Future<Output = Vec<Result<Placement, StoreError>>> + Send;

    /// Returns the first use of an idempotency key, if its order is in scope.
    fn key_use(&self, scope: &Scope, key_hash: &str) -> impl PortFuture<Option<KeyUse>>;

    /// Returns an order. Only roles that handle messages use this function; requests of people use
    /// [`OrderStore::load_in`].
    fn load(&self, order_id: OrderId) -> impl PortFuture<Option<StoredOrder>>;

    /// Returns an order, if it is in scope.
    fn load_in(&self, scope: &Scope, order_id: OrderId) -> impl PortFuture<Option<StoredOrder>>;

    /// Returns the orders in scope with this number, newest first, at most `limit`. Numbers restart
    /// each day.
    fn with_number(
        &self,
        scope: &Scope,
        number: OrderNumber,
        limit: u32,
    ) -> impl PortFuture<Vec<OrderId>>;

    /// Returns the newest order in scope with this number.
    fn newest_with_number(
        &self,
        scope: &Scope,
        number: OrderNumber,
    ) -> impl PortFuture<Option<OrderId>> {
        async move { Ok(self.with_number(scope, number, 1).await?.pop()) }
    }

    /// Returns the history after `after_seq` (0 for all of it), oldest first. Empty for an order
    /// out of scope.
    fn history(
        &self,
        scope: &Scope,
        order_id: OrderId,
        after_seq: i64,
    ) -> impl PortFuture<Vec<HistoryEntry>>;

    /// Returns the orders in scope that the filter selects.
    fn list(&self, scope: &Scope, filter: &OrderFilter) -> impl PortFuture<Vec<Order>> {
        async move {
            let stored = self.list_stored(scope, filter).await?;
            Ok(stored.into_iter().map(|stored| stored.order).collect())
        }
    }

    /// Returns the orders as [`OrderStore::list`] does, with the data that decides who may see
    /// them.
    fn list_stored(&self, scope: &Scope, filter: &OrderFilter)
    -> impl PortFuture<Vec<StoredOrder>>;

    /// Returns the newest order in scope with this number and e-mail address. Upper and lower case
    /// of the address are equal.
    fn find_order(
        &self,
        scope: &Scope,
        order_number: &str,
        email: &str,
    ) -> impl PortFuture<Option<StoredOrder>>;

    /// Returns the number of orders in scope with the status `pending`.
    fn pending_orders(&self, scope: &Scope) -> impl PortFuture<u64>;

    /// Returns a payment. Only roles that handle messages use this function; requests of people use
    /// [`OrderStore::payment_in`].
    fn payment(&self, order_id: OrderId, kind: PaymentKind) -> impl PortFuture<Option<Payment>>;

    /// Returns a payment, if its order is in scope.
    fn payment_in(
        &self,
        scope: &Scope,
        order_id: OrderId,
        kind: PaymentKind,
    ) -> impl PortFuture<Option<Payment>>;

    /// Applies changes, in one statement where possible. Each is applied completely or not at all,
    /// and a change that cannot be applied does not affect the others.
    ///
    /// Returns one result for each change, in the same order. An order that becomes `cancelled` or
    /// `failed` frees its place in a pickup slot.
    fn apply(
        &self,
        changes: &[Change],
    ) -> impl Future<Output = Vec<Result<Applied, StoreError>>> + Send;

    /// Claims at most `limit` outbox rows for the calling relay until [`OUTBOX_CLAIM`] has passed.
    ///
    /// For each order and route, only the oldest unsent row can be claimed. The rows after it wait
    /// until it is marked as published, which keeps messages in order. Rows that were put off are
    /// returned from their retry time on, after rows without an attempt.
    fn take_outbox(
        &self,
        which: Outgoing,
        now: Timestamp,
        limit: u32,
    ) -> impl PortFuture<Vec<OutboxRow>>;

    /// Marks rows as sent.
    fn mark_published(&self, ids: &[i64], at: Timestamp) -> impl PortFuture<()>;

    /// Gives back rows that could not be sent, each until its retry time, and counts the attempt.
    /// Rows that another relay has claimed in the meantime do not change.
    fn put_off(&self, rows: &[(i64, Timestamp)]) -> impl PortFuture<()>;

    /// Returns the time at which the oldest unsent message was written.
    fn oldest_unpublished(&self) -> impl PortFuture<Option<Timestamp>>;

    /// Waits until the outbox may have new rows, or until `at_most` has passed.
    fn outbox_changed(&self, at_most: Duration) -> impl Future<Output = ()> + Send;

    /// Claims at most `limit` orders whose `next_action_at` has passed, by setting it to
    /// `again_at`. An order that cannot be read is logged and left out.
    fn take_due(
        &self,
        now: Timestamp,
        again_at: Timestamp,
        limit: u32,
    ) -> impl PortFuture<Vec<Due>>;

    /// Sets the `next_action_at` of orders that still have the version that was read.
    fn look_again(&self, orders: &[(OrderId, i64, Option<Timestamp>)]) -> impl PortFuture<()>;

    /// Deletes outbox rows that were sent before `before`, and inbox rows of that age, at most
    /// `limit` of each. Returns the number of deleted rows.
    fn prune(&self, before: Timestamp, limit: u32) -> impl PortFuture<u64>;
}

/// The payments of many orders, for `haven reconcile`.
pub trait PaymentBooks: Send + Sync {
    /// Returns the payments of these orders.
    fn payments(&self, orders: &[OrderId]) -> impl PortFuture<Vec<Payment>>;
}
