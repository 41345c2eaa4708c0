//! The locations of tenants.

use domain::hours::{Hours, SlotRule, Zone};
use domain::ids::{LocationId, TenantId};
use domain::money::{Currency, TaxRate};
use domain::phone::Country;

/// The tenant of a new installation.
pub const FIRST_TENANT: &str = "brew-haven";

/// A location that accepts orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub tenant_id: TenantId,
    pub location_id: LocationId,
    pub name: String,
    pub tax: TaxRate,
    pub currency: Currency,
    /// The country of phone numbers without a country code.
    pub country: Country,
    pub hours: Hours,
    pub slots: SlotRule,
}

impl Location {
    /// Returns the location of a new installation. The migrations insert the same one.
    pub fn initial() -> Location {
        let slug = |text: &str| text.to_owned();
        Location {
            tenant_id: TenantId::try_from(slug(FIRST_TENANT))
                .unwrap_or_else(|_| unreachable!("a legal slug")),
            location_id: LocationId::try_from(slug("main-street"))
                .unwrap_or_else(|_| unreachable!("a legal slug")),
            name: "Brew Haven, Main Street".to_owned(),
            tax: TaxRate::of_millionths(88_750),
            currency: Currency::Usd,
            country: Country::US,
            hours: Hours::always(Zone::parse("America/New_York").unwrap_or_else(|_| Zone::utc())),
            slots: SlotRule::new(15, 20).unwrap_or_else(|_| unreachable!("a legal rule")),
        }
    }
}
