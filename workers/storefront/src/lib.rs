//! The storefront: the JSON API and the server-rendered pages over the same use cases.
//!
//! The crate is generic over its ports, so that tests run it on fakes. Business rules are not here:
//! a handler validates the request, calls a use case and renders the result.

mod access;
mod api;
mod audit;
mod fields;
pub mod keys;
mod menu;
mod openapi;
mod pages;
mod problem;
mod rates;
mod router;
mod security;
pub mod server;
mod session;
mod shed;
mod shops;
pub mod signature;
pub mod staff;
mod static_files;
mod tracking;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use app::ports::Source;
use app::ports::access::{AuditLog, StaffTokens};
use app::ports::carts::CartStore;
use app::ports::fulfilment::FulfilmentStore;
use app::ports::journey::JourneyStore;
use app::ports::ledger::Ledger;
use app::ports::locations::LocationStore;
use app::ports::mailbox::Mailbox;
use app::ports::orders::OrderStore;
use app::ports::scope::Scope;
use app::ports::stock::{Adjustments, Catalogue, Reservations};
use app::ports::views::OrderViewReader;
use app::use_cases::Maker;
use axum::Router;
use contract::dependency::Dependency;
use domain::Timestamp;
use keys::Keys;
pub use security::SecurityEvent;
pub use shed::Shed;
pub use shops::Shops;
use tokio_util::sync::CancellationToken;

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

    fn orders(&self) -> &Self::Orders;
    fn stock(&self) -> &Self::Stock;
    fn carts(&self) -> &Self::Carts;
    fn views(&self) -> &Self::Views;
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

/// Configuration of a storefront. The comment of a field says when its value can change while the
/// process runs.
#[derive(Clone)]
pub struct Settings {
    /// The locations that take orders; replaced while the process runs.
    pub shops: Arc<Shops>,
    /// The keys that sign staff tokens and session cookies.
    pub signing_key: Keys,
    /// Ids of revoked staff tokens; read again while the process runs.
    pub revoked: staff::Revoked,
    /// The webhook secret, shared with the payment gateway.
    pub webhook_secret: Keys,
    /// Sets `Secure` on cookies, so that browsers send them over TLS only. False on a laptop, which
    /// has no TLS.
    pub secure_cookies: bool,
    /// The live parameter `order/max_queue_size`.
    pub pending_max: Arc<AtomicU64>,
    /// Orders per minute from one address; 0 turns the limit off.
    pub orders_per_minute: u32,
    /// Number of proxies in front of the storefront that append the address of their peer to
    /// `X-Forwarded-For`.
    pub trusted_proxies: usize,
    /// The mails and texts that a local AWS keeps instead of sending. `None` on AWS, where the page
    /// answers 404.
    pub mailbox: Option<Arc<dyn Mailbox>>,
    /// Ends event streams when the process shuts down.
    pub shutdown: CancellationToken,
    /// The clock for code that has no port at hand, such as the expiry of sessions.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// The state that every handler receives.
pub struct App<P: Ports> {
    ports: P,
    settings: Arc<Settings>,
    menu: menu::Menu,
    taken: Arc<api::TakenPlaces>,
    watchers: Arc<api::events::Watchers>,
    admission: Arc<shed::Admission>,
    rates: Arc<rates::Rates>,
}

impl<P: Ports> Clone for App<P> {
    fn clone(&self) -> Self {
        Self {
            ports: self.ports.clone(),
            settings: self.settings.clone(),
            menu: self.menu.clone(),
            taken: self.taken.clone(),
            watchers: self.watchers.clone(),
            admission: self.admission.clone(),
            rates: self.rates.clone(),
        }
    }
}

impl<P: Ports> App<P> {
    fn maker(&self) -> Maker {
        Maker {
            role: contract::role::STOREFRONT.slug,
            version: env!("CARGO_PKG_VERSION"),
            traceparent: chassis::trace::current(),
        }
    }

    /// Returns the scope of staff: the orders that a member of staff may see at most. See
    /// [`Shops`].
    fn staff_scope(&self) -> Scope {
        self.settings.shops.scope_of_staff()
    }

    /// Returns the scope of customers. See [`Shops`].
    fn customer_scope(&self) -> Scope {
        self.settings.shops.scope_of_customers()
    }

    /// Returns the current value of `order/max_queue_size`.
    fn pending_max(&self) -> u64 {
        self.settings.pending_max.load(Ordering::Relaxed)
    }
}

/// Returns all routes with their middleware: limits, access checks, headers and error bodies.
pub fn router<P: Ports>(ports: P, settings: Settings) -> Router {
    let app = App {
        ports,
        rates: Arc::new(rates::Rates::new(&settings)),
        settings: Arc::new(settings),
        menu: menu::Menu::default(),
        taken: Arc::default(),
        watchers: Arc::default(),
        admission: Arc::default(),
    };
    router::router(&app)
}

/// Returns the SHA-256 of `bytes` in lower-case hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    hash.as_ref()
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Returns 128 random bits as URL-safe Base64 (22 characters).
fn random_token() -> String {
    use base64::Engine as _;
    let mut bytes = [0u8; 16];
    // The system's random source does not fail after it was initialized. A panic is better than a
    // token that somebody can guess.
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes),
        Err(_) => panic!("the system has no random numbers"),
    }
}
