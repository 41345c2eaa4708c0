//! Finds the differences in records that were already read. No function here uses a clock or a
//! store.

use std::collections::{BTreeMap, HashMap, HashSet};

use domain::Timestamp;
use domain::cart::Line;
use domain::ids::{OrderId, ProductId};
use domain::money::Money;
use domain::order::Order;

use super::{ComparedProduct, ComparedRecords, Difference, Kind, Repair, Subject, on_its_way};
use crate::ports::gateway::{GatewayMovement, MovementKind};
use crate::ports::ledger::{HOLDS_SURELY_KEPT, Hold, HoldState};
use crate::ports::orders::{Payment, PaymentKind, PaymentState};
use crate::use_cases::run_saga::lines_of;

/// Returns all differences, those of orders first.
pub fn find(books: &ComparedRecords, now: Timestamp) -> Vec<Difference> {
    let holds: HashMap<OrderId, &Hold> = books
        .holds
        .iter()
        .map(|hold| (hold.order_id, hold))
        .collect();
    let mut payments: HashMap<OrderId, Vec<&Payment>> = HashMap::new();
    for payment in &books.payments {
        payments.entry(payment.order_id).or_default().push(payment);
    }
    let mut gateway: HashMap<&str, Vec<&GatewayMovement>> = HashMap::new();
    for movement in &books.gateway {
        gateway
            .entry(&movement.reference)
            .or_default()
            .push(movement);
    }
    let mut found = Vec::new();
    for order in books.orders.iter().filter(|order| !on_its_way(order, now)) {
        if let Some(command) = order.state.awaits() {
            let evidence = vec![
                format!("state {}, which awaits {command:?}", order.state.code()),
                format!(
                    "last moved {} s ago",
                    (now - order.updated_at).whole_seconds()
                ),
            ];
            let (subject, repair) = (
                Subject::Order(order.order_id),
                Some(Repair::AskAgain(order.order_id)),
            );
            found.push(Difference {
                kind: Kind::OverdueOrder,
                subject,
                evidence,
                repair,
            });
            continue;
        }
        let of_order = OfOrder {
            order,
            hold: holds.get(&order.order_id).copied(),
            payments: payments
                .get(&order.order_id)
                .map(Vec::as_slice)
                .unwrap_or_default(),
            gateway: gateway
                .get(order.order_id.to_string().as_str())
                .cloned()
                .unwrap_or_default(),
        };
        of_order.stock(now, &mut found);
        of_order.money(&mut found);
    }
    of_nobody(books, &mut found);
    for shelf in &books.shelves {
        of_shelf(shelf, books, &holds, now, &mut found);
    }
    found
}

/// A settled order, with the other records under its id.
struct OfOrder<'a> {
    order: &'a Order,
    hold: Option<&'a Hold>,
    payments: &'a [&'a Payment],
    gateway: Vec<&'a GatewayMovement>,
}

/// Returns lines as text.
fn list(lines: &[Line]) -> String {
    let each = lines
        .iter()
        .map(|line| format!("{} {}", line.quantity.get(), line.product_id));
    let all: Vec<String> = each.collect();
    if all.is_empty() {
        "nothing".to_owned()
    } else {
        all.join(", ")
    }
}

impl OfOrder<'_> {
    /// Returns a difference about the order, with its state as the first evidence.
    fn differs(
        &self,
        kind: Kind,
        more: impl IntoIterator<Item = String>,
        repair: Option<Repair>,
    ) -> Difference {
        let state = format!(
            "order {}: {}",
            self.order.order_number,
            self.order.state.code()
        );
        let evidence = std::iter::once(state).chain(more).collect();
        Difference {
            kind,
            subject: Subject::Order(self.order.order_id),
            evidence,
            repair,
        }
    }

    /// Compares the order with its stock hold.
    fn stock(&self, now: Timestamp, found: &mut Vec<Difference>) {
        let order_id = self.order.order_id;
        let Some(hold) = self.hold else {
            if self.order.state.is_sold() && now < self.order.created_at + HOLDS_SURELY_KEPT {
                let evidence = ["no stock hold is recorded".to_owned()];
                found.push(self.differs(Kind::SoldOrderWithoutStock, evidence, None));
            }
            return;
        };
        let says = [format!(
            "hold: {}, {}",
            hold.state.code(),
            list(&hold.lines)
        )];
        let (kind, repair) = match (self.order.state.is_sold(), hold.state) {
            (false, HoldState::Held) => (Kind::HoldOfEndedOrder, Some(Repair::Release(order_id))),
            (false, HoldState::Confirmed) => {
                (Kind::SaleOfEndedOrder, Some(Repair::Release(order_id)))
            }
            (true, HoldState::Released) => (Kind::SoldOrderWithoutStock, None),
            (true, state) => {
                if !self.holds_the_order(hold) {
                    found.push(self.differs(Kind::HoldIsNotTheOrder, says, None));
                } else if state == HoldState::Held {
                    let repair = Some(Repair::Confirm(order_id));
                    found.push(self.differs(Kind::SoldOrderStillHeld, says, repair));
                }
                return;
            }
            (false, HoldState::Released) => return,
        };
        found.push(self.differs(kind, says, repair));
    }

    /// Returns whether the hold has the lines of the order.
    fn holds_the_order(&self, hold: &Hold) -> bool {
        let Ok(lines) = lines_of(self.order) else {
            return false;
        };
        let mut lines = Vec::from(lines);
        lines.sort_by(|a, b| a.product_id.cmp(&b.product_id));
        lines == hold.lines
    }

    /// Compares the order with the payment gateway's ledger.
    fn money(&self, found: &mut Vec<Difference>) {
        let total = self.order.totals.total;
        let of = |kind: MovementKind| {
            self.gateway
                .iter()
                .filter(move |movement| movement.kind == kind)
        };
        let sum = |kind: MovementKind| of(kind).map(|movement| movement.amount.minor).sum::<i64>();
        let (captured, refunded) = (sum(MovementKind::Captured), sum(MovementKind::Refunded));
        let says = || {
            self.gateway
                .iter()
                .map(|movement| {
                    let kind = match movement.kind {
                        MovementKind::Captured => "captured",
                        MovementKind::Declined => "declined",
                        MovementKind::Refunded => "refunded",
                    };
                    format!(
                        "gateway: {kind} {} ({})",
                        movement.amount, movement.charge_id
                    )
                })
                .chain([format!("due: {total}")])
        };
        let captures = of(MovementKind::Captured).count();
        let foreign = self
            .gateway
            .iter()
            .any(|movement| movement.amount.currency != total.currency);
        if captures > 1 {
            found.push(self.differs(Kind::ChargedTwice, says(), None));
        } else if self.order.state.is_sold() {
            if captures == 0 {
                found.push(self.differs(Kind::SoldButNotPaid, says(), None));
            } else if refunded > 0 {
                found.push(self.differs(Kind::RefundedButSold, says(), None));
            } else if captured != total.minor || foreign {
                found.push(self.differs(Kind::WrongAmount, says(), None));
            }
        } else if captured > refunded {
            found.push(self.differs(Kind::MoneyOwed, says(), None));
        }
        if captures <= 1 {
            self.rows(found, says());
        }
    }

    /// Compares our payments with the payment gateway's ledger.
    fn rows(&self, found: &mut Vec<Difference>, says: impl Iterator<Item = String>) {
        let row = |kind: PaymentKind| {
            self.payments
                .iter()
                .find(|payment| payment.kind == kind)
                .copied()
        };
        let first = |kind: MovementKind| {
            self.gateway
                .iter()
                .find(|movement| movement.kind == kind)
                .copied()
        };
        let (capture, decline, refund) = (
            first(MovementKind::Captured),
            first(MovementKind::Declined),
            first(MovementKind::Refunded),
        );
        let Some(charge) = row(PaymentKind::Charge) else {
            return;
        };
        let record = |expected: Option<PaymentState>, payment: Payment| {
            Some(Repair::Record { expected, payment })
        };
        let row_says = |payment: Option<&Payment>, kind: PaymentKind| match payment {
            Some(payment) => format!("our {}: {}", kind.code(), payment.state.code()),
            None => format!("our {}: no row", kind.code()),
        };
        // A charge with a wrong amount is refunded immediately and counts as declined.
        let as_asked = capture.filter(|movement| movement.amount == charge.amount);
        let settled = |movement: &GatewayMovement, state: PaymentState| Payment {
            state,
            charge_id: Some(movement.charge_id.clone()),
            ..charge.clone()
        };
        let behind = match (as_asked, decline, charge.state) {
            (
                Some(capture),
                _,
                PaymentState::Requested | PaymentState::Unknown | PaymentState::Declined,
            ) => record(Some(charge.state), settled(capture, PaymentState::Captured)),
            (None, Some(decline), PaymentState::Requested | PaymentState::Unknown)
                if capture.is_none() =>
            {
                record(Some(charge.state), settled(decline, PaymentState::Declined))
            }
            (
                _,
                _,
                PaymentState::Requested
                | PaymentState::Unknown
                | PaymentState::Captured
                | PaymentState::Declined
                | PaymentState::Refunded,
            ) => None,
        };
        let refund_row = row(PaymentKind::Refund);
        let behind_refund = match (as_asked, refund) {
            (Some(capture), Some(refund))
                if refund_row.is_none_or(|row| row.state != PaymentState::Refunded) =>
            {
                let payment =
                    charge.refund(PaymentState::Refunded, &capture.charge_id, refund.amount);
                record(refund_row.map(|row| row.state), payment)
            }
            _ => None,
        };
        let mut says: Vec<String> = says.collect();
        for (repair, row, kind) in [
            (behind, Some(charge), PaymentKind::Charge),
            (behind_refund, refund_row, PaymentKind::Refund),
        ] {
            if repair.is_some() {
                let evidence = says.iter().cloned().chain([row_says(row, kind)]);
                found.push(self.differs(Kind::PaymentBehindGateway, evidence, repair));
            }
        }
        if charge.state == PaymentState::Captured && capture.is_none() {
            says.push(row_says(Some(charge), PaymentKind::Charge));
            found.push(self.differs(Kind::PaymentNotAtGateway, says, None));
        }
    }
}

/// Finds stock holds and charges whose order does not exist.
fn of_nobody(books: &ComparedRecords, found: &mut Vec<Difference>) {
    let known: HashSet<OrderId> = books.orders.iter().map(|order| order.order_id).collect();
    for hold in books
        .holds
        .iter()
        .filter(|hold| !known.contains(&hold.order_id))
    {
        let (kind, repair) = match hold.state {
            HoldState::Held => (Kind::HoldWithoutOrder, Some(Repair::Release(hold.order_id))),
            HoldState::Confirmed => (Kind::SaleWithoutOrder, None),
            HoldState::Released => continue,
        };
        let evidence = vec![
            "no such order".to_owned(),
            format!("hold: {}, {}", hold.state.code(), list(&hold.lines)),
        ];
        found.push(Difference {
            kind,
            subject: Subject::Order(hold.order_id),
            evidence,
            repair,
        });
    }
    let mut kept: BTreeMap<(&str, &str), Money> = BTreeMap::new();
    for movement in &books.gateway {
        let order_id: Option<OrderId> = movement.reference.parse().ok();
        if order_id.is_some_and(|order_id| known.contains(&order_id)) {
            continue;
        }
        let nothing = Money::zero(movement.amount.currency);
        let kept = kept
            .entry((&movement.reference, &movement.charge_id))
            .or_insert(nothing);
        match movement.kind {
            MovementKind::Captured => kept.minor += movement.amount.minor,
            MovementKind::Refunded => kept.minor -= movement.amount.minor,
            MovementKind::Declined => {}
        }
    }
    for ((reference, charge_id), kept) in kept.into_iter().filter(|(_, kept)| kept.minor > 0) {
        let subject = reference
            .parse()
            .map_or_else(|_| Subject::Charge(charge_id.to_owned()), Subject::Order);
        let evidence = vec![
            format!("gateway: kept {kept} ({charge_id})"),
            format!("reference {reference:?}: no such order"),
        ];
        found.push(Difference {
            kind: Kind::ChargeWithoutOrder,
            subject,
            evidence,
            repair: None,
        });
    }
}

/// Compares the counters of a product with the conservation law, the holds and the stock ledger.
fn of_shelf(
    shelf: &ComparedProduct,
    books: &ComparedRecords,
    holds: &HashMap<OrderId, &Hold>,
    now: Timestamp,
    found: &mut Vec<Difference>,
) {
    let product_id = &shelf.product.product.product_id;
    let counters = shelf.product.counters;
    let mut differs = |kind: Kind, evidence: Vec<String>| {
        found.push(Difference {
            kind,
            subject: Subject::Product(product_id.clone()),
            evidence,
            repair: None,
        });
    };
    if !counters.conserved() {
        differs(Kind::CountersDoNotAddUp, vec![format!("{counters:?}")]);
    }
    if shelf.moving {
        return;
    }
    let held = in_holds(books, product_id, HoldState::Held);
    if held != counters.reserved {
        differs(
            Kind::ReservedIsNotHeld,
            vec![
                format!("reserved {}", counters.reserved),
                format!("held {held}"),
            ],
        );
    }
    // The record of an old hold may be deleted. Its units are counted from the items of the order.
    let forgotten: i64 = books
        .orders
        .iter()
        .filter(|order| order.state.is_sold() && !holds.contains_key(&order.order_id))
        .filter(|order| now >= order.created_at + HOLDS_SURELY_KEPT)
        .flat_map(|order| &order.items)
        .filter(|item| item.product_id == *product_id)
        .map(|item| i64::from(item.quantity.get()))
        .sum();
    let sold = in_holds(books, product_id, HoldState::Confirmed) + forgotten;
    if sold != counters.sold {
        differs(
            Kind::SoldIsNotOrdered,
            vec![
                format!("sold {}", counters.sold),
                format!("sold to orders {sold}"),
            ],
        );
    }
    let ledger = shelf.ledger;
    if ledger != counters {
        let each = [
            ("available", counters.available, ledger.available),
            ("reserved", counters.reserved, ledger.reserved),
            ("sold", counters.sold, ledger.sold),
            ("written_off", counters.written_off, ledger.written_off),
            ("received", counters.received, ledger.received),
        ];
        let unequal = each
            .into_iter()
            .filter(|(_, counter, ledger)| counter != ledger);
        let lines = unequal
            .map(|(name, counter, ledger)| format!("{name} {counter}, sum of the ledger {ledger}"));
        differs(Kind::CountersAreNotTheLedger, lines.collect());
    }
}

/// Returns the units of a product in holds with this state.
fn in_holds(books: &ComparedRecords, product_id: &ProductId, state: HoldState) -> i64 {
    let lines = books
        .holds
        .iter()
        .filter(|hold| hold.state == state)
        .flat_map(|hold| &hold.lines);
    lines
        .filter(|line| line.product_id == *product_id)
        .map(|line| i64::from(line.quantity.get()))
        .sum()
}
