//! An in-memory queue that speaks the part of the SQS JSON protocol that a consumer needs. The
//! endpoint neither verifies requests nor signs responses, and it is fast, because only the client
//! is measured.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

const BODY: &str = r#"{"event_id":"01890a5d-ac96-774b-bcce-b302099a8057","type":"OrderStatusChanged","version":1,"order_id":"01890a5d-ac96-774b-bcce-b302099a8058","data":{"from":"pending","to":"confirmed"}}"#;

/// Counts of calls and messages since the queue was filled.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    pub calls: u64,
    pub received: u64,
    pub deleted: u64,
    /// From the first receive to the last delete.
    pub seconds: f64,
}

#[derive(Default)]
struct Queue {
    left: u64,
    next: u64,
    tally: Tally,
    first: Option<Instant>,
}

type Shared = Arc<Mutex<Queue>>;

/// Serves until standard input ends, and prints the address as the first line of standard output.
///
/// # Errors
/// Returns an error if no port can be bound or the server fails.
pub async fn serve() -> anyhow::Result<()> {
    let shared = Shared::default();
    let app = Router::new()
        .route("/", post(call))
        .route("/fill", post(fill))
        .route("/tally", get(tally))
        .with_state(shared);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .context("bind")?;
    println!("{}", listener.local_addr().context("address")?);
    tokio::select! {
        served = axum::serve(listener, app) => served.context("serve"),
        ended = async { tokio::io::stdin().read_u8().await } => {
            // The parent process has exited.
            let _ = ended;
            Ok(())
        }
    }
}

fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, Queue> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn fill(State(shared): State<Shared>, Json(count): Json<u64>) {
    *lock(&shared) = Queue {
        left: count,
        ..Queue::default()
    };
}

async fn tally(State(shared): State<Shared>) -> Json<Tally> {
    Json(lock(&shared).tally.clone())
}

async fn call(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    // `Json` would reject AWS's content type, `application/x-amz-json-1.0`.
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return (StatusCode::BAD_REQUEST, "not JSON").into_response();
    };
    let action = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
        .unwrap_or_default();
    lock(&shared).tally.calls += 1;
    let answer = match action {
        "AmazonSQS.ReceiveMessage" => receive(&shared, &body).await,
        "AmazonSQS.DeleteMessageBatch" => delete(&shared, &body),
        "AmazonSQS.ChangeMessageVisibilityBatch" => {
            json!({ "Successful": ids(&body), "Failed": [] })
        }
        _ => {
            return (
                StatusCode::BAD_REQUEST,
                format!("unsupported action {action:?}"),
            )
                .into_response();
        }
    };
    (
        [(header::CONTENT_TYPE, "application/x-amz-json-1.0")],
        answer.to_string(),
    )
        .into_response()
}

async fn receive(shared: &Shared, body: &Value) -> Value {
    let most = body["MaxNumberOfMessages"].as_u64().unwrap_or(1);
    let taken = {
        let mut queue = lock(shared);
        queue.first.get_or_insert_with(Instant::now);
        let taken = most.min(queue.left);
        let first = queue.next;
        queue.left -= taken;
        queue.next += taken;
        queue.tally.received += taken;
        first..first + taken
    };
    if taken.is_empty() {
        tokio::time::sleep(Duration::from_secs(
            body["WaitTimeSeconds"].as_u64().unwrap_or_default(),
        ))
        .await;
    }
    let message = |number: u64| {
        json!({
            "MessageId": format!("00000000-0000-4000-8000-{number:012}"),
            "ReceiptHandle": format!("AQEB-{number:020}-a-handle-is-about-as-long-as-this-and-means-nothing-to-anybody"),
            "Body": BODY,
            "Attributes": { "ApproximateReceiveCount": "1", "SentTimestamp": "1790000000000" },
        })
    };
    json!({ "Messages": taken.map(message).collect::<Vec<_>>() })
}

fn delete(shared: &Shared, body: &Value) -> Value {
    let deleted = ids(body);
    let mut queue = lock(shared);
    queue.tally.deleted += deleted.len() as u64;
    queue.tally.seconds = queue
        .first
        .map_or(0.0, |first| first.elapsed().as_secs_f64());
    json!({ "Successful": deleted, "Failed": [] })
}

fn ids(body: &Value) -> Vec<Value> {
    body["Entries"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| json!({ "Id": entry["Id"] }))
        .collect()
}
