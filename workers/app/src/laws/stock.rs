//! Laws of `Stock`. All of them check that no unit is created, lost or sold twice, even if calls
//! are repeated, reordered or concurrent.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::Timestamp;
use domain::cart::{LINES_MAX, Line, Lines, Quantity};
use domain::ids::{OrderId, ProductId};
use domain::menu::{Product, ProductType};
use domain::money::{Currency, Money};
use domain::stock::Counters;
use time::Duration;
use uuid::Uuid;

mod ledger;

use crate::ports::StoreError;
use crate::ports::ledger::{HoldState, Ledger};
use crate::ports::stock::{
    Adjusted, Adjustment, AdjustmentKind, Confirmed, MoveTo, Moved, OrderMove, Reservations,
    Reserved, Stock, StockedProduct,
};

/// Runs all laws except the race, each on its own products and orders. They can run repeatedly on
/// one store.
pub async fn all(stock: &(impl Stock + Ledger + Reservations)) {
    a_reservation_is_read_with_its_state(stock).await;
    a_product_is_added_once(stock).await;
    units_are_conserved_by_every_operation(stock).await;
    a_repeated_reservation_reserves_once(stock).await;
    a_repeated_reservation_of_the_last_unit_succeeds(stock).await;
    too_few_units_reserve_nothing_and_name_the_products(stock).await;
    a_release_before_the_reservation_leaves_a_record(stock).await;
    a_hold_is_sold_once(stock).await;
    grouped_moves_equal_separate_moves(stock).await;
    a_release_after_the_sale_returns_the_units(stock).await;
    only_holds_that_have_expired_are_found(stock).await;
    expired_holds_are_found_beyond_the_first_page(stock).await;
    an_adjustment_is_made_once(stock).await;
    corrections_cannot_exceed_the_stock(stock).await;
    orders_with_crossing_products_reserve_all_or_nothing(stock).await;
    the_longest_order_is_reserved_completely(stock).await;
    ledger::all(stock).await;
}

/// The result of a race, from which a caller with a clock computes the speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Race {
    pub tries: usize,
    /// Different orders that got a unit.
    pub sold: usize,
    /// Attempts that failed because too few units were available.
    pub refused: usize,
    /// Calls that returned an error and were repeated, as a queue would do.
    pub unavailable: usize,
    /// All calls.
    pub calls: usize,
}

/// Lets `CLIENTS` clients reserve `UNITS` units of one product in `TRIES` attempts. `REPEATS` of
/// the attempts are for an order that another attempt is for as well. Exactly the available units
/// must be sold, and none may stay reserved.
pub async fn race(stock: &(impl Stock + Ledger)) -> Race {
    const CLIENTS: usize = 64;
    const TRIES: usize = 600;
    const REPEATS: usize = 100;
    const UNITS: u32 = 100;
    /// Maximum number of calls for one attempt before the race counts as failed.
    const PATIENCE: usize = 50;

    let product = added(stock, "race", UNITS).await;
    let orders: Vec<OrderId> = (0..TRIES - REPEATS).map(|_| order()).collect();
    let (next, calls, refused, unavailable) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let sold: Mutex<BTreeSet<OrderId>> = Mutex::default();
    let client = async || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= TRIES {
                return;
            }
            // Repeated attempts are distributed: every sixth attempt is for the order of the
            // previous one, so that both run at the same time.
            let order_id = orders[number - (number + 1) / (TRIES / REPEATS)];
            let mut answered = false;
            for _ in 0..PATIENCE {
                calls.fetch_add(1, Ordering::Relaxed);
                let reserved = stock
                    .reserve(order_id, &lines(&[(&product, 1)]), NOW, NOW + HOLD)
                    .await;
                let sell = match reserved {
                    Ok(Reserved::Held | Reserved::Confirmed) => true,
                    Ok(Reserved::TooFew(short)) => {
                        assert_eq!(short, std::slice::from_ref(&product));
                        refused.fetch_add(1, Ordering::Relaxed);
                        false
                    }
                    Ok(Reserved::Released) => panic!("{order_id} was not released"),
                    Err(_) => {
                        unavailable.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                };
                if sell {
                    calls.fetch_add(1, Ordering::Relaxed);
                    match stock.confirm(order_id, NOW).await {
                        Ok(Confirmed::Sold) => {
                            sold.lock().expect("not poisoned").insert(order_id);
                        }
                        Ok(Confirmed::NoHold) => panic!("the hold of {order_id} was lost"),
                        Err(_) => {
                            unavailable.fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                    }
                }
                answered = true;
                break;
            }
            assert!(answered, "no answer for {order_id} in {PATIENCE} calls");
        }
    };
    futures::future::join_all((0..CLIENTS).map(|_| client())).await;

    let sold = sold.into_inner().expect("not poisoned").len();
    let counters = counters(stock, &product).await;
    assert_eq!(counters.sold, i64::from(UNITS), "{counters:?}");
    assert_eq!(
        (counters.available, counters.reserved),
        (0, 0),
        "units are stranded: {counters:?}"
    );
    ledger::sums_to_the_counters(stock, &product).await;
    assert_eq!(sold, UNITS as usize, "as many orders as units");
    Race {
        tries: TRIES,
        sold,
        refused: refused.into_inner(),
        unavailable: unavailable.into_inner(),
        calls: calls.into_inner(),
    }
}

const NOW: Timestamp = time::macros::datetime!(2026-03-01 08:00 UTC);
const HOLD: Duration = Duration::minutes(15);

/// Returns a product whose name no other law and no other run uses.
pub fn product(name: &str) -> Product {
    let chance = Uuid::now_v7().simple().to_string();
    Product {
        product_id: ProductId::parse(&format!("{name}-{}", &chance[20..])).expect("a slug"),
        name: format!("The {name}"),
        description: "Of the house; caf\u{e9} \u{2615}".to_owned(),
        kind: ProductType::Coffee,
        price: Money::new(350, Currency::Eur),
        image_url: "/static/menu/cup.svg".to_owned(),
    }
}

/// Returns lines of these products and quantities.
pub fn lines(wanted: &[(&ProductId, u32)]) -> Lines {
    let lines = wanted.iter().map(|(product_id, quantity)| Line {
        product_id: (*product_id).clone(),
        quantity: Quantity::new(*quantity).expect("1 to 99"),
    });
    Lines::merge(lines).expect("within the limits")
}

fn order() -> OrderId {
    OrderId(Uuid::now_v7())
}

async fn added(stock: &impl Stock, name: &str, units: u32) -> ProductId {
    let product = product(name);
    assert!(
        stock
            .add_product(&product, units, 2, NOW)
            .await
            .expect("added"),
        "it was not there"
    );
    product.product_id
}

async fn stocked(stock: &impl Stock, id: &ProductId) -> StockedProduct {
    let stocked = stock.product(id).await.expect("read").expect("it is there");
    assert!(stocked.counters.conserved(), "{id}: {:?}", stocked.counters);
    stocked
}

async fn counters(stock: &impl Stock, id: &ProductId) -> Counters {
    stocked(stock, id).await.counters
}

/// Returns the available, reserved and sold units.
async fn units(stock: &impl Stock, id: &ProductId) -> (i64, i64, i64) {
    let counters = counters(stock, id).await;
    (counters.available, counters.reserved, counters.sold)
}

async fn reserve(stock: &impl Stock, order_id: OrderId, wanted: &[(&ProductId, u32)]) -> Reserved {
    stock
        .reserve(order_id, &lines(wanted), NOW, NOW + HOLD)
        .await
        .expect("answered")
}

async fn a_product_is_added_once(stock: &impl Stock) {
    let product = product("new");
    assert!(stock.add_product(&product, 7, 2, NOW).await.expect("added"));
    assert!(
        !stock
            .add_product(&product, 99, 9, NOW)
            .await
            .expect("asked"),
        "the product exists already"
    );
    let there = stocked(stock, &product.product_id).await;
    assert_eq!(
        (&there.product, there.counters),
        (&product, Counters::received(7)),
        "equal to the first version"
    );
    assert_eq!(
        (there.low_stock_threshold, there.last_restocked),
        (2, Some(NOW))
    );
    assert!(stock.products().await.expect("listed").contains(&there));
    let unknown = self::product("unknown").product_id;
    assert_eq!(stock.product(&unknown).await.expect("read"), None);
}

async fn units_are_conserved_by_every_operation(stock: &impl Stock) {
    let id = added(stock, "conserved", 10).await;
    let (sold, returned) = (order(), order());
    let mut version = stocked(stock, &id).await.version;
    // Each step, and the units after it: available, reserved, sold, written off.
    for (step, left) in [
        ("reserve", (7, 3, 0, 0)),
        ("reserve another", (5, 5, 0, 0)),
        ("confirm", (5, 2, 3, 0)),
        ("release", (7, 0, 3, 0)),
        ("return", (10, 0, 0, 0)),
        ("restock", (15, 0, 0, 0)),
        ("write off", (11, 0, 0, 4)),
        ("write on", (12, 0, 0, 3)),
    ] {
        match step {
            "reserve" => assert_eq!(reserve(stock, sold, &[(&id, 3)]).await, Reserved::Held),
            "reserve another" => {
                assert_eq!(reserve(stock, returned, &[(&id, 2)]).await, Reserved::Held)
            }
            "confirm" => assert_eq!(
                stock.confirm(sold, NOW).await.expect("answered"),
                Confirmed::Sold
            ),
            "release" => stock.release(returned, NOW).await.expect("released"),
            "return" => stock.release(sold, NOW).await.expect("released"),
            "restock" => drop(adjust(stock, &id, step, AdjustmentKind::Restock(5)).await),
            "write off" => drop(adjust(stock, &id, step, AdjustmentKind::Correct(-4)).await),
            _ => drop(adjust(stock, &id, step, AdjustmentKind::Correct(1)).await),
        }
        let now = stocked(stock, &id).await;
        let counters = now.counters;
        assert_eq!(
            (
                counters.available,
                counters.reserved,
                counters.sold,
                counters.written_off
            ),
            left,
            "{step}"
        );
        assert!(now.version > version, "{step} is seen in the version");
        version = now.version;
    }
}

async fn a_repeated_reservation_reserves_once(stock: &impl Stock) {
    let id = added(stock, "once", 10).await;
    let order_id = order();
    let wanted = [(&id, 2)];
    let asked = futures::future::join_all((0..8).map(|_| reserve(stock, order_id, &wanted))).await;
    assert!(
        asked.iter().all(|answer| *answer == Reserved::Held),
        "{asked:?}"
    );
    assert_eq!(reserve(stock, order_id, &wanted).await, Reserved::Held);
    assert_eq!(units(stock, &id).await, (8, 2, 0));
}

async fn a_repeated_reservation_of_the_last_unit_succeeds(stock: &impl Stock) {
    let id = added(stock, "last", 1).await;
    let (first, second) = (order(), order());
    assert_eq!(reserve(stock, first, &[(&id, 1)]).await, Reserved::Held);
    assert_eq!(
        reserve(stock, second, &[(&id, 1)]).await,
        Reserved::TooFew(vec![id.clone()])
    );
    // The message of the first order is delivered again when no unit is left. The missing unit is
    // its own.
    assert_eq!(reserve(stock, first, &[(&id, 1)]).await, Reserved::Held);
    assert_eq!(
        stock.confirm(first, NOW).await.expect("answered"),
        Confirmed::Sold
    );
    assert_eq!(
        reserve(stock, first, &[(&id, 1)]).await,
        Reserved::Confirmed
    );
    assert_eq!(units(stock, &id).await, (0, 0, 1));
}

async fn too_few_units_reserve_nothing_and_name_the_products(stock: &impl Stock) {
    let (enough, short) = (
        added(stock, "enough", 10).await,
        added(stock, "short", 1).await,
    );
    let (out, unknown) = (added(stock, "out", 0).await, product("unknown").product_id);
    let order_id = order();
    let wanted = [(&enough, 3), (&short, 2), (&out, 1), (&unknown, 1)];
    let Reserved::TooFew(mut named) = reserve(stock, order_id, &wanted).await else {
        panic!("there are too few")
    };
    named.sort();
    let mut expected = [short.clone(), out.clone(), unknown];
    expected.sort();
    assert_eq!(named, expected);
    assert_eq!(units(stock, &enough).await, (10, 0, 0), "all lines or none");
    assert_eq!(units(stock, &short).await, (1, 0, 0));
    assert_eq!(
        stock.confirm(order_id, NOW).await.expect("answered"),
        Confirmed::NoHold
    );
    // A rejected reservation leaves nothing behind: the order can reserve again.
    assert_eq!(
        reserve(stock, order_id, &[(&enough, 3), (&short, 1)]).await,
        Reserved::Held
    );
    assert_eq!(
        (units(stock, &enough).await, units(stock, &short).await),
        ((7, 3, 0), (0, 1, 0))
    );
}

async fn a_release_before_the_reservation_leaves_a_record(stock: &impl Stock) {
    let id = added(stock, "early", 5).await;
    let order_id = order();
    stock.release(order_id, NOW).await.expect("released");
    stock.release(order_id, NOW).await.expect("released again");
    assert_eq!(
        reserve(stock, order_id, &[(&id, 1)]).await,
        Reserved::Released
    );
    assert_eq!(
        stock.confirm(order_id, NOW).await.expect("answered"),
        Confirmed::NoHold
    );
    assert_eq!(units(stock, &id).await, (5, 0, 0));
    // A release after a reservation ends in the same state.
    let order_id = order();
    assert_eq!(reserve(stock, order_id, &[(&id, 2)]).await, Reserved::Held);
    stock.release(order_id, NOW).await.expect("released");
    stock.release(order_id, NOW).await.expect("released again");
    assert_eq!(
        reserve(stock, order_id, &[(&id, 2)]).await,
        Reserved::Released
    );
    assert_eq!(units(stock, &id).await, (5, 0, 0));
}

async fn a_reservation_is_read_with_its_state(stock: &(impl Stock + Reservations)) {
    let id = added(stock, "looked-at", 5).await;
    let order_id = order();
    let read = async || stock.reservation(order_id).await.expect("read");
    assert_eq!(read().await, None);
    assert_eq!(reserve(stock, order_id, &[(&id, 2)]).await, Reserved::Held);
    let held = read().await.expect("held");
    assert_eq!(
        (held.state, held.lines.len(), held.lines[0].quantity.get()),
        (HoldState::Held, 1, 2)
    );
    assert!(held.expires_at.is_some(), "{held:?}");
    assert_eq!(
        stock.confirm(order_id, NOW).await.expect("answered"),
        Confirmed::Sold
    );
    assert_eq!(
        read().await.map(|sold| sold.state),
        Some(HoldState::Confirmed)
    );
    stock.release(order_id, NOW).await.expect("released");
    assert_eq!(
        read().await.map(|released| released.state),
        Some(HoldState::Released)
    );
}

/// Covers every kind of grouping: new and repeated changes, two of one order, more units than
/// available, and a released order.
async fn grouped_moves_equal_separate_moves(stock: &(impl Stock + Ledger)) {
    let (wanted, scarce) = (
        added(stock, "together", 200).await,
        added(stock, "scarce", 1).await,
    );
    let make = |order_id, lines: Lines, to| OrderMove {
        order_id,
        lines,
        to,
        now: NOW,
    };
    let reserve = MoveTo::Reserve {
        expires_at: NOW + HOLD,
    };
    let held = Ok(Moved::Reserve(Reserved::Held));
    let sold = Ok(Moved::Confirm(Confirmed::Sold));

    // More orders than fit into one transaction.
    let many: Vec<OrderId> = (0..60).map(|_| order()).collect();
    let two = lines(&[(&wanted, 2)]);
    let holds: Vec<_> = many
        .iter()
        .map(|id| make(*id, two.clone(), reserve))
        .collect();
    assert_eq!(stock.move_orders(&holds).await, vec![held.clone(); 60]);
    assert_eq!(counters(stock, &wanted).await.reserved, 120);

    let [new, same, short, taker, early] = [(); 5].map(|()| order());
    stock.release(early, NOW).await.expect("marked");
    let mut moves: Vec<_> = many
        .iter()
        .map(|id| make(*id, two.clone(), MoveTo::Confirm))
        .collect();
    let mut wants = vec![sold.clone(); 60];
    let mut also = |one, want: &Result<Moved, StoreError>| {
        moves.push(one);
        wants.push(want.clone());
    };
    also(make(many[0], two.clone(), MoveTo::Confirm), &sold);
    also(
        make(many[1], two.clone(), reserve),
        &Ok(Moved::Reserve(Reserved::Confirmed)),
    );
    also(make(new, lines(&[(&wanted, 1)]), reserve), &held);
    also(make(new, lines(&[(&wanted, 1)]), MoveTo::Confirm), &sold);
    also(make(same, lines(&[(&wanted, 3)]), reserve), &held);
    also(make(same, lines(&[(&wanted, 3)]), reserve), &held);
    also(make(taker, lines(&[(&scarce, 1)]), reserve), &held);
    let too_few = Ok(Moved::Reserve(Reserved::TooFew(vec![scarce.clone()])));
    also(
        make(short, lines(&[(&scarce, 1), (&wanted, 1)]), reserve),
        &too_few,
    );
    also(
        make(early, two.clone(), reserve),
        &Ok(Moved::Reserve(Reserved::Released)),
    );
    also(
        make(early, two.clone(), MoveTo::Confirm),
        &Ok(Moved::Confirm(Confirmed::NoHold)),
    );
    also(
        make(short, two.clone(), MoveTo::Confirm),
        &Ok(Moved::Confirm(Confirmed::NoHold)),
    );
    for time in ["once", "again"] {
        let answers = stock.move_orders(&moves).await;
        for (index, (answer, want)) in answers.iter().zip(&wants).enumerate() {
            // Units that were sold in the first call are sold in the repeated call.
            let sold_since = time == "again" && moves[index].order_id == new && index == 62;
            let want = if sold_since {
                &Ok(Moved::Reserve(Reserved::Confirmed))
            } else {
                want
            };
            assert_eq!(answer, want, "{time}, move {index}");
        }
        assert_eq!(answers.len(), moves.len());
        let all = counters(stock, &wanted).await;
        assert_eq!(
            (all.available, all.reserved, all.sold),
            (200 - 121 - 3, 3, 121),
            "{time}"
        );
    }
    for product in [&wanted, &scarce] {
        ledger::sums_to_the_counters(stock, product).await;
    }
    assert!(stock.move_orders(&[]).await.is_empty());
}

async fn a_hold_is_sold_once(stock: &impl Stock) {
    let id = added(stock, "sold", 5).await;
    let order_id = order();
    assert_eq!(
        stock.confirm(order_id, NOW).await.expect("answered"),
        Confirmed::NoHold
    );
    assert_eq!(reserve(stock, order_id, &[(&id, 2)]).await, Reserved::Held);
    let confirms = futures::future::join_all((0..4).map(|_| stock.confirm(order_id, NOW))).await;
    assert!(
        confirms.iter().all(|answer| *answer == Ok(Confirmed::Sold)),
        "{confirms:?}"
    );
    assert_eq!(
        stock.confirm(order_id, NOW).await.expect("answered"),
        Confirmed::Sold
    );
    assert_eq!(units(stock, &id).await, (3, 0, 2));
}

async fn a_release_after_the_sale_returns_the_units(stock: &impl Stock) {
    let (a, b) = (
        added(stock, "back-a", 5).await,
        added(stock, "back-b", 5).await,
    );
    let order_id = order();
    assert_eq!(
        reserve(stock, order_id, &[(&a, 2), (&b, 1)]).await,
        Reserved::Held
    );
    assert_eq!(
        stock.confirm(order_id, NOW).await.expect("answered"),
        Confirmed::Sold
    );
    let releases = futures::future::join_all((0..4).map(|_| stock.release(order_id, NOW))).await;
    assert!(releases.iter().all(Result::is_ok), "{releases:?}");
    assert_eq!(
        (units(stock, &a).await, units(stock, &b).await),
        ((5, 0, 0), (5, 0, 0)),
        "the units are returned once"
    );
    assert_eq!(
        stock.confirm(order_id, NOW).await.expect("answered"),
        Confirmed::NoHold
    );
    assert_eq!(
        reserve(stock, order_id, &[(&a, 2)]).await,
        Reserved::Released
    );
}

async fn only_holds_that_have_expired_are_found(stock: &impl Stock) {
    /// More holds than all laws together leave behind.
    const ALL: u32 = 1_000;
    let id = added(stock, "expiring", 9).await;
    let (early, late, sold, released) = (order(), order(), order(), order());
    for (order_id, expires_at) in [
        (early, NOW + HOLD),
        (late, NOW + HOLD * 2),
        (sold, NOW + HOLD),
        (released, NOW + HOLD),
    ] {
        let held = stock
            .reserve(order_id, &lines(&[(&id, 1)]), NOW, expires_at)
            .await;
        assert_eq!(held, Ok(Reserved::Held));
    }
    assert_eq!(stock.confirm(sold, NOW).await, Ok(Confirmed::Sold));
    stock.release(released, NOW).await.expect("released");
    let ours = async |now: Timestamp| {
        let found = stock.expired_holds(now, ALL).await.expect("found");
        assert!(found.iter().all(|hold| hold.expires_at < now), "{found:?}");
        let ours = found
            .into_iter()
            .filter(|hold| [early, late, sold, released].contains(&hold.order_id));
        ours.map(|hold| (hold.order_id, hold.expires_at))
            .collect::<Vec<_>>()
    };
    assert_eq!(ours(NOW).await, []);
    assert_eq!(ours(NOW + HOLD * 1.5).await, [(early, NOW + HOLD)]);
    assert!(
        stock
            .expired_holds(NOW + HOLD * 3, 1)
            .await
            .expect("found")
            .len()
            <= 1,
        "no more than asked for"
    );
    for expired in [early, late] {
        stock
            .release(expired, NOW + HOLD * 3)
            .await
            .expect("released");
    }
    assert_eq!(
        ours(NOW + HOLD * 3).await,
        [],
        "released holds are not listed"
    );
    assert_eq!(units(stock, &id).await, (8, 0, 1));
}

/// An implementation that returned its first page only would hide the other holds while those of
/// the first page stay open.
async fn expired_holds_are_found_beyond_the_first_page(stock: &impl Stock) {
    /// In DynamoDB more than 8 partitions with a page of 25 holds each.
    const HOLDS: u32 = 240;
    let id = added(stock, "paged", HOLDS).await;
    let of_one = lines(&[(&id, 1)]);
    let orders: BTreeSet<OrderId> = (0..HOLDS).map(|_| order()).collect();
    let moves = |to| -> Vec<OrderMove> {
        let of = |order_id: &OrderId| OrderMove {
            order_id: *order_id,
            lines: of_one.clone(),
            to,
            now: NOW,
        };
        orders.iter().map(of).collect()
    };
    let reserve = moves(MoveTo::Reserve {
        expires_at: NOW + HOLD,
    });
    for moved in stock.move_orders(&reserve).await {
        assert_eq!(moved, Ok(Moved::Reserve(Reserved::Held)));
    }
    let later = NOW + HOLD * 2;
    let found = stock.expired_holds(later, 10 * HOLDS).await.expect("found");
    let found: BTreeSet<OrderId> = found.into_iter().map(|hold| hold.order_id).collect();
    let missing: Vec<_> = orders.difference(&found).collect();
    assert!(missing.is_empty(), "{} of {HOLDS}", missing.len());
    let some = stock.expired_holds(later, HOLDS / 2).await.expect("found");
    assert_eq!(some.len(), HOLDS as usize / 2, "the limit of the call");
    for moved in stock.move_orders(&moves(MoveTo::Confirm)).await {
        assert_eq!(moved, Ok(Moved::Confirm(Confirmed::Sold)));
    }
}

async fn adjust(
    stock: &impl Stock,
    id: &ProductId,
    movement_id: &str,
    change: AdjustmentKind,
) -> Adjusted {
    let adjustment = Adjustment {
        movement_id: movement_id.to_owned(),
        product_id: id.clone(),
        change,
        actor: "ada".to_owned(),
        reason: "counted".to_owned(),
        at: NOW + HOLD,
    };
    stock.adjust(&adjustment).await.expect("answered")
}

async fn an_adjustment_is_made_once(stock: &impl Stock) {
    let id = added(stock, "restocked", 1).await;
    for _ in 0..2 {
        let Adjusted::Now(now) = adjust(stock, &id, "delivery-1", AdjustmentKind::Restock(5)).await
        else {
            panic!("it may be restocked")
        };
        assert_eq!((now.counters.available, now.counters.received), (6, 6));
        assert_eq!(now.last_restocked, Some(NOW + HOLD));
    }
    for other in [AdjustmentKind::Restock(50), AdjustmentKind::Correct(5)] {
        assert_eq!(
            adjust(stock, &id, "delivery-1", other).await,
            Adjusted::IdReused,
            "{other:?} is another change"
        );
    }
    let again = adjust(stock, &id, "delivery-2", AdjustmentKind::Restock(5)).await;
    assert!(
        matches!(again, Adjusted::Now(now) if now.counters.available == 11),
        "another delivery counts"
    );
    let unknown = product("unknown").product_id;
    assert_eq!(
        adjust(stock, &unknown, "delivery-1", AdjustmentKind::Restock(5)).await,
        Adjusted::NoSuchProduct
    );
}

async fn corrections_cannot_exceed_the_stock(stock: &impl Stock) {
    let id = added(stock, "corrected", 5).await;
    assert_eq!(reserve(stock, order(), &[(&id, 2)]).await, Reserved::Held);
    assert_eq!(
        adjust(stock, &id, "too-many", AdjustmentKind::Correct(-4)).await,
        Adjusted::TooFew,
        "reserved units cannot be written off"
    );
    assert_eq!(
        adjust(stock, &id, "none-lost", AdjustmentKind::Correct(1)).await,
        Adjusted::TooFew
    );
    assert_eq!(
        adjust(stock, &id, "absurd", AdjustmentKind::Correct(i64::MIN)).await,
        Adjusted::TooFew
    );
    for (movement, change, left) in [
        ("spilt", -3, (0, 3)),
        ("found", 2, (2, 1)),
        ("too-many", -2, (0, 3)),
    ] {
        let adjusted = adjust(stock, &id, movement, AdjustmentKind::Correct(change)).await;
        let Adjusted::Now(now) = adjusted else {
            panic!("{movement}: {adjusted:?}")
        };
        // A rejected change was not applied, so its id is still unused.
        assert_eq!(
            (now.counters.available, now.counters.written_off),
            left,
            "{movement}"
        );
    }
    assert_eq!(
        counters(stock, &id).await.received,
        5,
        "a correction does not count as a delivery"
    );
}

async fn orders_with_crossing_products_reserve_all_or_nothing(stock: &impl Stock) {
    const ORDERS: usize = 40;
    const UNITS: u32 = 12;
    let (a, b) = (
        added(stock, "cross-a", UNITS).await,
        added(stock, "cross-b", UNITS).await,
    );
    let buy = async |number: usize| {
        let wanted = if number.is_multiple_of(2) {
            [(&a, 1), (&b, 2)]
        } else {
            [(&b, 2), (&a, 1)]
        };
        let order_id = order();
        loop {
            match stock
                .reserve(order_id, &lines(&wanted), NOW, NOW + HOLD)
                .await
            {
                Ok(Reserved::Held) => return 1,
                Ok(Reserved::TooFew(short)) => {
                    assert_eq!(short, std::slice::from_ref(&b), "only that one runs out");
                    return 0;
                }
                Ok(other) => panic!("{other:?}"),
                // The call is repeated, as a queue would do.
                Err(_) => {}
            }
        }
    };
    let held: u32 = futures::future::join_all((0..ORDERS).map(buy))
        .await
        .into_iter()
        .sum();
    assert_eq!(held, UNITS / 2, "every pair of units is reserved");
    assert_eq!(
        units(stock, &a).await,
        (i64::from(UNITS - held), i64::from(held), 0)
    );
    assert_eq!(units(stock, &b).await, (0, i64::from(UNITS), 0));
}

/// The hold, and the counters and a ledger entry of each product, are as many actions as one
/// transaction allows.
async fn the_longest_order_is_reserved_completely(stock: &impl Stock) {
    let mut products = Vec::new();
    for n in 0..LINES_MAX {
        products.push(added(stock, &format!("long-{n}"), 2).await);
    }
    // Each product is listed twice and must become one line.
    let twice: Vec<(&ProductId, u32)> =
        products.iter().chain(&products).map(|id| (id, 1)).collect();
    let order_id = order();
    assert_eq!(reserve(stock, order_id, &twice).await, Reserved::Held);
    assert_eq!(
        stock.confirm(order_id, NOW).await.expect("answered"),
        Confirmed::Sold
    );
    for id in [&products[0], &products[LINES_MAX - 1]] {
        assert_eq!(units(stock, id).await, (0, 0, 2));
    }
    stock.release(order_id, NOW).await.expect("released");
    assert_eq!(units(stock, &products[LINES_MAX / 2]).await, (2, 0, 0));
}
