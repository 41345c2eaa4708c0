//! `FulfilmentStore` on PostgreSQL: tickets of pickup orders and shipments of delivery orders.

use app::ports::Unavailable;
use app::ports::fulfilment::{Fulfilment, FulfilmentStore, Shipment, Ticket, Work};
use app::ports::orders::{Applied, Change};
use app::ports::scope::Scope;
use domain::Timestamp;
use domain::ids::OrderId;
use sqlx::PgConnection;
use time::Date;
use uuid::Uuid;

use crate::{PostgresStore, unavailable};

impl FulfilmentStore for PostgresStore {
    async fn fulfil(&self, fulfilment: &Fulfilment) -> Result<Applied, Unavailable> {
        let change = Change {
            consumer: fulfilment.consumer,
            event_id: fulfilment.event_id,
            order: None,
            payment: None,
            outbox: fulfilment.outbox.clone(),
            at: fulfilment.at,
            delivery: None,
        };
        let mut transaction = self.pool.begin().await.map_err(unavailable)?;
        let mut applied = crate::orders::apply_all(&mut transaction, &[change])
            .await
            .map_err(unavailable)?;
        if applied == Applied::Applied
            && !make(&mut transaction, fulfilment)
                .await
                .map_err(unavailable)?
        {
            applied = Applied::Conflict;
        }
        match applied {
            Applied::Applied => transaction.commit().await,
            Applied::Duplicate | Applied::Conflict => transaction.rollback().await,
        }
        .map_err(unavailable)?;
        Ok(applied)
    }

    async fn tickets(&self, scope: &Scope, orders: &[OrderId]) -> Result<Vec<Ticket>, Unavailable> {
        const SELECT: &str = "SELECT order_id, day, position, slot_at FROM tickets JOIN orders USING (order_id)
            WHERE order_id = ANY($1)
                AND ($2::text IS NULL OR (tickets.tenant_id = $2 AND tickets.location_id = ANY($3)))";
        let ids: Vec<Uuid> = orders.iter().map(|order_id| order_id.0).collect();
        let query = sqlx::query_as(SELECT)
            .bind(ids)
            .bind(scope.tenant())
            .bind(scope.locations());
        let rows: Vec<(Uuid, Date, i32, Option<Timestamp>)> =
            query.fetch_all(&self.pool).await.map_err(unavailable)?;
        let ticket = |(id, day, position, slot_at): (Uuid, Date, i32, Option<Timestamp>)| Ticket {
            order_id: OrderId(id),
            day,
            position: position.unsigned_abs(),
            slot_at,
        };
        Ok(rows.into_iter().map(ticket).collect())
    }

    async fn shipment(
        &self,
        scope: &Scope,
        order_id: OrderId,
    ) -> Result<Option<Shipment>, Unavailable> {
        const SELECT: &str = "SELECT tracking_number, shipments.created_at FROM shipments JOIN orders USING (order_id)
            WHERE order_id = $1 AND ($2::text IS NULL OR (tenant_id = $2 AND location_id = ANY($3)))";
        let query = sqlx::query_as(SELECT)
            .bind(order_id.0)
            .bind(scope.tenant())
            .bind(scope.locations());
        let row: Option<(String, Timestamp)> = query
            .fetch_optional(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(row.map(|(tracking_number, shipped_at)| Shipment {
            order_id,
            tracking_number,
            shipped_at,
        }))
    }
}

/// Adds the ticket or the shipment of an order. Returns false if the order has one already.
async fn make(connection: &mut PgConnection, fulfilment: &Fulfilment) -> Result<bool, sqlx::Error> {
    // The upsert locks the day's row until the commit. A concurrent ticket of that day waits, and
    // then counts from a committed position.
    const TICKET: &str = "WITH counted AS (
            INSERT INTO ticket_days AS days (tenant_id, location_id, day, last_position)
            SELECT $2, $3, $4, 1 WHERE NOT EXISTS (SELECT 1 FROM tickets WHERE order_id = $1)
            ON CONFLICT (tenant_id, location_id, day) DO UPDATE SET last_position = days.last_position + 1
            RETURNING last_position
        )
        INSERT INTO tickets (order_id, tenant_id, location_id, day, position, created_at)
        SELECT $1, $2, $3, $4, last_position, $5 FROM counted ON CONFLICT (order_id) DO NOTHING";
    // Two attempts for one order use the same tracking number. A concurrent attempt can conflict on
    // the tracking number before the order id, so any conflict is ignored here.
    const SHIPMENT: &str =
        "INSERT INTO shipments (order_id, tracking_number, created_at) VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING";
    const SHIPPED: &str = "SELECT order_id FROM shipments WHERE order_id = $1";
    let query = match &fulfilment.work {
        Work::Ticket {
            tenant_id,
            location_id,
            day,
        } => sqlx::query(TICKET)
            .bind(fulfilment.order_id.0)
            .bind(tenant_id.as_str())
            .bind(location_id.as_str())
            .bind(*day)
            .bind(fulfilment.at),
        Work::Shipment { tracking_number } => sqlx::query(SHIPMENT)
            .bind(fulfilment.order_id.0)
            .bind(tracking_number)
            .bind(fulfilment.at),
    };
    let made = query.execute(&mut *connection).await?.rows_affected() == 1;
    if let (false, Work::Shipment { .. }) = (made, &fulfilment.work) {
        // Fails if the order has no shipment: another order has this tracking number.
        sqlx::query(SHIPPED)
            .bind(fulfilment.order_id.0)
            .fetch_one(connection)
            .await?;
    }
    Ok(made)
}
