//! `GET /api/v1/orders/{id}/events`: the history of an order as server-sent events, while it grows.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use app::ports::orders::OrderStore;
use app::use_cases::for_customers::public_note;
use axum::Extension;
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
use crate::rates::Client;
use crate::{App, Ports};

/// Maximum of followers; each holds a connection.
const FOLLOWERS_MAX: usize = 1_000;
/// Maximum of followers from one address, which may be a shop's whole network.
const FOLLOWERS_OF_A_CLIENT_MAX: usize = 200;
/// Maximum of followers of one order: enough for a family, and too few to use up all places with
/// one link.
const FOLLOWERS_OF_AN_ORDER_MAX: usize = 20;
/// Interval between two reads of an order's version, one read for all followers of the order.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Interval of comments on an idle stream. Below the idle timeout of load balancers (60 s).
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a browser waits before it reconnects.
const RECONNECT_AFTER: Duration = Duration::from_secs(2);

/// Followers, and one watcher per followed order.
#[derive(Default)]
pub struct Watchers {
    followers: Followers,
    /// Watchers by order. Orders without followers are removed, so the number of followers bounds
    /// the map.
    orders: Mutex<HashMap<OrderId, Weak<watch::Sender<i64>>>>,
}

/// Streams the history of an order after `Last-Event-ID`, or from the beginning.
pub async fn follow<P: Ports>(
    State(app): State<App<P>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let stored = visible(&app, Action::ReadOrder, &id, &query, &headers).await?;
    let said = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let said = said.or_else(|| query.get("last_event_id").map(String::as_str));
    let after: i64 = said
        .and_then(|id| id.parse().ok())
        .filter(|id| *id >= 0)
        .unwrap_or(0);
    let order_id = stored.order.order_id;
    let (newest, subscribed) = watcher(&app, order_id);
    // The count includes this follower.
    if newest.receiver_count() > FOLLOWERS_OF_AN_ORDER_MAX {
        return Err(Problem::busy(
            10,
            "Too many follow this order already. The order page works without.",
        ));
    }
    let Some(place) = app.watchers.followers.enter(client, order_id) else {
        return Err(Problem::busy(
            10,
            "Too many follow their orders at once. The order page works without.",
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
    let mut response = Sse::new(events(follower))
        .keep_alive(KeepAlive::new().interval(HEARTBEAT))
        .into_response();
    // Tells nginx-style proxies to pass on each event without buffering.
    response.headers_mut().insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    Ok(response)
}

/// All followers, oldest first.
///
/// - When an address has all the places that it may have, its new follower replaces the oldest one.
///   The replaced follower is of the order that the address follows most.
/// - When all places are taken, the address with most followers gives one up, unless the newcomer's
///   own address would then have as many.
///
/// A browser that lost its place reconnects.
#[derive(Clone, Default)]
struct Followers(Arc<Mutex<Following>>);

#[derive(Default)]
struct Following {
    entered: u64,
    all: Vec<Seat>,
}

#[derive(Clone)]
struct Seat {
    id: u64,
    client: Client,
    order_id: OrderId,
    /// Canceled when another follower takes the place.
    lost: CancellationToken,
}

/// A follower's place, free again on drop.
struct Place {
    seat: Seat,
    followers: Followers,
}

impl Followers {
    fn following(&self) -> MutexGuard<'_, Following> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place. Returns `None` when all places are taken and no address has to give one up.
    fn enter(&self, client: Client, order_id: OrderId) -> Option<Place> {
        let mut following = self.following();
        let mut of: HashMap<Client, usize> = HashMap::new();
        following
            .all
            .iter()
            .for_each(|seat| *of.entry(seat.client).or_default() += 1);
        let own = of.get(&client).copied().unwrap_or_default();
        if own >= FOLLOWERS_OF_A_CLIENT_MAX {
            following.give_up_one_of(client);
        } else if following.all.len() >= FOLLOWERS_MAX {
            let (most, theirs) = of.into_iter().max_by_key(|(_, count)| *count)?;
            // Counts the newcomer too. When every client has one stream, none of them has to leave.
            if theirs <= own + 1 {
                return None;
            }
            following.give_up_one_of(most);
        }
        following.entered += 1;
        let seat = Seat {
            id: following.entered,
            client,
            order_id,
            lost: CancellationToken::new(),
        };
        following.all.push(seat.clone());
        drop(following);
        Some(Place {
            seat,
            followers: self.clone(),
        })
    }
}

impl Following {
    /// Removes the oldest follower of the order that the client follows most.
    fn give_up_one_of(&mut self, client: Client) {
        let theirs = || self.all.iter().filter(|seat| seat.client == client);
        let followers =
            |order_id: OrderId| theirs().filter(|seat| seat.order_id == order_id).count();
        // `max_by_key` returns the last of equal items, which is the oldest one in reverse order.
        let most = theirs()
            .rev()
            .max_by_key(|seat| followers(seat.order_id))
            .map(|seat| seat.order_id);
        let oldest = self
            .all
            .iter()
            .position(|seat| seat.client == client && Some(seat.order_id) == most);
        if let Some(oldest) = oldest {
            self.all.remove(oldest).lost.cancel();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.followers
            .following()
            .all
            .retain(|seat| seat.id != self.seat.id);
    }
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
            if let Ok(Some(stored)) = app
                .ports
                .orders()
                .load_in(&app.customer_scope(), order_id)
                .await
            {
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
            let lost = follower.place.seat.lost.clone();
            if follower.ended || lost.is_cancelled() {
                return None;
            }
            let shutdown: CancellationToken = follower.app.settings.shutdown.clone();
            let scope = follower.app.customer_scope();
            let orders = follower.app.ports.orders();
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

fn event(entry: &HistoryEntry) -> Event {
    let data = json!({
        "seq": entry.seq,
        "status": entry.to.code(),
        "step": entry.step.code(),
        // Notes are for staff, and this stream is for customers.
        "note": public_note(entry),
        "at": time_text(entry.at),
        "version": entry.seq,
    });
    Event::default()
        .id(entry.seq.to_string())
        .event("status")
        .retry(RECONNECT_AFTER)
        .data(data.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use uuid::Uuid;

    use super::*;

    fn client(number: u8) -> Client {
        Client(Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, number))))
    }

    fn order() -> OrderId {
        OrderId(Uuid::now_v7())
    }

    fn is_lost(place: &Place) -> bool {
        place.seat.lost.is_cancelled()
    }

    #[test]
    fn one_client_with_many_streams_takes_nobody_elses_place() {
        let followers = Followers::default();
        let quiet: Vec<_> = (1..=50)
            .map(|number| followers.enter(client(number), order()).expect("a place"))
            .collect();
        let orders: Vec<_> = (0..50).map(|_| order()).collect();
        // Fifty orders with twenty streams each, from one address.
        let loud: Vec<_> = (0..20)
            .flat_map(|_| &orders)
            .map(|order| followers.enter(client(99), *order).expect("taken"))
            .collect();
        assert_eq!(
            loud.iter().filter(|place| !is_lost(place)).count(),
            FOLLOWERS_OF_A_CLIENT_MAX
        );
        assert!(!quiet.iter().any(is_lost), "others keep theirs");
        // Another customer behind the same address gets a place, and keeps it while more streams
        // arrive.
        let neighbor = followers.enter(client(99), order()).expect("a place");
        let _more: Vec<_> = orders
            .iter()
            .map(|order| followers.enter(client(99), *order).expect("taken"))
            .collect();
        assert!(!is_lost(&neighbor));
    }

    #[test]
    fn when_all_places_are_taken_the_client_with_most_gives_one_up() {
        let followers = Followers::default();
        let mut places = Vec::new();
        for number in 1..=5 {
            for _ in 0..FOLLOWERS_OF_A_CLIENT_MAX {
                places.push(followers.enter(client(number), order()).expect("a place"));
            }
        }
        assert_eq!(places.len(), FOLLOWERS_MAX);
        let newcomer = followers.enter(client(99), order()).expect("a place");
        assert_eq!(places.iter().filter(|place| is_lost(place)).count(), 1);
        drop(newcomer);
        assert_eq!(
            followers.following().all.len(),
            FOLLOWERS_MAX - 1,
            "given back"
        );
    }

    #[test]
    fn a_crowd_of_clients_with_one_stream_each_sends_nobody_away() {
        let followers = Followers::default();
        let of = |number: u32| Client(Some(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number))));
        let crowd: Vec<_> = (0..1_000)
            .map(|number| followers.enter(of(number), order()).expect("a place"))
            .collect();
        assert!(followers.enter(of(1_000), order()).is_none());
        assert!(!crowd.iter().any(is_lost));
    }
}
