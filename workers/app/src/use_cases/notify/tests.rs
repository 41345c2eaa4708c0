//! Tests on the in-memory store, with providers and a clock that the tests control.

use std::sync::Mutex;

use contract::cause::Cause;
use domain::Timestamp;
use domain::channel::Preferences;
use domain::ids::{EventId, OrderId};
use domain::saga::State;
use futures::executor::block_on;
use time::macros::datetime;
use uuid::Uuid;

use super::*;
use crate::fakes::orders::MemoryOrders;
use crate::laws::orders::{new_order, step};
use crate::ports::notices::{
    CLAIM, MESSAGES_PER_DAY, NoticeFilter, NoticeKind, NoticeRow, TOO_MANY,
};
use crate::use_cases::Maker;

const NOON: Timestamp = datetime!(2026-03-01 12:00 UTC);
const BOTH_ON: Switches = Switches {
    email: true,
    sms: true,
};
const TEXTS: Preferences = Preferences {
    email: true,
    sms: true,
};
const TEXTS_ONLY: Preferences = Preferences {
    email: false,
    sms: true,
};
const NONE: Preferences = Preferences {
    email: false,
    sms: false,
};

struct Clock(Mutex<Timestamp>);

impl Source for Clock {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("no test panicked")
    }

    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// A provider of mails and texts: the accepted messages by deduplication id, and the result of the
/// next call.
#[derive(Default)]
struct Provider {
    arrived: Mutex<Vec<(Channel, String)>>,
    asked: Mutex<Vec<(Channel, String)>>,
    mails_fail: Mutex<Option<SendError>>,
    texts_fail: Mutex<Option<SendError>>,
}

impl Provider {
    fn take(
        &self,
        channel: Channel,
        id: &str,
        fails: &Mutex<Option<SendError>>,
    ) -> Result<String, SendError> {
        let (mut asked, mut arrived) = (
            self.asked.lock().expect("whole"),
            self.arrived.lock().expect("whole"),
        );
        asked.push((channel, id.to_owned()));
        if let Some(error) = fails.lock().expect("whole").clone() {
            return Err(error);
        }
        let notice = (channel, id.to_owned());
        if !arrived.contains(&notice) {
            arrived.push(notice);
        }
        Ok(format!("{}-{id}", channel.code()))
    }
}

impl Mailer for Provider {
    async fn send(&self, mail: &Mail) -> Result<String, SendError> {
        self.take(Channel::Email, &mail.dedup_id, &self.mails_fail)
    }
}

impl Texter for Provider {
    async fn send_text(&self, text: &Text) -> Result<String, SendError> {
        self.take(Channel::Sms, &text.dedup_id, &self.texts_fail)
    }
}

struct Words;

impl Compose for Words {
    fn mail(&self, _news: &News<'_>, dedup_id: String) -> Mail {
        let text = || "ready".to_owned();
        Mail {
            to: "zoe@example.com".to_owned(),
            subject: text(),
            text: text(),
            html: text(),
            dedup_id,
        }
    }

    fn text(&self, _news: &News<'_>, dedup_id: String) -> Option<Text> {
        Some(Text {
            to: "+15550100123".to_owned(),
            body: "ready".to_owned(),
            dedup_id,
        })
    }
}

/// A confirmed order with these preferences, and the message that it was confirmed.
struct World {
    store: MemoryOrders,
    provider: Provider,
    clock: Clock,
    order_id: OrderId,
    envelope: Envelope,
}

impl World {
    fn of(notify: Preferences) -> World {
        let store = MemoryOrders::default();
        let mut new = new_order();
        new.order.customer.notify = notify;
        block_on(store.place(std::slice::from_ref(&new)))
            .pop()
            .expect("one")
            .expect("placed");
        block_on(store.apply(&[step(&new, 1, State::Confirmed)]))
            .pop()
            .expect("one")
            .expect("applied");
        let order_id = new.order.order_id;
        let message = Message::OrderStatusChanged {
            order_number: new.order.order_number.clone(),
            from: Some("pending".to_owned()),
            to: "confirmed".to_owned(),
            step: "fulfilment".to_owned(),
            reason: None,
        };
        let maker = Maker {
            role: "order-worker",
            version: "0",
            traceparent: None,
        };
        let envelope = maker.envelope_with(EventId(Uuid::now_v7()), NOON, Some(order_id), message);
        World {
            store,
            provider: Provider::default(),
            clock: Clock(Mutex::new(NOON)),
            order_id,
            envelope,
        }
    }

    /// Handles one delivery of the message.
    fn delivered(&self, switches: Switches) -> Notified {
        let post = Post {
            mailer: &self.provider,
            texter: &self.provider,
            composer: &Words,
            switches,
        };
        block_on(notify(&self.store, &post, &self.clock, &self.envelope))
    }

    fn texts_fail(&self, error: Option<SendError>) {
        *self.provider.texts_fail.lock().expect("whole") = error;
    }

    fn mails_fail(&self, error: Option<SendError>) {
        *self.provider.mails_fail.lock().expect("whole") = error;
    }

    fn later(&self, by: Duration) {
        *self.clock.0.lock().expect("whole") += by;
    }

    fn arrived(&self) -> Vec<Channel> {
        self.provider
            .arrived
            .lock()
            .expect("whole")
            .iter()
            .map(|(channel, _)| *channel)
            .collect()
    }

    fn rows(&self) -> Vec<NoticeRow> {
        let filter = NoticeFilter {
            order_id: Some(self.order_id),
            failed: false,
        };
        block_on(self.store.notices(&filter)).expect("listed")
    }

    /// Returns the state and the reason of the channel's row.
    fn row(&self, channel: Channel) -> Option<(String, Option<String>)> {
        self.rows()
            .into_iter()
            .find(|row| row.channel == channel)
            .map(|row| (row.state.code().to_owned(), row.reason))
    }
}

fn outage() -> SendError {
    SendError::Unavailable(Cause::new("Throttled"))
}

fn opted_out() -> SendError {
    SendError::Refused(Cause::new("OptedOut"))
}

fn is_retry(told: &Notified) -> Option<Option<Duration>> {
    match &told.handled.settlement {
        Settlement::Retry { after, .. } => Some(*after),
        Settlement::Done | Settlement::Park { .. } => None,
    }
}

#[test]
fn a_customer_is_notified_once_on_the_chosen_channel() {
    for (wish, by) in [
        (Preferences::default(), vec![Channel::Email]),
        (TEXTS, vec![Channel::Sms]),
        (TEXTS_ONLY, vec![Channel::Sms]),
        (NONE, vec![]),
    ] {
        let world = World::of(wish);
        for _ in 0..3 {
            assert_eq!(is_retry(&world.delivered(BOTH_ON)), None);
        }
        assert_eq!(world.arrived(), by, "{wish:?}");
    }
}

#[test]
fn a_customer_without_notifications_has_a_suppressed_record() {
    let world = World::of(NONE);
    world.delivered(BOTH_ON);
    assert_eq!(
        world.row(Channel::Email),
        Some((
            "suppressed".to_owned(),
            Some("the customer wants none".to_owned())
        ))
    );
}

#[test]
fn a_channel_that_is_off_is_replaced_by_the_other() {
    for wish in [TEXTS, TEXTS_ONLY] {
        let world = World::of(wish);
        world.delivered(Switches {
            email: true,
            sms: false,
        });
        assert_eq!(world.arrived(), [Channel::Email], "{wish:?}");
        let off = "notification/sms_enabled is false".to_owned();
        assert_eq!(
            world.row(Channel::Sms),
            Some(("suppressed".to_owned(), Some(off)))
        );
        world.delivered(BOTH_ON);
        assert_eq!(
            world.arrived(),
            [Channel::Email],
            "a channel that is on again sends no second message"
        );
    }
    let world = World::of(Preferences::default());
    world.delivered(Switches {
        email: false,
        sms: true,
    });
    assert_eq!(
        world.arrived(),
        [],
        "only customers who chose texts get texts"
    );
    assert_eq!(world.row(Channel::Email).expect("a row").0, "suppressed");
}

#[test]
fn a_number_without_texts_gets_an_e_mail_at_once() {
    let world = World::of(TEXTS);
    world.texts_fail(Some(opted_out()));
    let told = world.delivered(BOTH_ON);
    assert_eq!(told.handled.settlement, Settlement::Done);
    let failed: Vec<(Channel, bool)> = told
        .tried
        .iter()
        .map(|tried| (tried.channel, tried.failed.is_some()))
        .collect();
    assert_eq!(failed, [(Channel::Sms, true), (Channel::Email, false)]);
    assert_eq!(
        world.row(Channel::Sms).expect("a row"),
        ("failed".to_owned(), Some("OptedOut".to_owned()))
    );
}

#[test]
fn an_outage_of_one_provider_loses_no_notification() {
    let world = World::of(TEXTS);
    world.texts_fail(Some(outage()));
    for _ in 1..TRIES {
        assert_eq!(
            is_retry(&world.delivered(BOTH_ON)),
            Some(Some(TRY_AGAIN_AFTER))
        );
        assert_eq!(
            world.row(Channel::Sms),
            Some(("pending".to_owned(), Some("Throttled".to_owned())))
        );
        assert_eq!(world.arrived(), []);
        world.later(TRY_AGAIN_AFTER);
    }
    assert_eq!(is_retry(&world.delivered(BOTH_ON)), None);
    assert_eq!(world.arrived(), [Channel::Email]);
    world.texts_fail(None);
    world.delivered(BOTH_ON);
    assert_eq!(world.arrived(), [Channel::Email], "never both");
}

#[test]
fn the_last_channel_is_retried_until_its_provider_recovers() {
    let world = World::of(Preferences::default());
    world.mails_fail(Some(outage()));
    for _ in 0..5 * TRIES {
        assert_eq!(
            is_retry(&world.delivered(BOTH_ON)),
            Some(None),
            "the queue's back-off applies"
        );
    }
    world.mails_fail(None);
    assert_eq!(is_retry(&world.delivered(BOTH_ON)), None);
    assert_eq!(world.arrived(), [Channel::Email]);
}

#[test]
fn a_channel_that_is_off_is_no_fallback() {
    let world = World::of(TEXTS);
    world.texts_fail(Some(outage()));
    for _ in 0..2 * TRIES {
        assert_eq!(
            is_retry(&world.delivered(Switches {
                email: false,
                sms: true
            })),
            Some(None)
        );
    }
    world.texts_fail(None);
    world.delivered(Switches {
        email: false,
        sms: true,
    });
    assert_eq!(world.arrived(), [Channel::Sms]);
}

/// The worker exits after the provider accepted the notification and before the result is stored.
#[test]
fn a_crash_before_marking_repeats_the_same_id_under_one_claim() {
    for (wish, channel) in [
        (Preferences::default(), Channel::Email),
        (TEXTS, Channel::Sms),
    ] {
        let world = World::of(wish);
        let notice = Notice {
            event_id: world.envelope.event_id,
            order_id: Some(world.order_id),
            kind: NoticeKind::OrderConfirmed,
            channel,
            recipient: None,
            at: NOON,
        };
        assert_eq!(
            block_on(world.store.begin_notice(&notice)),
            Ok(NoticeState::Pending { attempt: 1 })
        );
        let id = world.envelope.event_id.to_string();
        world
            .provider
            .take(channel, &id, &Mutex::new(None))
            .expect("taken");

        assert!(
            is_retry(&world.delivered(BOTH_ON)).is_some(),
            "the claim of the crashed process is valid"
        );
        assert_eq!(world.provider.asked.lock().expect("whole").len(), 1);
        world.later(CLAIM);
        assert_eq!(is_retry(&world.delivered(BOTH_ON)), None);
        assert_eq!(
            *world.provider.asked.lock().expect("whole"),
            [(channel, id.clone()), (channel, id)]
        );
        assert_eq!(
            world.arrived(),
            [channel],
            "a provider that knows the id sends it once"
        );
        assert_eq!(world.rows().len(), 1, "no other channel is used");
    }
}

#[test]
fn the_daily_limit_of_a_recipient_counts_every_spelling() {
    let world = World::of(Preferences::default());
    for _ in 0..MESSAGES_PER_DAY {
        let notice = Notice {
            event_id: EventId(Uuid::now_v7()),
            order_id: None,
            kind: NoticeKind::OrderConfirmed,
            channel: Channel::Email,
            // The address of the customer is zoe@example.com.
            recipient: News::Shipped {
                stored: &stored(&world, "Zoe+shop@example.com"),
                tracking_number: "",
            }
            .recipient(Channel::Email),
            at: NOON,
        };
        assert_eq!(
            block_on(world.store.begin_notice(&notice)),
            Ok(NoticeState::Pending { attempt: 1 })
        );
    }
    for _ in 0..2 {
        assert_eq!(is_retry(&world.delivered(BOTH_ON)), None);
    }
    assert_eq!(world.arrived(), []);
    assert_eq!(
        world.row(Channel::Email),
        Some(("suppressed".to_owned(), Some(TOO_MANY.to_owned())))
    );
    let staff = News::Stock {
        name: "Latte",
        level: StockLevel::Low,
        available: 1,
        low_stock_threshold: 2,
    };
    assert_eq!(
        staff.recipient(Channel::Email),
        None,
        "the address of the staff has no limit"
    );
}

fn stored(world: &World, email: &str) -> StoredOrder {
    let mut stored = block_on(world.store.load(world.order_id))
        .expect("read")
        .expect("there");
    stored.order.customer.email = email.to_owned();
    stored
}

/// Sets the message from before release 0.1.0, which was sent when the parcel got its number, with
/// an id of its own.
fn shipped_before_the_upgrade(world: &mut World) {
    let message = Message::OrderShipped {
        order_number: "A-1".to_owned(),
        tracking_number: "BH1".to_owned(),
        location_id: "main-street".to_owned(),
    };
    world.envelope = Envelope {
        event_id: EventId(Uuid::now_v7()),
        message,
        ..world.envelope.clone()
    };
}

fn hand_over(world: &World) {
    let stored = block_on(world.store.load(world.order_id))
        .expect("read")
        .expect("there");
    let new = crate::ports::orders::NewOrder {
        order: stored.order.clone(),
        ..new_order()
    };
    let change = step(&new, stored.order.version, State::Completed);
    block_on(world.store.apply(&[change]))
        .pop()
        .expect("one")
        .expect("applied");
}

#[test]
fn a_parcel_is_reported_once_when_it_has_left() {
    let mut world = World::of(Preferences::default());
    shipped_before_the_upgrade(&mut world);
    assert_eq!(world.delivered(BOTH_ON).handled, Handled::done());
    assert_eq!(world.arrived(), [], "the parcel has not left");

    hand_over(&world);
    // The current message, and the old one from the dead-letter queue.
    let old = world.envelope.clone();
    world.envelope = Envelope {
        event_id: shipped_id(world.order_id),
        ..old.clone()
    };
    assert_eq!(world.delivered(BOTH_ON).handled, Handled::done());
    world.envelope = old;
    assert_eq!(world.delivered(BOTH_ON).handled, Handled::duplicate());
    assert_eq!(world.arrived(), [Channel::Email]);
}

#[test]
fn a_notification_before_the_upgrade_is_not_repeated() {
    let mut world = World::of(Preferences::default());
    shipped_before_the_upgrade(&mut world);
    let early = Notice {
        event_id: world.envelope.event_id,
        order_id: Some(world.order_id),
        kind: NoticeKind::OrderShipped,
        channel: Channel::Email,
        recipient: None,
        at: NOON,
    };
    block_on(world.store.begin_notice(&early)).expect("begun");
    let sent = NoticeEnd::Sent {
        message_id: "m-1".to_owned(),
    };
    block_on(
        world
            .store
            .end_notice(early.event_id, early.channel, &sent, NOON),
    )
    .expect("ended");
    hand_over(&world);
    world.envelope.event_id = shipped_id(world.order_id);
    assert_eq!(world.delivered(BOTH_ON).handled, Handled::duplicate());
    assert_eq!(world.arrived(), []);
}

#[test]
fn a_level_that_causes_no_alert_is_a_dead_letter() {
    let mut world = World::of(Preferences::default());
    world.envelope.message = Message::StockLevelReached {
        product_id: "latte".to_owned(),
        name: "Latte".to_owned(),
        level: Availability::InStock,
        available: 0,
        low_stock_threshold: 5,
    };
    let settlement = world.delivered(BOTH_ON).handled.settlement;
    assert!(
        matches!(settlement, Settlement::Park { .. }),
        "{settlement:?}"
    );
    // An unknown level is a dead letter, too: the message cannot be decoded.
    for level in ["gone", ""] {
        let known = format!("\"level\":\"{}\"", Availability::InStock.code());
        let unknown = format!("\"level\":\"{level}\"");
        let body = world.envelope.encode().replace(&known, &unknown);
        assert!(body.contains(&unknown), "{body}");
        assert!(Envelope::decode(&body).is_err(), "{level:?}");
    }
}
