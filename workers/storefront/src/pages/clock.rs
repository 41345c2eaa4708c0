//! Times on pages, on the clock of a location.

use domain::Timestamp;
use domain::hours::Zone;
use domain::order::Order;

use crate::ports::Ports;
use crate::state::App;

/// The clock and the calendar of a location at one moment.
pub struct Clock {
    zone: Zone,
    now: Timestamp,
}

impl Clock {
    /// Returns the clock of an order's location.
    pub fn of<P: Ports>(app: &App<P>, order: &Order) -> Clock {
        let shops = &app.settings.shops;
        // An order of a location that was removed uses the storefront's own clock.
        let shop = shops
            .named(Some(&order.location_id))
            .unwrap_or_else(|_| shops.home());
        Clock {
            zone: shop.hours.zone.clone(),
            now: app.now(),
        }
    }

    /// Returns a time as text, with its date if that is not today.
    pub fn text(&self, at: Timestamp) -> String {
        self.zone.time_text(at, self.now)
    }
}

/// Returns a time as text on the clock of the storefront's own location.
pub fn time_of<P: Ports>(app: &App<P>, at: Timestamp) -> String {
    app.settings
        .shops
        .home()
        .hours
        .zone
        .time_text(at, app.now())
}
