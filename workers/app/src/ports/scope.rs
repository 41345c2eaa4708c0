//! Whose orders a query may return.

use domain::ids::{LocationId, TenantId};
use domain::order::Order;

use crate::use_cases::Shop;

/// The shops whose orders somebody may see. Every query that a person or a client can reach carries
/// one, and returns nothing of another tenant or location: an order out of scope does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Operators' commands, which look after the whole database. Never in the storefront.
    Everything,
    Shops {
        tenant_id: TenantId,
        location_ids: Vec<LocationId>,
    },
}

impl Scope {
    /// One location.
    pub fn of(shop: &Shop) -> Scope {
        Scope::Shops {
            tenant_id: shop.tenant_id.clone(),
            location_ids: vec![shop.location_id.clone()],
        }
    }

    pub fn includes(&self, tenant_id: &TenantId, location_id: &LocationId) -> bool {
        match self {
            Scope::Everything => true,
            Scope::Shops {
                tenant_id: tenant,
                location_ids,
            } => tenant == tenant_id && location_ids.contains(location_id),
        }
    }

    pub fn has(&self, order: &Order) -> bool {
        self.includes(&order.tenant_id, &order.location_id)
    }

    /// As a statement takes it: `None` for everything.
    pub fn tenant(&self) -> Option<&str> {
        match self {
            Scope::Everything => None,
            Scope::Shops { tenant_id, .. } => Some(tenant_id.as_str()),
        }
    }

    /// As a statement takes it; empty for everything.
    pub fn locations(&self) -> Vec<String> {
        match self {
            Scope::Everything => Vec::new(),
            Scope::Shops { location_ids, .. } => {
                location_ids.iter().map(ToString::to_string).collect()
            }
        }
    }
}
