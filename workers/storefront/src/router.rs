//! The router: one handler for each row of [`ROUTES`], behind the layers that the row asks for.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};
use contract::route::{Method, ROUTES, Route, RouteId};
use tower_http::catch_panic::CatchPanicLayer;

use crate::pages::kept_form;
use crate::ports::Ports;
use crate::state::{App, Guarded};
use crate::{access, api, openapi, pages, problem, security, shed, static_files};

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
        RouteId::ListMenu => on(method, api::menu::list::<P>),
        RouteId::ReadProduct => on(method, api::menu::one::<P>),
        RouteId::ReadCart => on(method, api::cart::show::<P>),
        RouteId::ClearCart => on(method, api::cart::clear::<P>),
        RouteId::AddCartItem => on(method, api::cart::add::<P>),
        RouteId::SetCartItem => on(method, api::cart::set::<P>),
        RouteId::RemoveCartItem => on(method, api::cart::remove::<P>),
        RouteId::ListSlots => on(method, api::slots::list::<P>),
        RouteId::ListOwnOrders => on(method, api::orders::list::<P>),
        RouteId::PlaceOrder => on(method, api::orders::place::<P>),
        RouteId::ReadOrder => on(method, api::orders::show::<P>),
        RouteId::FollowOrder => on(method, api::events::follow::<P>),
        RouteId::ReadTimeline => on(method, api::journey::show::<P>),
        RouteId::CancelOrder => on(method, api::orders::cancel::<P>),
        RouteId::ListOrders => on(method, api::admin::orders::<P>),
        RouteId::SetStatuses => on(method, api::batch::set_statuses::<P>),
        RouteId::SetStatus => on(method, api::admin::set_status::<P>),
        RouteId::ListStock => on(method, api::stock::inventory::<P>),
        RouteId::Restock => on(method, api::stock::restock::<P>),
        RouteId::AdjustStock => on(method, api::stock::adjust::<P>),
        RouteId::WriteOffStock => on(method, api::stock::write_off::<P>),
        RouteId::ReadLedger => on(method, api::ledger::entries::<P>),
        RouteId::ListSuggestions => on(method, api::ledger::suggestions::<P>),
        RouteId::ReceivePaymentEvent => on(method, api::webhook::payment::<P>),
        RouteId::OpenApi => on(method, openapi::serve),
        RouteId::MenuPage => on(method, pages::menu::show::<P>),
        RouteId::CartPage => on(method, pages::cart::show::<P>),
        RouteId::CartPageAdd => on(method, pages::cart::add::<P>),
        RouteId::CartPageSet => on(method, pages::cart::set::<P>),
        RouteId::CartPageRemove => on(method, pages::cart::remove::<P>),
        RouteId::CartPageClear => on(method, pages::cart::clear::<P>),
        RouteId::CheckoutPage => on(method, pages::checkout::show::<P>),
        RouteId::CheckoutPageOrder => on(method, pages::checkout::place::<P>),
        RouteId::CheckoutPageTimes => on(method, pages::checkout::other_day::<P>),
        RouteId::LookupPage => on(method, pages::lookup::show::<P>),
        RouteId::LookupPageFind => on(method, pages::lookup::find::<P>),
        RouteId::OrderPageOpen => on(method, pages::lookup::open::<P>),
        RouteId::OrderPage => on(method, pages::order::show::<P>),
        RouteId::OrderPageFragment => on(method, pages::order::fragment::<P>),
        RouteId::OrderPageCancel => on(method, pages::order::cancel::<P>),
        RouteId::BoardPage => on(method, pages::staff::board::<P>),
        RouteId::BoardPageFragment => on(method, pages::staff::board_fragment::<P>),
        RouteId::BoardPageSearch => on(method, pages::staff::search::<P>),
        RouteId::MailboxPage => on(method, pages::mailbox::list::<P>),
        RouteId::MailPage => on(method, pages::mailbox::mail::<P>),
        RouteId::TimelinePage => on(method, pages::staff::journey::<P>),
        RouteId::BoardPageSetStatus => on(method, pages::staff::set_status::<P>),
        RouteId::StockPage => on(method, pages::stock::show::<P>),
        RouteId::LedgerPage => on(method, pages::stock::ledger::<P>),
        RouteId::StockPageRestock => on(method, pages::stock::restock::<P>),
        RouteId::StockPageAdjust => on(method, pages::stock::adjust::<P>),
        RouteId::StockPageWriteOff => on(method, pages::stock::write_off::<P>),
        RouteId::SignInPage => on(method, pages::staff::sign_in::<P>),
        RouteId::SignInPageSubmit => on(method, pages::staff::signed_in::<P>),
        RouteId::SignOut => on(method, pages::staff::sign_out::<P>),
        RouteId::StaticFile => on(method, static_files::serve),
    }
}
