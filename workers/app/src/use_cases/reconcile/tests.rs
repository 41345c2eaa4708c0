use domain::cart::Lines;
use domain::ids::ProductId;
use domain::menu::{Product, ProductType};
use domain::money::{Currency, Money};
use domain::saga::State;
use futures::executor::block_on;
use time::macros::datetime;
use uuid::Uuid;

use super::*;
use crate::fakes::orders::MemoryOrders;
use crate::fakes::stock::MemoryStock;
use crate::laws::orders::{new_order, step};
use crate::laws::stock::lines;
use crate::ports::gateway::MovementKind;
use crate::ports::orders::{NewOrder, Outgoing, PaymentChange, PaymentKind, PaymentState};
use crate::use_cases::Maker;
use crate::use_cases::run_saga::lines_of;

/// `new_order` is placed at noon, and its first change is a second later.
const NOW: Timestamp = datetime!(2026-03-01 12:10 UTC);

struct Clock;

impl Source for Clock {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

#[derive(Default)]
struct Gateway(Vec<GatewayMovement>);

impl GatewayBooks for Gateway {
    async fn movements(&self) -> Result<Vec<GatewayMovement>, GatewayError> {
        Ok(self.0.clone())
    }
}

struct World {
    orders: MemoryOrders,
    stock: MemoryStock,
    gateway: Gateway,
}

/// The stock of an order.
#[derive(Clone, Copy, PartialEq)]
enum Units {
    Nothing,
    Held,
    Sold,
    GivenBack,
}

impl World {
    fn new() -> World {
        let world = World {
            orders: MemoryOrders::default(),
            stock: MemoryStock::default(),
            gateway: Gateway::default(),
        };
        for id in ["flat-white", "apple-cake"] {
            let product = Product {
                product_id: ProductId::parse(id).expect("a slug"),
                name: id.to_owned(),
                description: String::new(),
                kind: ProductType::Coffee,
                price: Money::new(420, Currency::Usd),
                image_url: String::new(),
            };
            block_on(world.stock.add_product(&product, 50, 2, NOW)).expect("added");
        }
        world
    }

    /// Adds an order in a state, with the other records about it.
    fn order(
        &mut self,
        state: State,
        units: Units,
        row: PaymentState,
        gateway: &[MovementKind],
    ) -> NewOrder {
        let new = new_order();
        let order_id = new.order.order_id;
        block_on(self.orders.place(std::slice::from_ref(&new)))
            .pop()
            .expect("an answer")
            .expect("placed");
        let mut change = step(&new, 1, state);
        change.outbox.clear();
        if row != PaymentState::Requested {
            let mut payment = block_on(self.orders.payment(order_id, PaymentKind::Charge))
                .expect("read")
                .expect("there");
            payment.state = row;
            payment.charge_id = Some(format!("ch_{order_id}"));
            change.payment = Some(PaymentChange {
                expected: Some(PaymentState::Requested),
                payment,
            });
        }
        block_on(self.orders.apply(&[change]))
            .pop()
            .expect("an answer")
            .expect("applied");
        let lines = lines_of(&new.order).expect("lines");
        self.units(order_id, &lines, units);
        for kind in gateway {
            self.moved(*kind, &order_id.to_string(), new.order.totals.total);
        }
        new
    }

    fn units(&self, order_id: OrderId, lines: &Lines, units: Units) {
        if units != Units::Nothing {
            block_on(self.stock.reserve(order_id, lines, NOW, NOW)).expect("held");
        }
        if units == Units::Sold {
            block_on(self.stock.confirm(order_id, NOW)).expect("sold");
        }
        if units == Units::GivenBack {
            block_on(self.stock.release(order_id, NOW)).expect("released");
        }
    }

    fn moved(&mut self, kind: MovementKind, reference: &str, amount: Money) {
        let charge_id = format!("ch_{reference}");
        self.gateway.0.push(GatewayMovement {
            kind,
            charge_id,
            reference: reference.to_owned(),
            amount,
        });
    }

    fn report(&self) -> Report {
        block_on(reconcile(&self.orders, &self.gateway, &self.stock, &Clock)).expect("read")
    }

    fn kinds(&self) -> Vec<Kind> {
        self.report()
            .differences
            .iter()
            .map(|difference| difference.kind)
            .collect()
    }

    /// Applies every repair and returns the number of repaired differences.
    fn fix(&self) -> usize {
        let maker = Maker {
            role: ACTOR,
            version: "0",
            traceparent: None,
        };
        let differences = self.report().differences;
        let fixed = differences.iter().map(|difference| {
            block_on(fix(&self.orders, &self.stock, &Clock, &maker, difference)).expect("answered")
        });
        fixed.filter(|fixed| *fixed).count()
    }
}

use MovementKind::{Captured, Declined, Refunded};

#[test]
fn matching_records_and_orders_in_progress_have_no_difference() {
    let mut world = World::new();
    world.order(
        State::Completed,
        Units::Sold,
        PaymentState::Captured,
        &[Captured],
    );
    world.order(
        State::Failed,
        Units::GivenBack,
        PaymentState::Declined,
        &[Declined],
    );
    world.order(State::Failed, Units::Nothing, PaymentState::Requested, &[]);
    let cancelled = world.order(
        State::Cancelled,
        Units::GivenBack,
        PaymentState::Captured,
        &[Captured, Refunded],
    );
    let refund = Payment {
        kind: PaymentKind::Refund,
        state: PaymentState::Refunded,
        ..block_on(
            world
                .orders
                .payment(cancelled.order.order_id, PaymentKind::Charge),
        )
        .expect("read")
        .expect("there")
    };
    let mut change = step(&cancelled, 2, State::Cancelled);
    change.payment = Some(PaymentChange {
        expected: None,
        payment: refund,
    });
    block_on(world.orders.apply(&[change]))
        .pop()
        .expect("an answer")
        .expect("applied");
    // The card was charged, and the result is not handled yet.
    let fresh = world.order(
        State::Charging,
        Units::Held,
        PaymentState::Requested,
        &[Captured],
    );
    let mut change = step(&fresh, 2, State::Charging);
    change.at = NOW - Duration::from_secs(59);
    block_on(world.orders.apply(&[change]))
        .pop()
        .expect("an answer")
        .expect("applied");
    let report = world.report();
    assert_eq!(report.differences, []);
    assert_eq!(
        (report.orders, report.in_flight, report.charges_and_refunds),
        (5, 1, 5)
    );
}

/// Each difference, its kind, and the kinds that are left after all safe repairs.
#[test]
fn each_difference_is_found_and_only_safe_ones_are_repaired() {
    use PaymentState::{Captured as Paid, Declined as Refused, Requested, Unknown};
    type Case = (
        State,
        Units,
        PaymentState,
        &'static [MovementKind],
        &'static [Kind],
        &'static [Kind],
    );
    let cases: &[Case] = &[
        (
            State::Failed,
            Units::Held,
            Refused,
            &[Declined],
            &[Kind::HoldOfEndedOrder],
            &[],
        ),
        (
            State::Cancelled,
            Units::Sold,
            Refused,
            &[Declined],
            &[Kind::SaleOfEndedOrder],
            &[],
        ),
        (
            State::Ready,
            Units::Held,
            Paid,
            &[Captured],
            &[Kind::SoldOrderStillHeld],
            &[],
        ),
        (
            State::Ready,
            Units::GivenBack,
            Paid,
            &[Captured],
            &[Kind::SoldOrderWithoutStock],
            &[Kind::SoldOrderWithoutStock],
        ),
        (
            State::Confirmed,
            Units::Nothing,
            Paid,
            &[Captured],
            &[Kind::SoldOrderWithoutStock],
            &[Kind::SoldOrderWithoutStock],
        ),
        (
            State::Completed,
            Units::Sold,
            Unknown,
            &[Captured],
            &[Kind::PaymentBehindGateway],
            &[],
        ),
        (
            State::Failed,
            Units::GivenBack,
            Requested,
            &[Declined],
            &[Kind::PaymentBehindGateway],
            &[],
        ),
        (
            State::Cancelled,
            Units::GivenBack,
            Paid,
            &[Captured, Refunded],
            &[Kind::PaymentBehindGateway],
            &[],
        ),
        (
            State::Completed,
            Units::Sold,
            Refused,
            &[],
            &[Kind::SoldButNotPaid],
            &[Kind::SoldButNotPaid],
        ),
        (
            State::Completed,
            Units::Sold,
            Paid,
            &[],
            &[Kind::SoldButNotPaid, Kind::PaymentNotAtGateway],
            &[Kind::SoldButNotPaid, Kind::PaymentNotAtGateway],
        ),
        (
            State::Completed,
            Units::Sold,
            Paid,
            &[Captured, Captured],
            &[Kind::ChargedTwice],
            &[Kind::ChargedTwice],
        ),
        (
            State::Failed,
            Units::GivenBack,
            Paid,
            &[Captured],
            &[Kind::MoneyOwed],
            &[Kind::MoneyOwed],
        ),
        (
            State::Completed,
            Units::Sold,
            Paid,
            &[Captured, Refunded],
            &[Kind::RefundedButSold, Kind::PaymentBehindGateway],
            &[Kind::RefundedButSold],
        ),
        (
            State::Charging,
            Units::Held,
            Requested,
            &[],
            &[Kind::OverdueOrder],
            &[],
        ),
    ];
    for (state, units, row, gateway, found, left) in cases {
        let mut world = World::new();
        let order = world.order(*state, *units, *row, gateway).order;
        assert_eq!(world.kinds(), *found, "{state:?}");
        let report = world.report();
        assert!(
            report
                .differences
                .iter()
                .all(|difference| !difference.evidence.is_empty())
        );
        let money = world.gateway.0.len();
        assert_eq!(world.fix(), found.len() - left.len(), "{state:?}");
        // An overdue order counts as being processed after the repair.
        assert_eq!(world.kinds(), *left, "{state:?} after the repair");
        assert_eq!(world.fix(), 0, "{state:?}: a repeat changes nothing");
        assert_eq!(world.gateway.0.len(), money);
        let after = block_on(world.orders.load(order.order_id))
            .expect("read")
            .expect("there")
            .order;
        assert_eq!(
            (after.state, after.status),
            (*state, state.status().unwrap_or(after.status)),
            "no order is moved"
        );
    }
}

#[test]
fn a_repair_of_an_order_is_in_its_history() {
    let mut world = World::new();
    let paid = world
        .order(
            State::Completed,
            Units::Sold,
            PaymentState::Unknown,
            &[Captured],
        )
        .order;
    let overdue = world
        .order(State::Charging, Units::Held, PaymentState::Requested, &[])
        .order;
    assert_eq!(world.fix(), 2);
    for (order, said) in [
        (&paid, "the charge was unknown, the gateway says captured"),
        (&overdue, "overdue: sent"),
    ] {
        let history =
            block_on(world.orders.history(&Scope::Everything, order.order_id, 2)).expect("read");
        let [line] = history.as_slice() else {
            panic!("one line: {history:?}")
        };
        assert!(
            line.actor == ACTOR
                && line
                    .note
                    .as_deref()
                    .is_some_and(|note| note.starts_with(said)),
            "{line:?}"
        );
        assert_eq!(line.from, Some(line.to));
    }
    let row = block_on(world.orders.payment(paid.order_id, PaymentKind::Charge))
        .expect("read")
        .expect("there");
    assert_eq!(
        (row.state, row.charge_id),
        (
            PaymentState::Captured,
            Some(format!("ch_{}", paid.order_id))
        )
    );
    let asked = block_on(world.orders.take_outbox(Outgoing::All, NOW, 100)).expect("taken");
    let mut asked = asked
        .iter()
        .filter_map(|row| row.letter.as_ref().ok())
        .map(|letter| &letter.envelope);
    let last = asked
        .rfind(|envelope| envelope.order_id == Some(overdue.order_id))
        .expect("asked");
    assert!(
        matches!(last.message, contract::messages::Message::ChargeCard { .. }),
        "{last:?}"
    );
}

#[test]
fn holds_sales_and_charges_of_orders_that_do_not_exist_are_found() {
    let mut world = World::new();
    let flat_white = ProductId::parse("flat-white").expect("a slug");
    let two = lines(&[(&flat_white, 2)]);
    let (held, sold) = (OrderId(Uuid::now_v7()), OrderId(Uuid::now_v7()));
    world.units(held, &two, Units::Held);
    world.units(sold, &two, Units::Sold);
    world.units(OrderId(Uuid::now_v7()), &two, Units::GivenBack);
    let amount = Money::new(400, Currency::Usd);
    world.moved(Captured, "a till", amount);
    world.moved(Captured, &sold.to_string(), amount);
    world.moved(Captured, "refunded", amount);
    world.moved(Refunded, "refunded", amount);
    let mut kinds = world.kinds();
    kinds.sort();
    let [charge, sale, hold] = [
        Kind::ChargeWithoutOrder,
        Kind::SaleWithoutOrder,
        Kind::HoldWithoutOrder,
    ];
    assert_eq!(kinds, [hold, sale, charge, charge]);
    assert_eq!(world.fix(), 1);
    assert!(!world.kinds().contains(&Kind::HoldWithoutOrder));
}

#[test]
fn wrong_units_and_wrong_amounts_are_found() {
    let mut world = World::new();
    let flat_white = ProductId::parse("flat-white").expect("a slug");
    let order = world
        .order(State::Ready, Units::Nothing, PaymentState::Captured, &[])
        .order;
    world.units(order.order_id, &lines(&[(&flat_white, 5)]), Units::Held);
    let more = Money::new(order.totals.total.minor + 1, Currency::Usd);
    world.moved(Captured, &order.order_id.to_string(), more);
    assert_eq!(world.kinds(), [Kind::HoldIsNotTheOrder, Kind::WrongAmount]);
    assert_eq!(world.fix(), 0);
}

#[test]
fn counters_are_compared_with_holds_sales_and_ledger() {
    let mut world = World::new();
    let order = world
        .order(
            State::Completed,
            Units::Sold,
            PaymentState::Captured,
            &[Captured],
        )
        .order;
    let mut books = block_on(read(&world.orders, &world.gateway, &world.stock)).expect("read");
    assert_eq!(find(&books, NOW), []);
    let kinds = |books: &ComparedRecords| {
        find(books, NOW)
            .iter()
            .map(|found| found.kind)
            .collect::<Vec<_>>()
    };

    books.shelves[0].product.counters.available += 1;
    assert_eq!(
        kinds(&books),
        [Kind::CountersDoNotAddUp, Kind::CountersAreNotTheLedger]
    );
    books.shelves[0].moving = true;
    assert_eq!(
        kinds(&books),
        [Kind::CountersDoNotAddUp],
        "the law holds after every step"
    );
    books.shelves[0].product.counters.available -= 1;
    assert_eq!(kinds(&books), []);
    books.shelves[0].moving = false;

    let shelf = &mut books.shelves[0];
    let moved = |counters: &mut Counters| {
        (counters.reserved, counters.sold) = (counters.reserved + 1, counters.sold - 1)
    };
    moved(&mut shelf.product.counters);
    moved(&mut shelf.ledger);
    assert_eq!(
        kinds(&books),
        [Kind::ReservedIsNotHeld, Kind::SoldIsNotOrdered]
    );

    // After a month the record of the hold may be deleted and is no longer expected.
    let mut books = block_on(read(&world.orders, &world.gateway, &world.stock)).expect("read");
    books.holds.retain(|hold| hold.order_id != order.order_id);
    assert_eq!(kinds(&books)[0], Kind::SoldOrderWithoutStock);
    assert_eq!(find(&books, NOW + Duration::from_secs(31 * 24 * 3600)), []);
}

#[test]
fn codes_are_unique_and_each_has_a_meaning() {
    let mut codes: Vec<&str> = Kind::ALL.map(Kind::code).to_vec();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), Kind::ALL.len());
    assert!(
        Kind::ALL
            .iter()
            .all(|kind| kind.meaning().ends_with('.') && !kind.advice().is_empty())
    );
}
