//! Locations, each with its tax rate, opening hours and pickup slots.

use domain::Timestamp;
use domain::hours::{Hours, Opening, SlotRule, Zone};
use domain::ids::{LocationId, TenantId};
use domain::money::{Currency, TaxRate};
use domain::phone::Country;
use domain::text::printable;

use super::{Backend, PortFuture, StoreError};
use crate::location::Location;

/// A location as a database stores it.
#[derive(Debug, Clone)]
pub struct LocationRow {
    pub tenant_id: String,
    pub location_id: String,
    pub name: String,
    pub currency: String,
    pub tax_basis_points: i32,
    pub tax_rate_millionths: Option<i32>,
    pub time_zone: String,
    pub slot_minutes: i32,
    pub slot_capacity: i32,
    pub country: String,
    /// Weekday (1 is Monday), opening and closing time in minutes after midnight.
    pub hours: Vec<(i32, i32, i32)>,
}

impl LocationRow {
    /// Converts the row to a location.
    ///
    /// # Errors
    /// [`StoreError`] when a column has an invalid value, for example after a manual change.
    pub fn read(self) -> Result<Location, StoreError> {
        let corrupt = |what: &str| {
            StoreError::new(
                Backend::Locations,
                format!("{} has an invalid {what}", self.location_id),
            )
        };
        let mut week = [None; 7];
        for (weekday, opens, closes) in &self.hours {
            let day = usize::try_from(weekday - 1)
                .ok()
                .and_then(|day| week.get_mut(day));
            let minutes = u16::try_from(*opens).ok().zip(u16::try_from(*closes).ok());
            let opening = minutes.and_then(|(opens, closes)| Opening::new(opens, closes).ok());
            *day.ok_or_else(|| corrupt("weekday"))? =
                Some(opening.ok_or_else(|| corrupt("opening hours"))?);
        }
        let rule = u16::try_from(self.slot_minutes)
            .ok()
            .zip(u32::try_from(self.slot_capacity).ok());
        let rule = rule.and_then(|(minutes, capacity)| SlotRule::new(minutes, capacity).ok());
        Ok(Location {
            tenant_id: TenantId::parse(&self.tenant_id).map_err(|_| corrupt("tenant"))?,
            location_id: LocationId::parse(&self.location_id).map_err(|_| corrupt("id"))?,
            currency: Currency::from_code(&self.currency).ok_or_else(|| corrupt("currency"))?,
            tax: self.tax()?,
            hours: Hours {
                zone: Zone::parse(&self.time_zone).map_err(|_| corrupt("time zone"))?,
                week,
            },
            slots: rule.ok_or_else(|| corrupt("slot rule"))?,
            country: Country::parse(&self.country).map_err(|_| corrupt("country"))?,
            name: printable(&self.name),
        })
    }
}

impl LocationRow {
    /// Returns the tax rate.
    ///
    /// # Errors
    /// [`StoreError`] when one of the two columns is not between 0 % and 50 %, or when their values
    /// are different rates. A wrong rate must not reach a bill.
    fn tax(&self) -> Result<TaxRate, StoreError> {
        let legal = |rate: &TaxRate| rate.millionths() <= TaxRate::MAX.millionths();
        let read =
            |units: i32, of: fn(u32) -> TaxRate| u32::try_from(units).ok().map(of).filter(legal);
        let rounded = read(self.tax_basis_points, TaxRate::of_basis_points);
        let exact = match self.tax_rate_millionths {
            None => rounded,
            Some(millionths) => read(millionths, TaxRate::of_millionths),
        };
        let wrong = match (rounded, exact) {
            (Some(rounded), Some(exact)) if exact.basis_points() == rounded.basis_points() => {
                return Ok(exact);
            }
            (Some(_), Some(_)) => "has two different values",
            (None, _) | (_, None) => "is not between 0 % and 50 %",
        };
        let millionths = self
            .tax_rate_millionths
            .map_or("none".to_owned(), |millionths| millionths.to_string());
        let message = format!(
            "the tax rate of {} {wrong}: tax_basis_points {}, tax_rate_millionths {millionths}; set tax_rate_millionths \
             in its row of the table locations (88750 are 8.875 %)",
            self.location_id, self.tax_basis_points
        );
        Err(StoreError::new(Backend::Locations, message))
    }
}

/// The store of locations.
pub trait LocationStore: Send + Sync {
    /// Returns every location, sorted by id. A location with an invalid row is logged and left out,
    /// so that the other locations stay open.
    fn locations(&self) -> impl PortFuture<Vec<Location>>;

    /// Returns the number of orders in each pickup slot that starts at or after `from` and before
    /// `before`. Slots without orders are left out.
    fn taken(
        &self,
        tenant: &TenantId,
        location: &LocationId,
        from: Timestamp,
        before: Timestamp,
    ) -> impl PortFuture<Vec<(Timestamp, u32)>>;
}

#[cfg(test)]
mod tests {
    use contract::cause::chain;

    use super::*;

    fn main_street(tax_basis_points: i32, tax_rate_millionths: Option<i32>) -> LocationRow {
        LocationRow {
            tenant_id: "brew-haven".to_owned(),
            location_id: "main-street".to_owned(),
            name: "Main Street".to_owned(),
            currency: "USD".to_owned(),
            tax_basis_points,
            tax_rate_millionths,
            time_zone: "America/New_York".to_owned(),
            slot_minutes: 15,
            slot_capacity: 20,
            country: "US".to_owned(),
            hours: Vec::new(),
        }
    }

    #[test]
    fn a_rate_outside_0_to_50_percent_is_refused_when_it_is_read() {
        let tax = |basis_points, millionths| {
            main_street(basis_points, millionths)
                .read()
                .map(|shop| shop.tax)
        };
        assert_eq!(tax(888, Some(88_750)), Ok(TaxRate::of_millionths(88_750)));
        assert_eq!(tax(5_000, None), Ok(TaxRate::MAX));
        for (basis_points, millionths) in [
            (-1, None),
            (5_001, None),
            (5_000, Some(500_001)),
            (888, Some(-1)),
            (88_750, None),
            (888, Some(600_000)),
            (6_000, Some(88_750)),
            (i32::MAX, Some(88_750)),
        ] {
            let refused = chain(&tax(basis_points, millionths).expect_err("out of range"));
            assert!(
                refused.contains("main-street") && refused.contains("between 0 % and 50 %"),
                "{refused}"
            );
        }
        for (basis_points, millionths) in [(888, 45_000), (887, 88_750), (0, 88_750)] {
            let refused = chain(&tax(basis_points, Some(millionths)).expect_err("two rates"));
            assert!(
                refused.contains("main-street") && refused.contains("two different values"),
                "{refused}"
            );
        }
    }
}
