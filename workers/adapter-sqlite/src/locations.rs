//! `LocationStore` on SQLite, and the places in pick-up slots.

use app::ports::Unavailable;
use app::ports::locations::{LocationRow, LocationStore};
use app::ports::orders::NewOrder;
use app::use_cases::Shop;
use domain::Timestamp;
use domain::ids::{LocationId, OrderId, TenantId};
use sqlx::SqliteConnection;

use crate::rows::{text_of, time_of};
use crate::{SqliteStore, unavailable};

type Row = (String, String, String, String, i32, Option<i32>, String, i32, i32, String);

impl LocationStore for SqliteStore {
    async fn locations(&self) -> Result<Vec<Shop>, Unavailable> {
        const LOCATIONS: &str =
            "SELECT tenant_id, location_id, name, currency, tax_basis_points, tax_rate_millionths, time_zone,
                slot_minutes, slot_capacity, country
            FROM locations ORDER BY tenant_id, location_id";
        const HOURS: &str = "SELECT tenant_id, location_id, weekday, opens, closes FROM opening_hours";
        let rows: Vec<Row> = sqlx::query_as(LOCATIONS).fetch_all(&self.readers).await.map_err(unavailable)?;
        let hours: Vec<(String, String, i32, i32, i32)> =
            sqlx::query_as(HOURS).fetch_all(&self.readers).await.map_err(unavailable)?;
        let read = |row: Row| {
            let (
                tenant_id,
                location_id,
                name,
                currency,
                tax_basis_points,
                tax_rate_millionths,
                time_zone,
                slot_minutes,
                slot_capacity,
                country,
            ) = row;
            let of_location = hours.iter().filter(|(of, at, ..)| *of == tenant_id && *at == location_id);
            let hours = of_location.map(|(_, _, weekday, opens, closes)| (*weekday, *opens, *closes)).collect();
            let row = LocationRow {
                tenant_id,
                location_id,
                name,
                currency,
                tax_basis_points,
                tax_rate_millionths,
                time_zone,
                slot_minutes,
                slot_capacity,
                country,
                hours,
            };
            row.read()
        };
        rows.into_iter().map(read).collect()
    }

    async fn taken(
        &self,
        tenant: &TenantId,
        location: &LocationId,
        from: Timestamp,
        before: Timestamp,
    ) -> Result<Vec<(Timestamp, u32)>, Unavailable> {
        const TAKEN: &str = "SELECT starts_at, taken FROM pickup_slots
            WHERE tenant_id = ? AND location_id = ? AND starts_at >= ? AND starts_at < ? AND taken > 0
            ORDER BY starts_at";
        let rows: Vec<(String, i32)> = sqlx::query_as(TAKEN)
            .bind(tenant.as_str())
            .bind(location.as_str())
            .bind(text_of(from))
            .bind(text_of(before))
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        rows.into_iter().map(|(starts_at, taken)| Ok((time_of(&starts_at)?, taken.unsigned_abs()))).collect()
    }
}

/// False when there is none left.
pub async fn take_place(connection: &mut SqliteConnection, new: &NewOrder) -> Result<bool, sqlx::Error> {
    const TAKE: &str =
        "INSERT INTO pickup_slots (tenant_id, location_id, starts_at, taken) SELECT ?1, ?2, ?3, 1 WHERE ?4 > 0
        ON CONFLICT (tenant_id, location_id, starts_at) DO UPDATE SET taken = taken + 1 WHERE taken < ?4";
    let Some(slot) = new.slot else { return Ok(true) };
    let taken = sqlx::query(TAKE)
        .bind(new.order.tenant_id.as_str())
        .bind(new.order.location_id.as_str())
        .bind(text_of(slot.starts_at))
        .bind(i64::from(slot.capacity))
        .execute(connection)
        .await?;
    Ok(taken.rows_affected() == 1)
}

/// For an order that is about to end badly, and has not yet.
pub async fn give_back_place(connection: &mut SqliteConnection, order_id: OrderId) -> Result<(), sqlx::Error> {
    const GIVE_BACK: &str = "UPDATE pickup_slots SET taken = taken - 1
        WHERE (tenant_id, location_id, starts_at) IN (
            SELECT tenant_id, location_id, slot_at FROM orders
            WHERE order_id = ? AND slot_at IS NOT NULL AND status NOT IN ('cancelled', 'failed'))";
    sqlx::query(GIVE_BACK).bind(order_id.to_string()).execute(connection).await?;
    Ok(())
}
