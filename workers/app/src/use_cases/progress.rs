//! Moves an order through its saga. Each transition adds a history entry, each change of status
//! adds a message, and the last state adds the command that it awaits.

use std::time::Duration;

use contract::messages::{Envelope, Message, PricedItem};
use domain::ids::EventId;
use domain::order::{HistoryEntry, Order, OrderType};
use domain::saga::{Command, Decision, Event, State};

use super::fulfil::shipped;
use super::{ASK_AGAIN, LOOK_FIRST, Maker};
use crate::ports::Source;
use crate::ports::orders::{Change, OrderChange};

/// An order with transitions that are not stored yet. Applying the change from
/// [`Progress::into_change`] stores them.
pub struct Progress<'a, S> {
    pub order: Order,
    pub source: &'a S,
    pub maker: &'a Maker,
    read_version: i64,
    history: Vec<HistoryEntry>,
    outbox: Vec<Envelope>,
}

impl<'a, S: Source> Progress<'a, S> {
    /// Starts from an order that was just read.
    pub fn of(order: Order, source: &'a S, maker: &'a Maker) -> Self {
        Self {
            read_version: order.version,
            order,
            source,
            maker,
            history: Vec::new(),
            outbox: Vec::new(),
        }
    }

    /// Applies one event. The order changes only when the result is [`Decision::Advance`].
    pub fn on(&mut self, event: Event, actor: &str, note: Option<String>) -> Decision {
        let decision = self.order.state.on(event);
        let Decision::Advance(next) = decision else {
            return decision;
        };
        let at = self.source.now();
        let from = self.order.status;
        let to = next.status().unwrap_or(from);
        self.order.state = next;
        self.order.status = to;
        self.order.version += 1;
        self.order.updated_at = at;
        self.history.push(HistoryEntry {
            seq: self.order.version,
            from: Some(from),
            to,
            step: next.step(),
            actor: actor.to_owned(),
            note,
            at,
        });
        if from != to {
            let message = Message::OrderStatusChanged {
                order_number: self.order.order_number.clone(),
                from: Some(from.code().to_owned()),
                to: to.code().to_owned(),
                step: next.step().code().to_owned(),
                reason: self.order.reason.clone(),
            };
            self.also(message);
        }
        // A delivery is on its way when it is handed to the rider, not when it is packed.
        if event == Event::HandedOver && self.order.order_type == OrderType::Delivery {
            let shipped = shipped(self.maker, at, &self.order);
            self.outbox.push(shipped);
        }
        decision
    }

    /// Sets the reason why the order ends early. The first reason is kept, because later ones are
    /// its consequences.
    pub fn because(&mut self, reason: impl Into<String>) {
        self.order.reason.get_or_insert(reason.into());
    }

    /// Adds a message that is sent with the change.
    pub fn also(&mut self, message: Message) {
        self.outbox.push(
            self.maker
                .envelope(self.source, Some(self.order.order_id), message),
        );
    }

    /// Returns the change and the order after it. The change includes the command that the new
    /// state awaits.
    pub fn into_change(mut self, event_id: EventId) -> (Change, Order) {
        let awaited = self.order.state.awaits();
        if let Some(command) = awaited {
            self.also(ask_for(command, &self.order));
        }
        let at = self.source.now();
        let change = OrderChange {
            order_id: self.order.order_id,
            expected_version: self.read_version,
            state: self.order.state,
            status: self.order.status,
            reason: self.order.reason.clone(),
            next_action_at: first_look(self.order.state).map(|after| at + after),
            history: self.history,
            audit: None,
        };
        let change = Change {
            order: Some(change),
            outbox: self.outbox,
            ..Change::of(self.maker.role, event_id, at)
        };
        (change, self.order)
    }
}

/// Returns the time from entering a state until the sweeper looks at the order. `None` for a state
/// in which the order waits for nothing.
pub fn first_look(state: State) -> Option<Duration> {
    match state {
        State::Confirmed | State::Preparing | State::Ready => Some(LOOK_FIRST),
        State::Completed | State::Cancelled | State::Failed => None,
        State::Placed
        | State::Validated
        | State::Charging
        | State::Paid
        | State::AbandoningToCancel
        | State::AbandoningToFail
        | State::RefundingToCancel
        | State::RefundingToFail
        | State::ReleasingToCancel
        | State::ReleasingToFail => Some(ASK_AGAIN),
    }
}

/// Returns the message for a command.
pub fn ask_for(command: Command, order: &Order) -> Message {
    let total = order.totals.total;
    match command {
        Command::ReserveStock => Message::ReserveStock {},
        Command::ReleaseStock => Message::ReleaseStock {},
        Command::ChargeCard => Message::ChargeCard {
            amount_minor: total.minor,
            currency: total.currency.code().to_owned(),
        },
        Command::RefundCard => Message::RefundCard {
            amount_minor: total.minor,
            currency: total.currency.code().to_owned(),
        },
    }
}

/// Returns the event for an order that was accepted.
pub fn order_created(order: &Order) -> Message {
    Message::OrderCreated {
        order_number: order.order_number.clone(),
        tenant_id: order.tenant_id.to_string(),
        location_id: order.location_id.to_string(),
        order_type: order.order_type.code().to_owned(),
        items: order
            .items
            .iter()
            .map(|item| PricedItem {
                product_id: item.product_id.to_string(),
                quantity: item.quantity.get(),
                unit_price_minor: item.unit_price.minor,
            })
            .collect(),
        total_minor: order.totals.total.minor,
        currency: order.totals.total.currency.code().to_owned(),
    }
}
