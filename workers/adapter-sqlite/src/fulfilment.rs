//! `FulfilmentStore` on SQLite: tickets of pickup orders and shipments of delivery orders.

use app::ports::fulfilment::{Fulfilment, FulfilmentStore, Shipment, Ticket, Work};
use app::ports::orders::{Applied, Change};
use app::ports::scope::Scope;
use app::ports::{Backend, Unavailable};
use domain::ids::OrderId;
use sqlx::SqliteConnection;
use time::Date;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::orders::{IN_SCOPE, locations};
use crate::rows::{corrupt, optional_time, order_id, text_of, time_of};
use crate::{SqliteStore, unavailable};

/// Format of a day in the column `day`: ISO 8601.
const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

impl FulfilmentStore for SqliteStore {
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
        let mut transaction = self.write().await.map_err(unavailable)?;
        let mut applied = crate::orders::apply_one(&mut transaction, &change)
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
            Applied::Applied => self.committed(transaction).await,
            Applied::Duplicate | Applied::Conflict => transaction.rollback().await,
        }
        .map_err(unavailable)?;
        Ok(applied)
    }

    async fn tickets(&self, scope: &Scope, orders: &[OrderId]) -> Result<Vec<Ticket>, Unavailable> {
        const SELECT: &str = "SELECT order_id, day, position, slot_at FROM tickets AS made JOIN orders USING (order_id)
            WHERE order_id IN (SELECT value FROM json_each(?3)) AND (?1 IS NULL
                OR (made.tenant_id = ?1 AND made.location_id IN (SELECT value FROM json_each(?2))))";
        let ids: Vec<_> = orders.iter().map(ToString::to_string).collect();
        let ids = serde_json::to_string(&ids)
            .map_err(|error| Unavailable::new(Backend::Orders, error))?;
        let query = sqlx::query_as(SELECT)
            .bind(scope.tenant())
            .bind(locations(scope)?)
            .bind(ids);
        let rows: Vec<(String, String, i32, Option<String>)> =
            query.fetch_all(&self.readers).await.map_err(unavailable)?;
        let ticket = |(id, day, position, slot_at): (String, String, i32, Option<String>)| {
            Ok(Ticket {
                order_id: order_id(&id)?,
                day: Date::parse(&day, DATE).map_err(|_| corrupt("a day", &day))?,
                position: position.unsigned_abs(),
                slot_at: optional_time(slot_at.as_deref())?,
            })
        };
        rows.into_iter().map(ticket).collect()
    }

    async fn shipment(
        &self,
        scope: &Scope,
        order_id: OrderId,
    ) -> Result<Option<Shipment>, Unavailable> {
        let select = format!(
            "SELECT tracking_number, created_at FROM shipments
             WHERE order_id = ?3 AND EXISTS (SELECT 1 FROM orders WHERE order_id = ?3 AND {IN_SCOPE})"
        );
        let row: Option<(String, String)> = sqlx::query_as(sqlx::AssertSqlSafe(select))
            .bind(scope.tenant())
            .bind(locations(scope)?)
            .bind(order_id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        let shipment = |(tracking_number, shipped_at): (String, String)| {
            Ok(Shipment {
                order_id,
                tracking_number,
                shipped_at: time_of(&shipped_at)?,
            })
        };
        row.map(shipment).transpose()
    }
}

/// Adds the ticket or the shipment of an order. Returns false if the order has one already; the
/// caller then rolls back, so no position of the day is lost.
async fn make(
    connection: &mut SqliteConnection,
    fulfilment: &Fulfilment,
) -> Result<bool, sqlx::Error> {
    const COUNT: &str =
        "INSERT INTO ticket_days (tenant_id, location_id, day, last_position) VALUES (?, ?, ?, 1)
        ON CONFLICT (tenant_id, location_id, day) DO UPDATE SET last_position = last_position + 1
        RETURNING last_position";
    const TICKET: &str =
        "INSERT INTO tickets (order_id, tenant_id, location_id, day, position, created_at)
        VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (order_id) DO NOTHING";
    const SHIPMENT: &str =
        "INSERT INTO shipments (order_id, tracking_number, created_at) VALUES (?, ?, ?)
        ON CONFLICT (order_id) DO NOTHING";
    let id = fulfilment.order_id.to_string();
    let made = match &fulfilment.work {
        Work::Ticket {
            tenant_id,
            location_id,
            day,
        } => {
            let day = day.format(DATE).unwrap_or_default();
            let (position,): (i64,) = sqlx::query_as(COUNT)
                .bind(tenant_id.as_str())
                .bind(location_id.as_str())
                .bind(&day)
                .fetch_one(&mut *connection)
                .await?;
            let query = sqlx::query(TICKET)
                .bind(id)
                .bind(tenant_id.as_str())
                .bind(location_id.as_str());
            query
                .bind(day)
                .bind(position)
                .bind(text_of(fulfilment.at))
                .execute(connection)
                .await?
        }
        Work::Shipment { tracking_number } => {
            let query = sqlx::query(SHIPMENT).bind(id).bind(tracking_number);
            query
                .bind(text_of(fulfilment.at))
                .execute(connection)
                .await?
        }
    };
    Ok(made.rows_affected() == 1)
}
