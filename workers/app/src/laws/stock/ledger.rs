//! Laws of the stock ledger: every change has one entry, and the sum of the entries equals the
//! counters.

use domain::cart::{Line, Quantity};
use domain::ids::ProductId;
use domain::stock::{Counters, Movement};
use time::Duration;

use super::{HOLD, NOW, added, adjust, lines, order, reserve, stocked};
use crate::ports::ledger::{Entry, Hold, HoldState, Ledger};
use crate::ports::stock::{Adjusted, AdjustmentKind, OPENING, Reserved, Stock};

pub(super) async fn all(stock: &(impl Stock + Ledger)) {
    every_movement_has_one_ledger_entry(stock).await;
    a_refused_movement_has_no_ledger_entry(stock).await;
    pages_continue_after_the_previous_one(stock).await;
    holds_are_listed_with_their_state(stock).await;
}

/// Returns all ledger entries of a product, newest first.
async fn whole(stock: &impl Ledger, id: &ProductId, page: u32) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let before = entries.last().map(|entry| entry.entry_id.clone());
        let read = stock
            .entries(id, before.as_deref(), page)
            .await
            .expect("read");
        assert!(read.len() <= page as usize);
        if read.is_empty() {
            return entries;
        }
        entries.extend(read);
    }
}

pub(super) async fn sums_to_the_counters(stock: &(impl Stock + Ledger), id: &ProductId) {
    let entries = whole(stock, id, 200).await;
    assert_eq!(
        Counters::of(entries.iter().map(|entry| entry.movement)),
        stocked(stock, id).await.counters,
        "{id}"
    );
}

async fn every_movement_has_one_ledger_entry(stock: &(impl Stock + Ledger)) {
    let id = added(stock, "written", 10).await;
    let (sold, given_up) = (order(), order());
    let at = |minute: i64| NOW + Duration::minutes(minute);
    let three = lines(&[(&id, 3)]);
    // Each change is repeated, like a message that is delivered twice.
    for _ in 0..2 {
        assert_eq!(
            stock.reserve(sold, &three, at(1), at(1) + HOLD).await,
            Ok(Reserved::Held)
        );
    }
    for _ in 0..2 {
        stock.confirm(sold, at(2)).await.expect("sold");
    }
    for _ in 0..2 {
        assert_ne!(
            stock.reserve(given_up, &three, at(3), at(3) + HOLD).await,
            Ok(Reserved::Confirmed)
        );
        stock.release(given_up, at(4)).await.expect("released");
        stock.release(sold, at(5)).await.expect("returned");
    }
    // These changes are made an hour after all others.
    for _ in 0..2 {
        adjust(stock, &id, "delivery-1", AdjustmentKind::Restock(5)).await;
    }
    let entries = whole(stock, &id, 200).await;
    let read: Vec<(Movement, &str)> = entries
        .iter()
        .map(|entry| (entry.movement, entry.reference.as_str()))
        .collect();
    let (sold, given_up) = (sold.to_string(), given_up.to_string());
    let expected = [
        (Movement::Restock(5), "delivery-1"),
        (Movement::Return(3), &sold),
        (Movement::Release(3), &given_up),
        (Movement::Reserve(3), &given_up),
        (Movement::Confirm(3), &sold),
        (Movement::Reserve(3), &sold),
        (Movement::Restock(10), OPENING),
    ];
    assert_eq!(read, expected);
    assert!(
        entries
            .iter()
            .all(|entry| !entry.actor.is_empty() && entry.product_id == id)
    );
    let delivery = &entries[0];
    assert_eq!(
        (delivery.actor.as_str(), delivery.note.as_deref()),
        ("ada", Some("counted"))
    );
    assert_eq!((delivery.at, entries[1].at), (NOW + HOLD, at(5)));
    sums_to_the_counters(stock, &id).await;
}

async fn a_refused_movement_has_no_ledger_entry(stock: &(impl Stock + Ledger)) {
    let (enough, short) = (
        added(stock, "ledger-enough", 5).await,
        added(stock, "ledger-short", 1).await,
    );
    let refused = reserve(stock, order(), &[(&enough, 1), (&short, 2)]).await;
    assert_eq!(refused, Reserved::TooFew(vec![short.clone()]));
    assert_eq!(
        adjust(stock, &short, "too-many", AdjustmentKind::Correct(-2)).await,
        Adjusted::TooFew
    );
    stock.release(order(), NOW).await.expect("nothing was held");
    for id in [&enough, &short] {
        assert_eq!(whole(stock, id, 200).await.len(), 1, "its opening");
        sums_to_the_counters(stock, id).await;
    }
    let none = added(stock, "ledger-none", 0).await;
    assert_eq!(whole(stock, &none, 200).await, [], "no units, no movement");
}

async fn pages_continue_after_the_previous_one(stock: &(impl Stock + Ledger)) {
    let (id, other) = (
        added(stock, "paged", 5).await,
        added(stock, "paged-not", 5).await,
    );
    for n in 0..7 {
        adjust(
            stock,
            &id,
            &format!("delivery-{n}"),
            AdjustmentKind::Restock(1),
        )
        .await;
        adjust(
            stock,
            &other,
            &format!("delivery-{n}"),
            AdjustmentKind::Restock(1),
        )
        .await;
    }
    let at_once = whole(stock, &id, 200).await;
    assert_eq!(at_once.len(), 8);
    assert!(
        at_once
            .is_sorted_by(|newer, older| newer.entry_id > older.entry_id && newer.at >= older.at)
    );
    for page in [1, 3, 8] {
        assert_eq!(whole(stock, &id, page).await, at_once);
    }
}

async fn holds_are_listed_with_their_state(stock: &(impl Stock + Ledger)) {
    let (a, b) = (
        added(stock, "listed-a", 9).await,
        added(stock, "listed-b", 9).await,
    );
    let (held, sold, released, mark) = (order(), order(), order(), order());
    for order_id in [held, sold, released] {
        assert_eq!(
            reserve(stock, order_id, &[(&b, 2), (&a, 1)]).await,
            Reserved::Held
        );
    }
    stock.confirm(sold, NOW).await.expect("sold");
    stock.release(released, NOW).await.expect("released");
    stock.release(mark, NOW).await.expect("released");
    let holds = stock.holds().await.expect("listed");
    let line = |id: &ProductId, units| Line {
        product_id: id.clone(),
        quantity: Quantity::new(units).expect("few"),
    };
    let lines = vec![line(&a, 1), line(&b, 2)];
    for (order_id, state, lines) in [
        (held, HoldState::Held, lines.clone()),
        (sold, HoldState::Confirmed, lines.clone()),
        (released, HoldState::Released, lines),
        (mark, HoldState::Released, Vec::new()),
    ] {
        let found: Vec<&Hold> = holds
            .iter()
            .filter(|hold| hold.order_id == order_id)
            .collect();
        assert_eq!(
            found,
            [&Hold {
                order_id,
                state,
                lines
            }]
        );
    }
}
