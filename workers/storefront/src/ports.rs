//! What the storefront needs from outside, and the events that it reports.

use std::time::Duration;

use app::ports::access::{AuditLog, StaffTokens};
use app::ports::carts::CartStore;
use app::ports::fulfilment::FulfilmentStore;
use app::ports::journey::JourneyStore;
use app::ports::ledger::Ledger;
use app::ports::locations::LocationStore;
use app::ports::orders::OrderStore;
use app::ports::stock::{Adjustments, Catalogue, Reservations};
use app::ports::views::OrderViewReader;
use app::ports::{Backend, Source, StoreError};
use contract::dependency::Dependency;
use strum::{IntoStaticStr, VariantArray};
use tokio::time::timeout;

/// The ports that the storefront uses.
pub trait Ports: Clone + Send + Sync + 'static {
    type Orders: OrderStore
        + LocationStore
        + FulfilmentStore
        + JourneyStore
        + StaffTokens
        + AuditLog
        + Send
        + Sync
        + 'static;
    /// The parts of the stock port that the storefront's `Role` grants. No page or route can
    /// reserve, sell or release the units of an order.
    type Stock: Catalogue + Adjustments + Ledger + Reservations + Send + Sync + 'static;
    type Carts: CartStore + Send + Sync + 'static;
    type Views: OrderViewReader + Send + Sync + 'static;
    type Source: Source + Send + Sync + 'static;

    /// Returns the store of orders, locations and staff tokens.
    fn orders(&self) -> &Self::Orders;
    /// Returns the stock.
    fn stock(&self) -> &Self::Stock;
    /// Returns the store of carts.
    fn carts(&self) -> &Self::Carts;
    /// Returns the reader of order views.
    fn views(&self) -> &Self::Views;
    /// Returns the source of time and ids.
    fn source(&self) -> &Self::Source;
    /// Returns how long to wait before a retry while the circuit breaker of one of these
    /// dependencies is open, and `None` while all of them may be called.
    fn refuses(&self, needs: &[Dependency]) -> Option<Duration>;
    /// Counts a use of `key` in the store that all storefronts share, and returns the uses within
    /// `window`, this one included.
    ///
    /// Returns `None` when there is no such store or it does not answer. Then only the limits of
    /// this process apply ([`Shed::Rate`]).
    fn count(&self, _key: &str, _window: Duration) -> impl Future<Output = Option<u64>> + Send {
        std::future::ready(None)
    }
    /// Records an event for metrics.
    fn observe(&self, observation: Observation);
}

/// An event that the storefront counts.
#[derive(Debug, Clone, Copy)]
pub enum Observation {
    Accepted,
    /// A repeated order request was answered with the order that already exists.
    Replayed,
    /// A request was answered.
    Answered {
        status: u16,
        took: Duration,
    },
    /// The request was refused to protect the service.
    Shed(Shed),
    /// The request was refused because a right or a proof is missing.
    Security(SecurityEvent),
}

/// The reason for a refused request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Shed {
    /// All places and the queue are full.
    Busy,
    /// A dependency of the route is unavailable.
    Dependency,
    /// The client is over a limit.
    Rate,
    /// The body did not arrive in time.
    Slow,
}

impl Shed {
    /// Returns the value of the metric's dimension.
    pub fn code(self) -> &'static str {
        self.into()
    }
}

/// A refusal that may be a sign of an attack. Each is logged and counted in the metric
/// `SecurityEvents`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum SecurityEvent {
    /// 401: no staff token, or a token that is not accepted.
    Unauthorized,
    /// 403: the actor's role may not perform the action.
    Forbidden,
    /// 403: another site made a browser send the request.
    CrossSite,
    /// A sign-in with a token that is not accepted.
    SignInFailed,
    /// A webhook without a valid signature of the payment gateway.
    WebhookRefused,
    /// A request for an order by somebody who is not its owner, or with a number and an address
    /// that do not match.
    ForeignLookup,
    /// 429: the client is over its limit.
    OverLimit,
}

impl SecurityEvent {
    /// Every event, for the metric.
    pub const ALL: &[SecurityEvent] = <SecurityEvent as VariantArray>::VARIANTS;

    /// Returns the code for logs and for the metric's dimension.
    pub fn code(self) -> &'static str {
        self.into()
    }
}

/// The events of a response to a request with several parts, such as a list of status changes.
#[derive(Debug, Clone)]
pub struct SecurityEvents(pub Vec<SecurityEvent>);

/// Returns the answer of a store, or the error that it did not answer in time.
///
/// # Errors
/// Returns the error that names the store and the limit.
pub async fn within<T>(
    limit: Duration,
    store: Backend,
    answer: impl Future<Output = T>,
) -> Result<T, StoreError> {
    let answered = timeout(limit, answer).await;
    answered.map_err(|_| StoreError::new(store, format!("no answer in {limit:?}")))
}
