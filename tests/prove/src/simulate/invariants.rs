//! Checks the invariants I1 to I10 of `docs/proofs.md`, and I12 in part, when the shop is quiet.
//! The checks compare the stored data with what the outside world saw. I11 is the quiet itself. The
//! rest of I12 needs HTTP, and I13 and I14 need real processes.

use std::collections::BTreeMap;

use app::ports::orders::{OrderStore as _, PaymentKind, PaymentState};
use app::ports::scope::Scope;
use app::ports::stock::Stock as _;
use domain::order::{HistoryEntry, Order, Status};
use domain::stock::Availability;

use super::orders::at_once;
use super::shop::SimulatedShop;

/// Records a violation for each invariant that does not hold.
pub fn check(shop: &SimulatedShop) {
    shop.ledger.take_in_all(&shop.engine);
    shop.table.arrive(&shop.engine, u64::MAX);
    let orders = shop.orders();
    stock(shop, &orders);
    customers(shop, &orders);
    for (order_id, reason) in shop.broker.parked() {
        shop.engine.violate(
            "I4",
            format!("a message became a dead letter: {reason}"),
            order_id,
        );
    }
    for order in &orders {
        let history = at_once(
            shop.database
                .store
                .history(&Scope::Everything, order.order_id, 0),
        )
        .unwrap_or_default();
        for (invariant, what) in of_history(order.status, order.version, &history) {
            shop.engine.violate(invariant, what, Some(order.order_id));
        }
        money(shop, order);
        let reached: Vec<Status> = history
            .iter()
            .filter(|line| line.from != Some(line.to))
            .map(|line| line.to)
            .collect();
        notices(shop, order, &reached);
        events(shop, order, &reached);
    }
    alerts(shop);
}

fn is_sold(order: &Order) -> bool {
    match order.status {
        Status::Confirmed | Status::Preparing | Status::Ready | Status::Completed => true,
        Status::Pending | Status::Cancelled | Status::Failed => false,
    }
}

/// Checks I1, I2, and I3's rule that no stock hold is left over.
fn stock(shop: &SimulatedShop, orders: &[Order]) {
    for product in at_once(shop.table.stock.products()).unwrap_or_default() {
        let (id, counters) = (&product.product.product_id, product.counters);
        if !counters.conserved() || counters.reserved != 0 {
            shop.engine
                .violate("I1", format!("{id} at rest: {counters:?}"), None);
        }
        let of_product = |order: &&Order| is_sold(order);
        let items = orders
            .iter()
            .filter(of_product)
            .flat_map(|order| &order.items);
        let sold: i64 = items
            .filter(|item| item.product_id == *id)
            .map(|item| i64::from(item.quantity.get()))
            .sum();
        if sold != counters.sold || sold > counters.received {
            shop.engine.violate(
                "I2",
                format!("orders for {sold} of {id} are sold, the stock says {counters:?}"),
                None,
            );
        }
    }
}

/// Checks I4, I6, and I12's rule that a refused request creates no order.
fn customers(shop: &SimulatedShop, orders: &[Order]) {
    for customer in &shop.customers {
        let history = customer.history();
        let email = customer.email();
        let theirs: Vec<_> = orders
            .iter()
            .filter(|order| order.customer.email == email)
            .collect();
        if theirs.len() > 1 {
            let order = Some(theirs[1].order_id);
            shop.engine
                .violate("I6", format!("one key made {} orders", theirs.len()), order);
        }
        for order_id in &history.ok {
            if !theirs.iter().any(|order| order.order_id == *order_id) {
                shop.engine
                    .violate("I4", "an acknowledged order is not there", Some(*order_id));
            }
        }
        if history.refused && !history.unknown && history.ok.is_empty() && !theirs.is_empty() {
            shop.engine.violate(
                "I12",
                "a refused request made an order",
                Some(theirs[0].order_id),
            );
        }
    }
}

/// Returns the violations of I5 and I9, each with its number.
fn of_history(
    status: Status,
    version: i64,
    history: &[HistoryEntry],
) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut before: Option<Status> = None;
    for (index, line) in history.iter().enumerate() {
        if line.seq != index as i64 + 1 {
            found.push(("I9", format!("line {} has number {}", index + 1, line.seq)));
        }
        if line.from != before {
            let what = format!(
                "line {} comes from {:?}, the one before went to {before:?}",
                line.seq, line.from
            );
            found.push(("I9", what));
        }
        let legal = match before {
            None => line.to == Status::Pending,
            Some(from) => from == line.to || from.may_become(line.to),
        };
        let is_over = matches!(
            before,
            Some(Status::Cancelled | Status::Failed | Status::Completed)
        );
        if is_over || !legal {
            let invariant = if is_over { "I5" } else { "I9" };
            let what = format!("line {} goes from {before:?} to {:?}", line.seq, line.to);
            found.push((invariant, what));
        }
        if line.actor.is_empty() {
            found.push(("I9", format!("line {} has no actor", line.seq)));
        }
        before = Some(line.to);
    }
    if before != Some(status) || version != history.len() as i64 {
        let what = format!("ends with {before:?}, the order is {status:?} in version {version}");
        found.push(("I9", what));
    }
    found
}

/// Checks I7: the shop's payments against the gateway's ledger.
fn money(shop: &SimulatedShop, order: &Order) {
    let account = shop.ledger.account(order.order_id);
    let wrong = |what: String| shop.engine.violate("I7", what, Some(order.order_id));
    let due = if is_sold(order) {
        order.totals.total.minor
    } else {
        0
    };
    let kept = account.captured.iter().sum::<i64>() - account.refunded.iter().sum::<i64>();
    if kept != due || account.captured.len() > 1 || account.refunded.len() > account.captured.len()
    {
        wrong(format!("{due} is due, the gateway says {account:?}"));
    }
    let state = |kind| {
        at_once(shop.database.store.payment(order.order_id, kind))
            .ok()
            .flatten()
            .map(|row| row.state)
    };
    let (charge, refund) = (state(PaymentKind::Charge), state(PaymentKind::Refund));
    if (charge == Some(PaymentState::Captured)) == account.captured.is_empty() {
        wrong(format!(
            "the charge is {charge:?}, the gateway says {account:?}"
        ));
    }
    if (refund == Some(PaymentState::Refunded)) == account.refunded.is_empty() {
        wrong(format!(
            "the refund is {refund:?}, the gateway says {account:?}"
        ));
    }
}

/// Checks I8: each status with a notification was notified once, and no other status was.
fn notices(shop: &SimulatedShop, order: &Order, reached: &[Status]) {
    let about = order.order_id.to_string();
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for letter in shop
        .sink
        .delivered()
        .into_iter()
        .filter(|letter| letter.about == about)
    {
        *told.entry(letter.kind).or_default() += 1;
    }
    for (status, kind) in [
        (Status::Confirmed, "order_confirmed"),
        (Status::Ready, "order_ready"),
        (Status::Cancelled, "order_cancelled"),
        (Status::Failed, "order_failed"),
    ] {
        let (due, was) = (
            usize::from(reached.contains(&status)),
            told.get(kind).copied().unwrap_or_default(),
        );
        if due != was {
            shop.engine.violate(
                "I8",
                format!("{kind} is due {due} times, sent {was} times"),
                Some(order.order_id),
            );
        }
    }
}

/// Checks I10: every change of status reached the event bus as one event, however often it was
/// sent.
fn events(shop: &SimulatedShop, order: &Order, reached: &[Status]) {
    let on_bus = shop.broker.on_bus(order.order_id);
    let count = |name: &str, status: &str| {
        on_bus
            .iter()
            .filter(|(kind, of, _)| *kind == name && of.as_str() == status)
            .count()
    };
    let wrong = |what: String| shop.engine.violate("I10", what, Some(order.order_id));
    if count("OrderCreated", "") != 1 {
        wrong(format!(
            "OrderCreated came {} times",
            count("OrderCreated", "")
        ));
    }
    for status in Status::ALL
        .into_iter()
        .filter(|status| *status != Status::Pending)
    {
        let (due, was) = (
            usize::from(reached.contains(&status)),
            count("OrderStatusChanged", status.code()),
        );
        if due != was {
            wrong(format!(
                "OrderStatusChanged to {} is due {due} times, came {was} times",
                status.code()
            ));
        }
    }
}

/// Checks I8 for staff: each fall of a product to a level caused one alert. After lost stream
/// records, a rebuild only knows the current level, so alerts may be missing. Records that remained
/// can repeat an alert of the rebuild.
fn alerts(shop: &SimulatedShop) {
    let rebuilds = shop.table.rebuilds();
    for product in at_once(shop.table.stock.products()).unwrap_or_default() {
        let id = &product.product.product_id;
        for (level, kind) in [
            (Availability::Low, "stock_low"),
            (Availability::Out, "stock_out"),
        ] {
            let letters = shop.sink.delivered();
            let told = letters
                .iter()
                .filter(|letter| letter.kind == kind && letter.about == id.as_str())
                .count() as u64;
            let due = shop.table.crossings(id, level);
            let least = if rebuilds == 0 { due } else { 0 };
            if told < least || told > due + rebuilds {
                let what = format!(
                    "{kind} of {id} is due {due} times, sent {told} times, with {rebuilds} rebuilds"
                );
                shop.engine.violate("I8", what, None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;
    use domain::order::Step;

    use super::*;

    /// A change after the end is I5. Every other illegal history is I9.
    #[test]
    fn an_impossible_history_is_reported_with_its_rule() {
        use Status::{Completed, Confirmed, Failed, Pending};
        let history = |statuses: &[(Option<Status>, Status)]| -> Vec<HistoryEntry> {
            let line = |(seq, (from, to)): (i64, &(Option<Status>, Status))| HistoryEntry {
                seq,
                from: *from,
                to: *to,
                step: Step::Done,
                actor: "order-worker".to_owned(),
                note: None,
                at: Timestamp::UNIX_EPOCH,
            };
            (1..).zip(statuses).map(line).collect()
        };
        let first = (None, Pending);
        for (lines, status, broken) in [
            (vec![first, (Some(Pending), Confirmed)], Confirmed, None),
            (
                vec![first, (Some(Pending), Failed), (Some(Failed), Confirmed)],
                Confirmed,
                Some("I5"),
            ),
            (
                vec![first, (Some(Pending), Failed), (Some(Failed), Failed)],
                Failed,
                Some("I5"),
            ),
            (
                vec![first, (Some(Pending), Completed)],
                Completed,
                Some("I9"),
            ),
            (
                vec![first, (Some(Confirmed), Confirmed)],
                Confirmed,
                Some("I9"),
            ),
            (vec![first], Confirmed, Some("I9")),
            (Vec::new(), Pending, Some("I9")),
        ] {
            let found = of_history(status, lines.len() as i64, &history(&lines));
            let first = found.first().map(|(invariant, _)| *invariant);
            assert_eq!(first, broken, "{lines:?}: {found:?}");
            assert!(
                found
                    .iter()
                    .all(|(invariant, _)| Some(*invariant) == broken),
                "{lines:?}: {found:?}"
            );
        }
        let found = of_history(Pending, 2, &history(&[first]));
        assert_eq!(found.len(), 1, "the version counts the lines: {found:?}");
    }
}
