//! The state that the handlers of all routes share.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use app::ports::Source as _;
use app::ports::scope::Scope;
use app::use_cases::Maker;
use contract::route::Route;
use domain::Timestamp;

use crate::admission::Admission;
use crate::followers::Watchers;
use crate::menu::Menu;
use crate::ports::Ports;
use crate::rates::Rates;
use crate::settings::Settings;
use crate::taken_places::TakenPlaces;

/// The state that every handler receives.
#[derive(Clone)]
pub struct App<P: Ports> {
    pub ports: P,
    pub settings: Arc<Settings>,
    pub menu: Menu,
    pub taken: Arc<TakenPlaces>,
    pub watchers: Arc<Watchers>,
    pub admission: Arc<Admission>,
    pub rates: Arc<Rates>,
}

impl<P: Ports> App<P> {
    /// Creates the state of a storefront without orders in flight.
    pub fn new(ports: P, settings: Settings) -> App<P> {
        App {
            ports,
            rates: Arc::new(Rates::new(&settings)),
            settings: Arc::new(settings),
            menu: Menu::default(),
            taken: Arc::default(),
            watchers: Arc::default(),
            admission: Arc::default(),
        }
    }

    /// Returns the store of orders, locations and staff tokens.
    pub fn orders(&self) -> &P::Orders {
        self.ports.orders()
    }

    /// Returns the stock.
    pub fn stock(&self) -> &P::Stock {
        self.ports.stock()
    }

    /// Returns the store of carts.
    pub fn carts(&self) -> &P::Carts {
        self.ports.carts()
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        self.ports.source().now()
    }

    /// Returns the sender of the messages that this process writes.
    pub fn maker(&self) -> Maker {
        Maker {
            role: contract::role::STOREFRONT.slug,
            version: env!("CARGO_PKG_VERSION"),
            traceparent: chassis::trace::current(),
        }
    }

    /// Returns the scope of staff: the orders that a member of staff may see at most. See
    /// [`Shops`].
    pub fn staff_scope(&self) -> Scope {
        self.settings.shops.scope_of_staff()
    }

    /// Returns the scope of customers. See [`Shops`].
    pub fn customer_scope(&self) -> Scope {
        self.settings.shops.scope_of_customers()
    }

    /// Returns the current value of `order/max_queue_size`.
    pub fn pending_max(&self) -> u64 {
        self.settings.pending_max.load(Ordering::Relaxed)
    }
}

/// A route with the state of the application, for the layers in front of its handler.
#[derive(Clone)]
pub struct Guarded<P: Ports> {
    /// The state.
    pub app: App<P>,
    /// The row of the route.
    pub route: &'static Route,
}
