//! The scope of a query: the tenant and the locations whose orders it may return.

use domain::ids::{LocationId, TenantId};
use domain::order::Order;

use crate::location::Location;

/// The locations whose orders a query may return. Every query that a person or a client can cause
/// has a scope. An order out of scope is treated as an order that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every order, for operators' commands. The storefront never uses this scope.
    Everything,
    /// The orders of some locations of one tenant.
    Shops {
        tenant_id: TenantId,
        location_ids: Vec<LocationId>,
    },
}

impl Scope {
    /// Returns the scope of one location.
    pub fn of(shop: &Location) -> Scope {
        Scope::Shops {
            tenant_id: shop.tenant_id.clone(),
            location_ids: vec![shop.location_id.clone()],
        }
    }

    /// Returns whether the location is in scope.
    pub fn includes(&self, tenant_id: &TenantId, location_id: &LocationId) -> bool {
        match self {
            Scope::Everything => true,
            Scope::Shops {
                tenant_id: tenant,
                location_ids,
            } => tenant == tenant_id && location_ids.contains(location_id),
        }
    }

    /// Returns whether the order is in scope.
    pub fn has(&self, order: &Order) -> bool {
        self.includes(&order.tenant_id, &order.location_id)
    }

    /// Returns the tenant as a query parameter. `None` selects every tenant.
    pub fn tenant(&self) -> Option<&str> {
        match self {
            Scope::Everything => None,
            Scope::Shops { tenant_id, .. } => Some(tenant_id.as_str()),
        }
    }

    /// Returns the locations as a query parameter. Empty for [`Scope::Everything`].
    pub fn locations(&self) -> Vec<String> {
        match self {
            Scope::Everything => Vec::new(),
            Scope::Shops { location_ids, .. } => {
                location_ids.iter().map(ToString::to_string).collect()
            }
        }
    }
}
