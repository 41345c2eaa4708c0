//! `/openapi.json` against the routes that are really there.

use axum::http::StatusCode;
use serde_json::json;

use crate::Client;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

#[tokio::test]
async fn every_documented_operation_is_a_route_and_no_other_method_is() {
    let client = Client::new().await;
    let document = client.get("/openapi.json", &[]).await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().expect("paths");
    for (path, operations) in paths {
        let real = path.replace("{product_id}", "espresso").replace("{id}", "01890000-0000-7000-8000-000000000000");
        for method in METHODS {
            let answer = client.json(&method.to_uppercase(), &real, &[], &json!({})).await;
            let documented = operations.get(method).is_some();
            let routed = answer.status != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(routed, documented, "{method} {path} answered {}", answer.status);
            assert!(answer.status.as_u16() < 500, "{method} {path}: {}", answer.text);
        }
    }
}

/// Every address under `/api/v1` and `/webhooks` that the source routes stands in the document.
#[tokio::test]
async fn every_route_of_the_api_is_documented() {
    let client = Client::new().await;
    let document = client.get("/openapi.json", &[]).await.json();
    let source = include_str!("../../src/api.rs");
    let routes: Vec<&str> = source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(routes.len() > 10, "the routes were not found in the source");
    for route in routes.into_iter().filter(|route| *route != "/openapi.json") {
        assert!(document["paths"].get(route).is_some(), "{route} is not documented");
    }
}

#[tokio::test]
async fn references_lead_somewhere_and_names_are_unique() {
    let client = Client::new().await;
    let document = client.get("/openapi.json", &[]).await.json();
    let text = document.to_string();
    for rest in text.split("\"$ref\":\"#").skip(1) {
        let pointer = rest.split('"').next().unwrap_or_default();
        assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
    }
    let operations = document["paths"].as_object().expect("paths").values().flat_map(|path| path.as_object());
    let mut ids: Vec<String> =
        operations.flat_map(|operations| operations.values()).map(|it| it["operationId"].to_string()).collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[tokio::test]
async fn a_staff_operation_says_so_and_is_closed_to_others() {
    let client = Client::new().await;
    let document = client.get("/openapi.json", &[]).await.json();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let real = path.replace("{product_id}", "espresso").replace("{id}", "01890000-0000-7000-8000-000000000000");
            let answer = client.json(&method.to_uppercase(), &real, &[], &json!({})).await;
            let closed = answer.status == StatusCode::UNAUTHORIZED;
            assert_eq!(closed, operation.get("security").is_some(), "{method} {path} answered {}", answer.status);
        }
    }
}
