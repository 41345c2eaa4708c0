//! The HTTP routes of the storefront: which exist, who may use them and what limits them.
//!
//! The storefront builds its router and its OpenAPI document from [`ROUTES`], and the template of
//! the API gateway takes its methods from there. A route is a variant of [`RouteId`] and a row of
//! [`ROUTES`]; the storefront does not compile until the variant has a handler.

use domain::access::Action;

use crate::dependency::Dependency::{self, Database, Stock};

/// The identity of a [`Route`]. The storefront matches on it exhaustively to find the handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteId {
    ListMenu,
    ReadProduct,
    ReadCart,
    ClearCart,
    AddCartItem,
    SetCartItem,
    RemoveCartItem,
    ListSlots,
    ListOwnOrders,
    PlaceOrder,
    ReadOrder,
    FollowOrder,
    ReadTimeline,
    CancelOrder,
    ListOrders,
    SetStatuses,
    SetStatus,
    ListStock,
    Restock,
    AdjustStock,
    WriteOffStock,
    ReadLedger,
    ListSuggestions,
    ReceivePaymentEvent,
    OpenApi,
    MenuPage,
    CartPage,
    CartPageAdd,
    CartPageSet,
    CartPageRemove,
    CartPageClear,
    CheckoutPage,
    CheckoutPageOrder,
    CheckoutPageTimes,
    LookupPage,
    LookupPageFind,
    OrderPageOpen,
    OrderPage,
    OrderPageFragment,
    OrderPageCancel,
    BoardPage,
    BoardPageFragment,
    BoardPageSearch,
    MailboxPage,
    MailPage,
    TimelinePage,
    BoardPageSetStatus,
    StockPage,
    LedgerPage,
    StockPageRestock,
    StockPageAdjust,
    StockPageWriteOff,
    SignInPage,
    SignInPageSubmit,
    SignOut,
    StaticFile,
}

impl RouteId {
    /// Returns the row of the route.
    pub const fn route(self) -> &'static Route {
        &ROUTES[self as usize]
    }

    /// Returns the path of the route, with its parameters in braces.
    pub const fn path(self) -> &'static str {
        self.route().path
    }
}

/// The HTTP methods of routes. A route with `Get` also answers `HEAD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
}

impl Method {
    /// Returns the name of the method in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        }
    }
}

/// The clients that a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// Programs: JSON, described in the OpenAPI document.
    Api,
    /// Browsers: pages, parts of pages and their forms.
    Page,
    /// Everybody: files that are the same for all.
    File,
}

/// The requests of one client that share a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateClass {
    /// Orders.
    Order,
    /// Attempts to sign in.
    SignIn,
    /// Attempts to find an order by its number and an e-mail address.
    LookUp,
    /// Links with a tracking token.
    OpenLink,
}

/// A method and a path of the storefront.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// The identity of the route.
    pub id: RouteId,
    /// The HTTP method.
    pub method: Method,
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// The clients of the route.
    pub surface: Surface,
    /// The action of a request. `domain::access::may` decides who may perform it.
    pub action: Action,
    /// The dependencies without which no request can be answered. The menu and static files are
    /// served from memory.
    pub needs: &'static [Dependency],
    /// The rate limit of a client, if the route has one.
    pub rate: Option<RateClass>,
    /// Whether programs reach the route through the API gateway. Carts are not behind it, because
    /// they belong to a browser's session, and neither are routes for staff.
    pub behind_api_gateway: bool,
    /// Whether the API gateway may cache the response, because it is the same for everybody.
    pub cached: bool,
}

impl Route {
    const fn new(
        id: RouteId,
        surface: Surface,
        method: Method,
        path: &'static str,
        action: Action,
    ) -> Route {
        Route {
            id,
            method,
            path,
            surface,
            action,
            needs: &[],
            rate: None,
            behind_api_gateway: false,
            cached: false,
        }
    }

    const fn needs(self, needs: &'static [Dependency]) -> Route {
        Route { needs, ..self }
    }

    const fn rate(self, class: RateClass) -> Route {
        Route {
            rate: Some(class),
            ..self
        }
    }

    const fn behind_api_gateway(self) -> Route {
        Route {
            behind_api_gateway: true,
            ..self
        }
    }

    const fn cached(self) -> Route {
        Route {
            cached: true,
            ..self
        }
    }
}

const fn api(id: RouteId, method: Method, path: &'static str, action: Action) -> Route {
    Route::new(id, Surface::Api, method, path, action)
}

const fn page(id: RouteId, method: Method, path: &'static str, action: Action) -> Route {
    Route::new(id, Surface::Page, method, path, action)
}

const fn file(id: RouteId, path: &'static str) -> Route {
    Route::new(id, Surface::File, Method::Get, path, Action::ReadFiles)
}

/// Every route, in the order of [`RouteId`].
#[rustfmt::skip]
pub const ROUTES: &[Route] = {
    use Method::{Delete, Get, Post, Put};
    use RateClass::{LookUp, OpenLink, Order, SignIn};
    use RouteId as Id;
    &[
        api(Id::ListMenu, Get, "/api/v1/menu", Action::ReadMenu).behind_api_gateway().cached(),
        api(Id::ReadProduct, Get, "/api/v1/menu/{product_id}", Action::ReadMenu).behind_api_gateway(),
        api(Id::ReadCart, Get, "/api/v1/cart", Action::KeepCart),
        api(Id::ClearCart, Delete, "/api/v1/cart", Action::KeepCart),
        api(Id::AddCartItem, Post, "/api/v1/cart/items", Action::KeepCart),
        api(Id::SetCartItem, Put, "/api/v1/cart/items/{product_id}", Action::KeepCart),
        api(Id::RemoveCartItem, Delete, "/api/v1/cart/items/{product_id}", Action::KeepCart),
        api(Id::ListSlots, Get, "/api/v1/pickup-slots", Action::ReadSlots),
        api(Id::ListOwnOrders, Get, "/api/v1/orders", Action::ListOwnOrders).needs(&[Database]),
        api(Id::PlaceOrder, Post, "/api/v1/orders", Action::PlaceOrder).needs(&[Database, Stock]).rate(Order)
            .behind_api_gateway(),
        api(Id::ReadOrder, Get, "/api/v1/orders/{id}", Action::ReadOrder).needs(&[Database]).behind_api_gateway(),
        api(Id::FollowOrder, Get, "/api/v1/orders/{id}/events", Action::ReadOrder).needs(&[Database]),
        api(Id::ReadTimeline, Get, "/api/v1/orders/{id}/journey", Action::ReadTimeline).needs(&[Database]),
        api(Id::CancelOrder, Post, "/api/v1/orders/{id}/cancel", Action::CancelOrder).needs(&[Database])
            .behind_api_gateway(),
        api(Id::ListOrders, Get, "/api/v1/admin/orders", Action::ListOrders).needs(&[Database]),
        // The rows of status changes have the weakest action, because a barista may move and support
        // may only cancel. The handlers check again when they know the status.
        api(Id::SetStatuses, Post, "/api/v1/admin/orders/status", Action::CancelOrderAsStaff).needs(&[Database]),
        api(Id::SetStatus, Put, "/api/v1/admin/orders/{id}/status", Action::CancelOrderAsStaff).needs(&[Database]),
        api(Id::ListStock, Get, "/api/v1/admin/inventory", Action::ReadStock).needs(&[Stock]),
        api(Id::Restock, Post, "/api/v1/admin/inventory/{product_id}/restock", Action::ReceiveStock).needs(&[Stock]),
        api(Id::AdjustStock, Post, "/api/v1/admin/inventory/{product_id}/adjust", Action::CorrectStock).needs(&[Stock]),
        api(Id::WriteOffStock, Post, "/api/v1/admin/inventory/{product_id}/write-off", Action::WriteOffStock)
            .needs(&[Stock]),
        api(Id::ReadLedger, Get, "/api/v1/admin/inventory/{product_id}/ledger", Action::ReadStock).needs(&[Stock]),
        api(Id::ListSuggestions, Get, "/api/v1/admin/stock/suggestions", Action::ReadSuggestions).needs(&[Stock]),
        api(Id::ReceivePaymentEvent, Post, "/webhooks/payment", Action::ReceiveWebhook),
        file(Id::OpenApi, "/openapi.json"),
        page(Id::MenuPage, Get, "/", Action::ReadMenu),
        page(Id::CartPage, Get, "/cart", Action::KeepCart),
        page(Id::CartPageAdd, Post, "/cart/items", Action::KeepCart),
        page(Id::CartPageSet, Post, "/cart/items/{product_id}", Action::KeepCart),
        page(Id::CartPageRemove, Post, "/cart/items/{product_id}/remove", Action::KeepCart),
        page(Id::CartPageClear, Post, "/cart/clear", Action::KeepCart),
        page(Id::CheckoutPage, Get, "/checkout", Action::PlaceOrder),
        page(Id::CheckoutPageOrder, Post, "/checkout", Action::PlaceOrder).needs(&[Database, Stock]).rate(Order),
        page(Id::CheckoutPageTimes, Post, "/checkout/times", Action::PlaceOrder),
        page(Id::LookupPage, Get, "/orders", Action::FindOrder),
        page(Id::LookupPageFind, Post, "/orders", Action::FindOrder).needs(&[Database]).rate(LookUp),
        // The tracking token in the body decides.
        page(Id::OrderPageOpen, Post, "/orders/{id}/open", Action::FindOrder).needs(&[Database]).rate(OpenLink),
        page(Id::OrderPage, Get, "/orders/{id}", Action::ReadOrder).needs(&[Database]),
        page(Id::OrderPageFragment, Get, "/orders/{id}/fragment", Action::ReadOrder).needs(&[Database]),
        page(Id::OrderPageCancel, Post, "/orders/{id}/cancel", Action::CancelOrder).needs(&[Database]),
        page(Id::BoardPage, Get, "/staff", Action::ReadBoard).needs(&[Database]),
        page(Id::BoardPageFragment, Get, "/staff/board", Action::ReadBoard).needs(&[Database]),
        page(Id::BoardPageSearch, Get, "/staff/orders", Action::ReadBoard).needs(&[Database]),
        page(Id::MailboxPage, Get, "/staff/mailbox", Action::ReadMailbox).needs(&[Database]),
        page(Id::MailPage, Get, "/staff/mailbox/{id}", Action::ReadMailbox).needs(&[Database]),
        page(Id::TimelinePage, Get, "/staff/orders/{id}", Action::ReadTimeline).needs(&[Database]),
        page(Id::BoardPageSetStatus, Post, "/staff/orders/{id}/status", Action::CancelOrderAsStaff).needs(&[Database]),
        page(Id::StockPage, Get, "/staff/stock", Action::ReadStock).needs(&[Stock]),
        page(Id::LedgerPage, Get, "/staff/stock/{product_id}", Action::ReadStock).needs(&[Stock]),
        page(Id::StockPageRestock, Post, "/staff/stock/{product_id}/restock", Action::ReceiveStock).needs(&[Stock]),
        page(Id::StockPageAdjust, Post, "/staff/stock/{product_id}/adjust", Action::CorrectStock).needs(&[Stock]),
        page(Id::StockPageWriteOff, Post, "/staff/stock/{product_id}/write-off", Action::WriteOffStock).needs(&[Stock]),
        page(Id::SignInPage, Get, "/staff/sign-in", Action::SignIn),
        page(Id::SignInPageSubmit, Post, "/staff/sign-in", Action::SignIn).rate(SignIn),
        page(Id::SignOut, Post, "/staff/sign-out", Action::SignOut).needs(&[Database]),
        file(Id::StaticFile, "/static/{*path}"),
    ]
};

const _: () = {
    let mut i = 0;
    while i < ROUTES.len() {
        let route = &ROUTES[i];
        assert!(
            route.id as usize == i,
            "ROUTES is not in the order of RouteId"
        );
        assert!(
            !route.cached || (route.behind_api_gateway && route.needs.is_empty()),
            "only a response from memory that the API gateway forwards may be cached"
        );
        i += 1;
    }
    assert!(
        RouteId::StaticFile as usize + 1 == ROUTES.len(),
        "a route has no row"
    );
};
