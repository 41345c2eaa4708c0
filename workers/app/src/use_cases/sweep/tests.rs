use domain::Timestamp;
use domain::cart::{Line, Lines, Quantity};
use domain::ids::{OrderId, ProductId};
use domain::menu::{Product, ProductType};
use domain::money::{Currency, Money};
use domain::order::Status;
use futures::executor::block_on;
use time::macros::datetime;
use uuid::Uuid;

use super::*;
use crate::fakes::orders::MemoryOrders;
use crate::fakes::stock::MemoryStock;
use crate::laws::orders::new_order;
use crate::ports::orders::NewOrder;
use crate::use_cases::HOLD;

const NOON: Timestamp = datetime!(2026-03-01 12:00 UTC);
const MAKER: Maker = Maker {
    role: "sweeper",
    version: "0",
    traceparent: None,
};

struct At(Timestamp);

impl Source for At {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

async fn accept(store: &MemoryOrders, count: usize) -> Vec<OrderId> {
    let new: Vec<NewOrder> = (0..count).map(|_| new_order()).collect();
    assert!(store.place(&new).await.iter().all(Result::is_ok));
    new.into_iter().map(|new| new.order.order_id).collect()
}

#[test]
fn an_unreadable_order_does_not_block_later_orders() {
    block_on(async {
        let store = MemoryOrders::default();
        let ids = accept(&store, 3).await;
        store.fail_to_load(ids[0]);
        let after_the_deadline = At(NOON + ORDER_DEADLINE + Duration::from_secs(1));
        assert!(
            sweep_orders(&store, &after_the_deadline, &MAKER, &Timeouts::default())
                .await
                .is_err(),
            "the sweep reports the error"
        );
        for id in &ids[1..] {
            let stored = store.load(*id).await.expect("read").expect("there");
            assert_eq!(stored.order.state, State::ReleasingToFail);
        }
    });
}

#[test]
fn a_backlog_is_processed_in_one_sweep() {
    block_on(async {
        let store = MemoryOrders::default();
        accept(&store, 2 * ROUND as usize + 1).await;
        let later = At(NOON + Duration::from_secs(60));
        let swept = sweep_orders(&store, &later, &MAKER, &Timeouts::default())
            .await
            .expect("swept");
        assert_eq!(swept.asked_again, 2 * u64::from(ROUND) + 1);
        let swept = sweep_orders(&store, &later, &MAKER, &Timeouts::default())
            .await
            .expect("swept");
        assert_eq!(
            swept.asked_again, 0,
            "nothing is sent again before the time"
        );
    });
}

/// Adds a product with its units, and returns an order line of one unit.
async fn one_unit(stock: &MemoryStock, units: u32) -> (ProductId, Lines) {
    let product_id = ProductId::parse("espresso").expect("a slug");
    let product = Product {
        product_id: product_id.clone(),
        name: "Espresso".to_owned(),
        description: String::new(),
        kind: ProductType::Coffee,
        price: Money::new(300, Currency::Usd),
        image_url: String::new(),
    };
    let added = stock.add_product(&product, units, 0, NOON).await;
    assert_eq!(added, Ok(true));
    let lines = Lines::merge([Line {
        product_id: product_id.clone(),
        quantity: Quantity::new(1).expect("1"),
    }]);
    (product_id, lines.expect("one line"))
}

/// The holds of orders that are still being processed stay. In the store they precede the hold that
/// is to be released.
#[test]
fn active_holds_do_not_block_expired_holds() {
    block_on(async {
        let (store, stock) = (MemoryOrders::default(), MemoryStock::default());
        let (product_id, lines) = one_unit(&stock, 2 * ROUND + 2).await;
        let mut held = accept(&store, 2 * ROUND as usize + 1).await;
        // No order has this id, which is the largest of all.
        held.push(OrderId(Uuid::max()));
        for order_id in held {
            stock
                .reserve(order_id, &lines, NOON, NOON + HOLD)
                .await
                .expect("held");
        }
        let later = At(NOON + HOLD + Duration::from_secs(1));
        let swept = sweep_holds(&store, &stock, &later).await.expect("swept");
        assert_eq!(swept.holds_released, 1);
        let left = stock.product(&product_id).await.expect("read");
        let counters = left.expect("there").counters;
        assert_eq!(
            (counters.available, counters.reserved),
            (1, 2 * i64::from(ROUND) + 1)
        );
    });
}

#[test]
fn a_hold_with_an_unreadable_order_does_not_block_later_holds() {
    block_on(async {
        let (store, stock) = (MemoryOrders::default(), MemoryStock::default());
        let (product_id, lines) = one_unit(&stock, 2).await;
        // Holds of orders that do not exist and are released. Reading the first order fails.
        let (first, second) = (OrderId(Uuid::from_u128(1)), OrderId(Uuid::from_u128(2)));
        for order_id in [first, second] {
            stock
                .reserve(order_id, &lines, NOON, NOON + HOLD)
                .await
                .expect("held");
        }
        store.fail_to_load(first);
        let later = At(NOON + HOLD + Duration::from_secs(1));
        assert!(
            sweep_holds(&store, &stock, &later).await.is_err(),
            "the sweep reports the error"
        );
        let left = stock
            .product(&product_id)
            .await
            .expect("read")
            .expect("there");
        assert_eq!((left.counters.available, left.counters.reserved), (1, 1));
    });
}

#[test]
fn an_order_before_its_deadline_is_retried_and_not_failed() {
    block_on(async {
        let store = MemoryOrders::default();
        let ids = accept(&store, 1).await;
        let later = At(NOON + ORDER_DEADLINE / 2);
        assert_eq!(
            sweep_orders(&store, &later, &MAKER, &Timeouts::default())
                .await
                .expect("swept")
                .timed_out,
            0,
            "there is still time"
        );
        let stored = store.load(ids[0]).await.expect("read").expect("there");
        assert_eq!(stored.order.status, Status::Pending);
    });
}
