//! `GET /api/v1/orders/{id}/events`: the history of an order as server-sent events, while it grows.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use app::ports::orders::OrderStore as _;
use app::use_cases::for_customers::public_note;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use contract::route::RouteId;
use domain::access::Action;
use domain::ids::OrderId;
use domain::order::{HistoryEntry, Status};
use futures::Stream;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::desk::orders::visible;
use crate::followers::Place;
use crate::ports::Ports;
use crate::problem::Problem;
use crate::rates::Client;
use crate::state::App;
use crate::text::{header_text, time_text};

/// Maximum of followers of one order: enough for a family, and too few to use up all places with
/// one link.
const FOLLOWERS_OF_AN_ORDER_MAX: usize = 20;
/// Interval between two reads of an order's version, one read for all followers of the order.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Interval of comments on an idle stream. Below the idle timeout of load balancers (60 s).
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a browser waits before it reconnects.
const RECONNECT_AFTER: Duration = Duration::from_secs(2);

/// Streams the history of an order as it grows (server-sent events).
///
/// The stream begins after the header Last-Event-ID, or with the first entry.
#[utoipa::path(
    get,
    path = RouteId::FollowOrder.path(),
    params(
        ("Last-Event-ID" = Option<i64>, Header, description = "The last entry that was received"),
        ("last_event_id" = Option<i64>, Query, description = "The same as a query parameter"),
    ),
    responses((status = 200, description = "Events `status`, with one entry as JSON, and `end`",
        content_type = "text/event-stream", body = String))
)]
pub async fn follow<P: Ports>(
    State(app): State<App<P>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let stored = visible(&app, Action::ReadOrder, &id, &query, &headers).await?;
    let last_id = header_text(&headers, "last-event-id");
    let last_id = last_id.or_else(|| query.get("last_event_id").map(String::as_str));
    let after: i64 = last_id
        .and_then(|id| id.parse().ok())
        .filter(|id| *id >= 0)
        .unwrap_or(0);
    let order_id = stored.order.order_id;
    let (newest, subscribed) = watcher(&app, order_id);
    // The count includes this follower.
    if newest.receiver_count() > FOLLOWERS_OF_AN_ORDER_MAX {
        return Err(Problem::busy(
            10,
            "Too many browsers follow this order. Reload the order page to see its status.",
        ));
    }
    let Some(place) = app.watchers.followers.enter(client, order_id) else {
        return Err(Problem::busy(
            10,
            "Too many browsers follow orders right now. Reload the order page to see its status.",
        ));
    };
    let follower = Follower {
        newest: subscribed,
        _keep: newest,
        app,
        order_id,
        after,
        waiting: VecDeque::new(),
        over: over(stored.order.status),
        ended: false,
        place,
    };
    let events = Sse::new(events(follower)).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    // Tells nginx-style proxies to pass on each event without buffering.
    Ok(([("x-accel-buffering", "no")], events).into_response())
}

/// Returns the order's watcher and starts one if there is none. The watcher ends after its last
/// follower.
fn watcher<P: Ports>(
    app: &App<P>,
    order_id: OrderId,
) -> (Arc<watch::Sender<i64>>, watch::Receiver<i64>) {
    let mut orders = app
        .watchers
        .orders
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    orders.retain(|_, watcher| watcher.strong_count() > 0);
    if let Some(watcher) = orders.get(&order_id).and_then(Weak::upgrade) {
        let newest = watcher.subscribe();
        return (watcher, newest);
    }
    let watcher = Arc::new(watch::Sender::new(0));
    let weak = Arc::downgrade(&watcher);
    orders.insert(order_id, weak.clone());
    let app = app.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let Some(watcher) = weak.upgrade() else {
                return;
            };
            // After a failed read, the next interval reads again.
            if let Ok(Some(stored)) = app.orders().load_in(&app.customer_scope(), order_id).await {
                watcher.send_if_modified(|version| {
                    std::mem::replace(version, stored.order.version) != stored.order.version
                });
            }
        }
    });
    let newest = watcher.subscribe();
    (watcher, newest)
}

struct Follower<P: Ports> {
    app: App<P>,
    order_id: OrderId,
    newest: watch::Receiver<i64>,
    _keep: Arc<watch::Sender<i64>>,
    after: i64,
    waiting: VecDeque<Event>,
    /// The order had ended when the stream began.
    over: bool,
    ended: bool,
    place: Place,
}

fn events<P: Ports>(follower: Follower<P>) -> impl Stream<Item = Result<Event, Infallible>> {
    futures::stream::unfold(follower, |mut follower| async move {
        loop {
            if let Some(event) = follower.waiting.pop_front() {
                return Some((Ok(event), follower));
            }
            let lost = follower.place.lost().clone();
            if follower.ended || lost.is_cancelled() {
                return None;
            }
            let shutdown: CancellationToken = follower.app.settings.shutdown.clone();
            let scope = follower.app.customer_scope();
            let orders = follower.app.orders();
            let Ok(history) = orders
                .history(&scope, follower.order_id, follower.after)
                .await
            else {
                // After a failed read, the next interval reads again.
                tokio::select! {
                    () = tokio::time::sleep(LOOK_EVERY) => continue,
                    () = shutdown.cancelled() => return None,
                }
            };
            // A client that reconnects after the last event has received everything.
            if history.is_empty() && follower.over {
                follower.ended = true;
                follower.waiting.push_back(end());
                continue;
            }
            for entry in history {
                follower.after = entry.seq;
                follower.ended = over(entry.to);
                follower.waiting.push_back(event(&entry));
                if follower.ended {
                    follower.waiting.push_back(end());
                }
            }
            if follower.waiting.is_empty() {
                tokio::select! {
                    changed = follower.newest.changed() => if changed.is_err() { return None },
                    // The page reconnects, to another storefront.
                    () = shutdown.cancelled() => return None,
                    () = lost.cancelled() => return None,
                }
            }
        }
    })
}

fn over(status: Status) -> bool {
    matches!(
        status,
        Status::Completed | Status::Cancelled | Status::Failed
    )
}

/// Returns the event that tells the client not to reconnect.
fn end() -> Event {
    Event::default().event("end").data("{}")
}

/// The data of an event.
#[derive(Serialize)]
struct EventData<'a> {
    seq: i64,
    status: &'static str,
    step: &'static str,
    /// Notes of staff are for staff, and this stream is for customers.
    note: Option<&'a str>,
    at: String,
    version: i64,
}

fn event(entry: &HistoryEntry) -> Event {
    let data = EventData {
        seq: entry.seq,
        status: entry.to.code(),
        step: entry.step.code(),
        note: public_note(entry),
        at: time_text(entry.at),
        version: entry.seq,
    };
    Event::default()
        .id(entry.seq.to_string())
        .event("status")
        .retry(RECONNECT_AFTER)
        // Numbers and texts always serialize.
        .data(serde_json::to_string(&data).unwrap_or_default())
}
