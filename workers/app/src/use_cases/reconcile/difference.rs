//! The kinds of differences, their meaning, and the repairs that need no decision by a person.

use domain::ids::{OrderId, ProductId};
use strum::{EnumMessage, EnumString, IntoStaticStr, VariantArray};

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
    EnumMessage,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Kind {
    #[strum(message = "An order waits for a response, and no message is on its way.")]
    OverdueOrder,
    #[strum(message = "Units are reserved for an order that has ended, so they cannot be sold.")]
    HoldOfEndedOrder,
    #[strum(message = "Units count as sold to an order that was cancelled or failed.")]
    SaleOfEndedOrder,
    #[strum(message = "An order is sold, but its units are only reserved and can be released.")]
    SoldOrderStillHeld,
    #[strum(message = "An order is sold, but no units were taken, so others can buy them.")]
    SoldOrderWithoutStock,
    #[strum(message = "The units reserved or sold for an order differ from its items.")]
    HoldIsNotTheOrder,
    #[strum(message = "Units are reserved for an order that does not exist.")]
    HoldWithoutOrder,
    #[strum(message = "Units count as sold to an order that does not exist.")]
    SaleWithoutOrder,
    #[strum(message = "Our record of a payment is older than that of the gateway.")]
    PaymentBehindGateway,
    #[strum(message = "We recorded a payment that the gateway does not have.")]
    PaymentNotAtGateway,
    #[strum(message = "An order is sold, but the gateway charged nothing for it.")]
    SoldButNotPaid,
    #[strum(message = "An order is sold, but its money was refunded.")]
    RefundedButSold,
    #[strum(message = "An order has ended, but the gateway still has the customer's money.")]
    MoneyOwed,
    #[strum(message = "A customer was charged more than once for one order.")]
    ChargedTwice,
    #[strum(message = "The gateway charged another amount than the order's total.")]
    WrongAmount,
    #[strum(message = "The gateway charged for an order that does not exist.")]
    ChargeWithoutOrder,
    #[strum(message = "received is not available + reserved + sold + written_off.")]
    CountersDoNotAddUp,
    #[strum(message = "The reserved units differ from the sum of the reservations.")]
    ReservedIsNotHeld,
    #[strum(message = "The sold units differ from the sum of the sales to orders.")]
    SoldIsNotOrdered,
    #[strum(message = "The counters differ from the sum of the stock ledger.")]
    CountersAreNotTheLedger,
}

domain::named_variants!(Kind);

impl Kind {
    /// Returns what the kind means, in one sentence.
    pub fn meaning(self) -> &'static str {
        self.get_message().unwrap_or_default()
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
