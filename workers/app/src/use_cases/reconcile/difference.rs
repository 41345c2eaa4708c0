//! The kinds of differences, their meaning, and the repairs that need no decision by a person.

use domain::ids::{OrderId, ProductId};
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::ports::orders::{Payment, PaymentState};

/// The kind of a difference.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Kind {
    OverdueOrder,
    HoldOfEndedOrder,
    SaleOfEndedOrder,
    SoldOrderStillHeld,
    SoldOrderWithoutStock,
    HoldIsNotTheOrder,
    HoldWithoutOrder,
    SaleWithoutOrder,
    PaymentBehindGateway,
    PaymentNotAtGateway,
    SoldButNotPaid,
    RefundedButSold,
    MoneyOwed,
    ChargedTwice,
    WrongAmount,
    ChargeWithoutOrder,
    CountersDoNotAddUp,
    ReservedIsNotHeld,
    SoldIsNotOrdered,
    CountersAreNotTheLedger,
}

domain::named_variants!(Kind);

impl Kind {
    /// Returns what the kind means, in one sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Kind::OverdueOrder => "An order waits for a response, and no message is on its way.",
            Kind::HoldOfEndedOrder => {
                "Units are reserved for an order that has ended, so they cannot be sold."
            }
            Kind::SaleOfEndedOrder => {
                "Units count as sold to an order that was cancelled or failed."
            }
            Kind::SoldOrderStillHeld => {
                "An order is sold, but its units are only reserved and can be released."
            }
            Kind::SoldOrderWithoutStock => {
                "An order is sold, but no units were taken, so others can buy them."
            }
            Kind::HoldIsNotTheOrder => {
                "The units reserved or sold for an order differ from its items."
            }
            Kind::HoldWithoutOrder => "Units are reserved for an order that does not exist.",
            Kind::SaleWithoutOrder => "Units count as sold to an order that does not exist.",
            Kind::PaymentBehindGateway => {
                "Our record of a payment is older than that of the gateway."
            }
            Kind::PaymentNotAtGateway => "We recorded a payment that the gateway does not have.",
            Kind::SoldButNotPaid => "An order is sold, but the gateway charged nothing for it.",
            Kind::RefundedButSold => "An order is sold, but its money was refunded.",
            Kind::MoneyOwed => {
                "An order has ended, but the gateway still has the customer's money."
            }
            Kind::ChargedTwice => "A customer was charged more than once for one order.",
            Kind::WrongAmount => "The gateway charged another amount than the order's total.",
            Kind::ChargeWithoutOrder => "The gateway charged for an order that does not exist.",
            Kind::CountersDoNotAddUp => {
                "received is not available + reserved + sold + written_off."
            }
            Kind::ReservedIsNotHeld => {
                "The reserved units differ from the sum of the reservations."
            }
            Kind::SoldIsNotOrdered => "The sold units differ from the sum of the sales to orders.",
            Kind::CountersAreNotTheLedger => {
                "The counters differ from the sum of the stock ledger."
            }
        }
    }

    /// Returns what a person should do about a difference of this kind.
    pub const fn advice(self) -> &'static str {
        match self {
            Kind::OverdueOrder => "--fix sends the command again",
            Kind::HoldOfEndedOrder | Kind::SaleOfEndedOrder | Kind::HoldWithoutOrder => {
                "--fix releases the units"
            }
            Kind::SoldOrderStillHeld => "--fix completes the sale",
            Kind::PaymentBehindGateway => "--fix records what the gateway did",
            Kind::SoldOrderWithoutStock | Kind::HoldIsNotTheOrder | Kind::SaleWithoutOrder => {
                "count the stock, and adjust the product with the order as the reason"
            }
            Kind::PaymentNotAtGateway => "ask the support of the gateway about the charge",
            Kind::SoldButNotPaid | Kind::RefundedButSold => {
                "ask the customer, or cancel the order as staff"
            }
            Kind::MoneyOwed | Kind::ChargedTwice | Kind::WrongAmount | Kind::ChargeWithoutOrder => {
                "refund the charge at the gateway by hand; --fix moves no money"
            }
            Kind::CountersDoNotAddUp
            | Kind::ReservedIsNotHeld
            | Kind::SoldIsNotOrdered
            | Kind::CountersAreNotTheLedger => "see `haven runbook show stock-drift`",
        }
    }
}

/// The order, product or charge that a difference concerns.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    Order(OrderId),
    Product(ProductId),
    /// A charge whose reference is not an order id.
    Charge(String),
}

impl Subject {
    /// Returns the order id of an order.
    pub fn order(&self) -> Option<OrderId> {
        match self {
            Subject::Order(order_id) => Some(*order_id),
            Subject::Product(_) | Subject::Charge(_) => None,
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subject::Order(order_id) => write!(f, "order {order_id}"),
            Subject::Product(product_id) => write!(f, "product {product_id}"),
            Subject::Charge(charge_id) => write!(f, "charge {charge_id}"),
        }
    }
}

/// A repair that is safe without a decision by a person. No repair moves money, or takes units that
/// another customer may be waiting for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// Release the units of the order.
    Release(OrderId),
    /// Sell the reserved units of the order.
    Confirm(OrderId),
    /// Send the command that the order awaits again, through the outbox.
    AskAgain(OrderId),
    /// Store the payment according to the payment gateway. `expected` is the stored state, or
    /// `None` when the payment is not stored.
    Record {
        expected: Option<PaymentState>,
        payment: Payment,
    },
}

/// A disagreement between two records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub kind: Kind,
    pub subject: Subject,
    /// The contents of the records, one line each.
    pub evidence: Vec<String>,
    /// The repair. `None` when a person must decide.
    pub repair: Option<Repair>,
}
