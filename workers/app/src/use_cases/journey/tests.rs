use domain::saga::State;
use futures::executor::block_on;
use time::Duration;
use time::macros::datetime;

use super::*;
use crate::fakes::orders::MemoryOrders;
use crate::fakes::stock::MemoryStock;
use crate::laws::orders::{new_order, step};
use crate::ports::orders::{Change, Outgoing};

fn shown(journey: &Journey) -> Vec<String> {
    journey
        .moments
        .iter()
        .map(|moment| {
            format!(
                "+{} {} {}",
                moment.gap_ms,
                moment.record.code(),
                moment.what
            )
        })
        .collect()
}

#[test]
fn the_timeline_has_every_record_of_the_order_and_lists_what_the_order_waits_for() {
    let (orders, stock, new) = (MemoryOrders::default(), MemoryStock::default(), new_order());
    let order_id = new.order.order_id;
    let read = || block_on(journey(&orders, &stock, &Scope::Everything, order_id)).expect("read");
    assert!(read().is_none(), "a timeline before the order was placed");

    block_on(orders.place(std::slice::from_ref(&new)));
    let placed = read().expect("a timeline");
    assert_eq!(
        shown(&placed),
        [
            "+0 history accepted, pending (validating)",
            "+0 payment charge of $13.07: requested",
            "+0 outbox ReserveStock written to the outbox for queue/orders",
            "+0 outbox OrderCreated written to the outbox for topic/order-created",
            "+0 outbox OrderCreated written to the outbox for bus",
        ]
    );
    let awaited: Vec<&str> = placed
        .awaited
        .iter()
        .map(|awaited| awaited.what.as_str())
        .collect();
    assert_eq!(
        awaited[..2],
        [
            "the result of ReserveStock; the command is sent again if none arrives",
            "sending ReserveStock to queue/orders (0 failed attempts)",
        ]
    );
    assert_eq!(placed.awaited[0].until, Some(new.next_action_at));

    // The message is sent after a failed attempt and applied at its third delivery.
    let taken =
        block_on(orders.take_outbox(Outgoing::All, new.order.created_at, 10)).expect("taken");
    let late = taken[0].id;
    block_on(orders.put_off(&[(late, new.order.created_at)])).expect("put off");
    block_on(orders.mark_published(
        &[late],
        new.order.created_at + Duration::microseconds(182_400),
    ))
    .expect("marked");
    let missing = read().expect("a timeline").awaited;
    assert!(
        missing.iter().any(|awaited| awaited
            .what
            .starts_with("receiving ReserveStock from orders")),
        "{missing:?}"
    );
    let change = Change {
        event_id: new.outbox[0].event_id,
        delivery: Some(3),
        ..step(&new, 1, State::Confirmed)
    };
    block_on(orders.apply(&[change]));
    let taken_in = read().expect("a timeline");
    let shown = shown(&taken_in);
    assert!(
        shown.contains(
            &"+182 outbox ReserveStock sent to queue/orders after 1 failed attempts".to_owned()
        ),
        "{shown:#?}"
    );
    assert!(
        shown.contains(&"+0 delivery ReserveStock applied, delivery 3".to_owned()),
        "{shown:#?}"
    );
    assert_eq!(taken_in.awaited[0].what, "the start of preparation");
}

#[test]
fn gaps_add_up_to_the_times_that_are_shown() {
    let (orders, stock, new) = (MemoryOrders::default(), MemoryStock::default(), new_order());
    block_on(orders.place(std::slice::from_ref(&new)));
    let journey = block_on(journey(
        &orders,
        &stock,
        &Scope::Everything,
        new.order.order_id,
    ))
    .expect("read")
    .expect("there");
    let at = |micros| new.order.created_at + Duration::microseconds(micros);
    let logs = [1_900, 900, 2_100].map(|micros| Moment::new(at(micros), Record::Log, "a line"));
    let journey = journey.with(logs.into());
    let gaps: Vec<i64> = journey
        .moments
        .iter()
        .rev()
        .take(3)
        .map(|moment| moment.gap_ms)
        .collect();
    assert_eq!(gaps, [1, 1, 0]);
}

#[test]
fn times_are_in_utc_to_the_millisecond() {
    assert_eq!(
        time_text(datetime!(2026-03-01 13:00:00.1829 +1)),
        "2026-03-01T12:00:00.182Z"
    );
}
