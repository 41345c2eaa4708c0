//! `FulfilmentStore`: tickets of pickup orders and shipments of delivery orders.

use app::ports::StoreError;
use app::ports::fulfilment::{Fulfilment, FulfilmentStore, Shipment, Ticket, Work};
use app::ports::orders::{Applied, Change};
use app::ports::scope::Scope;
use domain::Timestamp;
use domain::ids::OrderId;
use time::Date;

use crate::Store;
use crate::apply::apply;
use crate::query::{IN_SCOPE, Transaction};
use crate::values::{At, Id, List};

impl FulfilmentStore for Store {
    async fn fulfil(&self, fulfilment: &Fulfilment) -> Result<Applied, StoreError> {
        let change = Change {
            outbox: fulfilment.outbox.clone(),
            ..Change::of(fulfilment.consumer, fulfilment.event_id, fulfilment.at)
        };
        let mut transaction = self.begin().await?;
        let mut applied = apply(&mut transaction, &[change]).await?;
        if applied == Applied::Applied && !make(&mut transaction, fulfilment).await? {
            applied = Applied::Conflict;
        }
        transaction.end(applied == Applied::Applied).await?;
        Ok(applied)
    }

    async fn tickets(&self, scope: &Scope, orders: &[OrderId]) -> Result<Vec<Ticket>, StoreError> {
        const SELECT: &str =
            "SELECT order_id, day, position, slot_at FROM tickets JOIN orders USING (order_id)
            WHERE order_id = ANY($3)
                AND ($1 IS NULL OR (tickets.tenant_id = $1 AND tickets.location_id = ANY($2)))";
        let ids = orders.iter().map(|order_id| order_id.0).collect();
        let query = self.read(SELECT).scope(scope).bind(List(ids));
        let rows: Vec<(Id, Date, i32, Option<Timestamp>)> = query.fetch_all().await?;
        let ticket = |(id, day, position, slot_at): (Id, Date, i32, Option<Timestamp>)| Ticket {
            order_id: OrderId(id.0),
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
    ) -> Result<Option<Shipment>, StoreError> {
        let select = format!(
            "SELECT tracking_number, shipments.created_at FROM shipments JOIN orders USING (order_id)
             WHERE order_id = $3 AND {IN_SCOPE}"
        );
        let query = self.read(select).scope(scope).bind(Id(order_id.0));
        let row: Option<(String, Timestamp)> = query.fetch_optional().await?;
        Ok(row.map(|(tracking_number, shipped_at)| Shipment {
            order_id,
            tracking_number,
            shipped_at,
        }))
    }
}

/// Adds the ticket or the shipment of an order. Returns false if the order has one already; the
/// caller then rolls back, so no position of the day is lost.
async fn make(
    transaction: &mut Transaction<'_>,
    fulfilment: &Fulfilment,
) -> Result<bool, StoreError> {
    // Two attempts for one order use the same tracking number. A concurrent attempt can conflict on
    // the tracking number before the order id, so any conflict is ignored here.
    const SHIPMENT: &str =
        "INSERT INTO shipments (order_id, tracking_number, created_at) VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING";
    const SHIPPED: &str = "SELECT order_id FROM shipments WHERE order_id = $1";
    let id = Id(fulfilment.order_id.0);
    match &fulfilment.work {
        Work::Ticket {
            tenant_id,
            location_id,
            day,
        } => {
            let shop = [tenant_id.as_str(), location_id.as_str()];
            add_ticket(transaction, id, shop, *day, fulfilment.at).await
        }
        Work::Shipment { tracking_number } => {
            let query = transaction
                .query(SHIPMENT)
                .bind(id)
                .bind(tracking_number)
                .bind(At(fulfilment.at));
            let made = query.execute().await? == 1;
            if !made {
                // Fails if the order has no shipment: another order has this tracking number.
                let shipped = transaction.query(SHIPPED).bind(id);
                let (_,): (Id,) = shipped.fetch_one().await?;
            }
            Ok(made)
        }
    }
}

/// Adds the ticket of an order with the next position of the day.
async fn add_ticket(
    transaction: &mut Transaction<'_>,
    order_id: Id,
    [tenant, location]: [&str; 2],
    day: Date,
    at: Timestamp,
) -> Result<bool, StoreError> {
    // The upsert locks the day's row until the commit. A concurrent ticket of that day waits, and
    // then counts from a committed position.
    const COUNT: &str = "
        INSERT INTO ticket_days AS days (tenant_id, location_id, day, last_position)
        SELECT $2, $3, $4, 1 WHERE NOT EXISTS (SELECT 1 FROM tickets WHERE order_id = $1)
        ON CONFLICT (tenant_id, location_id, day) DO UPDATE SET last_position = days.last_position + 1
        RETURNING last_position";
    const TICKET: &str = "
        INSERT INTO tickets (order_id, tenant_id, location_id, day, position, created_at)
        SELECT $1, $2, $3, $4, last_position, $5 FROM counted WHERE true ON CONFLICT (order_id) DO NOTHING";
    let statements = if transaction.is_postgres() {
        vec![format!("WITH counted AS ({COUNT}) {TICKET}")]
    } else {
        const COUNTED: &str = "SELECT last_position FROM ticket_days
            WHERE tenant_id = $2 AND location_id = $3 AND day = $4";
        vec![
            COUNT.to_owned(),
            format!("WITH counted AS ({COUNTED}) {TICKET}"),
        ]
    };
    for sql in statements {
        let query = transaction
            .query(sql)
            .bind(order_id)
            .bind(tenant)
            .bind(location)
            .bind(day)
            .bind(At(at));
        if query.execute().await? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}
