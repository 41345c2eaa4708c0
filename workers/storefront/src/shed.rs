//! Load shedding: refuses requests early, with `Retry-After`, when the storefront cannot serve them
//! in time. A late refusal has already used resources that other requests need.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use contract::role::STOREFRONT;
use http_body_util::LengthLimitError;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::problem::Problem;
use crate::rates::Client;
use crate::router::Guarded;
use crate::{Observation, Ports};

/// Maximum size of a request body. An order of fifty lines with the longest texts is below 10 KiB.
pub const BODY_MAX: usize = 64 * 1024;
/// Maximum time for the client to send its body. The body is read before the request takes a place,
/// so a slow client holds no place.
const BODY_WITHIN: Duration = Duration::from_secs(5);
/// Maximum of requests that run at the same time.
const REQUESTS_MAX: usize = STOREFRONT.concurrency;
/// Maximum of requests of one client in flight, including those whose body is still arriving.
///
/// One client, such as an office behind one address, can use seven eighths of the places. It can
/// use neither the remaining eighth nor the waiting places, so another client still finds a free
/// place.
const OF_A_CLIENT_MAX: usize = REQUESTS_MAX - REQUESTS_MAX / 8;
/// Maximum of requests that wait for a place. A burst passes; an overload is refused within
/// [`WAITING_WITHIN`].
const WAITING_MAX: usize = REQUESTS_MAX / 4;
/// Maximum time that a request waits for a place.
const WAITING_WITHIN: Duration = Duration::from_millis(250);
/// Maximum time for an answer. A healthy storefront needs far less.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

// Requests in flight at SIGTERM must end within the role's drain time.
const _: () = assert!(
    ANSWER_WITHIN.as_secs() + BODY_WITHIN.as_secs() + 1 < STOREFRONT.drain.as_secs(),
    "an answer outlives the drain"
);

/// The places for requests, and a short queue in front of them.
pub struct Admission {
    places: Semaphore,
    waiting: Semaphore,
    /// Requests in flight by client. Only clients with at least one are listed, so the connection
    /// limit bounds the map.
    in_hand: Mutex<HashMap<Client, usize>>,
}

/// One counted request of a client, until it is dropped.
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

    /// Counts one more request of the client. Returns `None` when the client is at its limit.
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

    /// Waits up to [`WAITING_WITHIN`] for a place. Returns `None` at once when the queue is full
    /// too.
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

/// The reason for a refused request, as a dimension of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// All places and the queue are full.
    Busy,
    /// A dependency of the route is unavailable.
    Dependency,
    /// The client is over a limit.
    Rate,
    /// The body did not arrive in time.
    Slow,
}

impl Shed {
    /// Returns the value of the metric's dimension.
    pub const fn code(self) -> &'static str {
        match self {
            Shed::Busy => "busy",
            Shed::Dependency => "dependency",
            Shed::Rate => "rate",
            Shed::Slow => "slow",
        }
    }
}

/// Passes a request to its handler or refuses it. The cheapest checks come first.
pub async fn guard<P: Ports>(
    State(Guarded { app, route }): State<Guarded<P>>,
    request: Request,
    next: Next,
) -> Response {
    let refuse = |why: Shed, problem: Problem| {
        app.ports.observe(Observation::Shed(why));
        problem.into_response()
    };
    if let Some(after) = app.ports.refuses(route.needs) {
        let said = "Something that this needs is down for the moment. Please try again.";
        return refuse(Shed::Dependency, Problem::busy(seconds(after), said));
    }
    let client = app.rates.client(&request);
    let (class, headers) = (route.rate, request.headers());
    if let Err(problem) = app.rates.check(client, class, headers, &app.settings) {
        return refuse(Shed::Rate, problem);
    }
    let admission: Arc<Admission> = app.admission.clone();
    let Some(_in_hand) = admission.enter(client) else {
        return refuse(Shed::Rate, Problem::too_many(Duration::from_secs(1)));
    };
    for shared in app.rates.shared(client, class, headers, &app.settings) {
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
        Err(late) => Problem::uncertain(
            &late,
            "That took too long, and may have been done. Look before you repeat it; an order or a change of the stock that \
             is sent again under the same key is made once.",
        )
        .into_response(),
    }
}

/// Returns the duration in whole seconds, rounded up, at least one.
pub fn seconds(after: Duration) -> u32 {
    u32::try_from(after.as_millis().div_ceil(1_000))
        .unwrap_or(u32::MAX)
        .max(1)
}

/// Reads the body of the request, up to [`BODY_MAX`] bytes within [`BODY_WITHIN`].
///
/// # Errors
/// Returns 413 for a body that is too long, 408 for one that is too slow, and 400 for one that
/// cannot be read to its end.
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
        Ok(Err(error))
            if error
                .source()
                .is_some_and(|why| why.is::<LengthLimitError>()) =>
        {
            Err(Problem::too_large(BODY_MAX))
        }
        // The framing is invalid, or the client has disconnected and reads no answer.
        Ok(Err(_)) => Err(Problem::malformed("body", "cannot be read to its end")),
        Err(_) => Err(Problem::too_slow(BODY_WITHIN)),
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn only_a_body_over_the_limit_is_too_large() {
        let refused = async |parts: Vec<Result<Vec<u8>, std::io::Error>>| {
            let body = Body::from_stream(futures::stream::iter(parts));
            with_body(Request::new(body)).await.map_err(|it| it.status)
        };
        let most = refused(vec![Ok(vec![0; BODY_MAX])]).await;
        assert!(most.is_ok(), "{most:?}");
        let large = refused(vec![Ok(vec![0; BODY_MAX]), Ok(vec![0])]).await;
        assert_eq!(large.err(), Some(StatusCode::PAYLOAD_TOO_LARGE));
        let cut = Err(std::io::ErrorKind::UnexpectedEof.into());
        let cut = refused(vec![Ok(vec![0; 3]), cut]).await;
        assert_eq!(cut.err(), Some(StatusCode::BAD_REQUEST));
    }

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
