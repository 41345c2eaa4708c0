//! Load that cannot be carried is refused early, with when to come again: a late refusal has cost
//! everybody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use app::ports::Unavailable;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use contract::dependency::Dependency;
use contract::role::STOREFRONT;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::problem::Problem;
use crate::rates::Client;
use crate::{App, Observation, Ports};

/// An order of fifty lines with the longest texts is below 10 KiB.
pub const BODY_MAX: usize = 64 * 1024;
/// For the client to send its body: it is read before the request gets a place, so that a slow
/// client holds none.
const BODY_WITHIN: Duration = Duration::from_secs(5);
/// Requests in hand at once.
const REQUESTS_MAX: usize = STOREFRONT.concurrency;
/// Requests of one client in hand at once, those whose body is still arriving included. An office
/// behind one address gets nearly every place while nobody else is there. Of the rest, and of the
/// places to wait, it gets none: another client's request is answered at once, whatever this one
/// sends and however slowly.
const OF_A_CLIENT_MAX: usize = REQUESTS_MAX - REQUESTS_MAX / 8;
/// Requests that wait for a place, and for how long: a burst passes, an overload is told at once.
const WAITING_MAX: usize = REQUESTS_MAX / 4;
const WAITING_WITHIN: Duration = Duration::from_millis(250);
/// No answer takes so long while things are well.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

// Whatever is in hand at SIGTERM is answered within the drain.
const _: () = assert!(
    ANSWER_WITHIN.as_secs() + BODY_WITHIN.as_secs() + 1 < STOREFRONT.drain.as_secs(),
    "an answer outlives the drain"
);

/// Places for requests, and a short queue before them.
pub struct Admission {
    places: Semaphore,
    waiting: Semaphore,
    /// Only clients with a request in hand: bounded by the connections.
    in_hand: Mutex<HashMap<Client, usize>>,
}

/// A request in hand of a client; counted until it is dropped.
struct InHand<'a> {
    admission: &'a Admission,
    client: Client,
}

impl Default for Admission {
    fn default() -> Admission {
        let (places, waiting) = (Semaphore::new(REQUESTS_MAX), Semaphore::new(WAITING_MAX));
        Admission {
            places,
            waiting,
            in_hand: Mutex::default(),
        }
    }
}

impl Admission {
    fn in_hand(&self) -> MutexGuard<'_, HashMap<Client, usize>> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more request of the client; `None` when it has as many in hand as it may.
    fn enter(&self, client: Client) -> Option<InHand<'_>> {
        let mut in_hand = self.in_hand();
        let theirs = in_hand.entry(client).or_default();
        if *theirs >= OF_A_CLIENT_MAX {
            return None;
        }
        *theirs += 1;
        Some(InHand {
            admission: self,
            client,
        })
    }

    async fn place(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.places.try_acquire() {
            return Some(place);
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        timeout(WAITING_WITHIN, self.places.acquire())
            .await
            .ok()?
            .ok()
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        let mut in_hand = self.admission.in_hand();
        if let Some(theirs) = in_hand.get_mut(&self.client) {
            *theirs -= 1;
            if *theirs == 0 {
                in_hand.remove(&self.client);
            }
        }
    }
}

/// Why a request was turned away, for the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    Busy,
    Dependency,
    Rate,
    Slow,
}

impl Shed {
    pub const fn code(self) -> &'static str {
        match self {
            Shed::Busy => "busy",
            Shed::Dependency => "dependency",
            Shed::Rate => "rate",
            Shed::Slow => "slow",
        }
    }
}

/// Lets a request through to its handler, or refuses it; the cheapest reason first.
pub async fn guard<P: Ports>(State(app): State<App<P>>, request: Request, next: Next) -> Response {
    let refuse = |why: Shed, problem: Problem| {
        app.ports.observe(Observation::Shed(why));
        problem.into_response()
    };
    if let Some(after) = app.ports.refuses(needs(&request)) {
        let said = "Something that this needs is down for the moment. Please try again.";
        return refuse(Shed::Dependency, Problem::busy(seconds(after), said));
    }
    let client = app.rates.client(&request);
    if let Err(problem) = app.rates.check(client, &request, &app.settings) {
        return refuse(Shed::Rate, problem);
    }
    let admission: Arc<Admission> = app.admission.clone();
    let Some(_in_hand) = admission.enter(client) else {
        return refuse(Shed::Rate, Problem::too_many(Duration::from_secs(1)));
    };
    for shared in app.rates.shared(client, &request, &app.settings) {
        if app
            .ports
            .count(&shared.key, shared.window)
            .await
            .is_some_and(|count| count > shared.most)
        {
            return refuse(Shed::Rate, Problem::too_many(shared.window));
        }
    }
    let mut request = request;
    request.extensions_mut().insert(client);
    let request = match with_body(request).await {
        Ok(request) => request,
        Err(problem) if problem.status == StatusCode::REQUEST_TIMEOUT => {
            return refuse(Shed::Slow, problem);
        }
        Err(problem) => return problem.into_response(),
    };
    let Some(_place) = admission.place().await else {
        return refuse(
            Shed::Busy,
            Problem::busy(1, "Too many requests at once. Please try again."),
        );
    };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) if reads => Problem::busy(2, "That took too long. Please try again.").into_response(),
        Err(_) => Problem::uncertain(
            &Unavailable::new("the request", format!("no answer in {ANSWER_WITHIN:?}")),
            "That took too long, and may have been done. Look before you repeat it; an order or a change of the stock that \
             is sent again under the same key is made once.",
        )
        .into_response(),
    }
}

/// In whole seconds, at least one.
pub fn seconds(after: Duration) -> u32 {
    u32::try_from(after.as_millis().div_ceil(1_000))
        .unwrap_or(u32::MAX)
        .max(1)
}

/// What the request cannot be answered without. The menu and what stands around it is answered from
/// memory.
fn needs(request: &Request) -> &'static [Dependency] {
    let path = request.uri().path();
    let begins = |prefix: &str| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match path {
        _ if places_an_order(request) => &[Dependency::Database, Dependency::Stock],
        _ if begins("/api/v1/admin/inventory") || begins("/staff/stock") => &[Dependency::Stock],
        "/staff/sign-in" => &[],
        "/orders" if request.method() == Method::GET => &[],
        _ if ["/api/v1/orders", "/api/v1/admin", "/orders", "/staff"]
            .into_iter()
            .any(begins) =>
        {
            &[Dependency::Database]
        }
        _ => &[],
    }
}

/// Through the API, or from the cart's page.
pub fn places_an_order(request: &Request) -> bool {
    request.method() == Method::POST
        && matches!(request.uri().path(), "/api/v1/orders" | "/checkout")
}

/// The request with its body read.
pub async fn with_body(request: Request) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let told = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if told.is_some_and(|length: usize| length > BODY_MAX) {
        return Err(Problem::too_large(BODY_MAX));
    }
    match timeout(BODY_WITHIN, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => Ok(Request::from_parts(parts, Body::from(bytes))),
        // Longer than it said, or the client has gone: then nobody reads the answer.
        Ok(Err(_)) => Err(Problem::too_large(BODY_MAX)),
        Err(_) => Err(Problem::too_slow(BODY_WITHIN)),
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn one_client_gets_nearly_all_places_and_another_still_finds_one() {
        let client = |number: u8| Client(Some([203, 0, 113, number].into()));
        let admission = Admission::default();
        let mut of_one: Vec<_> = (0..OF_A_CLIENT_MAX)
            .map(|_| admission.enter(client(1)).expect("counted"))
            .collect();
        assert!(admission.enter(client(1)).is_none(), "its share is taken");
        assert!(
            OF_A_CLIENT_MAX < REQUESTS_MAX && admission.enter(client(2)).is_some(),
            "another client's is not"
        );
        of_one.pop();
        assert!(admission.enter(client(1)).is_some(), "given back");
        drop(of_one);
        assert!(
            admission.in_hand().is_empty(),
            "nothing is kept of clients that are gone"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_waits_a_moment_and_an_overload_is_refused_at_once() {
        let admission = Admission::default();
        let mut places: Vec<_> = (0..REQUESTS_MAX)
            .map(|_| admission.places.try_acquire().expect("free"))
            .collect();
        let begun = Instant::now();
        let arriving = join_all((0..20 * REQUESTS_MAX).map(|_| async {
            let place = admission.place().await;
            (place.is_some(), begun.elapsed())
        }));
        let leaving = async {
            tokio::time::sleep(WAITING_WITHIN / 2).await;
            places.truncate(REQUESTS_MAX - 10);
        };
        let (outcomes, ()) = futures::join!(arriving, leaving);
        let at_once = outcomes
            .iter()
            .filter(|(admitted, after)| !admitted && after.is_zero())
            .count();
        assert_eq!(
            at_once,
            20 * REQUESTS_MAX - WAITING_MAX,
            "no more wait than may"
        );
        assert!(outcomes.iter().filter(|(admitted, _)| *admitted).count() >= 10);
        assert!(outcomes.iter().all(|(_, after)| *after <= WAITING_WITHIN));
    }
}
