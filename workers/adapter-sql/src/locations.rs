//! `LocationStore`: the locations, and the counts of orders in their pickup slots.

use app::location::Location;
use app::ports::StoreError;
use app::ports::locations::{LocationRow, LocationStore};
use contract::cause::chain;
use domain::Timestamp;
use domain::ids::{LocationId, TenantId};

use crate::Store;
use crate::values::At;

row! {
    struct Row(LocationRow) {
        tenant_id, location_id, name, currency, tax_basis_points, tax_rate_millionths, time_zone,
        slot_minutes, slot_capacity, country
    } with hours: Vec::new()
}

/// Tenant, location, weekday, opening and closing time.
type HoursRow = (String, String, i32, i32, i32);

impl LocationStore for Store {
    async fn locations(&self) -> Result<Vec<Location>, StoreError> {
        const LOCATIONS: &str =
            "SELECT tenant_id, location_id, name, currency, tax_basis_points, tax_rate_millionths, time_zone,
                slot_minutes, slot_capacity, country
            FROM locations ORDER BY tenant_id, location_id";
        const HOURS: &str =
            "SELECT tenant_id, location_id, weekday, opens, closes FROM opening_hours";
        let rows: Vec<Row> = self.read(LOCATIONS).fetch_all().await?;
        let hours: Vec<HoursRow> = self.read(HOURS).fetch_all().await?;
        let read = |Row(mut row): Row| {
            for (tenant, location, weekday, opens, closes) in &hours {
                if *tenant == row.tenant_id && *location == row.location_id {
                    row.hours.push((*weekday, *opens, *closes));
                }
            }
            let shop = row.read();
            shop.inspect_err(|error| tracing::error!(error = %chain(error), "A location with an invalid row was skipped")).ok()
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    async fn taken(
        &self,
        tenant: &TenantId,
        location: &LocationId,
        from: Timestamp,
        before: Timestamp,
    ) -> Result<Vec<(Timestamp, u32)>, StoreError> {
        const TAKEN: &str = "SELECT starts_at, taken FROM pickup_slots
            WHERE tenant_id = $1 AND location_id = $2 AND starts_at >= $3 AND starts_at < $4 AND taken > 0
            ORDER BY starts_at";
        let query = self
            .read(TAKEN)
            .bind(tenant.as_str())
            .bind(location.as_str())
            .bind(At(from))
            .bind(At(before));
        let rows: Vec<(Timestamp, i32)> = query.fetch_all().await?;
        Ok(rows
            .into_iter()
            .map(|(starts_at, taken)| (starts_at, taken.unsigned_abs()))
            .collect())
    }
}
