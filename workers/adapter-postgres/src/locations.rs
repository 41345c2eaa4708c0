//! `LocationStore` on PostgreSQL, and the places in pick-up slots.

use app::ports::Unavailable;
use app::ports::locations::{LocationRow, LocationStore};
use app::ports::orders::{NewOrder, Placement};
use app::use_cases::Shop;
use domain::Timestamp;
use domain::ids::{LocationId, TenantId};
use sqlx::PgConnection;

use crate::{PostgresStore, unavailable};

type Row = (String, String, String, String, i32, Option<i32>, String, i32, i32, String);

impl LocationStore for PostgresStore {
    async fn locations(&self) -> Result<Vec<Shop>, Unavailable> {
        const LOCATIONS: &str =
            "SELECT tenant_id, location_id, name, currency, tax_basis_points, tax_rate_millionths, time_zone,
                slot_minutes, slot_capacity, country
            FROM locations ORDER BY tenant_id, location_id";
        const HOURS: &str = "SELECT tenant_id, location_id, weekday, opens, closes FROM opening_hours";
        let rows: Vec<Row> = sqlx::query_as(LOCATIONS).fetch_all(&self.pool).await.map_err(unavailable)?;
        let hours: Vec<(String, String, i32, i32, i32)> =
            sqlx::query_as(HOURS).fetch_all(&self.pool).await.map_err(unavailable)?;
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
            WHERE tenant_id = $1 AND location_id = $2 AND starts_at >= $3 AND starts_at < $4 AND taken > 0
            ORDER BY starts_at";
        let rows: Vec<(Timestamp, i32)> = sqlx::query_as(TAKEN)
            .bind(tenant.as_str())
            .bind(location.as_str())
            .bind(from)
            .bind(before)
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(rows.into_iter().map(|(starts_at, taken)| (starts_at, taken.unsigned_abs())).collect())
    }
}

impl PostgresStore {
    /// An order and its place in a slot in one transaction. The place comes last: whoever waits for another's waits for a
    /// commit alone.
    pub(crate) async fn place_in_slot(&self, new: &NewOrder) -> Result<Placement, Unavailable> {
        let mut transaction = self.pool.begin().await.map_err(unavailable)?;
        let placed =
            crate::orders::place_all(&mut transaction, std::slice::from_ref(new)).await.map_err(unavailable)?;
        if placed.is_empty() {
            transaction.rollback().await.map_err(unavailable)?;
            return self.placement(new, &placed).await;
        }
        if !take_place(&mut transaction, new).await.map_err(unavailable)? {
            transaction.rollback().await.map_err(unavailable)?;
            return Ok(Placement::SlotFull);
        }
        transaction.commit().await.map_err(unavailable)?;
        Ok(Placement::Placed)
    }
}

/// False when there is none left.
async fn take_place(connection: &mut PgConnection, new: &NewOrder) -> Result<bool, sqlx::Error> {
    const TAKE: &str = "INSERT INTO pickup_slots AS slot (tenant_id, location_id, starts_at, taken)
        SELECT $1, $2, $3, 1 WHERE $4 > 0
        ON CONFLICT (tenant_id, location_id, starts_at) DO UPDATE SET taken = slot.taken + 1 WHERE slot.taken < $4";
    let Some(slot) = new.slot else { return Ok(true) };
    let taken = sqlx::query(TAKE)
        .bind(new.order.tenant_id.as_str())
        .bind(new.order.location_id.as_str())
        .bind(slot.starts_at)
        .bind(i64::from(slot.capacity))
        .execute(connection)
        .await?;
    Ok(taken.rows_affected() == 1)
}
