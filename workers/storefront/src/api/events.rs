//! `GET /api/v1/orders/{id}/events`: an order's history as it grows, by server-sent events.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use app::ports::orders::OrderStore;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use domain::access::Action;
use domain::ids::OrderId;
use domain::order::{HistoryEntry, Status};
use futures::Stream;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::orders::{time_text, visible};
use crate::problem::Problem;
use crate::{App, Ports};

/// Followers at once; each holds a connection.
const FOLLOWERS_MAX: usize = 1_000;
/// Of one order: a family with its telephones, not somebody who takes all places with one link.
const FOLLOWERS_OF_AN_ORDER_MAX: usize = 20;
/// How often the history is looked at, once for all who follow the same order.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Below the idle time-out of load balancers (60 s).
const HEARTBEAT: Duration = Duration::from_secs(15);
const RECONNECT_AFTER: Duration = Duration::from_secs(2);

/// One look for all who follow the same order.
#[derive(Default)]
pub struct Watchers {
    followers: Arc<AtomicUsize>,
    /// Bounded by the followers: an order that nobody follows is taken out.
    orders: Mutex<HashMap<OrderId, Weak<watch::Sender<i64>>>>,
}

pub async fn follow<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let stored = visible(&app, Action::ReadOrder, &id, &query, &headers).await?;
    let said = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let said = said.or_else(|| query.get("last_event_id").map(String::as_str));
    let after: i64 = said.and_then(|id| id.parse().ok()).filter(|id| *id >= 0).unwrap_or(0);
    let Some(place) = Place::take(&app.watchers.followers) else {
        return Err(Problem::busy(10, "Too many follow their orders at once. The order page works without."));
    };
    let order_id = stored.order.order_id;
    let (newest, subscribed) = watcher(&app, order_id);
    // Itself included.
    if newest.receiver_count() > FOLLOWERS_OF_AN_ORDER_MAX {
        return Err(Problem::busy(10, "Too many follow this order already. The order page works without."));
    }
    let follower = Follower {
        newest: subscribed,
        _keep: newest,
        app,
        order_id,
        after,
        waiting: VecDeque::new(),
        over: over(stored.order.status),
        ended: false,
        _place: place,
    };
    let mut response = Sse::new(events(follower)).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    // Proxies must pass each event on at once.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// A follower's place among those there may be; given back when it is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(followers: &Arc<AtomicUsize>) -> Option<Place> {
        if followers.fetch_add(1, Ordering::Relaxed) >= FOLLOWERS_MAX {
            followers.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place(followers.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The order's watcher, started if nobody follows it yet. It ends when the last follower has gone.
fn watcher<P: Ports>(app: &App<P>, order_id: OrderId) -> (Arc<watch::Sender<i64>>, watch::Receiver<i64>) {
    let mut orders = app.watchers.orders.lock().unwrap_or_else(PoisonError::into_inner);
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
            let Some(watcher) = weak.upgrade() else { return };
            // A database that is down is looked at again.
            if let Ok(Some(stored)) = app.ports.orders().load(order_id).await {
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
    /// The order had ended when it was first looked at.
    over: bool,
    ended: bool,
    _place: Place,
}

fn events<P: Ports>(follower: Follower<P>) -> impl Stream<Item = Result<Event, Infallible>> {
    futures::stream::unfold(follower, |mut follower| async move {
        loop {
            if let Some(event) = follower.waiting.pop_front() {
                return Some((Ok(event), follower));
            }
            if follower.ended {
                return None;
            }
            let shutdown: CancellationToken = follower.app.settings.shutdown.clone();
            let Ok(history) = follower.app.ports.orders().history(follower.order_id, follower.after).await else {
                // A database that is down is looked at again.
                tokio::select! {
                    () = tokio::time::sleep(LOOK_EVERY) => continue,
                    () = shutdown.cancelled() => return None,
                }
            };
            // Whoever comes back after the last line has heard everything.
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
                    // The page connects again, to whoever is there then.
                    () = shutdown.cancelled() => return None,
                }
            }
        }
    })
}

fn over(status: Status) -> bool {
    matches!(status, Status::Completed | Status::Cancelled | Status::Failed)
}

/// Nothing more will come.
fn end() -> Event {
    Event::default().event("end").data("{}")
}

fn event(entry: &HistoryEntry) -> Event {
    let data = json!({
        "seq": entry.seq,
        "status": entry.to.code(),
        "step": entry.step.code(),
        "note": entry.note,
        "at": time_text(entry.at),
        "version": entry.seq,
    });
    Event::default().id(entry.seq.to_string()).event("status").retry(RECONNECT_AFTER).data(data.to_string())
}
