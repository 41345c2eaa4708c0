//! The order view: what a customer's list of orders shows, apart from the orders themselves.
//!
//! It is derived and may be late or gone; nothing that is written is decided on it (docs/adr/0012).

use std::future::Future;
use std::time::Duration;

use domain::Timestamp;
use domain::ids::OrderId;
use serde::{Deserialize, Serialize};
use time::serde::rfc3339;

use super::Unavailable;
use super::orders::StoredOrder;
use super::scope::Scope;

/// An order is in the view for so long after it was placed.
pub const SHOWN: Duration = Duration::from_secs(90 * 24 * 3600);

/// One order as its customer's list shows it. Names, addresses and cards are left where they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    pub order_id: OrderId,
    pub order_number: String,
    /// Whose it is; `None` for an order that came without a session, which is in nobody's list.
    #[serde(skip)]
    pub session_hash: Option<String>,
    /// `None` in views from before they had it; their location still tells them apart.
    #[serde(skip)]
    pub tenant_id: Option<String>,
    pub location_id: String,
    pub order_type: String,
    pub status: String,
    pub step: String,
    /// The order's own: of two views the one with the greater is the newer.
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewItem {
    pub product_id: String,
    pub name: String,
    pub quantity: u32,
    pub unit_price_minor: i64,
}

impl OrderView {
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

pub trait OrderViews: Send + Sync {
    /// Shows orders as they are in `views`, each unless it is shown in this version or a newer one
    /// already. One result a view, in order.
    fn show(
        &self,
        views: &[OrderView],
    ) -> impl Future<Output = Vec<Result<(), Unavailable>>> + Send;

    /// The version in which an order is shown; `None` for one that is not.
    fn shown_version(
        &self,
        order_id: OrderId,
    ) -> impl Future<Output = Result<Option<i64>, Unavailable>> + Send;

    /// A session's orders in scope, newest first, at most `limit`, only those created before
    /// `before`.
    fn of_session(
        &self,
        scope: &Scope,
        session_hash: &str,
        limit: u32,
        before: Option<OrderId>,
    ) -> impl Future<Output = Result<Vec<OrderView>, Unavailable>> + Send;
}

/// Reading the order view, for a role that does not write it.
pub trait OrderViewReader: Send + Sync {
    /// As [`OrderViews::of_session`].
    fn of_session(
        &self,
        scope: &Scope,
        session_hash: &str,
        limit: u32,
        before: Option<OrderId>,
    ) -> impl Future<Output = Result<Vec<OrderView>, Unavailable>> + Send;
}

impl<T: OrderViews> OrderViewReader for T {
    fn of_session(
        &self,
        scope: &Scope,
        session_hash: &str,
        limit: u32,
        before: Option<OrderId>,
    ) -> impl Future<Output = Result<Vec<OrderView>, Unavailable>> + Send {
        OrderViews::of_session(self, scope, session_hash, limit, before)
    }
}
