//! Laws of `PaymentBooks`.

use domain::ids::OrderId;
use uuid::Uuid;

use super::orders::new_order;
use crate::ports::orders::{OrderStore, PaymentBooks, PaymentKind};

/// Runs all laws, each on its own orders.
pub async fn all(store: &(impl OrderStore + PaymentBooks)) {
    let orders = [new_order(), new_order(), new_order()];
    for placed in store.place(&orders).await {
        placed.expect("placed");
    }
    let ids = [
        orders[0].order.order_id,
        orders[2].order.order_id,
        OrderId(Uuid::now_v7()),
    ];
    let mut read = store.payments(&ids).await.expect("read");
    read.sort_by_key(|payment| payment.order_id);
    for (payment, order_id) in read.iter().zip(&ids) {
        let alone = store
            .payment(*order_id, PaymentKind::Charge)
            .await
            .expect("read");
        assert_eq!(alone.as_ref(), Some(payment), "equal to a single read");
    }
    assert_eq!(
        read.len(),
        2,
        "the requested payments, and none of an unknown order"
    );
    assert_eq!(store.payments(&[]).await.expect("read"), []);
}
