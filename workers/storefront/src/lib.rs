//! The storefront: JSON API and server-rendered pages over the same use-cases.
//!
//! Generic over its ports, so that tests run it on fakes. It decides nothing about orders: it
//! checks input, asks a use-case, and puts the answer into words.

pub mod access;
mod api;
mod audit;
mod fields;
pub mod keys;
mod menu;
mod openapi;
mod pages;
mod problem;
mod rates;
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

/// What the storefront needs of the world.
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
    /// No more of the stock than its `Role` grants: no page or route can hold, sell or release the
    /// units of an order.
    type Stock: Catalogue + Adjustments + Ledger + Reservations + Send + Sync + 'static;
    type Carts: CartStore + Send + Sync + 'static;
    type Views: OrderViewReader + Send + Sync + 'static;
    type Source: Source + Send + Sync + 'static;

    fn orders(&self) -> &Self::Orders;
    fn stock(&self) -> &Self::Stock;
    fn carts(&self) -> &Self::Carts;
    fn views(&self) -> &Self::Views;
    fn source(&self) -> &Self::Source;
    /// While something of these is left alone because it fails: after how long to ask again.
    fn refuses(&self, needs: &[Dependency]) -> Option<Duration>;
    /// Counts in the store that storefronts share: how often `key` was counted within `window`,
    /// this time included. `None` where there is no such store, or it does not answer: then each
    /// storefront's own limits hold.
    fn count(&self, _key: &str, _window: Duration) -> impl Future<Output = Option<u64>> + Send {
        std::future::ready(None)
    }
    /// Something worth counting happened.
    fn observe(&self, observation: Observation);
}

/// What is worth counting.
#[derive(Debug, Clone, Copy)]
pub enum Observation {
    Accepted,
    Replayed,
    Answered {
        status: u16,
        took: Duration,
    },
    /// Turned away to protect the rest.
    Shed(Shed),
    /// Refused for want of a right.
    Security(SecurityEvent),
}

/// What does not change while it runs, and what is read live.
#[derive(Clone)]
pub struct Settings {
    /// The locations that take orders, read live.
    pub shops: Arc<Shops>,
    /// Signs staff tokens.
    pub signing_key: Keys,
    /// Staff tokens that are not accepted any more, read live.
    pub revoked: staff::Revoked,
    /// Shared with the payment gateway.
    pub webhook_secret: Keys,
    /// Browsers send cookies over TLS only. Off on a laptop, where there is none.
    pub secure_cookies: bool,
    /// `order/max_queue_size`, read live.
    pub pending_max: Arc<AtomicU64>,
    /// Orders a minute from one address; 0 for no limit.
    pub orders_per_minute: u32,
    /// Proxies before us that add to `X-Forwarded-For`, each the address of whoever spoke to it.
    pub trusted_proxies: usize,
    /// What was sent to customers, where a local AWS keeps it. `None` on AWS, and then the page is
    /// not there.
    pub mailbox: Option<Arc<dyn Mailbox>>,
    pub shutdown: CancellationToken,
    /// Tells the time where no port is at hand: sessions end by it.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// The state of every handler.
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

    /// Whose orders whoever asks may see, at most: see [`Shops`].
    fn staff_scope(&self) -> Scope {
        self.settings.shops.scope_of_staff()
    }

    fn customer_scope(&self) -> Scope {
        self.settings.shops.scope_of_customers()
    }

    fn pending_max(&self) -> u64 {
        self.settings.pending_max.load(Ordering::Relaxed)
    }
}

/// All routes, with everything around them: limits, headers, errors.
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
    let routes = api::routes::<P>()
        .merge(pages::routes::<P>())
        .fallback(problem::no_such_page);
    security::around(routes, app.clone()).with_state(app)
}

/// SHA-256 in hex.
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

/// 128 random bits, as text that fits into a URL.
fn random_token() -> String {
    use base64::Engine as _;
    let mut bytes = [0u8; 16];
    // The system's random source does not fail once it has worked; a token that is not random must
    // not be given out.
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes),
        Err(_) => panic!("the system has no random numbers"),
    }
}
