//! `/openapi.json`: the OpenAPI document of the API. A test compares it with the routes.

use app::ports::ledger::ENTRIES_MAX;
use app::use_cases::suggest_reorders::{DAYS, DAYS_MAX};
use axum::Json;
use contract::route::ROUTES;
use domain::access::{Actor, Denial, Resource, StaffRole, may};
use domain::cart::LINES_MAX;
use domain::order::Status;
use serde_json::{Value, json};

/// Method, path, summary and success status of each operation. The access table has the roles.
const OPERATIONS: &[(&str, &str, &str, u16)] = &[
    ("get", "/api/v1/menu", "The menu with availability", 200),
    ("get", "/api/v1/menu/{product_id}", "One product", 200),
    (
        "get",
        "/api/v1/cart",
        "The session's cart with today's prices and conflicts",
        200,
    ),
    ("delete", "/api/v1/cart", "Empty the cart", 204),
    (
        "post",
        "/api/v1/cart/items",
        "Add a product to the cart",
        200,
    ),
    (
        "put",
        "/api/v1/cart/items/{product_id}",
        "Set a product's quantity",
        200,
    ),
    (
        "delete",
        "/api/v1/cart/items/{product_id}",
        "Take a product out of the cart",
        200,
    ),
    (
        "post",
        "/api/v1/orders",
        "Place an order; the same key and body give the same answer",
        202,
    ),
    (
        "get",
        "/api/v1/orders",
        "The session's own orders, newest first",
        200,
    ),
    (
        "get",
        "/api/v1/pickup-slots",
        "The pick-up times of a day and the places left in each",
        200,
    ),
    (
        "get",
        "/api/v1/orders/{id}",
        "An order with its history",
        200,
    ),
    (
        "get",
        "/api/v1/orders/{id}/events",
        "An order's history as it grows (server-sent events)",
        200,
    ),
    (
        "post",
        "/api/v1/orders/{id}/cancel",
        "Cancel while it may be cancelled",
        202,
    ),
    (
        "get",
        "/api/v1/orders/{id}/journey",
        "All that is recorded about an order; staff only, 404 for others",
        200,
    ),
    ("get", "/api/v1/admin/orders", "Orders, newest first", 200),
    (
        "put",
        "/api/v1/admin/orders/{id}/status",
        "Move an order; If-Match carries the version seen",
        200,
    ),
    (
        "post",
        "/api/v1/admin/orders/status",
        "Move many orders; one result an entry",
        200,
    ),
    (
        "get",
        "/api/v1/admin/inventory",
        "Stock counters of every product",
        200,
    ),
    (
        "post",
        "/api/v1/admin/inventory/{product_id}/restock",
        "Units were delivered",
        200,
    ),
    (
        "post",
        "/api/v1/admin/inventory/{product_id}/adjust",
        "Units were lost or found again",
        200,
    ),
    (
        "post",
        "/api/v1/admin/inventory/{product_id}/write-off",
        "Units were spilt, broken or are past their day",
        200,
    ),
    (
        "get",
        "/api/v1/admin/inventory/{product_id}/ledger",
        "Every movement of a product, newest first",
        200,
    ),
    (
        "get",
        "/api/v1/admin/stock/suggestions",
        "What to order from suppliers, most urgent first",
        200,
    ),
    (
        "post",
        "/webhooks/payment",
        "Events of the payment gateway, signed",
        204,
    ),
];

/// Serves the document.
pub async fn serve() -> Json<Value> {
    Json(document())
}

/// Builds the document.
pub fn document() -> Value {
    let mut paths = json!({});
    for (method, path, summary, success) in OPERATIONS {
        let mut operation = json!({
            "summary": summary,
            "operationId": operation_id(method, path),
            "responses": {
                success.to_string(): { "description": "Done" },
                "4XX": { "$ref": "#/components/responses/Problem" },
                "500": { "$ref": "#/components/responses/Problem" },
                "503": { "$ref": "#/components/responses/Problem" },
            },
        });
        if let Some(roles) = staff_roles(method, path) {
            operation["security"] = json!([{ "staff": [] }]);
            operation["x-roles"] = roles.iter().map(|role| role.code()).collect();
            for status in ["401", "403"] {
                operation["responses"][status] =
                    json!({ "$ref": "#/components/responses/Problem" });
            }
        }
        let mut parameters: Vec<Value> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
            .collect();
        let schema = match (*method, *path) {
            ("post", "/api/v1/orders") => {
                let key = json!({ "name": "Idempotency-Key", "in": "header", "required": true,
                    "schema": { "type": "string", "minLength": 1, "maxLength": 200 } });
                parameters.push(key);
                Some("NewOrder")
            }
            ("put", "/api/v1/admin/orders/{id}/status") => {
                parameters.push(
                    json!({ "name": "If-Match", "in": "header", "required": true, "schema": { "type": "string" } }),
                );
                Some("StatusChange")
            }
            ("post", "/api/v1/admin/orders/status") => Some("StatusChanges"),
            ("get", "/api/v1/orders") => {
                parameters.push(json!({ "name": "limit", "in": "query",
                    "schema": { "type": "integer", "minimum": 1, "maximum": 100, "default": 20 } }));
                parameters
                    .push(json!({ "name": "before", "in": "query", "schema": { "type": "string", "format": "uuid" },
                    "description": "Only orders placed before this one" }));
                None
            }
            ("get", "/api/v1/pickup-slots") => {
                parameters
                    .push(json!({ "name": "date", "in": "query", "schema": { "type": "string", "format": "date" },
                    "description": "On the location's own calendar; today when it is not given" }));
                parameters.push(
                    json!({ "name": "location_id", "in": "query", "schema": { "type": "string" } }),
                );
                None
            }
            ("post", "/api/v1/cart/items") => Some("CartItem"),
            ("put", "/api/v1/cart/items/{product_id}") => Some("Quantity"),
            ("post", path) if path.ends_with("/restock") || path.ends_with("/write-off") => {
                Some("Restock")
            }
            ("post", path) if path.ends_with("/adjust") => Some("Adjustment"),
            _ => None,
        };
        if path.starts_with("/api/v1/orders/{id}") && !path.ends_with("/journey") {
            parameters.push(json!({ "name": "Tracking-Token", "in": "header", "schema": { "type": "string" },
                "description": "The order's tracking token, for whoever has no session of its owner" }));
            parameters
                .push(json!({ "name": "token", "in": "query", "deprecated": true, "schema": { "type": "string" },
                "description": "The same in the address, where logs of others may keep it: send the header" }));
        }
        let query: Vec<(&str, Value)> = match *path {
            "/api/v1/admin/orders" => vec![
                (
                    "status",
                    json!({ "type": "string", "description": "one or more, by comma" }),
                ),
                (
                    "limit",
                    json!({ "type": "integer", "minimum": 1, "maximum": 200, "default": 50 }),
                ),
                ("before", json!({ "type": "string", "format": "uuid" })),
                (
                    "number",
                    json!({ "type": "string", "description": "such as A-047: the newest order with it" }),
                ),
            ],
            "/api/v1/admin/inventory/{product_id}/ledger" => vec![
                (
                    "limit",
                    json!({ "type": "integer", "minimum": 1, "maximum": ENTRIES_MAX }),
                ),
                ("before", json!({ "type": "string" })),
            ],
            "/api/v1/admin/stock/suggestions" => {
                vec![(
                    "days",
                    json!({ "type": "integer", "minimum": 1, "maximum": DAYS_MAX, "default": DAYS }),
                )]
            }
            _ => Vec::new(),
        };
        parameters.extend(
            query
                .into_iter()
                .map(|(name, schema)| json!({ "name": name, "in": "query", "schema": schema })),
        );
        operation["parameters"] = json!(parameters);
        if let Some(schema) = schema {
            operation["requestBody"] = json!({ "required": true, "content": {
                "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } } });
        }
        paths[*path][*method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Brew Haven", "version": env!("CARGO_PKG_VERSION"),
            "description": "Money is integer minor units, times are RFC 3339 in UTC, errors are application/problem+json." },
        "paths": paths,
        "components": { "securitySchemes": { "staff": { "type": "http", "scheme": "bearer" } },
            "responses": { "Problem": { "description": "What is wrong, and what would be right",
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } } } },
            "schemas": schemas() },
    })
}

/// Returns the roles that may perform the route's action, and `None` if visitors may too.
fn staff_roles(method: &str, path: &str) -> Option<&'static [StaffRole]> {
    let route = ROUTES
        .iter()
        .find(|route| route.path == path && route.method.as_str().eq_ignore_ascii_case(method))?;
    let denied = may(Actor::Visitor, route.action, Resource::Shop) == Err(Denial::NotSignedIn);
    route.action.staff().filter(|_| denied)
}

fn operation_id(method: &str, path: &str) -> String {
    let words = path
        .trim_start_matches("/api/v1")
        .split('/')
        .filter(|part| !part.is_empty());
    let words: Vec<_> = words.map(|part| part.trim_matches(['{', '}'])).collect();
    format!("{method}_{}", words.join("_"))
}

fn schemas() -> Value {
    let text = |max: u32| json!({ "type": "string", "minLength": 1, "maxLength": max });
    let quantity = json!({ "type": "integer", "minimum": 1, "maximum": 99 });
    let item = json!({ "type": "object", "additionalProperties": false, "required": ["product_id", "quantity"],
        "properties": { "product_id": text(40), "quantity": quantity } });
    json!({
        "Problem": problem(),
        "CartItem": item,
        "Quantity": { "type": "object", "additionalProperties": false, "required": ["quantity"],
            "properties": { "quantity": quantity } },
        "NewOrder": { "type": "object", "additionalProperties": false, "required": ["customer", "payment_token"], "properties": {
            "customer": { "type": "object", "additionalProperties": false, "required": ["name", "phone", "email"],
                "description": "Texts are normalized before they are counted: line ends, Unicode NFC, and no invisible or \
                    bidirectional characters. phone is stored in E.164, with its extension in phone_extension; without a \
                    country code it is of the location's country. email is stored with its host in punycode",
                "properties": { "name": text(100), "phone": text(40), "email": text(254) } },
            "notify": { "type": "object", "additionalProperties": false, "description": "How to tell the customer: by text \
                message where sms is true, with an e-mail in its place when none can be sent; else by e-mail; neither, not at \
                all. For sms, customer.phone has no extension",
                "properties": { "email": { "type": "boolean", "default": true }, "sms": { "type": "boolean", "default": false } } },
            "items": { "type": "array", "minItems": 1, "maxItems": LINES_MAX, "items": item },
            "cart": { "type": "boolean", "description": "true instead of items: what is in the session's cart" },
            "order_type": { "enum": ["pickup", "dine_in", "delivery"], "default": "pickup" },
            "delivery_address": { "type": "object", "additionalProperties": false, "required": ["line1", "city", "postal_code"],
                "description": "where a delivery goes; required with order_type delivery from version 0.2.0 on, until then \
                    an order without it is accepted with warnings",
                "properties": { "line1": text(100), "line2": text(100), "city": text(90), "postal_code": text(12),
                    "note": text(200) } },
            "location_id": { "type": "string", "description": "the shop's own when it is not given" },
            "pickup_at": { "type": "string", "format": "date-time", "description": "within an open pick-up slot" },
            "special_instructions": { "type": "string", "maxLength": 500 },
            "expected_total_minor": { "type": "integer", "description": "the total that the customer was shown: nothing is \
                placed for another one (409 price-changed)" },
            "cart_version": { "type": "integer", "description": "with cart: the version of the cart that the customer was \
                shown: nothing is placed from another one (409 price-changed)" },
            "payment_token": { "type": "string", "pattern": "^tok_[a-z0-9_]+$" } } },
        "StatusChange": { "type": "object", "additionalProperties": false, "required": ["status"], "properties": {
            "status": { "enum": ["preparing", "ready", "completed", "cancelled"] }, "note": text(300) } },
        "StatusChanges": { "type": "object", "additionalProperties": false, "required": ["changes"], "properties": {
            "changes": { "type": "array", "minItems": 1, "maxItems": 50, "items": { "type": "object",
                "additionalProperties": false, "required": ["id", "version", "status"], "properties": {
                    "id": { "type": "string", "format": "uuid" }, "version": { "type": "integer" },
                    "status": { "enum": ["preparing", "ready", "completed", "cancelled"] }, "note": text(300) } } } } },
        "Restock": { "type": "object", "additionalProperties": false, "required": ["quantity", "reason"], "properties": {
            "quantity": { "type": "integer", "minimum": 1, "maximum": 100_000 }, "reason": text(300), "movement_id": text(100) } },
        "Adjustment": { "type": "object", "additionalProperties": false, "required": ["change", "reason"], "properties": {
            "change": { "type": "integer" }, "reason": text(300), "movement_id": text(100) } },
    })
}

/// Returns the schema of every error: RFC 9457 and the additional members of some problems. A test
/// validates every error response against it.
fn problem() -> Value {
    let text = || json!({ "type": "string", "minLength": 1 });
    let integer = || json!({ "type": "integer" });
    let statuses = Status::ALL.map(Status::code);
    let kinds = ["total", "cart_version", "unit_price", "quantity"];
    let change = json!({ "type": "object", "additionalProperties": false, "required": ["kind", "was", "now"], "properties": {
        "kind": { "enum": kinds }, "was": integer(), "now": integer(), "product_id": text(), "name": text() } });
    json!({ "type": "object", "required": ["type", "title", "status", "detail", "request_id"], "properties": {
        "type": { "type": "string", "pattern": "^https://brewhaven\\.example/problems/[a-z-]+$" },
        "title": text(),
        "status": { "type": "integer", "minimum": 400, "maximum": 599, "description": "the HTTP status" },
        "detail": text(),
        "request_id": text(),
        "errors": { "type": "array", "minItems": 1, "items": { "type": "object", "additionalProperties": false,
            "required": ["field", "message"], "properties": { "field": text(), "message": text() } } },
        "needs_role": { "type": "array", "items": { "enum": StaffRole::ALL.map(StaffRole::code) },
            "description": "403: the roles that may" },
        "version": { "type": "integer", "description": "412: the order's version now" },
        "order_status": { "enum": statuses, "description": "412: the order's status now" },
        "changed_by": { "type": ["string", "null"], "description": "412: who changed the order" },
        "sold_out": { "type": "array", "items": text() },
        "left": { "type": "integer", "description": "sold-out: units that the shop has" },
        "in_cart": { "type": "integer", "description": "sold-out: units that are in the cart already" },
        "slot": { "type": "string", "format": "date-time" },
        "changes": { "type": "array", "minItems": 1, "items": change,
            "description": "price-changed: what is not as it was shown; of a line with product_id and name" },
        "subtotal_minor": integer(), "tax_minor": integer(),
        "total_minor": { "type": "integer", "description": "price-changed: what the order costs now" },
        "currency": { "type": "string", "minLength": 3, "maxLength": 3 },
        "cart_version": { "type": "integer", "description": "price-changed: the cart's version now" },
        "movement_id": { "type": "string", "description": "uncertain: under which id a change of stock may have been made" },
    } })
}
