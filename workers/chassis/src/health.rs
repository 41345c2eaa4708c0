//! Liveness, readiness and metrics over HTTP, on an address of their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use contract::{HEALTH_PATH, METRICS_PATH, READY_PATH};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Metrics;

/// The state of the process and its dependencies. Cheap to clone.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    role: String,
    version: String,
    started: Instant,
    draining: AtomicBool,
    /// The dependencies by name; `None` is up. The names are constants, so the map is bounded.
    dependencies: Mutex<BTreeMap<String, Option<Down>>>,
}

/// A dependency that cannot be used now.
struct Down {
    reason: String,
    since: Instant,
    /// Whether the process is not ready without the dependency.
    hard: bool,
}

impl Health {
    /// Creates the health of a process without dependencies: the process is ready.
    pub fn new(role: impl Into<String>, version: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            role: role.into(),
            version: version.into(),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            dependencies: Mutex::default(),
        }))
    }

    /// Adds a dependency that the process needs. The dependency is down until [`Health::up`].
    pub fn expect(&self, dependency: &str) {
        let not_yet = || {
            Some(Down {
                reason: "not reached yet".to_owned(),
                since: Instant::now(),
                hard: true,
            })
        };
        self.dependencies()
            .entry(dependency.to_owned())
            .or_insert_with(not_yet);
    }

    /// Reports that a dependency works.
    pub fn up(&self, dependency: &str) {
        let before = self.dependencies().insert(dependency.to_owned(), None);
        if let Some(Some(Down { reason, since, .. })) = before {
            let down_s = since.elapsed().as_secs();
            tracing::info!(dependency, before = reason, down_s, "{dependency} is up");
        }
    }

    /// Reports a failed dependency that the process needs: the process is not ready.
    pub fn down(&self, dependency: &str, reason: impl Into<String>) {
        self.note(dependency, reason.into(), true);
    }

    /// Reports a failed dependency that only some work needs: the process stays ready.
    pub fn impaired(&self, dependency: &str, reason: impl Into<String>) {
        self.note(dependency, reason.into(), false);
    }

    fn note(&self, dependency: &str, reason: String, hard: bool) {
        let mut dependencies = self.dependencies();
        let known = dependencies.entry(dependency.to_owned()).or_default();
        if known.is_none() {
            tracing::warn!(dependency, reason, "{dependency} is down");
        }
        // Another error belongs to the same outage, so the start stays.
        let since = known
            .as_ref()
            .map_or_else(Instant::now, |known| known.since);
        *known = Some(Down {
            reason,
            since,
            hard,
        });
    }

    /// Starts the drain: from now on the process is not ready, but still alive.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Returns whether the process is ready.
    pub fn is_ready(&self) -> bool {
        !self.0.draining.load(Ordering::Relaxed)
            && !self.dependencies().values().flatten().any(|down| down.hard)
    }

    /// Returns the body of `/readyz`.
    pub fn describe(&self) -> Value {
        let (mut told, mut down_for_s) = (Map::new(), Map::new());
        for (name, down) in &*self.dependencies() {
            let text = match down {
                None => "up".to_owned(),
                Some(down) if down.hard => format!("down: {}", down.reason),
                Some(down) => format!("impaired: {}", down.reason),
            };
            told.insert(name.clone(), json!(text));
            if let Some(down) = down {
                down_for_s.insert(name.clone(), json!(down.since.elapsed().as_secs()));
            }
        }
        let draining = self.0.draining.load(Ordering::Relaxed);
        json!({ "ready": self.is_ready(), "draining": draining, "dependencies": told, "down_for_s": down_for_s })
    }

    fn dependencies(&self) -> MutexGuard<'_, BTreeMap<String, Option<Down>>> {
        self.0
            .dependencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves health until the process ends, and returns the address of the listener. After `shutdown`,
/// the process is not ready but still answers, so that an operator can watch the drain.
///
/// # Errors
/// Returns an error when the listener has no address.
pub fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> std::io::Result<SocketAddr> {
    let address = listener.local_addr()?;
    let router = router(health.clone(), metrics);
    tokio::spawn(async move {
        shutdown.cancelled().await;
        health.drain();
    });
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(error = %error, "The health listener stopped");
        }
    });
    Ok(address)
}

/// Returns the three routes, for a service that merges them into its own.
pub fn router(health: Health, metrics: Metrics) -> Router {
    Router::new()
        .route(HEALTH_PATH, get(alive))
        .route(READY_PATH, get(ready))
        .with_state(health)
        .merge(
            Router::new()
                .route(METRICS_PATH, get(numbers))
                .with_state(metrics),
        )
}

async fn alive(State(health): State<Health>) -> impl IntoResponse {
    let Inner {
        role,
        version,
        started,
        ..
    } = &*health.0;
    Json(json!({ "role": role, "version": version, "uptime_s": started.elapsed().as_secs() }))
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    let status = if health.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(health.describe()))
}

async fn numbers(State(metrics): State<Metrics>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        metrics.render(),
    )
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn answer(health: &Health, path: &str) -> (u16, String) {
        let router = router(health.clone(), Metrics::new());
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = router.oneshot(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX)
            .await
            .expect("a body");
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn the_process_is_ready_only_while_every_hard_dependency_is_up() {
        let health = Health::new("order-worker", "1.2.3");
        assert_eq!(answer(&health, READY_PATH).await.0, 200, "needs nothing");
        health.expect("database");
        health.expect("queue orders");
        health.up("queue orders");
        let (status, body) = answer(&health, READY_PATH).await;
        assert_eq!(status, 503);
        assert!(
            body.contains(r#""database":"down: not reached yet""#),
            "{body}"
        );
        assert!(body.contains(r#""queue orders":"up""#), "{body}");
        health.up("database");
        assert_eq!(answer(&health, READY_PATH).await.0, 200);
        health.down("database", "connection refused");
        health.expect("database");
        let (status, body) = answer(&health, READY_PATH).await;
        assert!(
            status == 503 && body.contains("connection refused"),
            "{status} {body}"
        );
        assert!(
            body.contains(r#""down_for_s":{"database":0}"#),
            "since when: {body}"
        );
        health.up("database");
        health.impaired("calls to stock", "throttled");
        let (status, body) = answer(&health, READY_PATH).await;
        assert!(
            status == 200 && body.contains(r#""calls to stock":"impaired: throttled""#),
            "{status} {body}"
        );
        health.drain();
        assert_eq!(
            answer(&health, READY_PATH).await.0,
            503,
            "a stopping process takes no new work"
        );
    }

    #[tokio::test]
    async fn the_process_is_alive_while_dependencies_are_down() {
        let health = Health::new("order-worker", "1.2.3");
        health.down("database", "gone");
        let (status, body) = answer(&health, HEALTH_PATH).await;
        let said: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(
            (status, said),
            (
                200,
                json!({ "role": "order-worker", "uptime_s": 0, "version": "1.2.3" })
            )
        );
        let (status, body) = answer(&health, METRICS_PATH).await;
        assert!(
            status == 200 && body.contains("brewhaven_orders_accepted_total 0"),
            "{body}"
        );
    }

    #[tokio::test]
    async fn health_is_served_on_a_free_port_and_during_the_drain() {
        let health = Health::new("sweeper", "1");
        let shutdown = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address =
            serve(listener, health.clone(), Metrics::new(), shutdown.clone()).expect("bound");
        shutdown.cancel();
        tokio::task::yield_now().await;
        assert!(tokio::net::TcpStream::connect(address).await.is_ok());
        assert!(!health.is_ready());
    }
}
