//! Where orders are taken: each location with its tax, its hours and its pick-up slots.

use std::future::Future;

use domain::Timestamp;
use domain::hours::{Hours, Opening, SlotRule, Zone};
use domain::ids::{LocationId, TenantId};
use domain::money::{Currency, TaxRate};
use domain::phone::Country;

use super::Unavailable;
use crate::use_cases::Shop;

/// A location as a database keeps it.
#[derive(Debug, Clone)]
pub struct LocationRow {
    pub tenant_id: String,
    pub location_id: String,
    pub name: String,
    pub currency: String,
    pub tax_basis_points: i32,
    pub time_zone: String,
    pub slot_minutes: i32,
    pub slot_capacity: i32,
    pub country: String,
    /// Weekday (Monday is 1), opening and closing in minutes since midnight.
    pub hours: Vec<(i32, i32, i32)>,
}

impl LocationRow {
    /// # Errors
    /// When something that is kept makes no sense: somebody wrote it by hand.
    pub fn read(self) -> Result<Shop, Unavailable> {
        let corrupt = |what: &str| Unavailable::new("locations", format!("{} has no legal {what}", self.location_id));
        let mut week = [None; 7];
        for (weekday, opens, closes) in &self.hours {
            let day = usize::try_from(weekday - 1).ok().and_then(|day| week.get_mut(day));
            let minutes = u16::try_from(*opens).ok().zip(u16::try_from(*closes).ok());
            let opening = minutes.and_then(|(opens, closes)| Opening::new(opens, closes).ok());
            *day.ok_or_else(|| corrupt("weekday"))? = Some(opening.ok_or_else(|| corrupt("opening hours"))?);
        }
        let rule = u16::try_from(self.slot_minutes).ok().zip(u32::try_from(self.slot_capacity).ok());
        let rule = rule.and_then(|(minutes, capacity)| SlotRule::new(minutes, capacity).ok());
        let rate = u32::try_from(self.tax_basis_points).map_err(|_| corrupt("tax rate"))?;
        Ok(Shop {
            tenant_id: TenantId::parse(&self.tenant_id).map_err(|_| corrupt("tenant"))?,
            location_id: LocationId::parse(&self.location_id).map_err(|_| corrupt("id"))?,
            currency: Currency::from_code(&self.currency).ok_or_else(|| corrupt("currency"))?,
            tax: TaxRate { basis_points: rate },
            hours: Hours { zone: Zone::parse(&self.time_zone).map_err(|_| corrupt("time zone"))?, week },
            slots: rule.ok_or_else(|| corrupt("pick-up slots"))?,
            country: Country::parse(&self.country).map_err(|_| corrupt("country"))?,
            name: self.name,
        })
    }
}

pub trait LocationStore: Send + Sync {
    /// Every location, in the order of their ids.
    fn locations(&self) -> impl Future<Output = Result<Vec<Shop>, Unavailable>> + Send;

    /// The places taken in the slots that start from then on and before then. A slot without any is left out.
    fn taken(
        &self,
        tenant: &TenantId,
        location: &LocationId,
        from: Timestamp,
        before: Timestamp,
    ) -> impl Future<Output = Result<Vec<(Timestamp, u32)>, Unavailable>> + Send;
}
