//! `/openapi.json`: the OpenAPI document of the API.
//!
//! Requests, parameters and successful responses come from the attributes of the handlers
//! (`utoipa`). This module adds what [`ROUTES`] specifies: path parameters, roles and problems.
//! `utoipa-axum` is not used, because its macro takes no generic handlers. Tests compare the
//! document with the routes and with every response.

use std::sync::LazyLock;

use axum::Json;
use contract::route::{Method, ROUTES, Route, RouteId, Surface};
use domain::FieldError;
use domain::access::{Action, Actor, Denial, Resource, StaffRole, may};
use serde_json::{Value, json};
use strum::IntoEnumIterator as _;
use utoipa::OpenApi;

use crate::api;
use crate::problem::body::Body;
use crate::problem::{Kind, Problem};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Brew Haven",
        description = "Amounts are integers in minor units. Times are RFC 3339 in UTC. Errors are \
                       application/problem+json."
    ),
    paths(
        api::menu::list,
        api::menu::one,
        api::cart::show,
        api::cart::clear,
        api::cart::add,
        api::cart::set,
        api::cart::remove,
        api::slots::list,
        api::orders::list,
        api::orders::place,
        api::orders::show,
        api::events::follow,
        api::journey::show,
        api::orders::cancel,
        api::admin::orders,
        api::batch::set_statuses,
        api::admin::set_status,
        api::stock::inventory,
        api::stock::restock,
        api::stock::adjust,
        api::stock::write_off,
        api::ledger::entries,
        api::ledger::suggestions,
        api::webhook::payment,
    ),
    components(schemas(Body))
)]
struct Handlers;

/// Serves the document.
pub async fn serve() -> Json<&'static Value> {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(document);
    Json(&DOCUMENT)
}

/// Builds the document.
fn document() -> Value {
    // A document of plain maps and texts always serializes.
    let mut document = serde_json::to_value(Handlers::openapi()).unwrap_or_default();
    document["openapi"] = json!("3.1.0");
    document["info"] = json!({ "title": document["info"]["title"],
        "version": env!("CARGO_PKG_VERSION"), "description": document["info"]["description"] });
    let components = &mut document["components"];
    components["securitySchemes"]["staff"] = json!({ "type": "http", "scheme": "bearer" });
    components["responses"]["Problem"] = json!({
        "description": "What is wrong and how to correct it",
        "content": { "application/problem+json":
            { "schema": { "$ref": "#/components/schemas/Problem" } } },
    });
    for route in ROUTES.iter().filter(|route| route.surface == Surface::Api) {
        let method = route.method.as_str().to_lowercase();
        if let Some(operation) = document["paths"][route.path].get_mut(method) {
            describe(operation, route);
        }
    }
    document
}

/// Adds path parameters, roles and problems of a route to its operation.
fn describe(operation: &mut Value, route: &Route) {
    operation["operationId"] = json!(operation_id(route));
    let mut parameters = parameters(route);
    if let Some(named) = operation["parameters"].as_array() {
        parameters.extend(named.iter().cloned());
    }
    operation["parameters"] = json!(parameters);
    if let Some(roles) = staff_roles(route) {
        operation["security"] = json!([{ "staff": [] }]);
        operation["x-roles"] = roles.iter().map(|role| role.code()).collect();
    }
    let problem = json!({ "$ref": "#/components/responses/Problem" });
    for status in ["4XX", "500", "503"] {
        operation["responses"][status] = problem.clone();
    }
    let kinds = problems(route);
    for kind in kinds.iter().filter(|kind| !kind.status().is_server_error()) {
        let response = &mut operation["responses"][kind.status().as_str()];
        if response.is_null() {
            let title = &Problem::new(*kind, "").body.title;
            *response = json!({ "description": title, "content": { "application/problem+json":
                { "schema": { "$ref": "#/components/schemas/Problem" }, "examples": {} } } });
        }
        response["content"]["application/problem+json"]["examples"][kind.code()] =
            json!({ "value": example(*kind) });
    }
    operation["x-problems"] = kinds.iter().map(|kind| kind.code()).collect();
}

/// Returns an example of a problem, with the members that the kind always has.
fn example(kind: Kind) -> Value {
    let mut problem = Problem::new(kind, "What happened, and what to do next.");
    if matches!(kind, Kind::Invalid | Kind::Malformed) {
        problem = problem.naming([FieldError::new("items[0].quantity", "must be a number")]);
    }
    serde_json::from_str(&problem.json("01890000-0000-7000-8000-000000000000")).unwrap_or_default()
}

/// Returns the kinds of problems with which a route can answer.
fn problems(route: &Route) -> Vec<Kind> {
    let writes = route.method != Method::Get;
    let has_body =
        matches!(route.method, Method::Post | Method::Put) && route.id != RouteId::CancelOrder;
    let is_json = has_body && route.id != RouteId::ReceivePaymentEvent;
    let in_path = route.path.contains('{');
    let of_order = route.path.contains("{id}");
    let staff = staff_roles(route).is_some();
    let sets_status = route.id == RouteId::SetStatus;
    let changes_stock = matches!(
        route.id,
        RouteId::Restock | RouteId::AdjustStock | RouteId::WriteOffStock
    );
    let queries = matches!(
        route.id,
        RouteId::ListSlots
            | RouteId::ListOwnOrders
            | RouteId::ListOrders
            | RouteId::ReadLedger
            | RouteId::ListSuggestions
    );
    let may_answer = |kind: Kind| match kind {
        // A path that is not UTF-8.
        Kind::BadRequest | Kind::NotFound => in_path,
        Kind::Unauthorized => staff,
        Kind::Forbidden => staff || of_order,
        Kind::CrossSite | Kind::Malformed | Kind::TooSlow | Kind::TooLarge | Kind::Uncertain => {
            writes
        }
        Kind::MethodNotAllowed => false,
        Kind::IllegalTransition | Kind::Stale => sets_status || route.id == RouteId::CancelOrder,
        Kind::PriceChanged | Kind::SlotFull => route.id == RouteId::PlaceOrder,
        Kind::SoldOut => matches!(route.id, RouteId::PlaceOrder | RouteId::AddCartItem),
        Kind::TooFew => changes_stock,
        Kind::MediaType => is_json,
        Kind::Invalid => is_json || queries || route.action == Action::KeepCart,
        Kind::PreconditionRequired => sets_status,
        Kind::TooMany | Kind::Internal | Kind::Unavailable => true,
    };
    Kind::iter().filter(|kind| may_answer(*kind)).collect()
}

/// Returns the parameters in the path of a route, and the tracking token of an order's routes.
fn parameters(route: &Route) -> Vec<Value> {
    let text = json!({ "type": "string" });
    let in_path = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": text }))
        .collect();
    if matches!(route.action, Action::ReadOrder | Action::CancelOrder) {
        parameters.push(
            json!({ "name": "Tracking-Token", "in": "header", "schema": text,
            "description": "The order's tracking token, for clients without the owner's session" }),
        );
        parameters.push(json!({ "name": "token", "in": "query", "deprecated": true, "schema": text,
            "description": "The same token as a query parameter. Send the header instead, because logs can contain addresses." }));
    }
    parameters
}

/// Returns the roles that may perform the route's action, and `None` if visitors may too.
fn staff_roles(route: &Route) -> Option<&'static [StaffRole]> {
    let denied = may(Actor::Visitor, route.action, Resource::Shop) == Err(Denial::NotSignedIn);
    route.action.staff().filter(|_| denied)
}

fn operation_id(route: &Route) -> String {
    let words = route
        .path
        .trim_start_matches("/api/v1")
        .split('/')
        .filter(|part| !part.is_empty());
    let words: Vec<_> = words.map(|part| part.trim_matches(['{', '}'])).collect();
    format!(
        "{}_{}",
        route.method.as_str().to_lowercase(),
        words.join("_")
    )
}
