//! The source of truth: orders, their history, their money, and the messages they owe the world.
//!
//! Everything that belongs together leaves together: a `Change` is one transaction.

use std::future::Future;
use std::time::Duration;

use contract::event::Route;
use contract::messages::Envelope;
use domain::Timestamp;
use domain::address::DeliveryAddress;
use domain::ids::{EventId, LocationId, OrderId, OrderNumber, TenantId};
use domain::money::Money;
use domain::order::{HistoryEntry, Order, Status};
use domain::saga::State;
use time::Date;

use super::Unavailable;
use super::access::AuditEntry;
use super::scope::Scope;

/// An order that is about to be accepted.
#[derive(Debug, Clone)]
pub struct NewOrder {
    pub order: Order,
    /// The location's own date on which its number was taken: the number is unique on it.
    pub day: Date,
    /// Unguessable; whoever has it may follow the order.
    pub tracking_token: String,
    /// SHA-256 in hex of the customer's session; `None` when the order came without one.
    pub session_hash: Option<String>,
    /// SHA-256 in hex of the idempotency key.
    pub key_hash: String,
    /// SHA-256 in hex of what was asked for under the key.
    pub request_hash: String,
    /// The gateway's name for the card. Never a card number.
    pub payment_token: String,
    pub next_action_at: Timestamp,
    /// The place in a pick-up slot that it takes; refused as a whole when there is none left.
    pub slot: Option<SlotClaim>,
    /// The first line of the history.
    pub history: HistoryEntry,
    pub outbox: Vec<Envelope>,
}

/// A place in a pick-up slot, for an order of the slot's location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotClaim {
    pub starts_at: Timestamp,
    /// Places that the slot has in all.
    pub capacity: u32,
}

/// What came of accepting an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    Placed,
    /// The key was used before; nothing was written.
    KeyUsed(KeyUse),
    /// No place is left in the slot; nothing was written.
    SlotFull,
}

/// What an idempotency key was used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    pub order_id: OrderId,
    pub request_hash: String,
    pub session_hash: Option<String>,
}

/// An order with what decides who may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOrder {
    pub order: Order,
    pub tracking_token: String,
    pub session_hash: Option<String>,
}

/// Effects of one message or one request, applied whole or not at all, and at most once.
#[derive(Debug, Clone)]
pub struct Change {
    /// Who applies it: a role's slug. Together with `event_id` the key of the inbox.
    pub consumer: &'static str,
    pub event_id: EventId,
    pub order: Option<OrderChange>,
    pub payment: Option<PaymentChange>,
    pub outbox: Vec<Envelope>,
    pub at: Timestamp,
    /// Which delivery of the message this is, counted from 1; `None` where no queue delivered it.
    /// Kept in the inbox.
    pub delivery: Option<u32>,
}

/// One or more steps of an order's saga.
#[derive(Debug, Clone)]
pub struct OrderChange {
    pub order_id: OrderId,
    /// The version that was read; if the order has moved on, nothing is applied.
    pub expected_version: i64,
    pub state: State,
    pub status: Status,
    /// Kept when `None`.
    pub reason: Option<String>,
    /// When the sweeper is to look at it; `None` for never.
    pub next_action_at: Option<Timestamp>,
    /// Not empty. The first has `seq` `expected_version + 1`; the last one's `seq` becomes the
    /// version.
    pub history: Vec<HistoryEntry>,
    /// What a member of staff did: its row stands with the change or not at all.
    pub audit: Option<AuditEntry>,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    Applied,
    /// This consumer had applied this event before.
    Duplicate,
    /// The order, or the payment, is not as it was read: read again and decide again.
    Conflict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaymentKind {
    Charge,
    Refund,
}

impl PaymentKind {
    pub const fn code(self) -> &'static str {
        match self {
            PaymentKind::Charge => "charge",
            PaymentKind::Refund => "refund",
        }
    }

    pub fn from_code(code: &str) -> Option<PaymentKind> {
        [PaymentKind::Charge, PaymentKind::Refund]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaymentState {
    /// To be asked of the gateway, under a key that never changes.
    Requested,
    /// The gateway was asked and did not answer: it must be asked what happened before anything
    /// else.
    Unknown,
    Captured,
    Declined,
    Refunded,
}

impl PaymentState {
    pub const ALL: [PaymentState; 5] = [
        PaymentState::Requested,
        PaymentState::Unknown,
        PaymentState::Captured,
        PaymentState::Declined,
        PaymentState::Refunded,
    ];

    pub const fn code(self) -> &'static str {
        match self {
            PaymentState::Requested => "requested",
            PaymentState::Unknown => "unknown",
            PaymentState::Captured => "captured",
            PaymentState::Declined => "declined",
            PaymentState::Refunded => "refunded",
        }
    }

    pub fn from_code(code: &str) -> Option<PaymentState> {
        PaymentState::ALL
            .into_iter()
            .find(|state| state.code() == code)
    }
}

/// One charge or one refund of an order; there is at most one of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    pub order_id: OrderId,
    pub kind: PaymentKind,
    pub amount: Money,
    pub state: PaymentState,
    /// The card's token; only on a charge.
    pub token: Option<String>,
    /// The gateway's name for the charge, once known.
    pub charge_id: Option<String>,
    pub reason: Option<String>,
}

/// A payment's new state.
#[derive(Debug, Clone)]
pub struct PaymentChange {
    /// The state that was read; `None` to add the row.
    pub expected: Option<PaymentState>,
    pub payment: Payment,
}

/// A relay that died gives its rows back after so long. One that is only slow may then send a row a
/// second time, but never before an earlier one of the same order.
pub const OUTBOX_CLAIM: Duration = Duration::from_secs(10);

/// A message waiting to leave for one destination.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    /// Names the row to `mark_published` and `put_off`; grows within one order.
    pub id: i64,
    /// Tries that failed.
    pub attempts: u32,
    /// Or why it cannot be read.
    pub letter: Result<Letter, String>,
}

/// A message and where it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    pub envelope: Envelope,
    /// One; all of its kind in a row that was written before rows had a route.
    pub routes: &'static [Route],
}

impl OutboxRow {
    /// From what a database keeps of it.
    pub fn read(id: i64, attempts: i32, route: Option<&str>, envelope: &str) -> OutboxRow {
        let letter = Envelope::decode(envelope)
            .map_err(|error| error.to_string())
            .and_then(|envelope| {
                let routes = envelope.message.kind().routes();
                let routes = match route {
                    None => routes,
                    Some(code) => routes
                        .iter()
                        .find(|route| route.code() == code)
                        .map(std::slice::from_ref)
                        .ok_or_else(|| {
                            format!("{} does not go to {code}", envelope.message.kind().name())
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
    /// When it came to its state.
    pub since: Timestamp,
    pub pickup_at: Option<Timestamp>,
}

/// Which orders staff want to see, newest first.
#[derive(Debug, Clone, Default)]
pub struct OrderFilter {
    /// Any when empty.
    pub statuses: Vec<Status>,
    /// At most so many, up to 200.
    pub limit: u32,
    /// Only those created before this order (for the next page).
    pub before: Option<OrderId>,
    /// Only those of these sessions, by the SHA-256 of each in hex; of anybody when empty.
    pub session_hashes: Vec<String>,
}

/// Which rows of the outbox are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outgoing {
    /// Those with a route to a queue: an order stands still until they arrive.
    Commands,
    /// All others: they go to topics and to the bus, and tell what has happened.
    Events,
    All,
}

impl Outgoing {
    /// Returns whether rows with a route to a queue are meant, or the others; `None` for all rows.
    pub fn to_queues(self) -> Option<bool> {
        match self {
            Outgoing::Commands => Some(true),
            Outgoing::Events => Some(false),
            Outgoing::All => None,
        }
    }
}

/// Writes an address as databases keep it.
pub fn address_text(address: Option<&DeliveryAddress>) -> Option<String> {
    // Five texts: writing them as JSON does not fail.
    address.and_then(|address| serde_json::to_string(address).ok())
}

/// Reads what [`address_text`] has written.
///
/// # Errors
/// When it is something else.
pub fn address_of(text: Option<&str>) -> Result<Option<DeliveryAddress>, Unavailable> {
    text.map(serde_json::from_str)
        .transpose()
        .map_err(|error| Unavailable::new("orders", format!("an address cannot be read: {error}")))
}

pub trait OrderStore: Send + Sync {
    /// Returns the number for the next order of a location on its own calendar day, counted from
    /// zero. Leaves gaps, and never returns one twice for one day. Waits for no other order's
    /// commit.
    fn next_number(
        &self,
        tenant: &TenantId,
        location: &LocationId,
        day: Date,
    ) -> impl Future<Output = Result<u64, Unavailable>> + Send;

    /// Accepts orders, each in whole or not at all, in one commit where possible: order, items,
    /// first history line, idempotency key, the intent to charge (`Requested`), outbox, and its
    /// place in a slot. One result an order, in order. Two with the same key, at once or in a row:
    /// one is placed, the other learns what the key was used for.
    fn place(
        &self,
        orders: &[NewOrder],
    ) -> impl Future<Output = Vec<Result<Placement, Unavailable>>> + Send;

    /// Returns what a key was used for, by an order in scope.
    fn key_use(
        &self,
        scope: &Scope,
        key_hash: &str,
    ) -> impl Future<Output = Result<Option<KeyUse>, Unavailable>> + Send;

    /// For workers, which know an order by their messages. People's requests use
    /// [`OrderStore::load_in`].
    fn load(
        &self,
        order_id: OrderId,
    ) -> impl Future<Output = Result<Option<StoredOrder>, Unavailable>> + Send;

    /// Returns the order if it is in scope.
    fn load_in(
        &self,
        scope: &Scope,
        order_id: OrderId,
    ) -> impl Future<Output = Result<Option<StoredOrder>, Unavailable>> + Send;

    /// Returns the newest order with this number. Numbers restart each day: a number alone means
    /// the newest.
    fn newest_with_number(
        &self,
        scope: &Scope,
        number: OrderNumber,
    ) -> impl Future<Output = Result<Option<OrderId>, Unavailable>> + Send;

    /// The history after `after_seq` (0 for all of it), oldest first; empty for an order out of
    /// scope.
    fn history(
        &self,
        scope: &Scope,
        order_id: OrderId,
        after_seq: i64,
    ) -> impl Future<Output = Result<Vec<HistoryEntry>, Unavailable>> + Send;

    fn list(
        &self,
        scope: &Scope,
        filter: &OrderFilter,
    ) -> impl Future<Output = Result<Vec<Order>, Unavailable>> + Send {
        async move {
            Ok(self
                .list_stored(scope, filter)
                .await?
                .into_iter()
                .map(|stored| stored.order)
                .collect())
        }
    }

    /// With what decides who may see them.
    fn list_stored(
        &self,
        scope: &Scope,
        filter: &OrderFilter,
    ) -> impl Future<Output = Result<Vec<StoredOrder>, Unavailable>> + Send;

    /// Returns the newest order in scope with this number whose customer gave this e-mail address,
    /// whatever its case.
    fn find_order(
        &self,
        scope: &Scope,
        order_number: &str,
        email: &str,
    ) -> impl Future<Output = Result<Option<StoredOrder>, Unavailable>> + Send;

    /// How many orders are `pending`: accepted and not yet confirmed or ended.
    fn pending_orders(
        &self,
        scope: &Scope,
    ) -> impl Future<Output = Result<u64, Unavailable>> + Send;

    /// For workers, which know an order by their messages. People's requests use
    /// [`OrderStore::payment_in`].
    fn payment(
        &self,
        order_id: OrderId,
        kind: PaymentKind,
    ) -> impl Future<Output = Result<Option<Payment>, Unavailable>> + Send;

    /// Returns the payment if its order is in scope.
    fn payment_in(
        &self,
        scope: &Scope,
        order_id: OrderId,
        kind: PaymentKind,
    ) -> impl Future<Output = Result<Option<Payment>, Unavailable>> + Send;

    /// Applies changes, each in whole or not at all, in one statement where possible; one that
    /// cannot be applied does not keep back its neighbors. One result a change, in order. An order
    /// that becomes `cancelled` or `failed` gives back its place in a slot.
    fn apply(
        &self,
        changes: &[Change],
    ) -> impl Future<Output = Vec<Result<Applied, Unavailable>>> + Send;

    /// Up to `limit` of such rows of the outbox, for this relay alone until `OUTBOX_CLAIM` is over.
    /// Of the rows of one order and one route only the oldest that has not left is given out: what
    /// is behind it waits until it was marked. Rows that were put off come when their time has
    /// come, after those that were never tried.
    fn take_outbox(
        &self,
        which: Outgoing,
        now: Timestamp,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<OutboxRow>, Unavailable>> + Send;

    fn mark_published(
        &self,
        ids: &[i64],
        at: Timestamp,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Gives back rows that could not be sent, each until its time; counts the try. Rows that
    /// somebody else has taken meanwhile are left to them.
    fn put_off(
        &self,
        rows: &[(i64, Timestamp)],
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// When the oldest message that has not left was written.
    fn oldest_unpublished(
        &self,
    ) -> impl Future<Output = Result<Option<Timestamp>, Unavailable>> + Send;

    /// Returns when the outbox may have something, or after `at_most`.
    fn outbox_changed(&self, at_most: Duration) -> impl Future<Output = ()> + Send;

    /// Up to `limit` orders whose time has come, which are then left alone until `again_at`. One
    /// that cannot be read is logged and left out.
    fn take_due(
        &self,
        now: Timestamp,
        again_at: Timestamp,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Due>, Unavailable>> + Send;

    /// Says when the sweeper is to look at orders again, each if it still has the version that was
    /// read.
    fn look_again(
        &self,
        orders: &[(OrderId, i64, Option<Timestamp>)],
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Deletes what nobody will ask for again: rows of the outbox that were sent before then, and
    /// rows of the inbox as old. At most `limit` of each; returns how many.
    fn prune(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> impl Future<Output = Result<u64, Unavailable>> + Send;
}

/// Payments of many orders at once, for those who compare the books.
pub trait PaymentBooks: Send + Sync {
    fn payments(
        &self,
        orders: &[OrderId],
    ) -> impl Future<Output = Result<Vec<Payment>, Unavailable>> + Send;
}
