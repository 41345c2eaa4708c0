//! The saga of an order as a total function: the next state for each event, and the compensation of
//! an order that cannot continue.
//!
//! Each state is defined by what the order waits for. [`State::on`] returns one of three verdicts,
//! because a queue consumer has three choices. It applies the message, drops it as a duplicate, or
//! moves it to the dead-letter queue. Which role answers which command is defined in `contract`.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::status::{Status, Step};

/// The position of an order in the saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum State {
    /// The order is accepted and stored. Nothing is reserved yet.
    Placed,
    /// The order worker accepted the order. The stock hold is awaited.
    Validated,
    /// The stock is reserved. The charge is awaited.
    Charging,
    /// The card is charged. The sale of the reserved units is awaited.
    Paid,
    /// The units are sold. Staff may prepare the order.
    Confirmed,
    Preparing,
    Ready,
    /// The order was handed over or not collected.
    Completed,
    /// The order is to be cancelled while the card is being charged. The result of the charge must
    /// be known before anything is undone.
    AbandoningToCancel,
    /// The same for an order that is to fail.
    AbandoningToFail,
    /// The charge is being refunded, before the stock is released.
    RefundingToCancel,
    /// The same for an order that is to fail.
    RefundingToFail,
    /// The stock is being released. Any charge has been refunded.
    ReleasingToCancel,
    /// The same for an order that is to fail.
    ReleasingToFail,
    Cancelled,
    Failed,
}

crate::named_variants!(State);

/// An event that can change the state of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, VariantArray)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The order worker began to reserve the stock. The menu is checked before an order is placed.
    Accepted,
    StockHeld,
    /// A product is sold out, or the hold was released before it was made.
    StockRefused,
    CardCharged,
    CardRefused,
    StockConfirmed,
    /// The stock hold no longer existed when the payment arrived.
    StockLost,
    CardRefunded,
    StockReleased,
    /// The customer or a member of staff cancelled the order.
    CancelRequested,
    /// The deadline of the state passed.
    TimedOut,
    PreparationStarted,
    MadeReady,
    HandedOver,
    /// The order was ready, and the customer did not collect it within the time that the shop keeps
    /// it.
    NotCollected,
}

impl Event {
    /// Every event.
    pub const ALL: [Event; Event::VARIANTS.len()] = crate::array_of(Event::VARIANTS);
}

/// A command that a state sends to a consumer. Commands are idempotent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Reserve the stock.
    ReserveStock,
    /// Charge the card, or find out the result of an earlier charge.
    ChargeCard,
    RefundCard,
    ReleaseStock,
}

/// The verdict on an event in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Change to this state and send the command that it awaits, in one transaction.
    Advance(State),
    /// The event or a later one was applied before. Acknowledge the message and change nothing.
    AlreadyDone,
    /// The event is not possible in this state. Move the message to the dead-letter queue for a
    /// person.
    Impossible,
}

impl Status {
    /// Returns the event that staff cause by setting this status. `None` when only the saga sets
    /// it.
    pub const fn set_by_staff(self) -> Option<Event> {
        match self {
            Status::Preparing => Some(Event::PreparationStarted),
            Status::Ready => Some(Event::MadeReady),
            Status::Completed => Some(Event::HandedOver),
            Status::Cancelled => Some(Event::CancelRequested),
            Status::Pending | Status::Confirmed | Status::Failed => None,
        }
    }
}

impl State {
    /// Returns whether the units of the order are sold. In every other state the units are not
    /// sold, or the sale is being undone.
    pub const fn is_sold(self) -> bool {
        match self {
            State::Confirmed | State::Preparing | State::Ready | State::Completed => true,
            State::Placed
            | State::Validated
            | State::Charging
            | State::Paid
            | State::AbandoningToCancel
            | State::AbandoningToFail
            | State::RefundingToCancel
            | State::RefundingToFail
            | State::ReleasingToCancel
            | State::ReleasingToFail
            | State::Cancelled
            | State::Failed => false,
        }
    }

    /// Returns the verdict on an event. This function is the only definition of the transitions.
    pub const fn on(self, event: Event) -> Decision {
        use Decision::{Advance, AlreadyDone, Impossible};
        use Event::*;
        use State::*;
        match (self, event) {
            // Forward transitions.
            (Placed, Accepted) => Advance(Validated),
            (Validated, StockHeld) => Advance(Charging),
            (Charging, CardCharged) => Advance(Paid),
            (Paid, StockConfirmed) => Advance(Confirmed),
            (Confirmed, PreparationStarted) => Advance(Preparing),
            (Preparing, MadeReady) => Advance(Ready),
            (Ready, HandedOver | NotCollected) => Advance(Completed),

            // A step fails.
            (Validated, StockRefused) => Advance(ReleasingToFail),
            (Charging, CardRefused) => Advance(ReleasingToFail),
            (Paid, StockLost) => Advance(RefundingToFail),

            // The order is cancelled or times out. When the release reaches the stock tables before
            // the reservation, the release leaves a record that makes the later reservation fail.
            (Placed | Validated, CancelRequested) => Advance(ReleasingToCancel),
            (Charging, CancelRequested) => Advance(AbandoningToCancel),
            (Paid | Confirmed | Preparing, CancelRequested) => Advance(RefundingToCancel),
            (Placed | Validated, TimedOut) => Advance(ReleasingToFail),
            (Charging, TimedOut) => Advance(AbandoningToFail),

            // Compensation: refund first, then release the stock.
            (AbandoningToCancel, CardCharged) => Advance(RefundingToCancel),
            (AbandoningToFail, CardCharged) => Advance(RefundingToFail),
            (AbandoningToCancel, CardRefused) => Advance(ReleasingToCancel),
            (AbandoningToFail, CardRefused) => Advance(ReleasingToFail),
            (RefundingToCancel, CardRefunded) => Advance(ReleasingToCancel),
            (RefundingToFail, CardRefunded) => Advance(ReleasingToFail),
            (ReleasingToCancel, StockReleased) => Advance(Cancelled),
            (ReleasingToFail, StockReleased) => Advance(Failed),

            // Duplicates: the state is already past the event.
            (
                Validated | Charging | Paid | Confirmed | Preparing | Ready | Completed
                | AbandoningToCancel | AbandoningToFail | RefundingToCancel | RefundingToFail
                | ReleasingToCancel | ReleasingToFail | Cancelled | Failed,
                Accepted,
            ) => AlreadyDone,
            (
                Charging | Paid | Confirmed | Preparing | Ready | Completed | AbandoningToCancel
                | AbandoningToFail | RefundingToCancel | RefundingToFail | ReleasingToCancel
                | ReleasingToFail | Cancelled | Failed,
                StockHeld | StockRefused,
            ) => AlreadyDone,
            (
                Paid | Confirmed | Preparing | Ready | Completed | RefundingToCancel
                | RefundingToFail | ReleasingToCancel | ReleasingToFail | Cancelled | Failed,
                CardCharged,
            ) => AlreadyDone,
            (ReleasingToCancel | ReleasingToFail | Cancelled | Failed, CardRefused) => AlreadyDone,
            (
                Confirmed | Preparing | Ready | Completed | RefundingToCancel | RefundingToFail
                | ReleasingToCancel | ReleasingToFail | Cancelled | Failed,
                StockConfirmed | StockLost,
            ) => AlreadyDone,
            (ReleasingToCancel | ReleasingToFail | Cancelled | Failed, CardRefunded) => AlreadyDone,
            (Cancelled | Failed, StockReleased) => AlreadyDone,
            (
                AbandoningToCancel | AbandoningToFail | RefundingToCancel | RefundingToFail
                | ReleasingToCancel | ReleasingToFail | Cancelled | Failed,
                CancelRequested,
            ) => AlreadyDone,
            (Preparing | Ready | Completed, PreparationStarted) => AlreadyDone,
            (Ready | Completed, MadeReady) => AlreadyDone,
            (Completed, HandedOver | NotCollected) => AlreadyDone,
            // The deadline passed at the same time as the order advanced.
            (
                Paid | Confirmed | Preparing | Ready | Completed | AbandoningToCancel
                | AbandoningToFail | RefundingToCancel | RefundingToFail | ReleasingToCancel
                | ReleasingToFail | Cancelled | Failed,
                TimedOut,
            ) => AlreadyDone,

            // Impossible: the event cannot precede this state or follow it.
            (Placed, StockHeld | StockRefused) => Impossible,
            (Placed | Validated, CardCharged | CardRefused) => Impossible,
            (Paid | Confirmed | Preparing | Ready | Completed, CardRefused) => Impossible,
            (RefundingToCancel | RefundingToFail, CardRefused) => Impossible,
            (
                Placed | Validated | Charging | AbandoningToCancel | AbandoningToFail,
                StockConfirmed | StockLost,
            ) => Impossible,
            (
                Placed | Validated | Charging | Paid | Confirmed | Preparing | Ready | Completed
                | AbandoningToCancel | AbandoningToFail,
                CardRefunded,
            ) => Impossible,
            (
                Placed | Validated | Charging | Paid | Confirmed | Preparing | Ready | Completed
                | AbandoningToCancel | AbandoningToFail | RefundingToCancel | RefundingToFail,
                StockReleased,
            ) => Impossible,
            (Ready | Completed, CancelRequested) => Impossible,
            (
                Placed | Validated | Charging | Paid | AbandoningToCancel | AbandoningToFail
                | RefundingToCancel | RefundingToFail | ReleasingToCancel | ReleasingToFail
                | Cancelled | Failed,
                PreparationStarted,
            ) => Impossible,
            (
                Placed | Validated | Charging | Paid | Confirmed | AbandoningToCancel
                | AbandoningToFail | RefundingToCancel | RefundingToFail | ReleasingToCancel
                | ReleasingToFail | Cancelled | Failed,
                MadeReady,
            ) => Impossible,
            (
                Placed | Validated | Charging | Paid | Confirmed | Preparing | AbandoningToCancel
                | AbandoningToFail | RefundingToCancel | RefundingToFail | ReleasingToCancel
                | ReleasingToFail | Cancelled | Failed,
                HandedOver | NotCollected,
            ) => Impossible,
        }
    }

    /// Returns the command whose result the order waits for. The transaction that enters the state
    /// also sends the command, and the sweeper sends it again when no answer arrives in time.
    pub const fn awaits(self) -> Option<Command> {
        match self {
            State::Placed | State::Validated => Some(Command::ReserveStock),
            // Every request to charge an order uses the same idempotency key. A second request
            // therefore returns the result of the first and charges nothing.
            State::Charging | State::Paid | State::AbandoningToCancel | State::AbandoningToFail => {
                Some(Command::ChargeCard)
            }
            State::RefundingToCancel | State::RefundingToFail => Some(Command::RefundCard),
            State::ReleasingToCancel | State::ReleasingToFail => Some(Command::ReleaseStock),
            State::Confirmed
            | State::Preparing
            | State::Ready
            | State::Completed
            | State::Cancelled
            | State::Failed => None,
        }
    }

    /// Returns the status that the customer sees. `None` means that the status does not change. The
    /// status is *cancelled* or *failed* only after the charge is refunded and the stock is
    /// released.
    pub const fn status(self) -> Option<Status> {
        match self {
            State::Placed | State::Validated | State::Charging | State::Paid => {
                Some(Status::Pending)
            }
            State::Confirmed => Some(Status::Confirmed),
            State::Preparing => Some(Status::Preparing),
            State::Ready => Some(Status::Ready),
            State::Completed => Some(Status::Completed),
            State::AbandoningToCancel
            | State::AbandoningToFail
            | State::RefundingToCancel
            | State::RefundingToFail
            | State::ReleasingToCancel
            | State::ReleasingToFail => None,
            State::Cancelled => Some(Status::Cancelled),
            State::Failed => Some(Status::Failed),
        }
    }

    /// Returns the step of the processing.
    pub const fn step(self) -> Step {
        match self {
            State::Placed => Step::Validating,
            State::Validated => Step::InventoryCheck,
            State::Charging | State::Paid => Step::PaymentProcessing,
            State::Confirmed | State::Preparing | State::Ready => Step::Fulfilment,
            State::AbandoningToCancel
            | State::AbandoningToFail
            | State::RefundingToCancel
            | State::RefundingToFail
            | State::ReleasingToCancel
            | State::ReleasingToFail => Step::Compensating,
            State::Completed | State::Cancelled | State::Failed => Step::Done,
        }
    }

    /// Returns whether no role has anything left to do. The order is then sold, and staff continue,
    /// or the order has ended.
    pub const fn settled(self) -> bool {
        self.awaits().is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn the_whole_table_reads_as_reviewed() {
        let mut table = String::new();
        for state in State::ALL {
            for event in Event::ALL {
                let verdict = match state.on(event) {
                    Decision::Advance(next) => format!("-> {}", next.code()),
                    Decision::AlreadyDone => "already done".to_owned(),
                    Decision::Impossible => "impossible".to_owned(),
                };
                writeln!(
                    table,
                    "{:22} {:20} {verdict}",
                    state.code(),
                    format!("{event:?}")
                )
                .expect("a string");
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn a_repeated_event_is_always_already_done() {
        for state in State::ALL {
            for event in Event::ALL {
                if let Decision::Advance(next) = state.on(event) {
                    assert_eq!(
                        next.on(event),
                        Decision::AlreadyDone,
                        "{state:?} --{event:?}--> {next:?}, then again"
                    );
                }
            }
        }
    }

    #[test]
    fn every_order_can_come_to_an_end() {
        for start in State::ALL {
            let mut reached = BTreeSet::from([start.code()]);
            let mut edge = vec![start];
            while let Some(state) = edge.pop() {
                for event in Event::ALL {
                    if let Decision::Advance(next) = state.on(event)
                        && reached.insert(next.code())
                    {
                        edge.push(next);
                    }
                }
            }
            let ends = ["completed", "cancelled", "failed"];
            assert!(
                ends.iter().any(|end| reached.contains(end)),
                "{start:?} never ends"
            );
        }
    }

    #[test]
    fn an_end_state_has_no_transition() {
        for end in [State::Completed, State::Cancelled, State::Failed] {
            for event in Event::ALL {
                assert!(
                    !matches!(end.on(event), Decision::Advance(_)),
                    "{end:?} moved on {event:?}"
                );
            }
        }
    }

    #[test]
    fn only_legal_changes_of_status_are_shown() {
        for state in State::ALL {
            for event in Event::ALL {
                if let Decision::Advance(next) = state.on(event)
                    && let (Some(from), Some(to)) = (state.status(), next.status())
                {
                    assert!(
                        from == to || from.may_become(to),
                        "{state:?} --{event:?}--> {next:?}"
                    );
                }
            }
        }
    }

    /// Follows every path. `held` and `charged` track whether stock is reserved and the card is
    /// charged.
    #[test]
    fn an_order_that_ends_badly_leaves_neither_money_nor_stock_behind() {
        let mut seen = BTreeSet::new();
        let mut edge = vec![(State::Placed, false, false)];
        while let Some((state, held, charged)) = edge.pop() {
            if !seen.insert((state.code(), held, charged)) {
                continue;
            }
            if state.is_sold() {
                assert!(held && charged, "{state:?} {held} {charged}");
            } else if state.settled() {
                assert!(!held && !charged, "{state:?} {held} {charged}");
            }
            for event in Event::ALL {
                let Decision::Advance(next) = state.on(event) else {
                    continue;
                };
                let held = event == Event::StockHeld
                    || held && !matches!(event, Event::StockReleased | Event::StockLost);
                let charged =
                    event == Event::CardCharged || charged && event != Event::CardRefunded;
                edge.push((next, held, charged));
            }
        }
    }

    #[test]
    fn codes_are_read_back() {
        for state in State::ALL {
            assert_eq!(State::from_code(state.code()), Some(state));
        }
    }

    /// Each state that waits has the command that moves it on, and the right status for the
    /// customer.
    #[test]
    fn an_order_waits_for_its_machine_until_it_is_sold_or_ended() {
        use State::*;
        let waiting = [
            (Placed, Command::ReserveStock, Some(Status::Pending)),
            (Validated, Command::ReserveStock, Some(Status::Pending)),
            (Charging, Command::ChargeCard, Some(Status::Pending)),
            (Paid, Command::ChargeCard, Some(Status::Pending)),
            (AbandoningToCancel, Command::ChargeCard, None),
            (AbandoningToFail, Command::ChargeCard, None),
            (RefundingToCancel, Command::RefundCard, None),
            (RefundingToFail, Command::RefundCard, None),
            (ReleasingToCancel, Command::ReleaseStock, None),
            (ReleasingToFail, Command::ReleaseStock, None),
        ];
        for (state, command, status) in waiting {
            assert_eq!(
                (state.awaits(), state.settled(), state.status()),
                (Some(command), false, status),
                "{state:?}"
            );
        }
        let settled = [
            (Confirmed, Status::Confirmed),
            (Preparing, Status::Preparing),
            (Ready, Status::Ready),
            (Completed, Status::Completed),
            (Cancelled, Status::Cancelled),
            (Failed, Status::Failed),
        ];
        for (state, status) in settled {
            assert_eq!(
                (state.awaits(), state.settled(), state.status()),
                (None, true, Some(status)),
                "{state:?}"
            );
        }
    }
}
