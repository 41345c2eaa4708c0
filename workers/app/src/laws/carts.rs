//! Laws of `CartStore`.

use domain::cart::{LINES_MAX, Line, Quantity};
use domain::ids::ProductId;

use crate::ports::carts::{Cart, CartError, CartStore};

/// Runs all laws, each on its own carts.
pub async fn all(carts: &impl CartStore) {
    added_lines_stay_until_they_are_removed(carts).await;
    concurrent_changes_all_take_effect(carts).await;
    a_change_beyond_a_limit_leaves_the_cart_unchanged(carts).await;
    limits_apply_to_concurrent_changes(carts).await;
    removing_a_missing_line_changes_nothing(carts).await;
    ordered_units_are_removed_and_later_units_stay(carts).await;
    one_session_does_not_see_another(carts).await;
    the_price_that_was_seen_first_stays_with_the_line(carts).await;
}

const PRICE: i64 = 300;

/// Returns a line of a cart.
pub fn line(product: &str, quantity: u32) -> Line {
    Line {
        product_id: product_id(product),
        quantity: quantity_of(quantity),
    }
}

fn product_id(product: &str) -> ProductId {
    ProductId::parse(product).expect("a slug")
}

fn quantity_of(quantity: u32) -> Quantity {
    Quantity::new(quantity).expect("1 to 99")
}

/// Returns a new session, so that the laws can run repeatedly on one store.
fn session(law: &str) -> String {
    format!("{law}-{}", uuid::Uuid::now_v7())
}

async fn added_lines_stay_until_they_are_removed(carts: &impl CartStore) {
    let session = session("add");
    let lines = |cart: Cart| Vec::from(cart.lines);
    assert!(
        carts.get(&session).await.expect("read").lines.is_empty(),
        "an unknown session has an empty cart"
    );
    carts
        .add(&session, &line("tea", 1), PRICE)
        .await
        .expect("added");
    carts
        .add(&session, &line("espresso", 2), PRICE)
        .await
        .expect("added");
    let now = carts
        .add(&session, &line("tea", 2), PRICE)
        .await
        .expect("added");
    assert_eq!(
        lines(now),
        [line("espresso", 2), line("tea", 3)],
        "merged and sorted"
    );
    assert_eq!(
        lines(carts.get(&session).await.expect("read")),
        [line("espresso", 2), line("tea", 3)]
    );

    let now = carts
        .set(&session, &product_id("tea"), quantity_of(7))
        .await
        .expect("set");
    assert_eq!(
        now.map(lines),
        Some(vec![line("espresso", 2), line("tea", 7)])
    );
    assert_eq!(
        carts
            .set(&session, &product_id("cake"), quantity_of(1))
            .await
            .expect("asked"),
        None
    );

    let now = carts
        .remove(&session, &product_id("espresso"))
        .await
        .expect("removed");
    assert_eq!(lines(now), [line("tea", 7)]);
    carts.clear(&session).await.expect("cleared");
    assert!(carts.get(&session).await.expect("read").lines.is_empty());
}

async fn concurrent_changes_all_take_effect(carts: &impl CartStore) {
    let session = session("tabs");
    let one = line("espresso", 1);
    let adds = futures::future::join_all((0..20).map(|_| carts.add(&session, &one, PRICE))).await;
    assert!(adds.iter().all(Result::is_ok));
    assert_eq!(
        carts.get(&session).await.expect("read").lines.units(),
        20,
        "no tab's change was lost"
    );
}

async fn a_change_beyond_a_limit_leaves_the_cart_unchanged(carts: &impl CartStore) {
    let session = session("limits");
    carts
        .add(&session, &line("espresso", 98), PRICE)
        .await
        .expect("added");
    let refused = carts.add(&session, &line("espresso", 2), PRICE).await;
    assert!(matches!(refused, Err(CartError::Limit(_))), "{refused:?}");
    for n in 1..LINES_MAX {
        carts
            .add(&session, &line(&format!("p-{n}"), 1), PRICE)
            .await
            .expect("up to the most products");
    }
    let refused = carts.add(&session, &line("one-more", 1), PRICE).await;
    assert!(matches!(refused, Err(CartError::Limit(_))), "{refused:?}");
    let now = carts.get(&session).await.expect("read");
    assert_eq!(
        (now.lines.len(), now.lines.units()),
        (LINES_MAX, 98 + LINES_MAX as u32 - 1)
    );
}

async fn limits_apply_to_concurrent_changes(carts: &impl CartStore) {
    let units = session("units-at-once");
    let one = line("espresso", 1);
    let adds = futures::future::join_all((0..110).map(|_| carts.add(&units, &one, PRICE))).await;
    assert_eq!(
        adds.iter().filter(|added| added.is_ok()).count(),
        99,
        "each add was within the limit or refused"
    );
    assert_eq!(carts.get(&units).await.expect("read").lines.units(), 99);

    let products = session("products-at-once");
    let each: Vec<_> = (0..LINES_MAX + 10)
        .map(|n| line(&format!("p-{n}"), 1))
        .collect();
    let adds =
        futures::future::join_all(each.iter().map(|line| carts.add(&products, line, PRICE))).await;
    assert_eq!(adds.iter().filter(|added| added.is_ok()).count(), LINES_MAX);
    assert_eq!(
        carts.get(&products).await.expect("read").lines.len(),
        LINES_MAX
    );
    // Lines of a full cart can still be increased, reduced and removed.
    let first = Vec::from(carts.get(&products).await.expect("read").lines).remove(0);
    carts
        .add(&products, &first, PRICE)
        .await
        .expect("no new product");
    carts
        .remove(&products, &first.product_id)
        .await
        .expect("removed");
    carts
        .add(&products, &line("one-more", 1), PRICE)
        .await
        .expect("there is room now");
}

async fn removing_a_missing_line_changes_nothing(carts: &impl CartStore) {
    let session = session("absent");
    assert!(
        carts
            .remove(&session, &product_id("tea"))
            .await
            .expect("asked")
            .lines
            .is_empty()
    );
    assert_eq!(
        carts
            .set(&session, &product_id("tea"), quantity_of(1))
            .await
            .expect("asked"),
        None
    );
    carts
        .clear(&session)
        .await
        .expect("there is nothing to clear");
    carts
        .add(&session, &line("tea", 2), PRICE)
        .await
        .expect("added");
    let now = carts
        .remove(&session, &product_id("cake"))
        .await
        .expect("asked");
    assert_eq!(Vec::from(now.lines), [line("tea", 2)]);
    assert!(
        carts
            .remove(&session, &product_id("tea"))
            .await
            .expect("removed")
            .lines
            .is_empty()
    );
    assert!(carts.get(&session).await.expect("read").lines.is_empty());
}

async fn ordered_units_are_removed_and_later_units_stay(carts: &impl CartStore) {
    let session = session("ordered");
    for line in [line("espresso", 2), line("tea", 1), line("water", 1)] {
        carts.add(&session, &line, PRICE).await.expect("added");
    }
    let ordered = carts.get(&session).await.expect("read").lines;
    carts
        .add(&session, &line("cake", 1), PRICE)
        .await
        .expect("added");
    carts
        .add(&session, &line("espresso", 3), PRICE)
        .await
        .expect("added");
    carts
        .remove(&session, &product_id("water"))
        .await
        .expect("removed");
    carts.take_out(&session, &ordered).await.expect("taken out");
    let cart = carts.get(&session).await.expect("read");
    assert_eq!(
        Vec::from(cart.lines),
        [line("cake", 1), line("espresso", 3)]
    );
    assert!(
        !cart.seen.contains_key(&product_id("tea")),
        "with its price"
    );
    carts.take_out(&session, &ordered).await.expect("taken out");
    assert_eq!(
        Vec::from(carts.get(&session).await.expect("read").lines),
        [line("cake", 1), line("espresso", 1)]
    );
    carts.clear(&session).await.expect("cleared");
    carts
        .take_out(&session, &ordered)
        .await
        .expect("there is nothing to take out");
    assert!(carts.get(&session).await.expect("read").lines.is_empty());
}

async fn one_session_does_not_see_another(carts: &impl CartStore) {
    let (mine, theirs) = (session("mine"), session("theirs"));
    carts
        .add(&mine, &line("tea", 1), PRICE)
        .await
        .expect("added");
    carts
        .add(&theirs, &line("cake", 2), PRICE)
        .await
        .expect("added");
    carts.clear(&theirs).await.expect("cleared");
    assert_eq!(
        Vec::from(carts.get(&mine).await.expect("read").lines),
        [line("tea", 1)]
    );
    assert!(carts.get(&theirs).await.expect("read").lines.is_empty());
}

async fn the_price_that_was_seen_first_stays_with_the_line(carts: &impl CartStore) {
    let session = session("seen");
    let seen =
        |cart: &Cart| Vec::from_iter(cart.seen.iter().map(|(id, price)| (id.to_string(), *price)));
    carts
        .add(&session, &line("tea", 1), 250)
        .await
        .expect("added");
    let cart = carts
        .add(&session, &line("tea", 1), 260)
        .await
        .expect("added");
    assert_eq!(seen(&cart), [("tea".to_owned(), 250)]);
    carts
        .add(&session, &line("cake", 1), 400)
        .await
        .expect("added");
    let cart = carts
        .set(&session, &product_id("tea"), quantity_of(5))
        .await
        .expect("set")
        .expect("there");
    assert_eq!(
        seen(&cart),
        [("cake".to_owned(), 400), ("tea".to_owned(), 250)]
    );
    assert_eq!(carts.get(&session).await.expect("read"), cart);
    let cart = carts
        .remove(&session, &product_id("tea"))
        .await
        .expect("removed");
    assert_eq!(seen(&cart), [("cake".to_owned(), 400)]);
    let cart = carts
        .add(&session, &line("tea", 1), 260)
        .await
        .expect("added");
    assert_eq!(cart.seen.get(&product_id("tea")), Some(&260), "a new line");
    carts.clear(&session).await.expect("cleared");
    assert_eq!(carts.get(&session).await.expect("read"), Cart::default());
}
