//! What a `CartStore` must do.

use domain::cart::{LINES_MAX, Line, Lines, Quantity};
use domain::ids::ProductId;

use crate::ports::carts::{CartError, CartStore};

/// All laws, on carts of their own.
pub async fn all(carts: &impl CartStore) {
    what_is_added_is_there_until_it_is_taken_out(carts).await;
    changes_at_once_all_take_effect(carts).await;
    limits_hold_and_leave_the_cart_as_it_was(carts).await;
}

pub fn line(product: &str, quantity: u32) -> Line {
    Line { product_id: product_id(product), quantity: quantity_of(quantity) }
}

fn product_id(product: &str) -> ProductId {
    ProductId::parse(product).expect("a slug")
}

fn quantity_of(quantity: u32) -> Quantity {
    Quantity::new(quantity).expect("1 to 99")
}

/// So that laws may run again and again on one store.
fn session(law: &str) -> String {
    format!("{law}-{}", uuid::Uuid::now_v7())
}

async fn what_is_added_is_there_until_it_is_taken_out(carts: &impl CartStore) {
    let session = session("add");
    let lines = |lines: Lines| Vec::from(lines);
    assert!(carts.get(&session).await.expect("read").is_empty(), "an unknown session has an empty cart");
    carts.add(&session, &line("tea", 1)).await.expect("added");
    carts.add(&session, &line("espresso", 2)).await.expect("added");
    let now = carts.add(&session, &line("tea", 2)).await.expect("added");
    assert_eq!(lines(now), [line("espresso", 2), line("tea", 3)], "merged and sorted");
    assert_eq!(lines(carts.get(&session).await.expect("read")), [line("espresso", 2), line("tea", 3)]);

    let now = carts.set(&session, &product_id("tea"), quantity_of(7)).await.expect("set");
    assert_eq!(now.map(lines), Some(vec![line("espresso", 2), line("tea", 7)]));
    assert_eq!(carts.set(&session, &product_id("cake"), quantity_of(1)).await.expect("asked"), None);

    let now = carts.remove(&session, &product_id("espresso")).await.expect("removed");
    assert_eq!(lines(now), [line("tea", 7)]);
    carts.clear(&session).await.expect("cleared");
    assert!(carts.get(&session).await.expect("read").is_empty());
}

async fn changes_at_once_all_take_effect(carts: &impl CartStore) {
    let session = session("tabs");
    let one = line("espresso", 1);
    let adds = futures::future::join_all((0..20).map(|_| carts.add(&session, &one))).await;
    assert!(adds.iter().all(Result::is_ok));
    assert_eq!(carts.get(&session).await.expect("read").units(), 20, "no tab's change was lost");
}

async fn limits_hold_and_leave_the_cart_as_it_was(carts: &impl CartStore) {
    let session = session("limits");
    carts.add(&session, &line("espresso", 98)).await.expect("added");
    let refused = carts.add(&session, &line("espresso", 2)).await;
    assert!(matches!(refused, Err(CartError::Limit(_))), "{refused:?}");
    for n in 1..LINES_MAX {
        carts.add(&session, &line(&format!("p-{n}"), 1)).await.expect("up to fifty products");
    }
    let refused = carts.add(&session, &line("one-more", 1)).await;
    assert!(matches!(refused, Err(CartError::Limit(_))), "{refused:?}");
    let now = carts.get(&session).await.expect("read");
    assert_eq!((now.len(), now.units()), (LINES_MAX, 98 + 49));
}
