//! Laws of `OrderStore`. They take two stores on one migrated database, which stand for two
//! processes.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use contract::event::Route;
use contract::messages::{Envelope, Message};
use contract::queue;
use domain::Timestamp;
use domain::address::DeliveryAddress;
use domain::cart::Quantity;
use domain::channel::Preferences;
use domain::customer::Customer;
use domain::ids::{EventId, LocationId, OrderId, OrderNumber, ProductId, TenantId};
use domain::money::{Currency, Money};
use domain::order::{HistoryEntry, Item, Order, OrderType, Status, Totals};
use domain::phone::Country;
use domain::saga::{Command, State};
use futures::future::join_all;
use time::macros::{date, datetime};
use uuid::Uuid;

use crate::location::Location;
use crate::ports::Source;
use crate::ports::orders::{
    Applied, Change, Due, KeyUse, Letter, NewOrder, OUTBOX_CLAIM, OrderChange, OrderFilter,
    OrderStore, OutboxRow, Outgoing, Payment, PaymentChange, PaymentKind, PaymentState, Placement,
};
use crate::ports::publisher::{PublishError, Publisher};
use crate::ports::scope::Scope;
use crate::use_cases::Maker;
use crate::use_cases::progress::{ask_for, order_created};
use crate::use_cases::relay::relay_some;

/// Runs all laws, each on its own orders. Nothing else may use the outbox at the same time.
pub async fn all(store: &impl OrderStore, other: &impl OrderStore) {
    an_accepted_order_is_stored_completely(store, other).await;
    one_key_gives_one_order(store, other).await;
    one_key_gives_one_order_within_a_batch(store).await;
    a_change_is_applied_once_and_completely(store).await;
    a_conflicting_change_writes_nothing(store).await;
    concurrent_equal_changes_are_applied_once(store, other).await;
    a_failed_change_does_not_block_others_of_the_batch(store).await;
    two_steps_of_one_order_in_a_batch(store).await;
    a_payment_changes_only_from_the_state_that_was_read(store).await;
    messages_are_sent_in_order_and_once(store, other).await;
    commands_and_events_are_claimed_separately(store).await;
    a_delayed_row_blocks_only_its_order_and_route(store, other).await;
    rows_claimed_by_a_dead_relay_are_claimed_again(store, other).await;
    expired_rows_are_deleted(store).await;
    a_due_order_is_claimed_by_one_caller(store, other).await;
    numbers_restart_each_day_and_are_unique(store, other).await;
    a_number_alone_finds_the_newest_order(store).await;
    lists_are_newest_first_and_have_pages(store).await;
    an_order_is_found_by_its_number_and_its_customer(store).await;
}

pub(super) const NOON: Timestamp = datetime!(2026-03-01 12:00 UTC);
const MAKER: Maker = Maker {
    role: "order-worker",
    version: "0",
    traceparent: None,
};

/// Returns an order as `place_order` creates it, with text that a store could corrupt. Each order
/// has the number 47 on a day of its own, because numbers are unique on a day.
pub fn new_order() -> NewOrder {
    static DAYS: AtomicI64 = AtomicI64::new(0);
    let shop = Location::initial();
    let price = |minor| Money::new(minor, Currency::Usd);
    let item = |product: &str, name: &str, quantity, minor| Item {
        product_id: ProductId::parse(product).expect("a slug"),
        name: name.to_owned(),
        quantity: Quantity::new(quantity).expect("1 to 99"),
        unit_price: price(minor),
    };
    let items = vec![
        item("flat-white", "Flat white", 1, 420),
        item("apple-cake", "Ana's \"Apfelkuchen\" 🍰", 2, 390),
    ];
    let order = Order {
        order_id: OrderId(Uuid::now_v7()),
        tenant_id: shop.tenant_id,
        location_id: shop.location_id,
        order_number: "A-047".to_owned(),
        order_type: OrderType::DineIn,
        customer: Customer::parse(
            "Zoë O'Neill",
            "+1 555 010 0123",
            "zoe@example.com",
            Country::US,
        )
        .and_then(|zoe| {
            zoe.told_by(Preferences {
                email: false,
                sms: true,
            })
            .map_err(|error| vec![error])
        })
        .expect("a customer"),
        special_instructions: "oat milk; no\ncinnamon -- 50% 'hot'".to_owned(),
        // The address is set for every order type, because the store must return what was written.
        delivery_address: Some(DeliveryAddress {
            line1: "12 Main Street".to_owned(),
            line2: None,
            city: "Köln \"am Rhein\"".to_owned(),
            postal_code: "50667".to_owned(),
            note: Some("ring twice".to_owned()),
        }),
        pickup_at: Some(NOON + time::Duration::minutes(20)),
        totals: Totals::of(&items, shop.tax).expect("adds up"),
        items,
        state: State::Placed,
        status: Status::Pending,
        version: 1,
        reason: None,
        created_at: NOON,
        updated_at: NOON,
    };
    let message =
        |message| MAKER.envelope_with(EventId(Uuid::now_v7()), NOON, Some(order.order_id), message);
    NewOrder {
        tracking_token: Uuid::now_v7().to_string(),
        session_hash: Some("5e55".to_owned()),
        key_hash: Uuid::now_v7().to_string(),
        request_hash: "4e4e".to_owned(),
        payment_token: "tok_ok".to_owned(),
        day: NOON.date() + time::Duration::days(DAYS.fetch_add(1, Ordering::Relaxed)),
        next_action_at: NOON + time::Duration::seconds(20),
        slot: None,
        history: line(1, None, &order.state),
        outbox: vec![
            message(ask_for(Command::ReserveStock, &order)),
            message(order_created(&order)),
        ],
        order,
    }
}

fn line(seq: i64, from: Option<Status>, state: &State) -> HistoryEntry {
    let to = state.status().unwrap_or(from.unwrap_or(Status::Pending));
    HistoryEntry {
        seq,
        from,
        to,
        step: state.step(),
        actor: "Ana".to_owned(),
        note: None,
        at: NOON,
    }
}

/// Returns a change with one transition from `version` and one message.
pub fn step(new: &NewOrder, version: i64, state: State) -> Change {
    let order = &new.order;
    let history = line(version + 1, Some(Status::Pending), &state);
    Change {
        consumer: MAKER.role,
        event_id: EventId(Uuid::now_v7()),
        order: Some(OrderChange {
            order_id: order.order_id,
            expected_version: version,
            state,
            status: history.to,
            reason: None,
            next_action_at: None,
            history: vec![history],
            audit: None,
        }),
        payment: None,
        outbox: vec![MAKER.envelope_with(
            EventId(Uuid::now_v7()),
            NOON,
            Some(order.order_id),
            ask_for(Command::ChargeCard, order),
        )],
        at: NOON + time::Duration::seconds(1),
        delivery: Some(2),
    }
}

async fn place(store: &impl OrderStore, new: &NewOrder) -> Placement {
    one(store.place(std::slice::from_ref(new)).await)
}

pub(super) async fn apply(store: &impl OrderStore, change: &Change) -> Applied {
    one(store.apply(std::slice::from_ref(change)).await)
}

fn one<T: std::fmt::Debug, E: std::fmt::Debug>(answers: Vec<Result<T, E>>) -> T {
    let [answer]: [Result<T, E>; 1] = answers.try_into().expect("one answer");
    answer.expect("the store is there")
}

fn all_of<T, E: std::fmt::Debug>(answers: Vec<Result<T, E>>) -> Vec<T> {
    answers
        .into_iter()
        .map(|answer| answer.expect("the store is there"))
        .collect()
}

pub(super) async fn placed(store: &impl OrderStore) -> NewOrder {
    let new = new_order();
    assert_eq!(place(store, &new).await, Placement::Placed);
    new
}

async fn now(store: &impl OrderStore, new: &NewOrder) -> Order {
    store
        .load(new.order.order_id)
        .await
        .expect("read")
        .expect("it is there")
        .order
}

/// Claims all outbox rows, marks them as published, and returns those of one order.
async fn owed(store: &impl OrderStore, order_id: OrderId) -> Vec<Letter> {
    let taken = empty_the_outbox(store).await;
    taken
        .into_iter()
        .filter(|letter| letter.envelope.order_id == Some(order_id))
        .collect()
}

pub(super) async fn empty_the_outbox(store: &impl OrderStore) -> Vec<Letter> {
    let mut taken = Vec::new();
    loop {
        let rows = take(store, 100).await;
        if rows.is_empty() {
            return taken;
        }
        taken.extend(letters_of(&rows));
        mark(store, &rows).await;
    }
}

async fn take(store: &impl OrderStore, limit: u32) -> Vec<OutboxRow> {
    store
        .take_outbox(Outgoing::All, NOON, limit)
        .await
        .expect("read")
}

async fn mark(store: &impl OrderStore, rows: &[OutboxRow]) {
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    store.mark_published(&ids, NOON).await.expect("marked");
}

fn letter(row: &OutboxRow) -> &Letter {
    row.letter.as_ref().expect("it can be read")
}

fn letters_of(rows: &[OutboxRow]) -> Vec<Letter> {
    rows.iter().map(|row| letter(row).clone()).collect()
}

/// Returns one letter for each route of each message.
fn letters(envelopes: &[Envelope]) -> Vec<Letter> {
    let of = |envelope: &Envelope| {
        let routes = envelope.message.kind().routes().iter();
        routes
            .map(|route| Letter {
                envelope: envelope.clone(),
                routes: std::slice::from_ref(route),
            })
            .collect::<Vec<_>>()
    };
    envelopes.iter().flat_map(of).collect()
}

/// Returns a change with one transition and the given message.
fn one_more(new: &NewOrder, version: i64, state: State, message: Message) -> Change {
    let envelope = MAKER.envelope_with(
        EventId(Uuid::now_v7()),
        NOON,
        Some(new.order.order_id),
        message,
    );
    Change {
        outbox: vec![envelope],
        ..step(new, version, state)
    }
}

async fn an_accepted_order_is_stored_completely(store: &impl OrderStore, other: &impl OrderStore) {
    let pending = store
        .pending_orders(&Scope::Everything)
        .await
        .expect("counted");
    let new = placed(store).await;
    let id = new.order.order_id;
    let read = other
        .load(id)
        .await
        .expect("read")
        .expect("another process sees it");
    assert_eq!(read.order, new.order);
    assert_eq!(
        (read.tracking_token, read.session_hash),
        (new.tracking_token.clone(), new.session_hash.clone())
    );
    let used = KeyUse {
        order_id: id,
        request_hash: new.request_hash.clone(),
        session_hash: new.session_hash.clone(),
    };
    assert_eq!(
        other
            .key_use(&Scope::Everything, &new.key_hash)
            .await
            .expect("read"),
        Some(used)
    );
    assert_eq!(
        other
            .history(&Scope::Everything, id, 0)
            .await
            .expect("read"),
        std::slice::from_ref(&new.history)
    );
    assert_eq!(
        other
            .pending_orders(&Scope::Everything)
            .await
            .expect("counted"),
        pending + 1
    );
    let charge = other
        .payment(id, PaymentKind::Charge)
        .await
        .expect("read")
        .expect("the intent to charge");
    assert_eq!(
        (charge.state, charge.amount),
        (PaymentState::Requested, new.order.totals.total)
    );
    assert_eq!(
        (charge.token.as_deref(), charge.charge_id),
        (Some("tok_ok"), None)
    );
    assert_eq!(
        other.payment(id, PaymentKind::Refund).await.expect("read"),
        None
    );
    assert!(other.oldest_unpublished().await.expect("read").is_some());
    assert_eq!(
        owed(other, id).await,
        letters(&new.outbox),
        "messages leave as they were written, by each route"
    );

    let unknown = OrderId(Uuid::now_v7());
    assert_eq!(store.load(unknown).await.expect("read"), None);
    assert!(
        store
            .history(&Scope::Everything, unknown, 0)
            .await
            .expect("read")
            .is_empty()
    );
    assert_eq!(
        store
            .key_use(&Scope::Everything, "never used")
            .await
            .expect("read"),
        None
    );
}

async fn one_key_gives_one_order(store: &impl OrderStore, other: &impl OrderStore) {
    let first = new_order();
    let tries: Vec<NewOrder> = (0..16)
        .map(|_| NewOrder {
            key_hash: first.key_hash.clone(),
            ..new_order()
        })
        .collect();
    let tries_here = join_all(tries.iter().step_by(2).map(|new| place(store, new)));
    let tries_there = join_all(tries.iter().skip(1).step_by(2).map(|new| place(other, new)));
    let (here, there) = futures::join!(tries_here, tries_there);
    let outcomes: Vec<Placement> = here.into_iter().chain(there).collect();
    let placed = outcomes
        .iter()
        .filter(|outcome| **outcome == Placement::Placed)
        .count();
    assert_eq!(placed, 1, "{outcomes:?}");
    let used = store
        .key_use(&Scope::Everything, &first.key_hash)
        .await
        .expect("read")
        .expect("used");
    for outcome in outcomes {
        assert!(
            outcome == Placement::Placed || outcome == Placement::KeyUsed(used.clone()),
            "{outcome:?}"
        );
    }
    let there = join_all(tries.iter().map(|new| store.load(new.order.order_id))).await;
    assert_eq!(
        there
            .into_iter()
            .filter(|read| matches!(read, Ok(Some(_))))
            .count(),
        1,
        "the other requests left no rows"
    );
}

async fn one_key_gives_one_order_within_a_batch(store: &impl OrderStore) {
    let (first, third) = (new_order(), new_order());
    let repeat = NewOrder {
        key_hash: first.key_hash.clone(),
        ..new_order()
    };
    let batch = [first, repeat, third];
    let outcomes = all_of(store.place(&batch).await);
    let used = store
        .key_use(&Scope::Everything, &batch[0].key_hash)
        .await
        .expect("read")
        .expect("used");
    let placed = outcomes
        .iter()
        .filter(|outcome| **outcome == Placement::Placed)
        .count();
    assert_eq!(
        (placed, &outcomes[2]),
        (2, &Placement::Placed),
        "{outcomes:?}"
    );
    assert!(outcomes.contains(&Placement::KeyUsed(used)), "{outcomes:?}");
}

async fn a_change_is_applied_once_and_completely(store: &impl OrderStore) {
    let new = placed(store).await;
    empty_the_outbox(store).await;
    let mut change = step(&new, 1, State::Charging);
    if let Some(order) = &mut change.order {
        order.reason = Some("because".to_owned());
        order.next_action_at = Some(NOON + time::Duration::minutes(1));
    }
    assert_eq!(apply(store, &change).await, Applied::Applied);
    let order = now(store, &new).await;
    assert_eq!(
        (order.state, order.status, order.version),
        (State::Charging, Status::Pending, 2)
    );
    assert_eq!(
        (order.reason.as_deref(), order.updated_at),
        (Some("because"), change.at)
    );
    let line = change.order.as_ref().expect("an order").history[0].clone();
    assert_eq!(
        store
            .history(&Scope::Everything, new.order.order_id, 1)
            .await
            .expect("read"),
        [line]
    );
    assert_eq!(
        owed(store, new.order.order_id).await,
        letters(&change.outbox)
    );

    assert_eq!(apply(store, &change).await, Applied::Duplicate);
    assert_eq!(
        now(store, &new).await,
        order,
        "the second time changes nothing"
    );
    assert_eq!(
        store
            .history(&Scope::Everything, new.order.order_id, 0)
            .await
            .expect("read")
            .len(),
        2
    );
    assert!(
        owed(store, new.order.order_id).await.is_empty(),
        "a conflict sends no message"
    );

    assert_eq!(
        apply(store, &step(&new, 2, State::Paid)).await,
        Applied::Applied
    );
    let order = now(store, &new).await;
    assert_eq!(
        order.reason.as_deref(),
        Some("because"),
        "a change without a reason keeps the reason"
    );
}

async fn a_conflicting_change_writes_nothing(store: &impl OrderStore) {
    let new = placed(store).await;
    empty_the_outbox(store).await;
    let mut late = step(&new, 7, State::Paid);
    assert_eq!(apply(store, &late).await, Applied::Conflict);
    assert_eq!(now(store, &new).await, new.order);
    assert_eq!(
        store
            .history(&Scope::Everything, new.order.order_id, 0)
            .await
            .expect("read")
            .len(),
        1
    );
    assert!(owed(store, new.order.order_id).await.is_empty());
    // The order is read again and the change is decided again. The same message must not count as a
    // duplicate.
    if let Some(order) = &mut late.order {
        (order.expected_version, order.history[0].seq) = (1, 2);
    }
    assert_eq!(apply(store, &late).await, Applied::Applied);
}

async fn concurrent_equal_changes_are_applied_once(
    store: &impl OrderStore,
    other: &impl OrderStore,
) {
    let new = placed(store).await;
    let change = step(&new, 1, State::Charging);
    let (here, there) = futures::join!(
        join_all((0..8).map(|_| apply(store, &change))),
        join_all((0..8).map(|_| apply(other, &change)))
    );
    let outcomes: Vec<Applied> = here.into_iter().chain(there).collect();
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| **outcome == Applied::Applied)
            .count(),
        1,
        "{outcomes:?}"
    );

    let rivals: Vec<Change> = (0..8).map(|_| step(&new, 2, State::Paid)).collect();
    let outcomes = join_all(rivals.iter().map(|change| apply(store, change))).await;
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| **outcome == Applied::Applied)
            .count(),
        1,
        "{outcomes:?}"
    );
    assert!(!outcomes.contains(&Applied::Duplicate), "{outcomes:?}");
    assert_eq!(now(store, &new).await.version, 3, "no version twice");
    assert_eq!(
        store
            .history(&Scope::Everything, new.order.order_id, 0)
            .await
            .expect("read")
            .len(),
        3
    );
}

async fn a_failed_change_does_not_block_others_of_the_batch(store: &impl OrderStore) {
    let orders = [
        placed(store).await,
        placed(store).await,
        placed(store).await,
        placed(store).await,
    ];
    let seen_before = step(&orders[2], 1, State::Charging);
    assert_eq!(apply(store, &seen_before).await, Applied::Applied);
    let batch = [
        step(&orders[0], 1, State::Charging),
        step(&orders[1], 9, State::Charging),
        seen_before,
        step(&orders[3], 1, State::Charging),
    ];
    let outcomes = all_of(store.apply(&batch).await);
    assert_eq!(
        outcomes,
        [
            Applied::Applied,
            Applied::Conflict,
            Applied::Duplicate,
            Applied::Applied
        ]
    );
    for (index, version) in [2, 1, 2, 2].into_iter().enumerate() {
        assert_eq!(
            now(store, &orders[index]).await.version,
            version,
            "order {index}"
        );
    }
    assert!(store.apply(&[]).await.is_empty());
}

async fn two_steps_of_one_order_in_a_batch(store: &impl OrderStore) {
    let new = placed(store).await;
    let batch = [step(&new, 1, State::Charging), step(&new, 2, State::Paid)];
    assert_eq!(
        all_of(store.apply(&batch).await),
        [Applied::Applied, Applied::Applied]
    );
    assert_eq!(now(store, &new).await.version, 3);
}

async fn a_payment_changes_only_from_the_state_that_was_read(store: &impl OrderStore) {
    let new = placed(store).await;
    let id = new.order.order_id;
    let to = |kind, state, expected| {
        let token = (kind == PaymentKind::Charge).then(|| "tok_ok".to_owned());
        let charge_id = (state == PaymentState::Captured).then(|| "ch_1".to_owned());
        let amount = new.order.totals.total;
        let payment = Payment {
            order_id: id,
            kind,
            amount,
            state,
            token,
            charge_id,
            reason: None,
        };
        Change {
            payment: Some(PaymentChange { expected, payment }),
            ..step(&new, 1, State::Charging)
        }
    };
    let charge = PaymentKind::Charge;
    let captured = to(charge, PaymentState::Captured, Some(PaymentState::Unknown));
    assert_eq!(
        apply(store, &captured).await,
        Applied::Conflict,
        "the payment was not in the expected state"
    );
    assert_eq!(
        now(store, &new).await.version,
        1,
        "the order did not move without its payment"
    );
    let captured = to(
        charge,
        PaymentState::Captured,
        Some(PaymentState::Requested),
    );
    assert_eq!(apply(store, &captured).await, Applied::Applied);
    let read = store
        .payment(id, charge)
        .await
        .expect("read")
        .expect("it is there");
    assert_eq!(
        (read.state, read.charge_id.as_deref()),
        (PaymentState::Captured, Some("ch_1"))
    );

    let alone = |change: Change| Change {
        order: None,
        outbox: Vec::new(),
        ..change
    };
    let refund = || alone(to(PaymentKind::Refund, PaymentState::Requested, None));
    assert_eq!(apply(store, &refund()).await, Applied::Applied);
    assert_eq!(
        apply(store, &refund()).await,
        Applied::Conflict,
        "one refund an order"
    );
    let read = store
        .payment(id, PaymentKind::Refund)
        .await
        .expect("read")
        .expect("it is there");
    assert_eq!(
        (read.state, read.amount, read.token),
        (PaymentState::Requested, new.order.totals.total, None)
    );
}

async fn messages_are_sent_in_order_and_once(store: &impl OrderStore, other: &impl OrderStore) {
    empty_the_outbox(store).await;
    assert_eq!(store.oldest_unpublished().await.expect("read"), None);
    let new = placed(store).await;
    let reserve = &new.outbox[0];
    let again = one_more(&new, 1, State::Charging, reserve.message.clone());
    assert_eq!(apply(store, &again).await, Applied::Applied);
    assert_eq!(store.oldest_unpublished().await.expect("read"), Some(NOON));

    let first = take(store, 1).await;
    assert_eq!(letters_of(&first), letters(std::slice::from_ref(reserve)));
    let rest = take(other, 10).await;
    assert_eq!(
        letters_of(&rest),
        letters(&new.outbox[1..]),
        "other routes do not wait, the same route does"
    );
    assert_eq!(take(other, 10).await, rest, "an unmarked row is still due");
    mark(other, &rest).await;
    assert_eq!(
        take(other, 10).await,
        [],
        "no later row of the route while the first is claimed"
    );
    mark(store, &first).await;

    let second = take(other, 10).await;
    assert_eq!(letters_of(&second), letters(&again.outbox));
    mark(other, &second).await;
    assert_eq!(take(store, 10).await, []);
    assert_eq!(store.oldest_unpublished().await.expect("read"), None);
}

async fn commands_and_events_are_claimed_separately(store: &impl OrderStore) {
    empty_the_outbox(store).await;
    let new = placed(store).await;
    let goes_to_a_queue = |letter: &Letter| {
        letter
            .routes
            .iter()
            .all(|route| matches!(route, Route::Queue(_)))
    };
    let (commands, others): (Vec<_>, Vec<_>) =
        letters(&new.outbox).into_iter().partition(goes_to_a_queue);
    assert!(!commands.is_empty() && !others.is_empty(), "{others:?}");
    let take = async |which| letters_of(&store.take_outbox(which, NOON, 100).await.expect("read"));
    assert_eq!(take(Outgoing::Events).await, others);
    assert_eq!(take(Outgoing::Commands).await, commands);
    mark(
        store,
        &store
            .take_outbox(Outgoing::Commands, NOON, 100)
            .await
            .expect("read"),
    )
    .await;
    assert_eq!(take(Outgoing::Commands).await, []);
    assert_eq!(empty_the_outbox(store).await, others);
}

async fn a_delayed_row_blocks_only_its_order_and_route(
    store: &impl OrderStore,
    other: &impl OrderStore,
) {
    empty_the_outbox(store).await;
    let (late, well) = (placed(store).await, placed(store).await);
    let again = one_more(&late, 1, State::Charging, late.outbox[0].message.clone());
    assert_eq!(apply(store, &again).await, Applied::Applied);
    let rows = take(store, 10).await;
    let (failed, sent): (Vec<OutboxRow>, Vec<OutboxRow>) = rows
        .into_iter()
        .partition(|row| letter(row).envelope == late.outbox[0]);
    assert_eq!(
        letters_of(&sent),
        [letters(&late.outbox[1..]), letters(&well.outbox)].concat()
    );
    mark(store, &sent).await;
    let retry_at = NOON + time::Duration::seconds(1);
    store
        .put_off(&[(failed[0].id, retry_at)])
        .await
        .expect("put off");

    let just_before = retry_at - time::Duration::milliseconds(1);
    assert_eq!(
        other
            .take_outbox(Outgoing::All, just_before, 10)
            .await
            .expect("read"),
        [],
        "the row and later rows of its order wait"
    );
    let fresh = placed(store).await;
    let rows = other
        .take_outbox(Outgoing::All, retry_at, 1)
        .await
        .expect("read");
    assert_eq!(
        letters_of(&rows),
        letters(&fresh.outbox[..1]),
        "rows without an attempt are first"
    );
    let tried = other
        .take_outbox(Outgoing::All, retry_at, 10)
        .await
        .expect("read")
        .into_iter()
        .find(|row| row.id == failed[0].id);
    let tried = tried.expect("the row is due for every relay");
    assert_eq!((failed[0].attempts, tried.attempts), (0, 1));
    mark(other, &[tried]).await;
    let left = [letters(&again.outbox), letters(&fresh.outbox)].concat();
    assert_eq!(empty_the_outbox(other).await, left);
}

async fn rows_claimed_by_a_dead_relay_are_claimed_again(
    store: &impl OrderStore,
    other: &impl OrderStore,
) {
    empty_the_outbox(store).await;
    placed(store).await;
    let taken = take(store, 10).await;
    let over = NOON + OUTBOX_CLAIM;
    let just_before = over - time::Duration::milliseconds(1);
    assert_eq!(
        other
            .take_outbox(Outgoing::All, just_before, 10)
            .await
            .expect("read"),
        [],
        "the claim has not expired"
    );
    assert_eq!(
        other
            .take_outbox(Outgoing::All, over, 10)
            .await
            .expect("read"),
        taken
    );
    // The first store was only slow. Its late calls for rows that it no longer owns must have no
    // effect.
    let far = NOON + time::Duration::days(1);
    store
        .put_off(&taken.iter().map(|row| (row.id, far)).collect::<Vec<_>>())
        .await
        .expect("put off");
    assert_eq!(
        store
            .take_outbox(Outgoing::All, over, 10)
            .await
            .expect("read"),
        []
    );
    assert_eq!(
        other
            .take_outbox(Outgoing::All, over, 10)
            .await
            .expect("read"),
        taken
    );
    mark(other, &taken).await;
}

/// Runs many relays, each with its own store, on many orders with many messages for one route.
///
/// No relay may hold a message while an earlier one of the same order is unsent, and each message
/// is sent once. The clock does not move, so no claim expires and the result does not depend on
/// timing.
pub async fn relays_keep_each_order_in_order(relays: &[impl OrderStore]) {
    const ORDERS: usize = 12;
    const MESSAGES: usize = 6;
    let store = &relays[0];
    empty_the_outbox(store).await;
    let mut written = Told::new();
    for _ in 0..ORDERS {
        let new = placed(store).await;
        let events = written.entry(new.order.order_id).or_default();
        events.push(new.outbox[0].event_id);
        for version in 1..MESSAGES as i64 {
            let change = one_more(
                &new,
                version,
                State::Charging,
                new.outbox[0].message.clone(),
            );
            assert_eq!(apply(store, &change).await, Applied::Applied);
            events.push(change.outbox[0].event_id);
        }
    }
    let sent = Mutex::default();
    join_all(relays.iter().map(|relay| relay_all(relay, &written, &sent))).await;
    assert_eq!(sent.into_inner().expect("no relay panicked"), written);
}

/// The messages of each order, in order.
type Told = BTreeMap<OrderId, Vec<EventId>>;

async fn relay_all(relay: &impl OrderStore, written: &Told, sent: &Mutex<Told>) {
    while relay.oldest_unpublished().await.expect("read").is_some() {
        // Few rows at a time, so that a round ends in the middle of an order.
        let rows = take(relay, 3).await;
        for Letter { envelope, routes } in letters_of(&rows) {
            let Some(order_id) = envelope
                .order_id
                .filter(|_| routes == [Route::Queue(&queue::ORDERS)])
            else {
                continue;
            };
            let mut sent = sent.lock().expect("no relay panicked");
            let before = sent.entry(order_id).or_default();
            let next = written[&order_id].get(before.len());
            assert_eq!(
                Some(&envelope.event_id),
                next,
                "in flight when {} of order {order_id} were sent",
                before.len()
            );
            before.push(envelope.event_id);
        }
        mark(relay, &rows).await;
    }
}

async fn expired_rows_are_deleted(store: &impl OrderStore) {
    let old = NOON + time::Duration::minutes(1);
    empty_the_outbox(store).await;
    let new = placed(store).await;
    let (first, second) = (
        step(&new, 1, State::Charging),
        Change {
            at: old,
            ..step(&new, 2, State::Paid)
        },
    );
    assert_eq!(apply(store, &first).await, Applied::Applied);
    assert_eq!(apply(store, &second).await, Applied::Applied);
    // One row is unsent, and one was sent too recently to be deleted.
    let rows = take(store, 10).await;
    let [unsent, young, sent @ ..] = rows.as_slice() else {
        panic!("{rows:?}")
    };
    mark(store, sent).await;
    store
        .mark_published(&[young.id], old)
        .await
        .expect("marked");

    let mut deleted = 0;
    loop {
        match store.prune(old, 2).await.expect("pruned") {
            0 => break,
            some => {
                assert!(some <= 4, "two of each at most, not {some}");
                deleted += some;
            }
        }
    }
    assert!(
        deleted > sent.len() as u64,
        "the sent rows and the inbox, not {deleted}"
    );
    assert_eq!(
        apply(store, &first).await,
        Applied::Conflict,
        "the inbox row is deleted and the order has a new state"
    );
    assert_eq!(
        apply(store, &second).await,
        Applied::Duplicate,
        "a recent inbox row is kept"
    );
    let left = take(store, 10).await;
    assert_eq!(left[0], *unsent, "an unsent row is never deleted");
    assert_eq!(
        store
            .prune(old + time::Duration::seconds(1), 10)
            .await
            .expect("pruned"),
        2,
        "the younger row after its time"
    );
    empty_the_outbox(store).await;
}

/// A destination that accepts every message.
struct TakesAll;

impl Publisher for TakesAll {
    async fn publish(&self, _route: Route, messages: &[Envelope]) -> Vec<Result<(), PublishError>> {
        vec![Ok(()); messages.len()]
    }
}

/// A clock that does not move.
struct At(Timestamp);

impl Source for At {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// Runs the laws about rows that this program cannot read, which only a database can contain.
/// `execute` runs a statement on the database.
pub async fn an_unreadable_row_does_not_block_other_rows(
    store: &impl OrderStore,
    execute: impl AsyncFn(String),
) {
    // An order in an unknown state.
    let (odd, fine) = (placed(store).await, placed(store).await);
    execute(format!(
        "UPDATE orders SET state = 'dreaming' WHERE order_id = '{}'",
        odd.order.order_id
    ))
    .await;
    let again_at = odd.next_action_at + time::Duration::seconds(20);
    let due = store
        .take_due(odd.next_action_at, again_at, 100)
        .await
        .expect("the others are there");
    let ids: Vec<OrderId> = due.iter().map(|due| due.order_id).collect();
    assert!(
        ids.contains(&fine.order.order_id) && !ids.contains(&odd.order.order_id),
        "{ids:?}"
    );
    assert_eq!(
        store
            .take_due(odd.next_action_at, again_at, 100)
            .await
            .expect("taken"),
        [],
        "an unreadable row is not due at once"
    );

    // A product name with bidirectional controls, from before names were normalized.
    let hostile = placed(store).await.order.order_id;
    execute(format!(
        "UPDATE order_items SET name = 'Lat\u{202e}te\u{9b}2J' WHERE order_id = '{hostile}'"
    ))
    .await;
    let items = store
        .load(hostile)
        .await
        .expect("read")
        .expect("there")
        .order
        .items;
    assert!(
        items.iter().all(|item| item.name == "Latte 2J"),
        "{items:?}"
    );

    // A message that cannot be decoded.
    empty_the_outbox(store).await;
    let (odd, fine) = (placed(store).await, placed(store).await);
    let reserve = format!(
        "order_id = '{}' AND kind = 'ReserveStock'",
        odd.order.order_id
    );
    execute(format!(
        "UPDATE outbox SET envelope = '{{\"type\":\"ReserveStock\",\"schema\":9}}' WHERE {reserve}"
    ))
    .await;
    let relay = async |at| {
        relay_some(store, &TakesAll, &At(at), &|| 1.0, Outgoing::All)
            .await
            .expect("other rows are sent")
    };
    let relayed = relay(NOON).await;
    assert_eq!(
        (relayed.sent, relayed.failed),
        (
            letters(&odd.outbox[1..]).len() as u64 + letters(&fine.outbox).len() as u64,
            0
        )
    );
    let [(id, why)] = relayed.unreadable.as_slice() else {
        panic!("{relayed:?}")
    };
    assert!(why.to_string().contains("version 9"), "{why}");
    let later = one_more(&odd, 1, State::Charging, odd.outbox[0].message.clone());
    assert_eq!(apply(store, &later).await, Applied::Applied);
    assert!(
        relay(NOON + time::Duration::minutes(1)).await.idle(),
        "an unreadable row is delayed and later rows of its order wait"
    );
    let mended = odd.outbox[0].encode().replace('\'', "''");
    execute(format!(
        "UPDATE outbox SET envelope = '{mended}' WHERE id = {id}"
    ))
    .await;
    let tomorrow = NOON + time::Duration::days(1);
    assert_eq!(
        [relay(tomorrow).await.sent, relay(tomorrow).await.sent],
        [1, 1],
        "one after the other"
    );

    // A row from before the release that stores routes.
    let new = placed(store).await;
    let of_order = format!("order_id = '{}'", new.order.order_id);
    execute(format!(
        "DELETE FROM outbox WHERE {of_order} AND route = 'bus'"
    ))
    .await;
    execute(format!(
        "UPDATE outbox SET route = NULL WHERE {of_order} AND kind = 'OrderCreated'"
    ))
    .await;
    let after = one_more(&new, 1, State::Charging, new.outbox[0].message.clone());
    assert_eq!(apply(store, &after).await, Applied::Applied);
    for expected in [
        Letter {
            envelope: new.outbox[0].clone(),
            routes: new.outbox[0].message.kind().routes(),
        },
        Letter {
            envelope: new.outbox[1].clone(),
            routes: new.outbox[1].message.kind().routes(),
        },
        Letter {
            envelope: after.outbox[0].clone(),
            routes: after.outbox[0].message.kind().routes(),
        },
    ] {
        let rows = take(store, 10).await;
        assert_eq!(
            letters_of(&rows),
            [expected],
            "one after the other: it goes everywhere"
        );
        mark(store, &rows).await;
    }
}

async fn a_due_order_is_claimed_by_one_caller(store: &impl OrderStore, other: &impl OrderStore) {
    // Orders of other laws may be due and are claimed first.
    let far = NOON + time::Duration::days(3650);
    while !store
        .take_due(far, far + time::Duration::days(1), 100)
        .await
        .expect("taken")
        .is_empty()
    {}
    let orders = [
        placed(store).await,
        placed(store).await,
        placed(store).await,
    ];
    let due_at = orders[0].next_action_at;
    let again_at = due_at + time::Duration::seconds(20);
    let early = store
        .take_due(due_at - time::Duration::milliseconds(1), again_at, 10)
        .await
        .expect("taken");
    assert_eq!(early, [], "not before its time");

    let first = store.take_due(due_at, again_at, 2).await.expect("taken");
    assert_eq!(first.len(), 2, "not more than was asked for");
    let (here, there) = futures::join!(
        store.take_due(due_at, again_at, 10),
        other.take_due(due_at, again_at, 10)
    );
    let rest: Vec<Due> = here
        .expect("taken")
        .into_iter()
        .chain(there.expect("taken"))
        .collect();
    let mut taken: Vec<Due> = first.into_iter().chain(rest).collect();
    taken.sort_by_key(|due| due.order_id);
    let expected = orders.each_ref().map(|new| Due {
        order_id: new.order.order_id,
        state: State::Placed,
        version: 1,
        created_at: NOON,
        since: NOON,
        pickup_at: new.order.pickup_at,
    });
    assert_eq!(taken, expected, "each once");
    assert_eq!(
        store.take_due(due_at, again_at, 10).await.expect("taken"),
        [],
        "not due before that time"
    );
    assert_eq!(
        store
            .take_due(again_at, far, 10)
            .await
            .expect("taken")
            .len(),
        3
    );

    let (early, elsewhere) = (
        due_at + time::Duration::seconds(1),
        due_at - time::Duration::seconds(1),
    );
    let ids = orders.each_ref().map(|new| new.order.order_id);
    store
        .look_again(&[(ids[0], 1, Some(early)), (ids[1], 7, Some(elsewhere))])
        .await
        .expect("noted");
    let found = store.take_due(early, far, 10).await.expect("taken");
    assert_eq!(
        found.iter().map(|due| due.order_id).collect::<Vec<_>>(),
        [ids[0]],
        "the version of the other order differs"
    );
    store.look_again(&[(ids[2], 1, None)]).await.expect("noted");
    assert_eq!(
        store.take_due(far, far, 10).await.expect("taken").len(),
        2,
        "an order without a time is not due"
    );
    store
        .look_again(&[(ids[2], 1, Some(far))])
        .await
        .expect("noted");

    assert_eq!(
        apply(store, &step(&orders[0], 1, State::Completed)).await,
        Applied::Applied
    );
    assert_eq!(
        store
            .take_due(far, far + time::Duration::days(1), 10)
            .await
            .expect("taken")
            .len(),
        2,
        "never again"
    );
}

/// Lets 64 tasks in two processes take numbers around midnight. Each number is taken once on its
/// day, and each day starts again at zero.
async fn numbers_restart_each_day_and_are_unique(store: &impl OrderStore, other: &impl OrderStore) {
    let Location {
        tenant_id,
        location_id,
        ..
    } = Location::initial();
    let (today, tomorrow) = (date!(2031 - 12 - 31), date!(2032 - 01 - 01));
    let takers = (0..64).map(|taker: u32| {
        // Around midnight, some clocks are ahead of others.
        let day = if taker < 24 || (taker < 40 && taker.is_multiple_of(2)) {
            today
        } else {
            tomorrow
        };
        let (tenant_id, location_id) = (&tenant_id, &location_id);
        async move {
            let number = match taker % 2 {
                0 => store.next_number(tenant_id, location_id, day).await,
                _ => other.next_number(tenant_id, location_id, day).await,
            };
            (day, number.expect("a number"))
        }
    });
    let taken = join_all(takers).await;
    for day in [today, tomorrow] {
        let mut numbers: Vec<u64> = taken
            .iter()
            .filter(|(of, _)| *of == day)
            .map(|(_, number)| *number)
            .collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(
            (numbers.len(), numbers[0]),
            (count, 0),
            "{day}: {numbers:?}"
        );
    }
    assert_eq!(
        store
            .next_number(&tenant_id, &location_id, date!(2032 - 01 - 02))
            .await,
        Ok(0),
        "A-000"
    );
}

/// A customer says only the number, which means the newest order with it.
async fn a_number_alone_finds_the_newest_order(store: &impl OrderStore) {
    let (old, new) = (placed(store).await, placed(store).await);
    assert_eq!(old.order.order_number, new.order.order_number);
    let number = OrderNumber::parse(&new.order.order_number).expect("a number");
    let here = Scope::of(&Location::initial());
    assert_eq!(
        store.newest_with_number(&here, number).await,
        Ok(Some(new.order.order_id))
    );
    assert_eq!(
        store.with_number(&here, number, 2).await,
        Ok(vec![new.order.order_id, old.order.order_id])
    );
    assert_eq!(
        store.with_number(&here, OrderNumber::of(123_456), 2).await,
        Ok(Vec::new())
    );
    assert_eq!(
        store
            .newest_with_number(&here, OrderNumber::of(123_456))
            .await,
        Ok(None)
    );
}

async fn lists_are_newest_first_and_have_pages(store: &impl OrderStore) {
    let mut orders = Vec::new();
    for _ in 0..5 {
        orders.push(placed(store).await);
    }
    assert_eq!(
        apply(store, &step(&orders[1], 1, State::Confirmed)).await,
        Applied::Applied
    );
    let ids = |orders: Vec<Order>| {
        orders
            .into_iter()
            .map(|order| order.order_id)
            .collect::<Vec<_>>()
    };
    let id = |index: usize| orders[index].order.order_id;

    let page = store
        .list(
            &Scope::Everything,
            &OrderFilter {
                limit: 2,
                ..OrderFilter::default()
            },
        )
        .await
        .expect("read");
    assert_eq!(ids(page), [id(4), id(3)]);
    let page = store
        .list(
            &Scope::Everything,
            &OrderFilter {
                limit: 2,
                before: Some(id(3)),
                ..OrderFilter::default()
            },
        )
        .await
        .expect("read");
    assert_eq!(page[1].items, orders[1].order.items, "with their items");
    assert_eq!(ids(page), [id(2), id(1)]);
    let pending = OrderFilter {
        statuses: vec![Status::Pending],
        limit: 2,
        before: Some(id(2)),
        ..OrderFilter::default()
    };
    assert_eq!(
        ids(store
            .list(&Scope::Everything, &pending)
            .await
            .expect("read"))[0],
        id(0),
        "the confirmed one is left out"
    );
    let two = OrderFilter {
        statuses: vec![Status::Pending, Status::Confirmed],
        limit: 5,
        ..OrderFilter::default()
    };
    assert_eq!(
        ids(store.list(&Scope::Everything, &two).await.expect("read")),
        [id(4), id(3), id(2), id(1), id(0)]
    );

    let session = Uuid::now_v7().to_string();
    let mine = NewOrder {
        session_hash: Some(session.clone()),
        ..new_order()
    };
    assert_eq!(place(store, &mine).await, Placement::Placed);
    let of_session = OrderFilter {
        session_hashes: vec![session],
        limit: 5,
        ..OrderFilter::default()
    };
    let listed = store
        .list_stored(&Scope::Everything, &of_session)
        .await
        .expect("read");
    assert_eq!(listed.len(), 1, "only orders of the session");
    assert_eq!(
        (listed[0].order.order_id, &listed[0].session_hash),
        (mine.order.order_id, &mine.session_hash)
    );
}

async fn an_order_is_found_by_its_number_and_its_customer(store: &impl OrderStore) {
    let mut placed = Vec::new();
    for email in ["zoe@example.com", "Zoe@Example.com", "ana@example.com"] {
        let mut new = new_order();
        new.order.order_number = format!("T-{}", new.order.order_id);
        new.order.customer =
            Customer::parse("Zoë", "+1 555 010 0123", email, Country::US).expect("a customer");
        assert_eq!(place(store, &new).await, Placement::Placed);
        placed.push(new.order);
    }
    let here = Scope::of(&Location::initial());
    let find = async |number: &str, email: &str| {
        let found = store.find_order(&here, number, email).await.expect("read");
        found.map(|stored| (stored.order.order_id, stored.order.items.len()))
    };
    for order in &placed {
        for email in [
            order.customer.email.clone(),
            order.customer.email.to_uppercase(),
        ] {
            assert_eq!(
                find(&order.order_number, &email).await,
                Some((order.order_id, 2)),
                "{email}"
            );
        }
    }
    assert_eq!(
        find(&placed[0].order_number, "ana@example.com").await,
        None,
        "another customer"
    );
    assert_eq!(find("T-0", "zoe@example.com").await, None, "another number");
    let tenant_id = TenantId::parse("somebody-else").expect("a slug");
    let location_id = LocationId::parse("elsewhere").expect("a slug");
    for other in [
        Location {
            tenant_id,
            ..Location::initial()
        },
        Location {
            location_id,
            ..Location::initial()
        },
    ] {
        let scope = Scope::of(&other);
        let foreign = store
            .find_order(&scope, &placed[0].order_number, "zoe@example.com")
            .await
            .expect("read");
        assert!(foreign.is_none(), "{scope:?}");
    }
}
