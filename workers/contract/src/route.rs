//! The HTTP routes of the storefront: which exist, who may use them and what limits them.
//!
//! The storefront builds its router and its OpenAPI document from [`ROUTES`], and the template of
//! the API gateway takes its methods from there. A row of [`ROUTES`] makes a variant of [`RouteId`];
//! the storefront does not compile until the variant has a handler.

use domain::access::Action;

use crate::dependency::Dependency::{self, Database, Stock};

use Method::{Delete, Get, Post, Put};
use RateClass::{LookUp, OpenLink, Order, SignIn};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "UPPERCASE", const_into_str)]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
}

impl Method {
    /// Returns the name of the method in a request.
    pub const fn as_str(self) -> &'static str {
        self.into_str()
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

/// Generates the identities of the routes and their rows from one list.
macro_rules! routes {
    ($($id:ident = $surface:ident($($given:expr),*)$(.$more:ident($($value:expr),*))*;)*) => {
        /// The identity of a [`Route`]. The storefront matches on it exhaustively to find the
        /// handler.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum RouteId {
            $($id,)*
        }

        /// Every route, in the order of [`RouteId`].
        pub const ROUTES: &[Route] =
            &[$($surface(RouteId::$id, $($given),*)$(.$more($($value),*))*,)*];
    };
}

routes! {
    ListMenu = api(Get, "/api/v1/menu", Action::ReadMenu).behind_api_gateway().cached();
    ReadProduct = api(Get, "/api/v1/menu/{product_id}", Action::ReadMenu).behind_api_gateway();
    ReadCart = api(Get, "/api/v1/cart", Action::KeepCart);
    ClearCart = api(Delete, "/api/v1/cart", Action::KeepCart);
    AddCartItem = api(Post, "/api/v1/cart/items", Action::KeepCart);
    SetCartItem = api(Put, "/api/v1/cart/items/{product_id}", Action::KeepCart);
    RemoveCartItem = api(Delete, "/api/v1/cart/items/{product_id}", Action::KeepCart);
    ListSlots = api(Get, "/api/v1/pickup-slots", Action::ReadSlots);
    ListOwnOrders = api(Get, "/api/v1/orders", Action::ListOwnOrders).needs(&[Database]);
    PlaceOrder = api(Post, "/api/v1/orders", Action::PlaceOrder).needs(&[Database, Stock]).rate(Order)
        .behind_api_gateway();
    ReadOrder = api(Get, "/api/v1/orders/{id}", Action::ReadOrder).needs(&[Database]).behind_api_gateway();
    FollowOrder = api(Get, "/api/v1/orders/{id}/events", Action::ReadOrder).needs(&[Database]);
    ReadTimeline = api(Get, "/api/v1/orders/{id}/journey", Action::ReadTimeline).needs(&[Database]);
    CancelOrder = api(Post, "/api/v1/orders/{id}/cancel", Action::CancelOrder).needs(&[Database])
        .behind_api_gateway();
    ListOrders = api(Get, "/api/v1/admin/orders", Action::ListOrders).needs(&[Database]);
    // The rows of status changes have the weakest action, because a barista may move and support
    // may only cancel. The handlers check again when they know the status.
    SetStatuses = api(Post, "/api/v1/admin/orders/status", Action::CancelOrderAsStaff).needs(&[Database]);
    SetStatus = api(Put, "/api/v1/admin/orders/{id}/status", Action::CancelOrderAsStaff).needs(&[Database]);
    ListStock = api(Get, "/api/v1/admin/inventory", Action::ReadStock).needs(&[Stock]);
    Restock = api(Post, "/api/v1/admin/inventory/{product_id}/restock", Action::ReceiveStock).needs(&[Stock]);
    AdjustStock = api(Post, "/api/v1/admin/inventory/{product_id}/adjust", Action::CorrectStock).needs(&[Stock]);
    WriteOffStock = api(Post, "/api/v1/admin/inventory/{product_id}/write-off", Action::WriteOffStock)
        .needs(&[Stock]);
    ReadLedger = api(Get, "/api/v1/admin/inventory/{product_id}/ledger", Action::ReadStock).needs(&[Stock]);
    ListSuggestions = api(Get, "/api/v1/admin/stock/suggestions", Action::ReadSuggestions).needs(&[Stock]);
    ReceivePaymentEvent = api(Post, "/webhooks/payment", Action::ReceiveWebhook);
    OpenApi = file("/openapi.json");
    MenuPage = page(Get, "/", Action::ReadMenu);
    CartPage = page(Get, "/cart", Action::KeepCart);
    CartPageAdd = page(Post, "/cart/items", Action::KeepCart);
    CartPageSet = page(Post, "/cart/items/{product_id}", Action::KeepCart);
    CartPageRemove = page(Post, "/cart/items/{product_id}/remove", Action::KeepCart);
    CartPageClear = page(Post, "/cart/clear", Action::KeepCart);
    CheckoutPage = page(Get, "/checkout", Action::PlaceOrder);
    CheckoutPageOrder = page(Post, "/checkout", Action::PlaceOrder).needs(&[Database, Stock]).rate(Order);
    CheckoutPageTimes = page(Post, "/checkout/times", Action::PlaceOrder);
    LookupPage = page(Get, "/orders", Action::FindOrder);
    LookupPageFind = page(Post, "/orders", Action::FindOrder).needs(&[Database]).rate(LookUp);
    // The tracking token in the body decides.
    OrderPageOpen = page(Post, "/orders/{id}/open", Action::FindOrder).needs(&[Database]).rate(OpenLink);
    OrderPage = page(Get, "/orders/{id}", Action::ReadOrder).needs(&[Database]);
    OrderPageFragment = page(Get, "/orders/{id}/fragment", Action::ReadOrder).needs(&[Database]);
    OrderPageCancel = page(Post, "/orders/{id}/cancel", Action::CancelOrder).needs(&[Database]);
    BoardPage = page(Get, "/staff", Action::ReadBoard).needs(&[Database]);
    BoardPageFragment = page(Get, "/staff/board", Action::ReadBoard).needs(&[Database]);
    BoardPageSearch = page(Get, "/staff/orders", Action::ReadBoard).needs(&[Database]);
    MailboxPage = page(Get, "/staff/mailbox", Action::ReadMailbox).needs(&[Database]);
    MailPage = page(Get, "/staff/mailbox/{id}", Action::ReadMailbox).needs(&[Database]);
    TimelinePage = page(Get, "/staff/orders/{id}", Action::ReadTimeline).needs(&[Database]);
    BoardPageSetStatus = page(Post, "/staff/orders/{id}/status", Action::CancelOrderAsStaff).needs(&[Database]);
    StockPage = page(Get, "/staff/stock", Action::ReadStock).needs(&[Stock]);
    LedgerPage = page(Get, "/staff/stock/{product_id}", Action::ReadStock).needs(&[Stock]);
    StockPageRestock = page(Post, "/staff/stock/{product_id}/restock", Action::ReceiveStock).needs(&[Stock]);
    StockPageAdjust = page(Post, "/staff/stock/{product_id}/adjust", Action::CorrectStock).needs(&[Stock]);
    StockPageWriteOff = page(Post, "/staff/stock/{product_id}/write-off", Action::WriteOffStock).needs(&[Stock]);
    SignInPage = page(Get, "/staff/sign-in", Action::SignIn);
    SignInPageSubmit = page(Post, "/staff/sign-in", Action::SignIn).rate(SignIn);
    SignOut = page(Post, "/staff/sign-out", Action::SignOut).needs(&[Database]);
    StaticFile = file("/static/{*path}");
}

const _: () = {
    let mut i = 0;
    while i < ROUTES.len() {
        let route = &ROUTES[i];
        assert!(
            !route.cached || (route.behind_api_gateway && route.needs.is_empty()),
            "only a response from memory that the API gateway forwards may be cached"
        );
        i += 1;
    }
};
