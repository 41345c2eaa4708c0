//! What can differ, what each means, and what may be done about it without asking anybody.

use domain::ids::{OrderId, ProductId};

use crate::ports::orders::{Payment, PaymentState};

/// How two books differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

impl Kind {
    pub const ALL: [Kind; 20] = [
        Kind::OverdueOrder,
        Kind::HoldOfEndedOrder,
        Kind::SaleOfEndedOrder,
        Kind::SoldOrderStillHeld,
        Kind::SoldOrderWithoutStock,
        Kind::HoldIsNotTheOrder,
        Kind::HoldWithoutOrder,
        Kind::SaleWithoutOrder,
        Kind::PaymentBehindGateway,
        Kind::PaymentNotAtGateway,
        Kind::SoldButNotPaid,
        Kind::RefundedButSold,
        Kind::MoneyOwed,
        Kind::ChargedTwice,
        Kind::WrongAmount,
        Kind::ChargeWithoutOrder,
        Kind::CountersDoNotAddUp,
        Kind::ReservedIsNotHeld,
        Kind::SoldIsNotOrdered,
        Kind::CountersAreNotTheLedger,
    ];

    /// Its name, for scripts.
    pub const fn code(self) -> &'static str {
        match self {
            Kind::OverdueOrder => "overdue-order",
            Kind::HoldOfEndedOrder => "hold-of-ended-order",
            Kind::SaleOfEndedOrder => "sale-of-ended-order",
            Kind::SoldOrderStillHeld => "sold-order-still-held",
            Kind::SoldOrderWithoutStock => "sold-order-without-stock",
            Kind::HoldIsNotTheOrder => "hold-is-not-the-order",
            Kind::HoldWithoutOrder => "hold-without-order",
            Kind::SaleWithoutOrder => "sale-without-order",
            Kind::PaymentBehindGateway => "payment-behind-gateway",
            Kind::PaymentNotAtGateway => "payment-not-at-gateway",
            Kind::SoldButNotPaid => "sold-but-not-paid",
            Kind::RefundedButSold => "refunded-but-sold",
            Kind::MoneyOwed => "money-owed",
            Kind::ChargedTwice => "charged-twice",
            Kind::WrongAmount => "wrong-amount",
            Kind::ChargeWithoutOrder => "charge-without-order",
            Kind::CountersDoNotAddUp => "counters-do-not-add-up",
            Kind::ReservedIsNotHeld => "reserved-is-not-held",
            Kind::SoldIsNotOrdered => "sold-is-not-ordered",
            Kind::CountersAreNotTheLedger => "counters-are-not-the-ledger",
        }
    }

    pub const fn meaning(self) -> &'static str {
        match self {
            Kind::OverdueOrder => "An order waits for an answer, and nobody works on it.",
            Kind::HoldOfEndedOrder => {
                "Units are held for an order that has ended: nobody can buy them."
            }
            Kind::SaleOfEndedOrder => {
                "Units count as sold to an order that was cancelled or failed."
            }
            Kind::SoldOrderStillHeld => {
                "An order is sold, and its units are only held: they may be given back."
            }
            Kind::SoldOrderWithoutStock => {
                "An order is sold, and no units were taken for it: others may buy them."
            }
            Kind::HoldIsNotTheOrder => "Other units are held or sold for an order than are in it.",
            Kind::HoldWithoutOrder => "Units are held for an order that does not exist.",
            Kind::SaleWithoutOrder => "Units count as sold to an order that does not exist.",
            Kind::PaymentBehindGateway => "Our record of a payment is behind what the gateway did.",
            Kind::PaymentNotAtGateway => "We recorded a payment that the gateway does not know.",
            Kind::SoldButNotPaid => "An order is sold, and the gateway took no money for it.",
            Kind::RefundedButSold => "An order is sold, and its money was given back.",
            Kind::MoneyOwed => {
                "An order has ended, and the gateway still has the customer's money."
            }
            Kind::ChargedTwice => "A customer was charged more than once for one order.",
            Kind::WrongAmount => "The gateway took another amount than the order's total.",
            Kind::ChargeWithoutOrder => "The gateway took money for an order that does not exist.",
            Kind::CountersDoNotAddUp => {
                "received = available + reserved + sold + written_off is broken."
            }
            Kind::ReservedIsNotHeld => "The units reserved are not the units that orders hold.",
            Kind::SoldIsNotOrdered => "The units sold are not the units that were sold to orders.",
            Kind::CountersAreNotTheLedger => {
                "The counters are not what the ledger of movements sums to."
            }
        }
    }

    /// What a person does about it where nothing is repaired by itself.
    pub const fn advice(self) -> &'static str {
        match self {
            Kind::OverdueOrder => "--fix asks again",
            Kind::HoldOfEndedOrder | Kind::SaleOfEndedOrder | Kind::HoldWithoutOrder => {
                "--fix gives the units back"
            }
            Kind::SoldOrderStillHeld => "--fix makes it a sale",
            Kind::PaymentBehindGateway => "--fix writes down what the gateway did",
            Kind::SoldOrderWithoutStock | Kind::HoldIsNotTheOrder | Kind::SaleWithoutOrder => {
                "count the shelf, and adjust the product with the order as the reason"
            }
            Kind::PaymentNotAtGateway => "ask the gateway's support about the charge",
            Kind::SoldButNotPaid | Kind::RefundedButSold => {
                "ask the customer, or cancel the order as staff"
            }
            Kind::MoneyOwed | Kind::ChargedTwice | Kind::WrongAmount | Kind::ChargeWithoutOrder => {
                "refund the charge at the gateway by hand: money moves only by an order's saga"
            }
            Kind::CountersDoNotAddUp
            | Kind::ReservedIsNotHeld
            | Kind::SoldIsNotOrdered
            | Kind::CountersAreNotTheLedger => "see `haven runbook show stock-drift`",
        }
    }
}

/// What a difference is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    Order(OrderId),
    Product(ProductId),
    /// A charge whose reference is no order's id.
    Charge(String),
}

impl Subject {
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

/// What is safe to do: nothing that takes money, gives money, or takes units that somebody may be
/// waiting for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// Give the order's units back.
    Release(OrderId),
    /// Make the order's hold a sale.
    Confirm(OrderId),
    /// Ask again for what the order awaits, through the outbox.
    AskAgain(OrderId),
    /// Write down what the gateway did. `expected` is what stands there, `None` when there is no
    /// row.
    Record {
        expected: Option<PaymentState>,
        payment: Payment,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub kind: Kind,
    pub subject: Subject,
    /// What each book says, a line each.
    pub evidence: Vec<String>,
    /// `None` where a person has to decide.
    pub repair: Option<Repair>,
}
