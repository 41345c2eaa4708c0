//! `PaymentBooks` on PostgreSQL: the payments of several orders at once, for reconciliation.

use app::ports::Unavailable;
use app::ports::orders::{Payment, PaymentBooks, PaymentKind};
use domain::ids::OrderId;
use uuid::Uuid;

use crate::rows::{PaymentRow, corrupt};
use crate::{PostgresStore, unavailable};

#[derive(sqlx::FromRow)]
struct OfOrder {
    order_id: Uuid,
    kind: String,
    #[sqlx(flatten)]
    row: PaymentRow,
}

impl PaymentBooks for PostgresStore {
    async fn payments(&self, orders: &[OrderId]) -> Result<Vec<Payment>, Unavailable> {
        const SELECT: &str =
            "SELECT order_id, kind, amount_minor, currency, state, token, charge_id, reason
            FROM payments WHERE order_id = ANY($1)";
        let ids: Vec<Uuid> = orders.iter().map(|id| id.0).collect();
        let rows: Vec<OfOrder> = sqlx::query_as(SELECT)
            .bind(ids)
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        let payment = |found: OfOrder| {
            let kind = PaymentKind::from_code(&found.kind)
                .ok_or_else(|| corrupt("a payment kind", &found.kind))?;
            found.row.into_payment(OrderId(found.order_id), kind)
        };
        rows.into_iter().map(payment).collect()
    }
}
