//! The router: one handler for each row of [`ROUTES`], behind the layers that the row asks for.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};
use contract::route::{Method, ROUTES, Route, RouteId};
use tower_http::catch_panic::CatchPanicLayer;

use crate::api::{admin, batch, cart, events, journey, ledger, menu, orders, slots, webhook};
use crate::pages::{customer, kept_form, lookup, mailbox, staff, stock};
use crate::{App, Ports, access, openapi, problem, security, shed, static_files};

/// A route with the state of the application, for the layers in front of its handler.
pub struct Guarded<P: Ports> {
    /// The state.
    pub app: App<P>,
    /// The row of the route.
    pub route: &'static Route,
}

impl<P: Ports> Clone for Guarded<P> {
    fn clone(&self) -> Self {
        Self {
            app: self.app.clone(),
            route: self.route,
        }
    }
}

/// Returns all routes with their layers.
pub fn router<P: Ports>(app: &App<P>) -> Router {
    ROUTES
        .iter()
        .fold(Router::new(), |router, route| {
            router.route(route.path, guarded(app, route))
        })
        .fallback(problem::no_such_page)
        .layer(from_fn_with_state(app.clone(), security::outermost))
        .with_state(app.clone())
}

/// Returns the handler of a route behind its layers. The layer that is added last runs first.
fn guarded<P: Ports>(app: &App<P>, route: &'static Route) -> MethodRouter<App<P>> {
    let guarded = Guarded {
        app: app.clone(),
        route,
    };
    let handler = handler(route)
        .route_layer(CatchPanicLayer::custom(security::panicked))
        .route_layer(from_fn_with_state(guarded.clone(), shed::guard));
    let handler = if kept_form::is_form(route.id) {
        handler.route_layer(from_fn_with_state(guarded.clone(), kept_form::keep))
    } else {
        handler
    };
    handler.route_layer(from_fn_with_state(guarded, access::check))
}

/// Returns the handler of a route for the route's method.
fn handler<P: Ports>(route: &Route) -> MethodRouter<App<P>> {
    let method = match route.method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Delete => MethodFilter::DELETE,
    };
    match route.id {
        RouteId::ListMenu => on(method, menu::list::<P>),
        RouteId::ReadProduct => on(method, menu::one::<P>),
        RouteId::ReadCart => on(method, cart::show::<P>),
        RouteId::ClearCart => on(method, cart::clear::<P>),
        RouteId::AddCartItem => on(method, cart::add::<P>),
        RouteId::SetCartItem => on(method, cart::set::<P>),
        RouteId::RemoveCartItem => on(method, cart::remove::<P>),
        RouteId::ListSlots => on(method, slots::list::<P>),
        RouteId::ListOwnOrders => on(method, orders::list::<P>),
        RouteId::PlaceOrder => on(method, orders::place::<P>),
        RouteId::ReadOrder => on(method, orders::show::<P>),
        RouteId::FollowOrder => on(method, events::follow::<P>),
        RouteId::ReadTimeline => on(method, journey::show::<P>),
        RouteId::CancelOrder => on(method, orders::cancel::<P>),
        RouteId::ListOrders => on(method, admin::orders::<P>),
        RouteId::SetStatuses => on(method, batch::set_statuses::<P>),
        RouteId::SetStatus => on(method, admin::set_status::<P>),
        RouteId::ListStock => on(method, admin::inventory::<P>),
        RouteId::Restock => on(method, admin::restock::<P>),
        RouteId::AdjustStock => on(method, admin::adjust::<P>),
        RouteId::WriteOffStock => on(method, admin::write_off::<P>),
        RouteId::ReadLedger => on(method, ledger::entries::<P>),
        RouteId::ListSuggestions => on(method, ledger::suggestions::<P>),
        RouteId::ReceivePaymentEvent => on(method, webhook::payment::<P>),
        RouteId::OpenApi => on(method, openapi::serve),
        RouteId::MenuPage => on(method, customer::show_menu::<P>),
        RouteId::CartPage => on(method, customer::cart::<P>),
        RouteId::CartPageAdd => on(method, customer::add::<P>),
        RouteId::CartPageSet => on(method, customer::set::<P>),
        RouteId::CartPageRemove => on(method, customer::remove::<P>),
        RouteId::CartPageClear => on(method, customer::clear::<P>),
        RouteId::CheckoutPage => on(method, customer::checkout::<P>),
        RouteId::CheckoutPageOrder => on(method, customer::place::<P>),
        RouteId::CheckoutPageTimes => on(method, customer::other_day::<P>),
        RouteId::LookupPage => on(method, lookup::lookup::<P>),
        RouteId::LookupPageFind => on(method, lookup::find::<P>),
        RouteId::OrderPageOpen => on(method, lookup::open::<P>),
        RouteId::OrderPage => on(method, customer::order::<P>),
        RouteId::OrderPageFragment => on(method, customer::order_fragment::<P>),
        RouteId::OrderPageCancel => on(method, customer::cancel::<P>),
        RouteId::BoardPage => on(method, staff::board::<P>),
        RouteId::BoardPageFragment => on(method, staff::board_fragment::<P>),
        RouteId::BoardPageSearch => on(method, staff::search::<P>),
        RouteId::MailboxPage => on(method, mailbox::list::<P>),
        RouteId::MailPage => on(method, mailbox::mail::<P>),
        RouteId::TimelinePage => on(method, staff::journey::<P>),
        RouteId::BoardPageSetStatus => on(method, staff::set_status::<P>),
        RouteId::StockPage => on(method, stock::stock::<P>),
        RouteId::LedgerPage => on(method, stock::ledger::<P>),
        RouteId::StockPageRestock => on(method, stock::restock::<P>),
        RouteId::StockPageAdjust => on(method, stock::adjust::<P>),
        RouteId::StockPageWriteOff => on(method, stock::write_off::<P>),
        RouteId::SignInPage => on(method, staff::sign_in::<P>),
        RouteId::SignInPageSubmit => on(method, staff::signed_in::<P>),
        RouteId::SignOut => on(method, staff::sign_out::<P>),
        RouteId::StaticFile => on(method, static_files::serve),
    }
}
