//! `LocationStore` on SQLite, and the counts of orders in pickup slots.

use app::location::Location;
use app::ports::Unavailable;
use app::ports::locations::{LocationRow, LocationStore};
use app::ports::orders::NewOrder;
use domain::Timestamp;
use domain::ids::{LocationId, OrderId, TenantId};
use sqlx::SqliteConnection;

use crate::rows::{text_of, time_of};
use crate::{SqliteStore, unavailable};

/// A row of `locations`, without the opening hours.
#[derive(sqlx::FromRow)]
struct Row {
    tenant_id: String,
    location_id: String,
    name: String,
    currency: String,
    tax_basis_points: i32,
    tax_rate_millionths: Option<i32>,
    time_zone: String,
    slot_minutes: i32,
    slot_capacity: i32,
    country: String,
}

#[derive(sqlx::FromRow)]
struct HoursRow {
    tenant_id: String,
    location_id: String,
    weekday: i32,
    opens: i32,
    closes: i32,
}

impl Row {
    fn with_hours(self, hours: &[HoursRow]) -> LocationRow {
        let own = hours
            .iter()
            .filter(|day| day.tenant_id == self.tenant_id && day.location_id == self.location_id);
        LocationRow {
            hours: own
                .map(|day| (day.weekday, day.opens, day.closes))
                .collect(),
            tenant_id: self.tenant_id,
            location_id: self.location_id,
            name: self.name,
            currency: self.currency,
            tax_basis_points: self.tax_basis_points,
            tax_rate_millionths: self.tax_rate_millionths,
            time_zone: self.time_zone,
            slot_minutes: self.slot_minutes,
            slot_capacity: self.slot_capacity,
            country: self.country,
        }
    }
}

impl LocationStore for SqliteStore {
    async fn locations(&self) -> Result<Vec<Location>, Unavailable> {
        const LOCATIONS: &str =
            "SELECT tenant_id, location_id, name, currency, tax_basis_points, tax_rate_millionths, time_zone,
                slot_minutes, slot_capacity, country
            FROM locations ORDER BY tenant_id, location_id";
        const HOURS: &str =
            "SELECT tenant_id, location_id, weekday, opens, closes FROM opening_hours";
        let rows: Vec<Row> = sqlx::query_as(LOCATIONS)
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        let hours: Vec<HoursRow> = sqlx::query_as(HOURS)
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        let read = |row: Row| {
            let shop = row.with_hours(&hours).read();
            shop.inspect_err(|error| tracing::error!(%error, "A location was left out until its row is corrected")).ok()
        };
        Ok(rows.into_iter().filter_map(read).collect())
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
        rows.into_iter()
            .map(|(starts_at, taken)| Ok((time_of(&starts_at)?, taken.unsigned_abs())))
            .collect()
    }
}

/// Counts an order in its pickup slot. Returns false if the slot is full. An order without a slot
/// needs no place.
pub async fn take_place(
    connection: &mut SqliteConnection,
    new: &NewOrder,
) -> Result<bool, sqlx::Error> {
    const TAKE: &str =
        "INSERT INTO pickup_slots (tenant_id, location_id, starts_at, taken) SELECT ?1, ?2, ?3, 1 WHERE ?4 > 0
        ON CONFLICT (tenant_id, location_id, starts_at) DO UPDATE SET taken = taken + 1 WHERE taken < ?4";
    let Some(slot) = new.slot else {
        return Ok(true);
    };
    let taken = sqlx::query(TAKE)
        .bind(new.order.tenant_id.as_str())
        .bind(new.order.location_id.as_str())
        .bind(text_of(slot.starts_at))
        .bind(i64::from(slot.capacity))
        .execute(connection)
        .await?;
    Ok(taken.rows_affected() == 1)
}

/// Frees an order's place in its pickup slot. Call this before the order gets the status
/// `cancelled` or `failed`: an order that has one of them keeps no place.
pub async fn give_back_place(
    connection: &mut SqliteConnection,
    order_id: OrderId,
) -> Result<(), sqlx::Error> {
    const GIVE_BACK: &str = "UPDATE pickup_slots SET taken = taken - 1
        WHERE (tenant_id, location_id, starts_at) IN (
            SELECT tenant_id, location_id, slot_at FROM orders
            WHERE order_id = ? AND slot_at IS NOT NULL AND status NOT IN ('cancelled', 'failed'))";
    sqlx::query(GIVE_BACK)
        .bind(order_id.to_string())
        .execute(connection)
        .await?;
    Ok(())
}
