//! Two tenants with two locations each. No route returns an order of another tenant, and none
//! returns to staff an order of another location.

use app::fakes::orders::MemoryOrders;
use app::laws::orders::new_order;
use app::laws::scope::shops;
use app::ports::orders::{OrderStore as _, Placement};
use app::ports::views::{OrderView, OrderViews as _};
use app::use_cases::idempotency::key_hash;
use axum::http::StatusCode;
use contract::route::{ROUTES, Surface};
use domain::access::StaffRole;
use domain::ids::OrderId;
use domain::saga::State;
use serde_json::{Value, json};
use storefront::SecurityEvent;

use crate::{Client, NOON, an_espresso, token, token_as};

/// Routes of the pages that contain an order id; compared with the router below.
const PAGES: [(&str, &str); 7] = [
    ("GET", "/orders/{id}"),
    ("GET", "/orders/{id}/fragment"),
    ("POST", "/orders/{id}/cancel"),
    ("POST", "/orders/{id}/open"),
    ("GET", "/staff/orders/{id}"),
    ("POST", "/staff/orders/{id}/status"),
    ("GET", "/staff?late={id}"),
];

/// Returns every route with an order id; those of the API come from its document.
async fn routes(client: &Client) -> Vec<(String, String)> {
    let document = client.get("/openapi.json", &[]).await.json();
    let paths = document["paths"].as_object().expect("paths");
    let api = paths.iter().flat_map(|(path, operations)| {
        let methods = operations.as_object().expect("operations").keys();
        methods
            .map(|method| (method.to_uppercase(), path.clone()))
            .collect::<Vec<_>>()
    });
    let pages = PAGES
        .iter()
        .map(|(method, path)| ((*method).to_owned(), (*path).to_owned()));
    api.filter(|(_, path)| path.contains("{id}"))
        .chain(pages)
        .collect()
}

/// Places two orders at home and one at each other location, all in one session. Returns the
/// session's cookie and the orders.
async fn orders_everywhere(client: &Client) -> (String, Vec<OrderId>) {
    client.shops.replace(shops().into());
    let orders: &MemoryOrders = &client.world.0.orders;
    let line = json!({ "product_id": "espresso", "quantity": 1 });
    let cookie = client
        .json("POST", "/api/v1/cart/items", &[], &line)
        .await
        .cookie();
    let headers = [("cookie", cookie.as_str()), ("idempotency-key", "k-1")];
    let first = client
        .json("POST", "/api/v1/orders", &headers, &an_espresso())
        .await
        .json();
    let first: OrderId = first["order_id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("an id");
    let stored = orders.load(first).await.expect("read").expect("there");
    show(client, first).await;
    let mut placed = vec![first];
    for shop in shops() {
        let mut new = new_order();
        (new.order.tenant_id, new.order.location_id) = (shop.tenant_id, shop.location_id);
        new.session_hash.clone_from(&stored.session_hash);
        new.order.customer.name = format!("{} {}", new.order.tenant_id, new.order.location_id);
        assert_eq!(orders.place(&[new.clone()]).await, [Ok(Placement::Placed)]);
        show(client, new.order.order_id).await;
        placed.push(new.order.order_id);
    }
    (cookie, placed)
}

async fn show(client: &Client, order_id: OrderId) {
    let stored = client
        .world
        .0
        .orders
        .load(order_id)
        .await
        .expect("read")
        .expect("there");
    for shown in client.world.0.views.show(&[OrderView::of(&stored)]).await {
        shown.expect("shown");
    }
}

/// Returns the response without the ids that differ between requests.
fn seen(answer: &crate::Answer, id: &str) -> (StatusCode, String) {
    let text = match serde_json::from_str::<Value>(&answer.text) {
        Ok(mut problem) => {
            problem["request_id"] = json!("");
            problem.to_string()
        }
        Err(_) => answer.text.clone(),
    };
    (
        answer.status,
        format!("{} {}", answer.header("location"), text).replace(id, "ID"),
    )
}

async fn ask(
    client: &Client,
    method: &str,
    path: &str,
    id: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, String) {
    let path = path.replace("{id}", id);
    let (kind, body) = if path.starts_with("/api") {
        (
            "application/json",
            json!({ "status": "preparing" }).to_string(),
        )
    } else {
        (
            "application/x-www-form-urlencoded",
            "status=preparing&version=1".to_owned(),
        )
    };
    let mut all = vec![("content-type", kind), ("if-match", "\"1\"")];
    all.extend_from_slice(headers);
    let answer = client
        .send(
            method,
            &path,
            &all,
            if method == "GET" { String::new() } else { body },
        )
        .await;
    seen(&answer, id)
}

#[tokio::test]
async fn an_order_out_of_scope_looks_like_a_missing_order() {
    let client = Client::new().await;
    let (cookie, placed) = orders_everywhere(&client).await;
    let bearer = format!("Bearer {}", token("Ana", NOON + time::Duration::hours(1)));
    let unknown = OrderId(uuid::Uuid::now_v7()).to_string();
    let staff = [("authorization", bearer.as_str())];
    let customer = [("cookie", cookie.as_str())];
    // Staff cannot reach another location of the business, and nobody can reach another business.
    let routes = routes(&client).await;
    assert!(routes.len() > PAGES.len() + 4, "{routes:?}");
    for (index, order_id) in placed.iter().enumerate().skip(2) {
        for (method, path) in &routes {
            let id = order_id.to_string();
            for (who, headers) in [("staff", &staff[..]), ("customer", &customer[..])] {
                if who == "customer" && index == 2 {
                    continue;
                }
                let expected = ask(&client, method, path, &unknown, headers).await;
                let got = ask(&client, method, path, &id, headers).await;
                assert_eq!(got, expected, "{who}: {method} {path}, shop {index}");
            }
        }
    }
}

/// Each route records the same event for an order outside the scope and for an order that does not
/// exist.
#[tokio::test]
async fn every_route_counts_a_request_for_an_order_out_of_scope() {
    let client = Client::new().await;
    let (cookie, placed) = orders_everywhere(&client).await;
    let bearer = format!(
        "Bearer {}",
        token_as(StaffRole::Staff, "Ana", NOON + time::Duration::hours(1))
    );
    let over = token("Ana", NOON - time::Duration::hours(1));
    let (forged, staff_cookie) = ("Bearer hv2.e30.AAAA", format!("staff={over}"));
    let unknown = OrderId(uuid::Uuid::now_v7()).to_string();
    let counted = || std::mem::take(&mut *client.world.0.security.lock().expect("not poisoned"));
    let [elsewhere, foreign] = [placed[2], placed[3]].map(|id| id.to_string());
    for (method, path) in &routes(&client).await {
        // This route checks the order's token and ignores who is signed in.
        let opens = path.ends_with("/open");
        for (who, headers, ids) in [
            (
                "staff",
                ("authorization", bearer.as_str()),
                [&unknown, &elsewhere, &foreign],
            ),
            (
                "customer",
                ("cookie", cookie.as_str()),
                [&unknown, &foreign, &foreign],
            ),
            (
                "a forged token",
                ("authorization", forged),
                [&unknown, &elsewhere, &foreign],
            ),
            (
                "an old cookie",
                ("cookie", staff_cookie.as_str()),
                [&unknown, &elsewhere, &foreign],
            ),
        ] {
            let expected = match who {
                "staff" => vec![SecurityEvent::ForeignLookup],
                _ if opens => vec![SecurityEvent::ForeignLookup],
                // A person without a staff token is redirected to the sign-in, which is not a
                // security event.
                "customer" if path.starts_with("/staff") => vec![],
                "customer" if !path.starts_with("/api/v1/admin") => {
                    vec![SecurityEvent::ForeignLookup]
                }
                _ => vec![SecurityEvent::Unauthorized],
            };
            for id in ids {
                counted();
                let (status, _) = ask(&client, method, path, id, &[headers]).await;
                assert_eq!(counted(), expected, "{who}: {method} {path}, {status}");
            }
        }
    }
    for path in [
        "/staff",
        "/staff/board",
        "/staff/stock",
        "/staff/mailbox",
        "/staff/orders?number=A-047",
    ] {
        counted();
        assert_eq!(
            client
                .get(path, &[("cookie", &staff_cookie)])
                .await
                .header("location"),
            "/staff/sign-in",
            "{path}"
        );
        assert_eq!(counted(), [SecurityEvent::Unauthorized], "{path}");
    }
}

#[tokio::test]
async fn lists_have_only_orders_of_the_scope() {
    let client = Client::new().await;
    let (cookie, placed) = orders_everywhere(&client).await;
    let ids = |body: &Value| -> Vec<String> {
        let orders = body["orders"].as_array().expect("orders").iter();
        orders
            .map(|order| order["order_id"].as_str().expect("an id").to_owned())
            .collect()
    };
    let expected = |orders: &[OrderId]| {
        orders
            .iter()
            .rev()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    for (path, orders) in [
        ("/api/v1/admin/orders", &placed[..2]),
        ("/api/v1/admin/orders?status=pending", &placed[..2]),
        ("/api/v1/admin/orders?number=a47", &placed[1..2]),
    ] {
        let listed = client.as_staff("GET", path, &[], None).await;
        assert_eq!(ids(&listed.json()), expected(orders), "{path}");
    }
    let mine = client
        .get("/api/v1/orders", &[("cookie", cookie.as_str())])
        .await;
    assert_eq!(
        ids(&mine.json()),
        expected(&placed[..3]),
        "both locations of the house"
    );
    client.world.0.views.set_out_of_reach(true);
    let mine = client
        .get("/api/v1/orders", &[("cookie", cookie.as_str())])
        .await;
    assert_eq!(
        ids(&mine.json()),
        expected(&placed[..3]),
        "from the orders themselves"
    );

    let changes = json!({ "changes": placed.iter().skip(2).map(|id| json!({ "id": id, "version": 1, "status": "cancelled" })).collect::<Vec<_>>() });
    client
        .world
        .0
        .security
        .lock()
        .expect("not poisoned")
        .clear();
    let moved = client
        .as_staff("POST", "/api/v1/admin/orders/status", &[], Some(&changes))
        .await
        .json();
    let results: Vec<_> = moved["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|one| one["result"].clone())
        .collect();
    assert_eq!(results, ["not_found", "not_found", "not_found"]);
    let counted = client
        .world
        .0
        .security
        .lock()
        .expect("not poisoned")
        .clone();
    assert_eq!(
        counted,
        [SecurityEvent::ForeignLookup; 3],
        "every method of the list"
    );
}

#[tokio::test]
async fn staff_find_the_newest_order_by_its_number() {
    let client = Client::new().await;
    orders_everywhere(&client).await;
    let newer = new_order();
    client
        .world
        .0
        .orders
        .place(std::slice::from_ref(&newer))
        .await;
    let bearer = format!("Bearer {}", token("Ana", NOON + time::Duration::hours(1)));
    let found = client
        .get("/staff/orders?number=a-47", &[("authorization", &bearer)])
        .await;
    assert_eq!(
        found.header("location"),
        format!("/staff/orders/{}", newer.order.order_id)
    );
    let unknown = client
        .get("/staff/orders?number=Z-999", &[("authorization", &bearer)])
        .await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(
        client
            .get("/staff/orders?number=A-047", &[])
            .await
            .header("location"),
        "/staff/sign-in"
    );
}

/// Methods of the stores that find an order without a scope. Only workers call them, with an id
/// from one of our messages.
const OF_WORKERS: [&str; 8] = [
    "load",
    "payment",
    "payments",
    "look_again",
    "take_outbox",
    "taken_in",
    "notices_of",
    "newest_of",
];

/// The two methods without a scope that requests call. A placed order names its location, and a
/// changed order was loaded with a scope and still has the loaded version.
const OF_REQUESTS: [&str; 2] = ["apply", "place"];

/// Every call that a request makes to the stores has a scope.
#[tokio::test]
async fn no_request_calls_a_method_of_the_workers() {
    let client = Client::new().await;
    let (cookie, placed) = orders_everywhere(&client).await;
    let orders = &client.world.0.orders;
    let ended = app::laws::orders::new_order();
    orders
        .place(std::slice::from_ref(&ended))
        .await
        .pop()
        .expect("an answer")
        .expect("placed");
    let end = app::laws::orders::step(&ended, 1, State::Cancelled);
    orders
        .apply(&[end])
        .await
        .pop()
        .expect("an answer")
        .expect("applied");
    let bearer = format!(
        "Bearer {}",
        token_as(StaffRole::Staff, "Ana", NOON + time::Duration::hours(1))
    );
    orders.take_calls_without_scope();

    let (staff, customer) = (
        ("authorization", bearer.as_str()),
        ("cookie", cookie.as_str()),
    );
    for route in ROUTES {
        let (method, path) = (route.method.as_str(), route.path);
        for id in [placed[0], placed[3], ended.order.order_id] {
            for who in [("accept", "*/*"), customer, staff] {
                let path = path
                    .replace("{id}", &id.to_string())
                    .replace("{product_id}", "espresso");
                let (kind, body) = match path.starts_with("/api") {
                    true => ("application/json", an_espresso().to_string()),
                    false => (
                        "application/x-www-form-urlencoded",
                        "status=preparing&version=1".to_owned(),
                    ),
                };
                let key = id.to_string();
                let headers = [
                    ("content-type", kind),
                    ("if-match", "1"),
                    ("idempotency-key", key.as_str()),
                    who,
                ];
                // An event stream would not end.
                drop(
                    client
                        .response(
                            method,
                            &path,
                            &headers,
                            if method == "GET" { String::new() } else { body },
                        )
                        .await,
                );
            }
        }
    }
    // A page that shows a refund, and a key that was used before.
    let page = format!(
        "/orders/{}?token={}",
        ended.order.order_id, ended.tracking_token
    );
    assert!(
        client
            .get(&page, &[("accept", "text/html")])
            .await
            .text
            .contains("Your card was not charged.")
    );
    client.order("k-1", &an_espresso()).await;
    let called = orders.take_calls_without_scope();
    assert!(
        !called.iter().any(|method| OF_WORKERS.contains(method)),
        "{called:?}"
    );
    assert_eq!(called, OF_REQUESTS.into());
    // The check works: a call without a scope is recorded.
    orders.load(placed[0]).await.expect("read");
    assert_eq!(orders.take_calls_without_scope(), ["load"].into());
}

#[tokio::test]
async fn a_key_of_another_tenant_counts_as_unused() {
    let client = Client::new().await;
    client.shops.replace(shops().into());
    let [_, _, other, _] = shops();
    let mut theirs = new_order();
    (theirs.order.tenant_id, theirs.order.location_id) =
        (other.tenant_id.clone(), other.location_id);
    theirs.key_hash = key_hash(&other.tenant_id, "k-1", storefront::digest);
    assert_eq!(
        client.world.0.orders.place(&[theirs]).await,
        [Ok(Placement::Placed)]
    );
    let ours = client.order("k-1", &an_espresso()).await;
    assert_eq!(ours.status, StatusCode::ACCEPTED, "{}", ours.text);
}

#[test]
fn the_storefront_asks_for_orders_with_its_scope() {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let mut folders = vec![std::path::PathBuf::from(sources)];
    let (mut code, mut files) = (String::new(), 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => {
                    code.push_str(&std::fs::read_to_string(path).expect("text"));
                    files += 1;
                }
            }
        }
    }
    assert!(
        files > 20 && code.contains(".load_in("),
        "these are the sources"
    );
    for method in OF_WORKERS.iter().chain(&["apply"]) {
        assert!(
            !code.contains(&format!("orders().{method}(")),
            "the storefront calls {method} without a scope"
        );
    }
    assert!(
        !code.contains("Scope::Everything"),
        "the storefront serves one tenant"
    );
    // The list above contains every page route.
    let named = ROUTES
        .iter()
        .filter(|route| route.surface == Surface::Page && route.path.contains("orders/{id}"))
        .map(|route| (route.method.as_str(), route.path));
    for page in named {
        assert!(
            PAGES.contains(&page),
            "{page:?} names an order and is not tried"
        );
    }
}
