//! The saga of an order as one total function: what happens next, and what is undone when it cannot
//! go on.
//!
//! A state is known by what it waits for. `State::on` gives one of three verdicts, because a queue
//! needs exactly three: do, drop, park. Who waits for whom, and how, is not here.

use serde::{Deserialize, Serialize};

use crate::order::{Status, Step};

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Accepted and durable; nothing is held yet.
    Placed,
    /// The menu still has every product.
    Validated,
    /// Stock is held; the card is being charged.
    Charging,
    /// Charged; held stock is being turned into sold stock.
    Paid,
    /// Sold. The bar may begin.
    Confirmed,
    Preparing,
    Ready,
    Completed,
    /// Given up while the card is being charged: the outcome must be known before anything is
    /// undone.
    AbandoningToCancel,
    AbandoningToFail,
    /// The money goes back first.
    RefundingToCancel,
    RefundingToFail,
    /// Then the stock.
    ReleasingToCancel,
    ReleasingToFail,
    Cancelled,
    Failed,
}

/// What may happen to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Every product is still sold at the price agreed.
    Accepted,
    /// A product is gone from the menu.
    Rejected,
    StockHeld,
    /// Sold out, or the order was released before the hold was made.
    StockRefused,
    CardCharged,
    CardRefused,
    StockConfirmed,
    /// The hold was gone when the payment arrived.
    StockLost,
    CardRefunded,
    StockReleased,
    /// The customer or the staff called it off.
    CancelRequested,
    /// The state's deadline passed.
    TimedOut,
    PreparationStarted,
    MadeReady,
    HandedOver,
    /// It was ready, and nobody came for it within the time that the shop keeps it.
    NotCollected,
}

/// What a state asks others to do. Carrying one out twice has no second effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Check the menu, then hold the stock.
    ReserveStock,
    /// Charge the card, or find out whether it was charged.
    ChargeCard,
    RefundCard,
    ReleaseStock,
}

/// The verdict on an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Move to this state, and ask for what it awaits, atomically.
    Advance(State),
    /// The event was applied before: a duplicate. Acknowledge it, do nothing.
    AlreadyDone,
    /// The event can never apply here. Park the message for a human.
    Impossible,
}

impl State {
    pub const ALL: [State; 16] = [
        State::Placed,
        State::Validated,
        State::Charging,
        State::Paid,
        State::Confirmed,
        State::Preparing,
        State::Ready,
        State::Completed,
        State::AbandoningToCancel,
        State::AbandoningToFail,
        State::RefundingToCancel,
        State::RefundingToFail,
        State::ReleasingToCancel,
        State::ReleasingToFail,
        State::Cancelled,
        State::Failed,
    ];

    /// Returns whether the order's units are sold, and stay sold.
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

    /// The one place that knows what may follow what.
    pub const fn on(self, event: Event) -> Decision {
        use Decision::{Advance, AlreadyDone, Impossible};
        use Event::*;
        use State::*;
        match (self, event) {
            // The way forward.
            (Placed, Accepted) => Advance(Validated),
            (Validated, StockHeld) => Advance(Charging),
            (Charging, CardCharged) => Advance(Paid),
            (Paid, StockConfirmed) => Advance(Confirmed),
            (Confirmed, PreparationStarted) => Advance(Preparing),
            (Preparing, MadeReady) => Advance(Ready),
            (Ready, HandedOver | NotCollected) => Advance(Completed),

            // It cannot go on.
            (Placed, Rejected) => Advance(ReleasingToFail),
            (Validated, StockRefused) => Advance(ReleasingToFail),
            (Charging, CardRefused) => Advance(ReleasingToFail),
            (Paid, StockLost) => Advance(RefundingToFail),

            // It shall not go on. A release before the reserve leaves a mark that the reserve then
            // finds.
            (Placed | Validated, CancelRequested) => Advance(ReleasingToCancel),
            (Charging, CancelRequested) => Advance(AbandoningToCancel),
            (Paid | Confirmed | Preparing, CancelRequested) => Advance(RefundingToCancel),
            (Placed | Validated, TimedOut) => Advance(ReleasingToFail),
            (Charging, TimedOut) => Advance(AbandoningToFail),

            // The way back: first the money, then the stock.
            (AbandoningToCancel, CardCharged) => Advance(RefundingToCancel),
            (AbandoningToFail, CardCharged) => Advance(RefundingToFail),
            (AbandoningToCancel, CardRefused) => Advance(ReleasingToCancel),
            (AbandoningToFail, CardRefused) => Advance(ReleasingToFail),
            (RefundingToCancel, CardRefunded) => Advance(ReleasingToCancel),
            (RefundingToFail, CardRefunded) => Advance(ReleasingToFail),
            (ReleasingToCancel, StockReleased) => Advance(Cancelled),
            (ReleasingToFail, StockReleased) => Advance(Failed),

            // Came again: the state already lies behind the event.
            (
                Validated | Charging | Paid | Confirmed | Preparing | Ready | Completed
                | AbandoningToCancel | AbandoningToFail | RefundingToCancel | RefundingToFail
                | ReleasingToCancel | ReleasingToFail | Cancelled | Failed,
                Accepted | Rejected,
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
            // A timer that went off late found the order elsewhere.
            (
                Paid | Confirmed | Preparing | Ready | Completed | AbandoningToCancel
                | AbandoningToFail | RefundingToCancel | RefundingToFail | ReleasingToCancel
                | ReleasingToFail | Cancelled | Failed,
                TimedOut,
            ) => AlreadyDone,

            // Never.
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

    /// What the order waits for others to do. Whoever enters the state asks for it in the same
    /// transaction, and the sweeper asks again when no answer came.
    pub const fn awaits(self) -> Option<Command> {
        match self {
            State::Placed | State::Validated => Some(Command::ReserveStock),
            // A charge is asked for with one idempotency key for ever, so that asking again only
            // learns the outcome.
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

    /// What the customer is told; `None` means that the status stays what it was. An order is
    /// called cancelled or failed only when its money and its stock are back.
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

    /// Whether the machines have nothing left to do: the order is sold (and then people act) or
    /// ended.
    pub const fn settled(self) -> bool {
        self.awaits().is_none()
    }

    pub const fn code(self) -> &'static str {
        match self {
            State::Placed => "placed",
            State::Validated => "validated",
            State::Charging => "charging",
            State::Paid => "paid",
            State::Confirmed => "confirmed",
            State::Preparing => "preparing",
            State::Ready => "ready",
            State::Completed => "completed",
            State::AbandoningToCancel => "abandoning_to_cancel",
            State::AbandoningToFail => "abandoning_to_fail",
            State::RefundingToCancel => "refunding_to_cancel",
            State::RefundingToFail => "refunding_to_fail",
            State::ReleasingToCancel => "releasing_to_cancel",
            State::ReleasingToFail => "releasing_to_fail",
            State::Cancelled => "cancelled",
            State::Failed => "failed",
        }
    }

    pub fn from_code(code: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.code() == code)
    }
}

impl Event {
    pub const ALL: [Event; 16] = [
        Event::Accepted,
        Event::Rejected,
        Event::StockHeld,
        Event::StockRefused,
        Event::CardCharged,
        Event::CardRefused,
        Event::StockConfirmed,
        Event::StockLost,
        Event::CardRefunded,
        Event::StockReleased,
        Event::CancelRequested,
        Event::TimedOut,
        Event::PreparationStarted,
        Event::MadeReady,
        Event::HandedOver,
        Event::NotCollected,
    ];
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
    fn nothing_leaves_an_end() {
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

    /// Follows every path; `held` and `charged` are what the world would hold for this order on it.
    #[test]
    fn an_order_that_ends_badly_leaves_neither_money_nor_stock_behind() {
        let mut seen = BTreeSet::new();
        let mut edge = vec![(State::Placed, false, false)];
        while let Some((state, held, charged)) = edge.pop() {
            if !seen.insert((state.code(), held, charged)) {
                continue;
            }
            match state {
                State::Cancelled | State::Failed => {
                    assert!(!held && !charged, "{state:?} {held} {charged}")
                }
                State::Confirmed | State::Preparing | State::Ready | State::Completed => {
                    assert!(held && charged)
                }
                _ => {}
            }
            for event in Event::ALL {
                let Decision::Advance(next) = state.on(event) else {
                    continue;
                };
                let held = match event {
                    Event::StockHeld => true,
                    Event::StockReleased | Event::StockLost => false,
                    _ => held,
                };
                let charged = match event {
                    Event::CardCharged => true,
                    Event::CardRefunded => false,
                    _ => charged,
                };
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

    /// Whoever waits for a machine waits for the one that can help, and is told only what is so.
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
