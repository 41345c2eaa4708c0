//! Exact reductions of the state space: worlds that differ only in parts without a further effect
//! count as one.

use std::sync::LazyLock;

use domain::saga::{Decision, Event, State};

use super::world::{Charge, Hand, Message, Order, Step, World};

/// For each state, the events that are already done there and in every state that can follow.
static DONE_FOR_EVER: LazyLock<Vec<Vec<Event>>> = LazyLock::new(|| {
    let for_ever = |state| {
        Event::ALL
            .into_iter()
            .filter(|event| is_done_for_ever(state, *event))
            .collect()
    };
    State::ALL.into_iter().map(for_ever).collect()
});

/// Removes messages without effect, and sorts orders and workers, because they are interchangeable.
/// Returns the number of messages that were removed.
pub fn reduce(world: &mut World, orders: u8) -> u32 {
    let mut dropped = 0;
    for order in &mut world.orders {
        // A request that arrives later has the same idempotency key, so it gets the existing
        // answer.
        order.gateway.under_way &= order.gateway.answer.is_none();
        for message in Message::ALL {
            if order.waiting.has(message) && is_inert(order, message) {
                order.waiting.remove(message);
                dropped += 1;
            }
        }
    }
    for hand in &mut world.workers {
        if let Hand::Busy {
            order,
            message,
            step: Step::Delete,
        } = *hand
            && !world.orders[usize::from(order)].waiting.has(message)
        {
            *hand = Hand::Free;
        }
    }
    let [first, second] = &world.orders;
    if orders > 1 && order_rank(first) > order_rank(second) {
        world.orders.swap(0, 1);
        for hand in &mut world.workers {
            if let Hand::Busy { order, .. } = hand {
                *order = 1 - *order;
            }
        }
    }
    world.workers.sort_by_key(|hand| hand_rank(*hand));
    dropped
}

/// Returns whether a delivery of the message has no effect, now or later.
fn is_inert(order: &Order, message: Message) -> bool {
    let done = |event| DONE_FOR_EVER[order.state as usize].contains(&event);
    match message {
        // In `Validated`, the reservation is not finished.
        Message::ReserveStock => done(Event::Accepted) && order.state != State::Validated,
        Message::ReleaseStock => done(Event::StockReleased),
        Message::PaymentCompleted => done(Event::CardCharged) && order.state != State::Paid,
        Message::PaymentFailed => done(Event::CardRefused),
        Message::PaymentRefunded => done(Event::CardRefunded),
        // A repeated request for a charge returns the same outcome again.
        Message::ChargeCard => match order.charge {
            Charge::Captured => is_inert(order, Message::PaymentCompleted),
            Charge::Declined => is_inert(order, Message::PaymentFailed),
            Charge::Requested | Charge::Unknown => false,
        },
        Message::RefundCard => {
            let made = order.refunded || order.charge == Charge::Declined;
            made && is_inert(order, Message::PaymentRefunded)
        }
    }
}

fn is_done_for_ever(state: State, event: Event) -> bool {
    let mut seen = vec![state];
    let mut next = 0;
    while let Some(here) = seen.get(next).copied() {
        next += 1;
        if here.on(event) != Decision::AlreadyDone {
            return false;
        }
        for other in Event::ALL {
            if let Decision::Advance(there) = here.on(other)
                && !seen.contains(&there)
            {
                seen.push(there);
            }
        }
    }
    true
}

/// Any total order of the orders is sufficient.
fn order_rank(order: &Order) -> [u8; 10] {
    let answer = order.gateway.answer.map_or(0, |verdict| 1 + verdict as u8);
    [
        order.state as u8,
        order.waiting.bits(),
        order.hold as u8,
        order.charge as u8,
        u8::from(order.refunded),
        answer,
        u8::from(order.gateway.under_way),
        order.gateway.captures,
        order.gateway.refunds,
        u8::from(order.parked),
    ]
}

fn hand_rank(hand: Hand) -> [u8; 5] {
    let Hand::Busy {
        order,
        message,
        step,
    } = hand
    else {
        return [u8::MAX, 0, 0, 0, 0];
    };
    let (kind, from, to) = match step {
        Step::Reserve { read } => (0, read as u8, 0),
        Step::Confirm { read } => (1, read as u8, 0),
        Step::Release { read } => (2, read as u8, 0),
        Step::Save { read, next } => (3, read as u8, next as u8),
        Step::Send { next } => (4, 0, next as u8),
        Step::Query => (5, 0, 0),
        Step::Charge { read } => (6, read as u8, 0),
        Step::SaveCharge { read, next } => (7, read as u8, next as u8),
        Step::Refund => (8, 0, 0),
        Step::SaveRefund => (9, 0, 0),
        Step::Delete => (10, 0, 0),
    };
    [order, message as u8, kind, from, to]
}
