//! `LocationStore` on PostgreSQL, and the counts of orders in pickup slots.

use app::location::Location;
use app::ports::Unavailable;
use app::ports::locations::{LocationRow, LocationStore};
use app::ports::orders::{NewOrder, Placement};
use domain::Timestamp;
use domain::ids::{LocationId, TenantId};
use sqlx::PgConnection;

use crate::{PostgresStore, unavailable};

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

impl LocationStore for PostgresStore {
    async fn locations(&self) -> Result<Vec<Location>, Unavailable> {
        const LOCATIONS: &str =
            "SELECT tenant_id, location_id, name, currency, tax_basis_points, tax_rate_millionths, time_zone,
                slot_minutes, slot_capacity, country
            FROM locations ORDER BY tenant_id, location_id";
        const HOURS: &str =
            "SELECT tenant_id, location_id, weekday, opens, closes FROM opening_hours";
        let rows: Vec<Row> = sqlx::query_as(LOCATIONS)
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        let hours: Vec<HoursRow> = sqlx::query_as(HOURS)
            .fetch_all(&self.pool)
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
        Ok(rows
            .into_iter()
            .map(|(starts_at, taken)| (starts_at, taken.unsigned_abs()))
            .collect())
    }
}

impl PostgresStore {
    /// Places an order and counts it in its pickup slot in one transaction. The slot comes last, so
    /// that its row is locked only until the commit.
    pub(crate) async fn place_in_slot(&self, new: &NewOrder) -> Result<Placement, Unavailable> {
        let mut transaction = self.pool.begin().await.map_err(unavailable)?;
        let placed = crate::orders::place_all(&mut transaction, std::slice::from_ref(new))
            .await
            .map_err(unavailable)?;
        if placed.is_empty() {
            transaction.rollback().await.map_err(unavailable)?;
            return self.placement(new, &placed).await;
        }
        if !take_place(&mut transaction, new)
            .await
            .map_err(unavailable)?
        {
            transaction.rollback().await.map_err(unavailable)?;
            return Ok(Placement::SlotFull);
        }
        transaction.commit().await.map_err(unavailable)?;
        Ok(Placement::Placed)
    }
}

/// Counts an order in its pickup slot. Returns false if the slot is full.
async fn take_place(connection: &mut PgConnection, new: &NewOrder) -> Result<bool, sqlx::Error> {
    const TAKE: &str = "INSERT INTO pickup_slots AS slot (tenant_id, location_id, starts_at, taken)
        SELECT $1, $2, $3, 1 WHERE $4 > 0
        ON CONFLICT (tenant_id, location_id, starts_at) DO UPDATE SET taken = slot.taken + 1 WHERE slot.taken < $4";
    let Some(slot) = new.slot else {
        return Ok(true);
    };
    let taken = sqlx::query(TAKE)
        .bind(new.order.tenant_id.as_str())
        .bind(new.order.location_id.as_str())
        .bind(slot.starts_at)
        .bind(i64::from(slot.capacity))
        .execute(connection)
        .await?;
    Ok(taken.rows_affected() == 1)
}
