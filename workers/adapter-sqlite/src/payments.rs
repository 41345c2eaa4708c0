//! `PaymentBooks` on SQLite: the payments of several orders at once, for reconciliation.

use app::ports::orders::{Payment, PaymentBooks, PaymentKind};
use app::ports::{Backend, Unavailable};
use domain::ids::OrderId;

use crate::rows::{PaymentRow, corrupt, order_id};
use crate::{SqliteStore, unavailable};

#[derive(sqlx::FromRow)]
struct OfOrder {
    order_id: String,
    kind: String,
    #[sqlx(flatten)]
    row: PaymentRow,
}

impl PaymentBooks for SqliteStore {
    async fn payments(&self, orders: &[OrderId]) -> Result<Vec<Payment>, Unavailable> {
        const SELECT: &str =
            "SELECT order_id, kind, amount_minor, currency, state, token, charge_id, reason
            FROM payments WHERE order_id IN (SELECT value FROM json_each(?))";
        let ids: Vec<String> = orders.iter().map(ToString::to_string).collect();
        let ids = serde_json::to_string(&ids)
            .map_err(|error| Unavailable::new(Backend::Orders, error))?;
        let rows: Vec<OfOrder> = sqlx::query_as(SELECT)
            .bind(ids)
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        let payment = |found: OfOrder| {
            let kind = PaymentKind::from_code(&found.kind)
                .ok_or_else(|| corrupt("a payment kind", &found.kind))?;
            found.row.into_payment(order_id(&found.order_id)?, kind)
        };
        rows.into_iter().map(payment).collect()
    }
}
