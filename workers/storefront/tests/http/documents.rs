//! `/openapi.json` compared with the routes of the router.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use contract::route::{ROUTES, Surface};
use domain::access::StaffRole;
use serde_json::json;

use crate::{Client, NOON, token_as};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

#[tokio::test]
async fn every_documented_operation_is_a_route_and_no_other_method_is() {
    let client = Client::new().await;
    let document = client.get("/openapi.json", &[]).await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().expect("paths");
    for (path, operations) in paths {
        let real = path
            .replace("{product_id}", "espresso")
            .replace("{id}", "01890000-0000-7000-8000-000000000000");
        for method in METHODS {
            let answer = client
                .json(&method.to_uppercase(), &real, &[], &json!({}))
                .await;
            let documented = operations.get(method).is_some();
            let routed = answer.status != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(
                routed, documented,
                "{method} {path} answered {}",
                answer.status
            );
            assert!(
                answer.status.as_u16() < 500,
                "{method} {path}: {}",
                answer.text
            );
        }
    }
}

/// The document has each route of the API and nothing else.
#[tokio::test]
async fn every_route_of_the_api_is_documented() {
    let client = Client::new().await;
    let document = client.get("/openapi.json", &[]).await.json();
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, operations)| {
            let methods = operations.as_object().expect("operations").keys();
            methods.map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let routed = ROUTES
        .iter()
        .filter(|route| route.surface == Surface::Api)
        .map(|route| (route.method.as_str().to_owned(), route.path.to_owned()))
        .collect();
    assert_eq!(documented, routed);
}

#[tokio::test]
async fn references_resolve_and_operation_ids_are_unique() {
    let client = Client::new().await;
    let document = client.get("/openapi.json", &[]).await.json();
    let text = document.to_string();
    for rest in text.split("\"$ref\":\"#").skip(1) {
        let pointer = rest.split('"').next().unwrap_or_default();
        assert!(
            document.pointer(pointer).is_some(),
            "{pointer} leads nowhere"
        );
    }
    let operations = document["paths"]
        .as_object()
        .expect("paths")
        .values()
        .flat_map(|path| path.as_object());
    let mut ids: Vec<String> = operations
        .flat_map(|operations| operations.values())
        .map(|it| it["operationId"].to_string())
        .collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[tokio::test]
async fn staff_operations_are_documented_and_refuse_others() {
    let client = Client::new().await;
    let document = client.get("/openapi.json", &[]).await.json();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let real = path
                .replace("{product_id}", "espresso")
                .replace("{id}", "01890000-0000-7000-8000-000000000000");
            let answer = client
                .json(&method.to_uppercase(), &real, &[], &json!({}))
                .await;
            let closed = answer.status == StatusCode::UNAUTHORIZED;
            assert_eq!(
                closed,
                operation.get("security").is_some(),
                "{method} {path} answered {}",
                answer.status
            );
        }
    }
}

/// Sends invalid requests to each documented operation, as a visitor and as staff. `Client`
/// validates every error response against the published schema. The test also checks that each
/// operation can refuse a request at all.
#[tokio::test]
async fn every_error_matches_the_document() {
    let client = Client::new().await;
    let order = client.accepted().await;
    let order_id = order["order_id"].as_str().expect("an id");
    let document = client.get("/openapi.json", &[]).await.json();
    let bearer = format!(
        "Bearer {}",
        token_as(StaffRole::Staff, "Ana", NOON + time::Duration::hours(1))
    );
    let (json_type, staff) = (
        ("content-type", "application/json"),
        ("authorization", bearer.as_str()),
    );
    let requests: [&[(&str, &str)]; 6] = [
        &[json_type],
        &[json_type, staff],
        &[
            json_type,
            staff,
            ("if-match", "999"),
            ("idempotency-key", "k-1"),
        ],
        &[json_type, staff, ("if-match", "x"), ("idempotency-key", "")],
        &[
            ("content-type", "text/plain"),
            staff,
            ("idempotency-key", "k-2"),
        ],
        &[json_type, ("origin", "https://elsewhere.example")],
    ];
    let bodies = [
        "",
        "[]",
        "{\"\":1}",
        "{}",
        "{\"status\":\"ready\"}",
        "{\"quantity\":0,\"x\":1}",
        "{\"product_id\":\"croissant\",\"quantity\":1}",
    ];
    let (mut seen, mut silent) = (BTreeSet::new(), BTreeSet::new());
    let mut kinds: BTreeSet<(String, String)> = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        // The event stream of an existing order would not end.
        let real = if path.ends_with("/events") {
            "nothing"
        } else {
            order_id
        };
        let ids = [
            ("espresso", real),
            ("nothing", "01890000-0000-7000-8000-000000000000"),
            ("%FF", "%FF"),
        ];
        for method in operations.as_object().expect("operations").keys() {
            let mut refused = false;
            for (product_id, order_id) in ids {
                let path = path
                    .replace("{product_id}", product_id)
                    .replace("{id}", order_id);
                for path in [
                    format!("{path}?limit=0&before=x&date=x&days=0"),
                    format!("{path}?=x"),
                    path,
                ] {
                    for (headers, body) in requests
                        .iter()
                        .flat_map(|headers| bodies.map(|body| (*headers, body)))
                    {
                        let answer = client
                            .send(&method.to_uppercase(), &path, headers, body)
                            .await;
                        let status = answer.status.as_u16();
                        if status >= 400 {
                            let kind = answer.json()["type"].as_str().expect("a type").to_owned();
                            let operation = operations[method]["operationId"].to_string();
                            kinds.insert((operation, kind));
                            let responses = &operations[method]["responses"];
                            let documented = [status.to_string(), format!("{}XX", status / 100)];
                            let is_documented =
                                documented.iter().any(|key| responses.get(key).is_some());
                            assert!(
                                is_documented,
                                "{method} {path} answered {status}, which {responses} lacks"
                            );
                            refused = true;
                            seen.insert(status);
                        }
                    }
                }
            }
            if !refused {
                silent.insert(format!("{method} {path}"));
            }
        }
    }
    for status in [400, 401, 403, 404, 409, 412, 415, 422, 428] {
        assert!(
            seen.contains(&status),
            "no operation answered {status}: {seen:?}"
        );
    }
    // Of these kinds, the requests above show every one that the document names.
    for operation in document["paths"]
        .as_object()
        .expect("paths")
        .values()
        .flat_map(|operations| operations.as_object().expect("operations").values())
    {
        for code in ["cross-site", "media-type", "unauthorized"] {
            let is_documented = operation["x-problems"]
                .as_array()
                .expect("problems")
                .contains(&json!(code));
            let answered = kinds.contains(&(
                operation["operationId"].to_string(),
                format!("https://brewhaven.example/problems/{code}"),
            ));
            assert_eq!(is_documented, answered, "{code}: {operation:#}");
        }
    }
    // These operations take no input that could be invalid.
    let never = ["get /api/v1/cart", "get /api/v1/menu"].map(str::to_owned);
    assert_eq!(
        silent,
        BTreeSet::from(never),
        "operations that refused nothing"
    );
}

/// Every operation succeeds once. `Client` validates each response against the document.
#[tokio::test]
async fn every_success_matches_the_document() {
    let client = Client::new().await;
    let order = crate::staff::confirmed(&client).await;
    let receipt = client.accepted().await;
    let (id, token) = (
        receipt["order_id"].as_str().expect("an id"),
        receipt["tracking_token"].as_str().expect("a token"),
    );
    let line = json!({ "product_id": "espresso", "quantity": 2 });
    let added = client.json("POST", "/api/v1/cart/items", &[], &line).await;
    assert_eq!(added.status, StatusCode::OK);
    let cookie = added.cookie();
    let bearer = format!(
        "Bearer {}",
        token_as(StaffRole::Staff, "Ana", NOON + time::Duration::hours(1))
    );
    let mine = client
        .json(
            "POST",
            "/api/v1/orders",
            &[("cookie", &cookie), ("idempotency-key", "k-1")],
            &crate::an_espresso(),
        )
        .await;
    assert_eq!(mine.status, StatusCode::ACCEPTED);
    let headers = [
        ("authorization", bearer.as_str()),
        ("cookie", cookie.as_str()),
        ("tracking-token", token),
        ("if-match", "2"),
    ];
    let stock = "/api/v1/admin/inventory/espresso";
    let change = json!({ "quantity": 1, "reason": "a test" });
    let moves = json!({ "changes": [
        { "id": order, "version": 2, "status": "preparing" },
        { "id": order, "version": 2, "status": "ready" },
    ] });
    let mut succeeded = BTreeSet::from([
        "post_cart_items".to_owned(),
        "post_orders".to_owned(),
        // Events do not end, and the webhook needs a signature: both have tests of their own.
        "get_orders_id_events".to_owned(),
        "post_webhooks_payment".to_owned(),
    ]);
    let document = client.get("/openapi.json", &[]).await.json();
    let known = crate::Document::new(document.clone());
    for (method, path, body) in [
        ("GET", "/api/v1/menu".to_owned(), json!({})),
        ("GET", "/api/v1/menu/espresso".to_owned(), json!({})),
        ("GET", "/api/v1/cart".to_owned(), json!({})),
        (
            "PUT",
            "/api/v1/cart/items/espresso".to_owned(),
            json!({ "quantity": 3 }),
        ),
        (
            "DELETE",
            "/api/v1/cart/items/espresso".to_owned(),
            json!({}),
        ),
        ("DELETE", "/api/v1/cart".to_owned(), json!({})),
        ("GET", "/api/v1/pickup-slots".to_owned(), json!({})),
        ("GET", "/api/v1/orders".to_owned(), json!({})),
        ("GET", format!("/api/v1/orders/{id}"), json!({})),
        ("GET", format!("/api/v1/orders/{id}/journey"), json!({})),
        ("POST", format!("/api/v1/orders/{id}/cancel"), json!({})),
        ("GET", "/api/v1/admin/orders".to_owned(), json!({})),
        ("POST", "/api/v1/admin/orders/status".to_owned(), moves),
        (
            "PUT",
            format!("/api/v1/admin/orders/{order}/status"),
            json!({ "status": "ready" }),
        ),
        ("GET", "/api/v1/admin/inventory".to_owned(), json!({})),
        ("POST", format!("{stock}/restock"), change.clone()),
        ("POST", format!("{stock}/write-off"), change),
        (
            "POST",
            format!("{stock}/adjust"),
            json!({ "change": 1, "reason": "a test" }),
        ),
        ("GET", format!("{stock}/ledger"), json!({})),
        (
            "GET",
            "/api/v1/admin/stock/suggestions".to_owned(),
            json!({}),
        ),
    ] {
        let mut all = headers.to_vec();
        if method == "PUT" && path.contains("/admin/") {
            // The list above has moved the order once.
            all[3] = ("if-match", "3");
        }
        let answer = client.json(method, &path, &all, &body).await;
        assert!(
            answer.status.is_success(),
            "{method} {path}: {}",
            answer.text
        );
        let operation = known.operation(method, &path).expect("documented");
        succeeded.insert(operation["operationId"].as_str().expect("an id").to_owned());
    }
    let all: BTreeSet<String> = document["paths"]
        .as_object()
        .expect("paths")
        .values()
        .flat_map(|operations| operations.as_object().expect("operations").values())
        .map(|operation| operation["operationId"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(succeeded, all);
}

/// The examples of problems follow the schema.
#[tokio::test]
async fn every_example_of_a_problem_matches_the_schema() {
    let client = Client::new().await;
    let document = client.get("/openapi.json", &[]).await.json();
    let known = crate::Document::new(document.clone());
    let mut examples = 0;
    for operations in document["paths"].as_object().expect("paths").values() {
        for operation in operations.as_object().expect("operations").values() {
            for response in operation["responses"]
                .as_object()
                .expect("responses")
                .values()
            {
                let content = &response["content"]["application/problem+json"];
                for example in content["examples"]
                    .as_object()
                    .into_iter()
                    .flat_map(|all| all.values())
                {
                    known.check("an example", &content["schema"], &example["value"]);
                    examples += 1;
                }
            }
        }
    }
    assert!(examples > 50, "{examples}");
}

/// The order's status has its own member beside the HTTP status.
#[tokio::test]
async fn the_problem_of_a_412_keeps_its_http_status() {
    let client = Client::new().await;
    let id = crate::staff::confirmed(&client).await;
    let path = format!("/api/v1/admin/orders/{id}/status");
    let late = client
        .as_staff(
            "PUT",
            &path,
            &[("if-match", "1")],
            Some(&json!({ "status": "preparing" })),
        )
        .await;
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED);
    let problem = late.json();
    assert_eq!(problem["status"], 412);
    assert_eq!(
        (&problem["order_status"], &problem["version"]),
        (&json!("confirmed"), &json!(2))
    );
    assert_eq!(problem["changed_by"], "Ana");
}

/// A client may send a field with an empty name; the response shows it as `(empty)`.
#[tokio::test]
async fn a_field_with_an_empty_name_is_shown_as_empty() {
    let client = Client::new().await;
    let order = client.order("k-1", &json!({ "": 1 })).await;
    assert!(
        order.fields().contains(&"(empty)".to_owned()),
        "{}",
        order.text
    );
    for path in ["/api/v1/orders?=x", "/api/v1/pickup-slots?=x"] {
        assert_eq!(client.get(path, &[]).await.fields(), ["(empty)"], "{path}");
    }
}

/// Every operation documents all its error responses, internal errors included.
#[tokio::test]
async fn every_operation_documents_500_and_503() {
    let client = Client::new().await;
    let document = client.get("/openapi.json", &[]).await.json();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            for status in ["4XX", "500", "503"] {
                let response = &operation["responses"][status]["$ref"];
                assert_eq!(
                    response, "#/components/responses/Problem",
                    "{method} {path} {status}"
                );
            }
        }
    }
}
