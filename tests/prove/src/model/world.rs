//! The state of the model: orders, their stock, payments and messages, and workers that can die at
//! any step.
//!
//! The transitions between order states come from `domain::saga`, so the model cannot differ from
//! the product. A message waits until it is deleted, and any worker can receive it at any time,
//! even while another worker handles it. This covers redelivery, lost deletions, duplicate sends
//! and every order of delivery.

use domain::saga::{Command, State};
use strum::VariantArray;

/// Maximum number of orders.
pub const ORDERS_MAX: usize = 2;
/// Maximum number of workers.
pub const WORKERS_MAX: usize = 2;

/// One state of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub stock: Stock,
    pub orders: [Order; ORDERS_MAX],
    pub workers: [Hand; WORKERS_MAX],
}

/// Units of the single product. Signed, so that a mistake can make them negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stock {
    pub available: i8,
    pub reserved: i8,
    pub sold: i8,
}

/// One order for one unit, with its messages, stock hold and payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Order {
    pub state: State,
    /// Messages that wait for a worker.
    pub waiting: Waiting,
    pub hold: Hold,
    pub charge: Charge,
    /// Whether the refund is recorded as made.
    pub refunded: bool,
    pub gateway: Gateway,
    /// Whether a message was impossible in the order's state, and became a dead letter.
    pub parked: bool,
}

/// The order's stock hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hold {
    None,
    Held,
    Confirmed,
    Released,
}

/// The charge as the shop has recorded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Charge {
    Requested,
    Unknown,
    Captured,
    Declined,
}

/// The payment gateway's view of the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gateway {
    /// The answer for the order's idempotency key; `None` if no request has arrived.
    pub answer: Option<Verdict>,
    /// Whether a request was delayed and may still arrive.
    pub under_way: bool,
    pub captures: u8,
    pub refunds: u8,
}

/// The gateway's decision about a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray)]
pub enum Verdict {
    Captured,
    Declined,
}

impl Verdict {
    /// Both verdicts.
    pub const ALL: [Verdict; Verdict::VARIANTS.len()] = domain::array_of(Verdict::VARIANTS);

    /// Returns the charge that the shop records for the verdict.
    pub const fn charge(self) -> Charge {
        match self {
            Verdict::Captured => Charge::Captured,
            Verdict::Declined => Charge::Declined,
        }
    }
}

/// The waiting messages about one order: a set with one bit for each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Waiting(u8);

/// A message about an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray)]
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
    /// All messages.
    pub const ALL: [Message; Message::VARIANTS.len()] = domain::array_of(Message::VARIANTS);

    /// Returns the message that carries a command.
    pub const fn asking_for(command: Command) -> Message {
        match command {
            Command::ReserveStock => Message::ReserveStock,
            Command::ReleaseStock => Message::ReleaseStock,
            Command::ChargeCard => Message::ChargeCard,
            Command::RefundCard => Message::RefundCard,
        }
    }

    /// Returns the payment worker's event for an outcome.
    pub const fn telling(charge: Charge) -> Option<Message> {
        match charge {
            Charge::Captured => Some(Message::PaymentCompleted),
            Charge::Declined => Some(Message::PaymentFailed),
            Charge::Requested | Charge::Unknown => None,
        }
    }
}

impl Waiting {
    /// Returns a set with one message.
    pub const fn of(message: Message) -> Waiting {
        Waiting(1 << message as u8)
    }

    /// Returns whether a message is waiting.
    pub const fn has(self, message: Message) -> bool {
        self.0 & (1 << message as u8) != 0
    }

    /// Returns whether no message is waiting.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the set as bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Adds a message.
    pub fn add(&mut self, message: Message) {
        self.0 |= 1 << message as u8;
    }

    /// Removes a message.
    pub fn remove(&mut self, message: Message) {
        self.0 &= !(1 << message as u8);
    }
}

/// A worker's next step. A worker can die between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hand {
    Free,
    Busy {
        order: u8,
        message: Message,
        step: Step,
    },
}

/// The next step for a message, with the state that was read before.
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
    /// Store the order's new state, with the command that the state awaits.
    Save {
        read: State,
        next: State,
    },
    /// Only for a planted mistake: send the command of a state that was stored before.
    Send {
        next: State,
    },
    /// Ask the gateway for the outcome of the charge.
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

impl World {
    /// Returns the initial state: every order is placed and asks for its stock.
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
