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
    /// A row of `locations`, without the opening hours.
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
}

row! {
    struct HoursRow {
        tenant_id: String,
        location_id: String,
        weekday: i32,
        opens: i32,
        closes: i32,
    }
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
        let read = |row: Row| {
            let shop = row.with_hours(&hours).read();
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
