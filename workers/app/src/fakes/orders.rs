//! An in-memory store of orders and notifications, behind one lock.

mod access;
mod journey;
mod notices;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::event::Route;
use contract::messages::Envelope;
use domain::Timestamp;
use domain::channel::Channel;
use domain::ids::{EventId, LocationId, OrderId, OrderNumber, ProductId, TenantId};
use domain::order::{HistoryEntry, Order, Status};
use time::Date;

use self::notices::Telling;
use crate::location::Location;
use crate::ports::access::{AuditEntry, StaffToken};
use crate::ports::fulfilment::{Shipment, Ticket};
use crate::ports::journey::TakenIn;
use crate::ports::orders::{
    Applied, Change, Due, KeyUse, Letter, NewOrder, OUTBOX_CLAIM, OrderChange, OrderFilter,
    OrderStore, OutboxRow, Outgoing, Payment, PaymentBooks, PaymentChange, PaymentKind,
    PaymentState, Placement, SlotClaim, StoredOrder,
};
use crate::ports::redrives::Redrive;
use crate::ports::scope::Scope;
use crate::ports::stock_watch::{Seen, StockWatch};
use crate::ports::{Backend, StoreError};

/// Maximum number of orders in one list, as in the real stores.
const LIST_MAX: u32 = 200;

/// An in-memory store. [`MemoryOrders::another`] stands for a second process on the same database.
#[derive(Default)]
pub struct MemoryOrders {
    books: Arc<Mutex<Books>>,
    /// The identity of this store when it claims outbox rows.
    claimant: u64,
    silent: Arc<AtomicBool>,
    /// The methods without a scope that were called.
    without_scope: Arc<Mutex<BTreeSet<&'static str>>>,
}

#[derive(Default)]
pub(super) struct Books {
    orders: BTreeMap<OrderId, Kept>,
    keys: HashMap<String, KeyUse>,
    /// The payments with the time of their last change.
    payments: HashMap<(OrderId, PaymentKind), (Payment, Timestamp)>,
    pub(super) inbox: HashMap<(&'static str, EventId), TakenIn>,
    pub(super) locations: Vec<Location>,
    /// The number of taken places in each slot.
    pub(super) slots: BTreeMap<(TenantId, LocationId, Timestamp), u32>,
    pub(super) tickets: HashMap<OrderId, (Ticket, (TenantId, LocationId))>,
    pub(super) shipments: HashMap<OrderId, Shipment>,
    outbox: Vec<Owed>,
    rows_written: i64,
    notices: HashMap<(EventId, Channel), Telling>,
    /// The number of messages by recipient and day.
    messages: HashMap<(String, Date), u32>,
    levels: BTreeMap<ProductId, Seen>,
    /// The next order number.
    numbers: HashMap<(TenantId, LocationId, Date), u64>,
    redrives: Vec<Redrive>,
    staff_tokens: Vec<StaffToken>,
    audit: Vec<AuditEntry>,
    unreadable: HashSet<OrderId>,
    histories_lost: bool,
}

struct Kept {
    stored: StoredOrder,
    history: Vec<HistoryEntry>,
    next_action_at: Option<Timestamp>,
    slot_at: Option<Timestamp>,
}

struct Owed {
    id: i64,
    envelope: Envelope,
    route: &'static Route,
    attempts: u32,
    retry_at: Timestamp,
    created_at: Timestamp,
    published_at: Option<Timestamp>,
    /// The store that claimed the row, and the end of the claim.
    claim: Option<(u64, Timestamp)>,
}

impl Owed {
    fn is_behind(&self, earlier: &Owed) -> bool {
        earlier.published_at.is_none()
            && earlier.id < self.id
            && earlier.route == self.route
            && earlier.envelope.order_id.is_some()
            && earlier.envelope.order_id == self.envelope.order_id
    }
}

impl MemoryOrders {
    /// Returns another store on the same data.
    pub fn another(&self) -> MemoryOrders {
        static CLAIMANTS: AtomicU64 = AtomicU64::new(1);
        Self {
            books: Arc::clone(&self.books),
            claimant: CLAIMANTS.fetch_add(1, Ordering::Relaxed),
            silent: Arc::clone(&self.silent),
            without_scope: Arc::clone(&self.without_scope),
        }
    }

    /// Returns the methods without a scope that were called since the last call of this function.
    pub fn take_calls_without_scope(&self) -> BTreeSet<&'static str> {
        std::mem::take(
            &mut self
                .without_scope
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    pub(super) fn without_scope(&self, method: &'static str) {
        self.without_scope
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(method);
    }

    /// Makes every later read of this order fail.
    pub fn fail_to_load(&self, order_id: OrderId) {
        self.books().unreadable.insert(order_id);
    }

    /// Makes every later read of a history fail, as if the connection were lost right after a
    /// commit.
    pub fn lose_histories(&self) {
        self.books().histories_lost = true;
    }

    /// Makes later placements and reads of slots hang, as if the database did. An order is placed
    /// nevertheless.
    pub fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    /// Waits forever while the store is silent.
    pub(super) async fn answers(&self) {
        if self.silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    pub(super) fn owe(&mut self, envelopes: &[Envelope], at: Timestamp) {
        for envelope in envelopes {
            for route in envelope.message.kind().routes() {
                self.rows_written += 1;
                self.outbox.push(Owed {
                    id: self.rows_written,
                    envelope: envelope.clone(),
                    route,
                    attempts: 0,
                    retry_at: Timestamp::UNIX_EPOCH,
                    created_at: at,
                    published_at: None,
                    claim: None,
                });
            }
        }
    }

    pub(super) fn unpublished(&self) -> Vec<Envelope> {
        let mut envelopes: Vec<Envelope> = Vec::new();
        for owed in self
            .outbox
            .iter()
            .filter(|owed| owed.published_at.is_none())
        {
            if !envelopes.contains(&owed.envelope) {
                envelopes.push(owed.envelope.clone());
            }
        }
        envelopes
    }

    fn read(&self, order_id: OrderId) -> Result<Option<StoredOrder>, StoreError> {
        if self.unreadable.contains(&order_id) {
            return Err(StoreError::new(Backend::Orders, "this one cannot be read"));
        }
        Ok(self.orders.get(&order_id).map(|kept| kept.stored.clone()))
    }

    pub(super) fn is_in(&self, scope: &Scope, order_id: OrderId) -> bool {
        *scope == Scope::Everything
            || self
                .orders
                .get(&order_id)
                .is_some_and(|kept| scope.has(&kept.stored.order))
    }

    pub(super) fn slot_of(&self, order_id: OrderId) -> Option<Timestamp> {
        self.orders.get(&order_id)?.slot_at
    }

    /// Takes a place in a slot. Returns false when the slot is full.
    fn take_place(&mut self, order: &Order, slot: SlotClaim) -> bool {
        let key = (
            order.tenant_id.clone(),
            order.location_id.clone(),
            slot.starts_at,
        );
        let taken = self.slots.entry(key).or_default();
        let free = *taken < slot.capacity;
        *taken += u32::from(free);
        free
    }

    fn place(&mut self, new: &NewOrder) -> Placement {
        if let Some(used) = self.keys.get(&new.key_hash) {
            return Placement::KeyUsed(used.clone());
        }
        let order = &new.order;
        if new.slot.is_some_and(|slot| !self.take_place(order, slot)) {
            return Placement::SlotFull;
        }
        let used = KeyUse {
            order_id: order.order_id,
            request_hash: new.request_hash.clone(),
            session_hash: new.session_hash.clone(),
        };
        self.keys.insert(new.key_hash.clone(), used);
        let charge = Payment {
            order_id: order.order_id,
            kind: PaymentKind::Charge,
            amount: order.totals.total,
            state: PaymentState::Requested,
            token: Some(new.payment_token.clone()),
            charge_id: None,
            reason: None,
        };
        self.payments.insert(
            (order.order_id, PaymentKind::Charge),
            (charge, order.created_at),
        );
        self.owe(&new.outbox, order.created_at);
        let stored = StoredOrder {
            order: order.clone(),
            tracking_token: new.tracking_token.clone(),
            session_hash: new.session_hash.clone(),
        };
        let kept = Kept {
            stored,
            history: vec![new.history.clone()],
            next_action_at: Some(new.next_action_at),
            slot_at: new.slot.map(|slot| slot.starts_at),
        };
        self.orders.insert(order.order_id, kept);
        Placement::Placed
    }

    fn apply(&mut self, change: &Change) -> Applied {
        if self.inbox.contains_key(&(change.consumer, change.event_id)) {
            return Applied::Duplicate;
        }
        let order_fits = change
            .order
            .as_ref()
            .is_none_or(|order| self.is_as_read(order));
        let payment_fits = change
            .payment
            .as_ref()
            .is_none_or(|payment| self.is_as_expected(payment));
        if !order_fits || !payment_fits {
            return Applied::Conflict;
        }
        let taken_in = TakenIn {
            consumer: change.consumer.to_owned(),
            event_id: change.event_id,
            at: change.at,
            delivery: change.delivery,
        };
        self.inbox
            .insert((change.consumer, change.event_id), taken_in);
        if let Some(moved) = &change.order
            && let Some(kept) = self.orders.get_mut(&moved.order_id)
        {
            let order = &mut kept.stored.order;
            let ended = |status| matches!(status, Status::Cancelled | Status::Failed);
            if let Some(starts_at) = kept
                .slot_at
                .filter(|_| ended(moved.status) && !ended(order.status))
            {
                let key = (
                    order.tenant_id.clone(),
                    order.location_id.clone(),
                    starts_at,
                );
                self.slots.entry(key).and_modify(|taken| *taken -= 1);
            }
            (order.state, order.status) = (moved.state, moved.status);
            order.version += moved.history.len() as i64;
            order.updated_at = change.at;
            if moved.reason.is_some() {
                order.reason.clone_from(&moved.reason);
            }
            kept.next_action_at = moved.next_action_at;
            kept.history.extend(moved.history.iter().cloned());
            self.audit.extend(moved.audit.clone());
        }
        if let Some(PaymentChange { payment, .. }) = &change.payment {
            let key = (payment.order_id, payment.kind);
            let (kept, at) = self
                .payments
                .entry(key)
                .or_insert_with(|| (payment.clone(), change.at));
            *at = change.at;
            kept.state = payment.state;
            kept.charge_id.clone_from(&payment.charge_id);
            kept.reason.clone_from(&payment.reason);
        }
        self.owe(&change.outbox, change.at);
        Applied::Applied
    }

    fn is_as_read(&self, change: &OrderChange) -> bool {
        self.orders
            .get(&change.order_id)
            .is_some_and(|kept| kept.stored.order.version == change.expected_version)
    }

    fn is_as_expected(&self, change: &PaymentChange) -> bool {
        let kept = self
            .payments
            .get(&(change.payment.order_id, change.payment.kind));
        kept.map(|(payment, _)| payment.state) == change.expected
    }
}

impl OrderStore for MemoryOrders {
    async fn next_number(
        &self,
        tenant: &TenantId,
        location: &LocationId,
        day: Date,
    ) -> Result<u64, StoreError> {
        let mut books = self.books();
        let next = books
            .numbers
            .entry((tenant.clone(), location.clone(), day))
            .or_default();
        *next += 1;
        Ok(*next - 1)
    }

    async fn place(&self, orders: &[NewOrder]) -> Vec<Result<Placement, StoreError>> {
        self.without_scope("place");
        let placed = {
            let mut books = self.books();
            orders.iter().map(|new| Ok(books.place(new))).collect()
        };
        self.answers().await;
        placed
    }

    async fn key_use(&self, scope: &Scope, key_hash: &str) -> Result<Option<KeyUse>, StoreError> {
        let books = self.books();
        Ok(books
            .keys
            .get(key_hash)
            .filter(|used| books.is_in(scope, used.order_id))
            .cloned())
    }

    async fn load(&self, order_id: OrderId) -> Result<Option<StoredOrder>, StoreError> {
        self.without_scope("load");
        self.books().read(order_id)
    }

    async fn load_in(
        &self,
        scope: &Scope,
        order_id: OrderId,
    ) -> Result<Option<StoredOrder>, StoreError> {
        Ok(self
            .books()
            .read(order_id)?
            .filter(|stored| scope.has(&stored.order)))
    }

    async fn with_number(
        &self,
        scope: &Scope,
        number: OrderNumber,
        limit: u32,
    ) -> Result<Vec<OrderId>, StoreError> {
        let (books, number) = (self.books(), number.to_string());
        let orders = books.orders.values().rev().map(|kept| &kept.stored.order);
        Ok(orders
            .filter(|order| scope.has(order) && order.order_number == number)
            .map(|order| order.order_id)
            .take(limit as usize)
            .collect())
    }

    async fn history(
        &self,
        scope: &Scope,
        order_id: OrderId,
        after_seq: i64,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let books = self.books();
        if books.histories_lost {
            return Err(StoreError::new(Backend::Orders, "the connection was lost"));
        }
        let kept = books
            .orders
            .get(&order_id)
            .filter(|kept| scope.has(&kept.stored.order));
        let lines = kept.map(|kept| kept.history.as_slice()).unwrap_or_default();
        Ok(lines
            .iter()
            .filter(|line| line.seq > after_seq)
            .cloned()
            .collect())
    }

    async fn list_stored(
        &self,
        scope: &Scope,
        filter: &OrderFilter,
    ) -> Result<Vec<StoredOrder>, StoreError> {
        let books = self.books();
        // A UUIDv7 sorts by time, so the greatest id is the newest order.
        let orders = books.orders.values().rev().map(|kept| &kept.stored);
        let wanted = orders.filter(|stored| {
            scope.has(&stored.order)
                && (filter.statuses.is_empty() || filter.statuses.contains(&stored.order.status))
                && filter
                    .before
                    .is_none_or(|before| stored.order.order_id < before)
                && (filter.session_hashes.is_empty()
                    || stored
                        .session_hash
                        .as_ref()
                        .is_some_and(|session| filter.session_hashes.contains(session)))
        });
        Ok(wanted
            .take(filter.limit.clamp(1, LIST_MAX) as usize)
            .cloned()
            .collect())
    }

    async fn find_order(
        &self,
        scope: &Scope,
        order_number: &str,
        email: &str,
    ) -> Result<Option<StoredOrder>, StoreError> {
        let books = self.books();
        let wanted = |order: &Order| {
            scope.has(order)
                && order.order_number == order_number
                && order.customer.email.eq_ignore_ascii_case(email)
        };
        let mut newest_first = books.orders.values().rev().map(|kept| &kept.stored);
        Ok(newest_first.find(|stored| wanted(&stored.order)).cloned())
    }

    async fn pending_orders(&self, scope: &Scope) -> Result<u64, StoreError> {
        let books = self.books();
        let orders = books.orders.values().map(|kept| &kept.stored.order);
        Ok(orders
            .filter(|order| order.status == Status::Pending && scope.has(order))
            .count() as u64)
    }

    async fn payment(
        &self,
        order_id: OrderId,
        kind: PaymentKind,
    ) -> Result<Option<Payment>, StoreError> {
        self.without_scope("payment");
        Ok(self
            .books()
            .payments
            .get(&(order_id, kind))
            .map(|(payment, _)| payment.clone()))
    }

    async fn payment_in(
        &self,
        scope: &Scope,
        order_id: OrderId,
        kind: PaymentKind,
    ) -> Result<Option<Payment>, StoreError> {
        let books = self.books();
        let payment = books
            .payments
            .get(&(order_id, kind))
            .map(|(payment, _)| payment.clone());
        Ok(payment.filter(|_| books.is_in(scope, order_id)))
    }

    async fn apply(&self, changes: &[Change]) -> Vec<Result<Applied, StoreError>> {
        self.without_scope("apply");
        let mut books = self.books();
        changes
            .iter()
            .map(|change| Ok(books.apply(change)))
            .collect()
    }

    async fn take_outbox(
        &self,
        which: Outgoing,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        self.without_scope("take_outbox");
        let mut books = self.books();
        let outbox = &mut books.outbox;
        let is_free = |owed: &Owed| {
            owed.claim
                .is_none_or(|(by, until)| by == self.claimant || until <= now)
        };
        let mut heads: Vec<usize> = (0..outbox.len())
            .filter(|&index| {
                let owed = &outbox[index];
                let due = owed.published_at.is_none() && owed.retry_at <= now;
                let meant = which
                    .to_queues()
                    .is_none_or(|to_queues| to_queues == matches!(owed.route, Route::Queue(_)));
                due && meant
                    && is_free(owed)
                    && !outbox.iter().any(|earlier| owed.is_behind(earlier))
            })
            .collect();
        heads.sort_by_key(|&index| outbox[index].retry_at);
        heads.truncate(limit as usize);
        heads.sort_unstable();
        let taken = heads.into_iter().map(|index| {
            let owed = &mut outbox[index];
            owed.claim = Some((self.claimant, now + OUTBOX_CLAIM));
            let letter = Letter {
                envelope: owed.envelope.clone(),
                routes: std::slice::from_ref(owed.route),
            };
            OutboxRow {
                id: owed.id,
                attempts: owed.attempts,
                letter: Ok(letter),
            }
        });
        Ok(taken.collect())
    }

    async fn mark_published(&self, ids: &[i64], at: Timestamp) -> Result<(), StoreError> {
        let mut books = self.books();
        for owed in books
            .outbox
            .iter_mut()
            .filter(|owed| ids.contains(&owed.id))
        {
            owed.published_at = Some(at);
        }
        Ok(())
    }

    async fn put_off(&self, rows: &[(i64, Timestamp)]) -> Result<(), StoreError> {
        let mut books = self.books();
        for (id, retry_at) in rows {
            let ours = |owed: &&mut Owed| {
                owed.id == *id && owed.claim.is_some_and(|(by, _)| by == self.claimant)
            };
            if let Some(owed) = books
                .outbox
                .iter_mut()
                .find(ours)
                .filter(|owed| owed.published_at.is_none())
            {
                owed.attempts += 1;
                (owed.retry_at, owed.claim) = (*retry_at, None);
            }
        }
        Ok(())
    }

    async fn oldest_unpublished(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self
            .books()
            .outbox
            .iter()
            .find(|owed| owed.published_at.is_none())
            .map(|owed| owed.created_at))
    }

    async fn outbox_changed(&self, _at_most: std::time::Duration) {
        // Returning immediately is allowed. The test that uses the fake controls the time.
    }

    async fn take_due(
        &self,
        now: Timestamp,
        again_at: Timestamp,
        limit: u32,
    ) -> Result<Vec<Due>, StoreError> {
        let mut books = self.books();
        let mut due: Vec<(Timestamp, OrderId)> = books
            .orders
            .iter()
            .filter_map(|(order_id, kept)| {
                Some((kept.next_action_at.filter(|at| *at <= now)?, *order_id))
            })
            .collect();
        due.sort();
        let mut taken = Vec::new();
        for (_, order_id) in due.into_iter().take(limit as usize) {
            if let Some(kept) = books.orders.get_mut(&order_id) {
                kept.next_action_at = Some(again_at);
                let Order {
                    state,
                    version,
                    created_at,
                    updated_at: since,
                    pickup_at,
                    ..
                } = kept.stored.order;
                taken.push(Due {
                    order_id,
                    state,
                    version,
                    created_at,
                    since,
                    pickup_at,
                });
            }
        }
        Ok(taken)
    }

    async fn look_again(
        &self,
        orders: &[(OrderId, i64, Option<Timestamp>)],
    ) -> Result<(), StoreError> {
        self.without_scope("look_again");
        let mut books = self.books();
        for (order_id, version, at) in orders {
            if let Some(kept) = books
                .orders
                .get_mut(order_id)
                .filter(|kept| kept.stored.order.version == *version)
            {
                kept.next_action_at = *at;
            }
        }
        Ok(())
    }

    async fn prune(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut books = self.books();
        let limit = limit as usize;
        let sent = |owed: &&Owed| owed.published_at.is_some_and(|at| at < before);
        let rows: Vec<i64> = books
            .outbox
            .iter()
            .filter(sent)
            .map(|owed| owed.id)
            .take(limit)
            .collect();
        let applied: Vec<_> = books
            .inbox
            .iter()
            .filter(|(_, taken)| taken.at < before)
            .map(|(key, _)| *key)
            .take(limit)
            .collect();
        books.outbox.retain(|owed| !rows.contains(&owed.id));
        books.inbox.retain(|key, _| !applied.contains(key));
        Ok((rows.len() + applied.len()) as u64)
    }
}

impl PaymentBooks for MemoryOrders {
    async fn payments(&self, orders: &[OrderId]) -> Result<Vec<Payment>, StoreError> {
        self.without_scope("payments");
        let books = self.books();
        let payments = books.payments.values().map(|(payment, _)| payment);
        Ok(payments
            .filter(|payment| orders.contains(&payment.order_id))
            .cloned()
            .collect())
    }
}

impl StockWatch for MemoryOrders {
    async fn seen(&self, product_id: &ProductId) -> Result<Option<Seen>, StoreError> {
        Ok(self.books().levels.get(product_id).copied())
    }

    async fn remember(
        &self,
        product_id: &ProductId,
        before: Option<Seen>,
        now: Seen,
        alert: Option<&Envelope>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut books = self.books();
        if books.levels.get(product_id).copied() != before {
            return Ok(false);
        }
        books.levels.insert(product_id.clone(), now);
        books.owe(alert.map(std::slice::from_ref).unwrap_or_default(), at);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws;

    #[test]
    fn the_store_passes_the_laws_of_its_ports() {
        let store = MemoryOrders::default();
        futures::executor::block_on(laws::orders::all(&store, &store.another()));
        futures::executor::block_on(laws::notices::all(&store));
        futures::executor::block_on(laws::journey::all(&store));
        futures::executor::block_on(laws::payments::all(&store));
        futures::executor::block_on(laws::stock_watch::all(&store));
        futures::executor::block_on(laws::access::all(&store));
        futures::executor::block_on(laws::slots::all(&store, &store.another()));
        futures::executor::block_on(laws::scope::all(&store));
        futures::executor::block_on(laws::fulfilment::all(&store, &store.another()));
    }

    #[test]
    fn relays_keep_each_order_in_order() {
        let store = MemoryOrders::default();
        let relays = [store.another(), store.another(), store.another()];
        futures::executor::block_on(laws::orders::relays_keep_each_order_in_order(&relays));
    }
}
