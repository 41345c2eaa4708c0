//! `PaymentBooks`: the payments of several orders at once, for reconciliation.

use app::ports::StoreError;
use app::ports::orders::{Payment, PaymentBooks, PaymentKind};
use domain::ids::OrderId;

use crate::Store;
use crate::rows::{PaymentRow, corrupt};
use crate::values::{Id, List};

row! {
    struct OfOrder {
        order_id: Id,
        kind: String,
    } with row: PaymentRow
}

impl PaymentBooks for Store {
    async fn payments(&self, orders: &[OrderId]) -> Result<Vec<Payment>, StoreError> {
        const SELECT: &str =
            "SELECT order_id, kind, amount_minor, currency, state, token, charge_id, reason
            FROM payments WHERE order_id = ANY($1)";
        let ids = orders.iter().map(|id| id.0).collect();
        let rows: Vec<OfOrder> = self.read(SELECT).bind(List(ids)).fetch_all().await?;
        let payment = |found: OfOrder| {
            let kind = PaymentKind::from_code(&found.kind)
                .ok_or_else(|| corrupt("a payment kind", &found.kind))?;
            found.row.into_payment(OrderId(found.order_id.0), kind)
        };
        rows.into_iter().map(payment).collect()
    }
}
