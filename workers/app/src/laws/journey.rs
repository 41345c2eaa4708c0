//! Laws of `JourneyStore` and `RedriveLog`: records are read as they were written, and only for the
//! order they are about.

use contract::event::EventKind;
use domain::channel::Channel;
use domain::ids::{EventId, OrderId};
use domain::saga::State;
use time::Duration;
use uuid::Uuid;

use super::orders::{NOON, apply, empty_the_outbox, placed, step};
use crate::ports::journey::{JourneyStore, TakenIn};
use crate::ports::notices::{Notice, NoticeEnd, NoticeKind, NoticeStore};
use crate::ports::orders::{Applied, Change, OrderStore, PaymentKind, PaymentState};
use crate::ports::redrives::{Redrive, RedriveEnd, RedriveLog};
use crate::ports::scope::Scope;

/// Runs all laws, each on its own orders. Nothing else may use the outbox at the same time.
pub async fn all(store: &(impl OrderStore + JourneyStore + NoticeStore + RedriveLog)) {
    messages_are_recorded_up_to_their_effect(store).await;
    money_and_deadline_are_read(store).await;
    notifications_are_read_by_order_and_by_event(store).await;
    a_redrive_is_started_once_and_ends(store).await;
    the_newest_of_a_kind_is_found(store).await;
    an_unknown_order_has_no_records(store).await;
}

async fn messages_are_recorded_up_to_their_effect(store: &(impl OrderStore + JourneyStore)) {
    empty_the_outbox(store).await;
    let (new, _other) = (placed(store).await, placed(store).await);
    let order_id = new.order.order_id;
    let before = store
        .records(&Scope::Everything, order_id)
        .await
        .expect("read");
    let written: Vec<(&str, bool)> = before
        .sent
        .iter()
        .map(|sent| (sent.kind.as_str(), sent.left_at.is_some()))
        .collect();
    assert_eq!(
        written,
        [
            ("ReserveStock", false),
            ("OrderCreated", false),
            ("OrderCreated", false)
        ]
    );
    assert_eq!(before.sent[0].route.as_deref(), Some("queue/orders"));
    assert!(before.taken_in.is_empty(), "{:?}", before.taken_in);

    empty_the_outbox(store).await;
    let asked = &new.outbox[0];
    let taken_in = Change {
        event_id: asked.event_id,
        delivery: Some(3),
        ..step(&new, 1, State::Charging)
    };
    assert_eq!(apply(store, &taken_in).await, Applied::Applied);
    let after = store
        .records(&Scope::Everything, order_id)
        .await
        .expect("read");
    assert_eq!(after.sent[0].envelope.as_ref(), Ok(asked));
    assert_eq!(
        (after.sent[0].written_at, after.sent[0].left_at),
        (new.order.created_at, Some(NOON))
    );
    let expected = TakenIn {
        consumer: taken_in.consumer.to_owned(),
        event_id: asked.event_id,
        at: taken_in.at,
        delivery: Some(3),
    };
    assert_eq!(after.taken_in, std::slice::from_ref(&expected));
    assert_eq!(after.sent.len(), 4, "and what it sent: {:?}", after.sent);
    let found = store
        .taken_in(taken_in.consumer, asked.event_id)
        .await
        .expect("read");
    assert_eq!(found, Some(expected));
    assert_eq!(
        store
            .taken_in("payment-worker", asked.event_id)
            .await
            .expect("read"),
        None,
        "another consumer"
    );
}

async fn money_and_deadline_are_read(store: &(impl OrderStore + JourneyStore)) {
    let new = placed(store).await;
    let records = store
        .records(&Scope::Everything, new.order.order_id)
        .await
        .expect("read");
    let [(charge, at)] = records.payments.as_slice() else {
        panic!("{:?}", records.payments)
    };
    assert_eq!(
        (charge.kind, charge.state, *at),
        (
            PaymentKind::Charge,
            PaymentState::Requested,
            new.order.created_at
        )
    );
    assert_eq!(records.next_action_at, Some(new.next_action_at));
}

async fn notifications_are_read_by_order_and_by_event(
    store: &(impl OrderStore + JourneyStore + NoticeStore),
) {
    let new = placed(store).await;
    let notice = Notice {
        event_id: EventId(Uuid::now_v7()),
        order_id: Some(new.order.order_id),
        kind: NoticeKind::OrderConfirmed,
        channel: Channel::Email,
        recipient: None,
        at: NOON,
    };
    store.begin_notice(&notice).await.expect("begun");
    let [begun] = store
        .notices_of(notice.event_id)
        .await
        .expect("read")
        .try_into()
        .expect("one");
    assert_eq!(
        (begun.state.code(), begun.attempts, begun.sent_at),
        ("pending", 1, None)
    );
    let sent_at = NOON + Duration::seconds(2);
    let sent = NoticeEnd::Sent {
        message_id: "0100-abc".to_owned(),
    };
    store
        .end_notice(notice.event_id, notice.channel, &sent, sent_at)
        .await
        .expect("ended");
    let [told] = store
        .records(&Scope::Everything, new.order.order_id)
        .await
        .expect("read")
        .notices
        .try_into()
        .expect("one");
    assert_eq!(
        (told.state.code(), told.created_at, told.sent_at),
        ("sent", NOON, Some(sent_at))
    );
}

async fn a_redrive_is_started_once_and_ends(store: &(impl OrderStore + JourneyStore + RedriveLog)) {
    let new = placed(store).await;
    let redrive = Redrive {
        redrive_id: Uuid::now_v7(),
        queue: "orders".to_owned(),
        fingerprint: "f1".to_owned(),
        reason: "it \"cannot\" happen".to_owned(),
        event_id: Some(EventId(Uuid::now_v7())),
        order_id: Some(new.order.order_id),
        body: "{not json".to_owned(),
        actor: "Zoë".to_owned(),
        at: NOON,
        end: None,
    };
    let read = async || {
        store
            .records(&Scope::Everything, new.order.order_id)
            .await
            .expect("read")
            .redrives
    };
    store.begin_redrive(&redrive).await.expect("begun");
    store
        .begin_redrive(&Redrive {
            actor: "another".to_owned(),
            ..redrive.clone()
        })
        .await
        .expect("started a second time");
    assert_eq!(
        read().await,
        std::slice::from_ref(&redrive),
        "the first record is kept"
    );
    let event_id = redrive.event_id.expect("an event");
    assert_eq!(
        apply(
            store,
            &Change {
                event_id,
                ..step(&new, 1, State::Charging)
            }
        )
        .await,
        Applied::Applied
    );
    let taken_in = store
        .records(&Scope::Everything, new.order.order_id)
        .await
        .expect("read")
        .taken_in;
    assert!(
        taken_in.iter().any(|taken| taken.event_id == event_id),
        "its effect is found: {taken_in:?}"
    );
    for end in RedriveEnd::ALL {
        store
            .end_redrive(redrive.redrive_id, end, NOON)
            .await
            .expect("ended");
        assert_eq!(
            read().await,
            [Redrive {
                end: Some((end, NOON)),
                ..redrive.clone()
            }]
        );
    }
}

async fn the_newest_of_a_kind_is_found(store: &(impl OrderStore + JourneyStore)) {
    placed(store).await;
    let new = placed(store).await;
    let newest = store
        .newest_of(EventKind::OrderCreated)
        .await
        .expect("read");
    assert_eq!(newest.as_ref(), Some(&new.outbox[1]));
    assert_eq!(
        store
            .newest_of(EventKind::PaymentRefunded)
            .await
            .expect("read"),
        None
    );
}

async fn an_unknown_order_has_no_records(store: &impl JourneyStore) {
    let records = store
        .records(&Scope::Everything, OrderId(Uuid::now_v7()))
        .await
        .expect("read");
    assert_eq!(records, crate::ports::journey::Records::default());
}
