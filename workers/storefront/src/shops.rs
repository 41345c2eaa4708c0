//! The locations that orders may name. Tax, opening hours and slots can change while the process
//! runs.

use std::sync::{Arc, PoisonError, RwLock};

use app::location::Location;
use app::ports::scope::Scope;
use domain::FieldError;
use domain::ids::LocationId;

/// The known locations; reading is cheap, and a change replaces all of them.
pub struct Shops(RwLock<Known>);

struct Known {
    /// The location of an order that names none.
    home: Arc<Location>,
    all: Vec<Arc<Location>>,
}

impl Shops {
    /// Creates a list with only the location that this storefront serves.
    pub fn new(home: Location) -> Shops {
        let home = Arc::new(home);
        Shops(RwLock::new(Known {
            all: vec![home.clone()],
            home,
        }))
    }

    /// Replaces the locations. A location that is missing takes no more orders. Ignores a list
    /// without the location that this storefront serves.
    pub fn replace(&self, shops: Vec<Location>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<_> = shops.into_iter().map(Arc::new).collect();
        if let Some(home) = all.iter().find(|shop| is_same(shop, &known.home)) {
            known.home = home.clone();
            known.all = all;
        }
    }

    /// Returns the location that this storefront serves.
    pub fn home(&self) -> Arc<Location> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .home
            .clone()
    }

    /// Returns the scope of staff: the orders of the location that this storefront serves.
    pub fn scope_of_staff(&self) -> Scope {
        Scope::of(&self.home())
    }

    /// Returns the scope of customers: the orders of every location of the business, because an
    /// order may name any of them.
    pub fn scope_of_customers(&self) -> Scope {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let tenant_id = known.home.tenant_id.clone();
        let ours = known.all.iter().filter(|shop| shop.tenant_id == tenant_id);
        Scope::Shops {
            location_ids: ours.map(|shop| shop.location_id.clone()).collect(),
            tenant_id,
        }
    }

    /// Returns the location with this id, of the same business, or the storefront's own location
    /// for `None`.
    ///
    /// # Errors
    /// Returns a field error when there is no such location.
    pub fn named(&self, location_id: Option<&LocationId>) -> Result<Arc<Location>, FieldError> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(id) = location_id else {
            return Ok(known.home.clone());
        };
        let ours = || {
            known
                .all
                .iter()
                .filter(|shop| shop.tenant_id == known.home.tenant_id)
        };
        ours()
            .find(|shop| shop.location_id == *id)
            .cloned()
            .ok_or_else(|| {
                let names: Vec<_> = ours().map(|shop| shop.location_id.as_str()).collect();
                FieldError::new(
                    "location_id",
                    format!("must be one of {}", names.join(", ")),
                )
            })
    }
}

fn is_same(a: &Location, b: &Location) -> bool {
    a.tenant_id == b.tenant_id && a.location_id == b.location_id
}
