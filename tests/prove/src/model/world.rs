//! What the model knows of: orders, their stock, their money, their messages, and workers that may
//! die anywhere.
//!
//! What may follow what is not modeled but asked of `domain::saga`, so that model and product
//! cannot disagree. A message waits until it is deleted, and any worker may take it at any time,
//! also one that another has in hand: that is redelivery, a lost delete, a relay that sends twice,
//! and any order of delivery, all in one.

use domain::saga::{Command, State};

pub const ORDERS_MAX: usize = 2;
pub const WORKERS_MAX: usize = 2;

/// The whole world between two steps.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub stock: Stock,
    pub orders: [Order; ORDERS_MAX],
    pub workers: [Hand; WORKERS_MAX],
}

/// Units of the one product; signed, so that a mistake can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stock {
    pub available: i8,
    pub reserved: i8,
    pub sold: i8,
}

/// One order for one unit, and what the world holds for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Order {
    pub state: State,
    /// Messages that wait for a worker.
    pub waiting: Waiting,
    pub hold: Hold,
    pub charge: Charge,
    /// The refund is written down as made.
    pub refunded: bool,
    pub gateway: Gateway,
    /// A message was judged impossible.
    pub parked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hold {
    None,
    Held,
    Confirmed,
    Released,
}

/// What the shop has written down of the charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Charge {
    Requested,
    Unknown,
    Captured,
    Declined,
}

/// What the gateway did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gateway {
    /// What it answers under the order's key; `None` when it never saw it.
    pub answer: Option<Verdict>,
    /// A request that got lost and may still arrive.
    pub under_way: bool,
    pub captures: u8,
    pub refunds: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    Captured,
    Declined,
}

impl Verdict {
    pub const ALL: [Verdict; 2] = [Verdict::Captured, Verdict::Declined];

    pub const fn charge(self) -> Charge {
        match self {
            Verdict::Captured => Charge::Captured,
            Verdict::Declined => Charge::Declined,
        }
    }
}

/// Messages about one order, as many of each kind as one bit can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Waiting(u8);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Message {
    ReserveStock,
    ReleaseStock,
    ChargeCard,
    RefundCard,
    PaymentCompleted,
    PaymentFailed,
    PaymentRefunded,
}

impl Message {
    pub const ALL: [Message; 7] = [
        Message::ReserveStock,
        Message::ReleaseStock,
        Message::ChargeCard,
        Message::RefundCard,
        Message::PaymentCompleted,
        Message::PaymentFailed,
        Message::PaymentRefunded,
    ];

    pub const fn asking_for(command: Command) -> Message {
        match command {
            Command::ReserveStock => Message::ReserveStock,
            Command::ReleaseStock => Message::ReleaseStock,
            Command::ChargeCard => Message::ChargeCard,
            Command::RefundCard => Message::RefundCard,
        }
    }

    /// The answer of the payment worker.
    pub const fn telling(charge: Charge) -> Option<Message> {
        match charge {
            Charge::Captured => Some(Message::PaymentCompleted),
            Charge::Declined => Some(Message::PaymentFailed),
            Charge::Requested | Charge::Unknown => None,
        }
    }
}

impl Waiting {
    pub const fn of(message: Message) -> Waiting {
        Waiting(1 << message as u8)
    }

    pub const fn has(self, message: Message) -> bool {
        self.0 & (1 << message as u8) != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn bits(self) -> u8 {
        self.0
    }

    pub fn add(&mut self, message: Message) {
        self.0 |= 1 << message as u8;
    }

    pub fn remove(&mut self, message: Message) {
        self.0 &= !(1 << message as u8);
    }
}

/// What one worker is about to do. Between any two of these it may die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hand {
    Free,
    Busy {
        order: u8,
        message: Message,
        step: Step,
    },
}

/// The next thing to be done about a message; with what was read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    Reserve {
        read: State,
    },
    Confirm {
        read: State,
    },
    Release {
        read: State,
    },
    /// Write the order's new state, with the message that asks for what it awaits.
    Save {
        read: State,
        next: State,
    },
    /// Only when the outbox is planted apart from the state: the message of a state that was
    /// written.
    Send {
        next: State,
    },
    /// Ask the gateway what became of the charge.
    Query,
    Charge {
        read: Charge,
    },
    SaveCharge {
        read: Charge,
        next: Charge,
    },
    Refund,
    SaveRefund,
    Delete,
}

/// A mistake that the model must find; see `prove model --plant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mistake {
    /// Stock is reserved without a record by which a repeat is known
    ReserveWithoutRecord,
    /// A release that finds no hold leaves no mark for the reserve that comes late
    ReleaseWithoutMark,
    /// A message is deleted before its effect is written
    DeleteBeforeCommit,
    /// The message that a state asks for is written after the state, not with it
    OutboxAfterCommit,
    /// A state is written without looking whether the order has moved on
    SaveWithoutVersion,
    /// Each try charges under a key of its own
    ChargeWithNewKey,
    /// Each try refunds under a key of its own
    RefundWithNewKey,
    /// A charge whose outcome is unknown counts as declined
    UnknownIsDeclined,
}

#[cfg(test)]
impl Mistake {
    pub const ALL: [Mistake; 8] = [
        Mistake::ReserveWithoutRecord,
        Mistake::ReleaseWithoutMark,
        Mistake::DeleteBeforeCommit,
        Mistake::OutboxAfterCommit,
        Mistake::SaveWithoutVersion,
        Mistake::ChargeWithNewKey,
        Mistake::RefundWithNewKey,
        Mistake::UnknownIsDeclined,
    ];
}

impl World {
    /// Every order was just accepted and asks for its stock.
    pub fn opening(units: i8) -> World {
        let order = Order {
            state: State::Placed,
            waiting: State::Placed.awaits().map_or(Waiting(0), |command| {
                Waiting::of(Message::asking_for(command))
            }),
            hold: Hold::None,
            charge: Charge::Requested,
            refunded: false,
            gateway: Gateway {
                answer: None,
                under_way: false,
                captures: 0,
                refunds: 0,
            },
            parked: false,
        };
        World {
            stock: Stock {
                available: units,
                reserved: 0,
                sold: 0,
            },
            orders: [order; ORDERS_MAX],
            workers: [Hand::Free; WORKERS_MAX],
        }
    }
}
