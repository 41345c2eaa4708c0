//! The order view, from which a customer's list of orders is read.
//!
//! The view is derived from the orders, can lag behind them and can be rebuilt. No decision depends
//! on it (docs/adr/0012).

use std::time::Duration;

use domain::Timestamp;
use domain::ids::OrderId;
use serde::{Deserialize, Serialize};
use time::serde::rfc3339;

use super::orders::StoredOrder;
use super::scope::Scope;
use super::{PortFuture, StoreError};

/// Time from the placement of an order until its view expires.
pub const SHOWN: Duration = Duration::from_secs(90 * 24 * 3600);

/// An order in the list of its customer. The view contains no name, address or card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    pub order_id: OrderId,
    pub order_number: String,
    /// SHA-256 of the session, in hexadecimal. `None` for an order without a session, which is in
    /// no list.
    #[serde(skip)]
    pub session_hash: Option<String>,
    /// The tenant. `None` in views from before the release that stores it; only their location is
    /// compared with the scope.
    #[serde(skip)]
    pub tenant_id: Option<String>,
    pub location_id: String,
    pub order_type: String,
    pub status: String,
    pub step: String,
    /// The version of the order. Of two views, the one with the greater version is newer.
    pub version: i64,
    pub items: Vec<ViewItem>,
    pub total_minor: i64,
    pub currency: String,
    #[serde(with = "rfc3339::option")]
    pub pickup_at: Option<Timestamp>,
    pub reason: Option<String>,
    #[serde(with = "rfc3339")]
    pub created_at: Timestamp,
    #[serde(with = "rfc3339")]
    pub updated_at: Timestamp,
}

/// A product in an order view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewItem {
    pub product_id: String,
    pub name: String,
    pub quantity: u32,
    pub unit_price_minor: i64,
}

impl OrderView {
    /// Returns the view of an order.
    pub fn of(stored: &StoredOrder) -> OrderView {
        let order = &stored.order;
        let item = |item: &domain::order::Item| ViewItem {
            product_id: item.product_id.to_string(),
            name: item.name.clone(),
            quantity: item.quantity.get(),
            unit_price_minor: item.unit_price.minor,
        };
        OrderView {
            order_id: order.order_id,
            order_number: order.order_number.clone(),
            session_hash: stored.session_hash.clone(),
            tenant_id: Some(order.tenant_id.to_string()),
            location_id: order.location_id.to_string(),
            order_type: order.order_type.code().to_owned(),
            status: order.status.code().to_owned(),
            step: order.state.step().code().to_owned(),
            version: order.version,
            items: order.items.iter().map(item).collect(),
            total_minor: order.totals.total.minor,
            currency: order.totals.total.currency.code().to_owned(),
            pickup_at: order.pickup_at,
            reason: order.reason.clone(),
            created_at: order.created_at,
            updated_at: order.updated_at,
        }
    }
}

impl OrderView {
    /// Returns whether the order is in scope.
    pub fn is_in(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Everything => true,
            Scope::Shops {
                tenant_id,
                location_ids,
            } => {
                let ours = self
                    .tenant_id
                    .as_deref()
                    .is_none_or(|tenant| tenant == tenant_id.as_str());
                ours && location_ids
                    .iter()
                    .any(|location| location.as_str() == self.location_id)
            }
        }
    }
}

/// Read access to order views.
pub trait OrderViewReader: Send + Sync {
    /// Returns at most `limit` orders of a session in scope, newest first, created before the order
    /// `before`.
    fn of_session(
        &self,
        scope: &Scope,
        session_hash: &str,
        limit: u32,
        before: Option<OrderId>,
    ) -> impl PortFuture<Vec<OrderView>>;
}

/// The store of order views.
pub trait OrderViews: OrderViewReader {
    /// Writes views. A view is skipped when the stored one has the same version or a newer one.
    /// Returns one result for each view, in the same order.
    fn show(&self, views: &[OrderView])
    -> impl Future<Output = Vec<Result<(), StoreError>>> + Send;

    /// Returns the version of the stored view of an order. `None` when there is none.
    fn shown_version(&self, order_id: OrderId) -> impl PortFuture<Option<i64>>;
}
