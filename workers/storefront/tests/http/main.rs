//! The storefront over HTTP, on in-memory ports, as clients, browsers and attackers see it.

mod access;
mod batch;
mod cards;
mod cart_store;
mod carts;
mod documents;
mod events;
mod hanging;
mod journey;
mod kept_form;
mod limits;
mod mailbox;
mod orders;
mod pages;
mod prices;
mod roles;
mod scope;
mod security;
mod sessions;
mod sign_in;
mod slots;
mod staff;
mod surroundings;
mod times;
mod tracking;
mod webhook;
mod words;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use app::fakes::orders::MemoryOrders;
use app::fakes::stock::MemoryStock;
use app::fakes::views::MemoryViews;
use app::location::Location;
use app::ports::Source;
use app::ports::access::StaffToken;
use app::ports::stock::Stock as _;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use cart_store::TestCarts;
use contract::dependency::Dependency;
use contract::route::{ROUTES, Route, Surface};
use domain::Timestamp;
use domain::access::StaffRole;
use domain::ids::ProductId;
use domain::menu::{Product, ProductType};
use domain::money::{Currency, Money};
use serde_json::{Value, json};
use storefront::keys::Keys;
use storefront::{Observation, Ports, Revoked, SecurityEvent, Settings, Shops, router};
use time::macros::datetime;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use uuid::Uuid;

const NOON: Timestamp = datetime!(2026-03-01 12:00 UTC);
const SIGNING_KEY: &str = "a key of the tests";
const WEBHOOK_SECRET: &str = "a secret of the tests";

#[derive(Clone)]
struct World(Arc<Things>);

struct Things {
    orders: MemoryOrders,
    stock: MemoryStock,
    carts: TestCarts,
    views: MemoryViews,
    clock: Clock,
    /// Dependencies whose circuit breaker is open.
    down: Mutex<Vec<Dependency>>,
    /// Counts of the shared store. A key without an entry is not counted.
    counts: Mutex<HashMap<String, u64>>,
    /// Recorded security events.
    security: Mutex<Vec<SecurityEvent>>,
    /// True to make every read of a cart panic.
    panics: AtomicBool,
}

/// A clock that only the test advances, so that no result depends on the test's duration.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicI64>);

impl Source for Clock {
    fn now(&self) -> Timestamp {
        NOON + time::Duration::seconds(self.0.load(Ordering::Relaxed))
    }

    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

impl Ports for World {
    type Orders = MemoryOrders;
    type Stock = MemoryStock;
    type Carts = TestCarts;
    type Views = MemoryViews;
    type Source = Clock;

    fn orders(&self) -> &MemoryOrders {
        &self.0.orders
    }

    fn stock(&self) -> &MemoryStock {
        &self.0.stock
    }

    fn carts(&self) -> &TestCarts {
        assert!(!self.0.panics.load(Ordering::Relaxed), "a defect, planted");
        &self.0.carts
    }

    fn views(&self) -> &MemoryViews {
        &self.0.views
    }

    fn source(&self) -> &Clock {
        &self.0.clock
    }

    fn refuses(&self, needs: &[Dependency]) -> Option<Duration> {
        let down = self.0.down.lock().expect("not poisoned");
        needs
            .iter()
            .any(|need| down.contains(need))
            .then_some(Duration::from_millis(6_500))
    }

    async fn count(&self, key: &str, _window: Duration) -> Option<u64> {
        let mut counts = self.0.counts.lock().expect("not poisoned");
        let count = counts.get_mut(key)?;
        *count += 1;
        Some(*count)
    }

    fn observe(&self, observation: Observation) {
        if let Observation::Security(event) = observation {
            self.0.security.lock().expect("not poisoned").push(event);
        }
    }
}

/// A shop with an espresso (10 units), a flat white (10 units) and a croissant (sold out).
struct Client {
    world: World,
    router: Router,
    shops: Arc<Shops>,
    pending_max: Arc<AtomicU64>,
    revoked: Revoked,
    shutdown: CancellationToken,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    fn fields(&self) -> Vec<String> {
        let problem = self.json();
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        errors
            .iter()
            .filter_map(|error| error["field"].as_str().map(str::to_owned))
            .collect()
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Returns the session cookie as a browser sends it back.
    fn cookie(&self) -> String {
        let (pair, _) = self
            .header("set-cookie")
            .split_once(';')
            .expect("a cookie with attributes");
        pair.to_owned()
    }
}

/// The OpenAPI document, with the schemas that were used before.
struct Document {
    value: Value,
    schemas: Mutex<HashMap<String, Arc<jsonschema::Validator>>>,
}

impl Document {
    fn new(value: Value) -> Document {
        let schemas = Mutex::default();
        Document { value, schemas }
    }

    /// Returns the operation of a request to the API.
    fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let path = path.split('?').next().unwrap_or_default();
        let parts: Vec<_> = path.split('/').collect();
        let fits = |route: &&Route| {
            let named: Vec<_> = route.path.split('/').collect();
            named.len() == parts.len()
                && named
                    .iter()
                    .zip(&parts)
                    .all(|(named, part)| named == part || named.starts_with('{'))
        };
        let routes = ROUTES
            .iter()
            .filter(|route| route.surface == Surface::Api && route.method.as_str() == method);
        // A path without parameters comes first.
        let route = routes
            .filter(fits)
            .min_by_key(|route| route.path.matches('{').count())?;
        Some(&self.value["paths"][route.path][method.to_lowercase()])
    }

    /// Checks that the operation describes the response.
    fn check_answer(&self, operation: &Value, answer: &Answer, what: &str) {
        if answer.status.as_u16() >= 400 {
            let problem = answer.json();
            let kind = problem["type"]
                .as_str()
                .and_then(|kind| kind.rsplit('/').next());
            let documented = operation["x-problems"].as_array().expect("problems");
            assert!(
                documented.iter().any(|known| known.as_str() == kind),
                "{what}, which is not in {documented:?}"
            );
            return;
        }
        let response = &operation["responses"][answer.status.as_str()];
        assert!(!response.is_null(), "{what}, which is not documented");
        match response["content"]
            .as_object()
            .and_then(|content| content.iter().next())
        {
            Some((kind, content)) => {
                assert_eq!(answer.header("content-type"), kind, "{what}");
                if kind == "application/json" {
                    self.check(what, &content["schema"], &answer.json());
                }
            }
            None => assert_eq!(answer.text, "", "{what}"),
        }
    }

    /// Checks a value against a schema of the document.
    fn check(&self, what: &str, schema: &Value, value: &Value) {
        let compile = || {
            let mut root = schema.clone();
            root["components"] = self.value["components"].clone();
            Arc::new(jsonschema::validator_for(&root).expect("a legal schema"))
        };
        let schema = self
            .schemas
            .lock()
            .expect("not poisoned")
            .entry(schema.to_string())
            .or_insert_with(compile)
            .clone();
        let wrong: Vec<_> = schema
            .iter_errors(value)
            .map(|error| error.to_string())
            .collect();
        assert!(wrong.is_empty(), "{what}: {value:#} is wrong: {wrong:?}");
    }
}

impl Client {
    async fn new() -> Client {
        Client::set(|_| {}).await
    }

    async fn with(secure_cookies: bool) -> Client {
        Client::set(|settings| settings.secure_cookies = secure_cookies).await
    }

    async fn set(change: impl FnOnce(&mut Settings)) -> Client {
        let stock = MemoryStock::default();
        for (product, name, minor, units) in [
            ("espresso", "Espresso", 300, 10),
            ("flat-white", "Flat white", 420, 10),
            ("croissant", "Croissant", 350, 0),
        ] {
            let product = Product {
                product_id: ProductId::parse(product).expect("a slug"),
                name: name.to_owned(),
                description: "Good.".to_owned(),
                kind: ProductType::Coffee,
                price: Money::new(minor, Currency::Usd),
                image_url: format!("/static/menu/{product}.svg"),
            };
            assert!(
                stock
                    .add_product(&product, units, 3, NOON)
                    .await
                    .expect("added")
            );
        }
        let clock = Clock::default();
        let things = Things {
            orders: MemoryOrders::default(),
            stock,
            carts: TestCarts::new(clock.clone()),
            views: MemoryViews::default(),
            clock: clock.clone(),
            down: Mutex::default(),
            counts: Mutex::default(),
            security: Mutex::default(),
            panics: AtomicBool::default(),
        };
        let pending_max = Arc::new(AtomicU64::new(1_000));
        let shutdown = CancellationToken::new();
        let revoked = Revoked::default();
        let shops = Arc::new(Shops::new(Location::initial()));
        let mut settings = Settings {
            shops: shops.clone(),
            signing_key: Keys::new(SIGNING_KEY),
            revoked: revoked.clone(),
            webhook_secret: Keys::new(WEBHOOK_SECRET),
            secure_cookies: false,
            pending_max: pending_max.clone(),
            orders_per_minute: 0,
            trusted_proxies: 0,
            mailbox: None,
            shutdown: shutdown.clone(),
            clock: Arc::new(move || clock.now()),
        };
        change(&mut settings);
        let world = World(Arc::new(things));
        Client {
            router: router(world.clone(), settings),
            world,
            shops,
            pending_max,
            revoked,
            shutdown,
        }
    }

    async fn response(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> axum::response::Response {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "shop.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).expect("a request");
        self.router
            .clone()
            .oneshot(request)
            .await
            .expect("an answer")
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let response = self.response(method, path, headers, body).await;
        let (parts, body) = response.into_parts();
        // A board of a thousand orders is larger than one mebibyte.
        let bytes = axum::body::to_bytes(body, 4 << 20).await.expect("a body");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            text,
        };
        self.check(method, path, &answer).await;
        answer
    }

    /// Checks that an error response is a page or matches the published schema, and that the
    /// document describes every response of the API.
    async fn check(&self, method: &str, path: &str, answer: &Answer) {
        static DOCUMENT: OnceLock<Document> = OnceLock::new();
        if DOCUMENT.get().is_none() {
            let document = self
                .response("GET", "/openapi.json", &[], Body::empty())
                .await
                .into_body();
            let document = axum::body::to_bytes(document, 1 << 20)
                .await
                .expect("a body");
            let document = serde_json::from_slice(&document).expect("JSON");
            let _ = DOCUMENT.set(Document::new(document));
        }
        let document = DOCUMENT.get().expect("set");
        let what = format!("{method} {path} answered {} {}", answer.status, answer.text);
        let is_page = answer.header("content-type").starts_with("text/html");
        if answer.status.as_u16() >= 400 && !is_page {
            assert_eq!(
                answer.header("content-type"),
                "application/problem+json",
                "{what}"
            );
            let problem = answer.json();
            let members = &document.value["components"]["schemas"]["Problem"]["properties"];
            for member in problem.as_object().expect("an object").keys() {
                assert!(
                    members.get(member).is_some(),
                    "{method} {path}: the schema does not know {member}"
                );
            }
            document.check(
                "Problem",
                &json!({ "$ref": "#/components/schemas/Problem" }),
                &problem,
            );
            assert_eq!(problem["status"], answer.status.as_u16(), "{what}");
            assert_eq!(
                problem["request_id"],
                answer.header("x-request-id"),
                "{what}"
            );
        }
        if let Some(operation) = document.operation(method, path) {
            document.check_answer(operation, answer, &what);
        }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers, Body::empty()).await
    }

    async fn json(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let headers: Vec<_> = std::iter::once(("content-type", "application/json"))
            .chain(headers.iter().copied())
            .collect();
        self.send(method, path, &headers, body.to_string()).await
    }

    async fn order(&self, key: &str, body: &Value) -> Answer {
        self.json("POST", "/api/v1/orders", &[("idempotency-key", key)], body)
            .await
    }

    /// Places an order and returns its receipt.
    async fn accepted(&self) -> Value {
        let answer = self
            .order(&Uuid::now_v7().to_string(), &an_espresso())
            .await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        answer.json()
    }

    async fn as_staff(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let role = StaffRole::Staff;
        let bearer = format!(
            "Bearer {}",
            token_as(role, "Ana", NOON + time::Duration::hours(1))
        );
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        match body {
            Some(body) => self.json(method, path, &all, body).await,
            None => self.get(path, &all).await,
        }
    }

    /// Advances the clock.
    fn later(&self, by: time::Duration) {
        self.world
            .0
            .clock
            .0
            .fetch_add(by.whole_seconds(), Ordering::Relaxed);
    }

    fn panics(&self, whether: bool) {
        self.world.0.panics.store(whether, Ordering::Relaxed);
    }

    fn pending_max(&self, orders: u64) {
        self.pending_max.store(orders, Ordering::Relaxed);
    }
}

fn token(name: &str, until: Timestamp) -> String {
    token_as(StaffRole::Barista, name, until)
}

fn token_as(role: StaffRole, name: &str, expires_at: Timestamp) -> String {
    storefront::staff::issue(SIGNING_KEY, &recorded(role, name, expires_at))
}

/// Returns the record of a token.
fn recorded(role: StaffRole, name: &str, expires_at: Timestamp) -> StaffToken {
    StaffToken {
        id: Uuid::now_v7(),
        name: name.to_owned(),
        role,
        issued_at: NOON,
        expires_at,
        revoked_at: None,
    }
}

fn an_espresso() -> Value {
    json!({
        "customer": { "name": "Ana", "phone": "+1 555 010 0123", "email": "ana@example.com" },
        "items": [{ "product_id": "espresso", "quantity": 1 }],
        "payment_token": "tok_ok",
    })
}
