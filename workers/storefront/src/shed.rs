//! Load shedding: refuses requests early, with `Retry-After`, when the storefront cannot serve them
//! in time. A late refusal has already used resources that other requests need.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use contract::role::STOREFRONT;
use http_body_util::LengthLimitError;
use tokio::time::timeout;

use crate::admission::Admission;
use crate::ports::{Observation, Ports, Shed};
use crate::problem::{Kind, Problem};
use crate::state::Guarded;
use crate::text::{header_text, seconds};

/// Maximum size of a request body. An order of fifty lines with the longest texts is below 10 KiB.
pub const BODY_MAX: usize = 64 * 1024;
/// Maximum time for the client to send its body. The body is read before the request takes a place,
/// so a slow client holds no place.
const BODY_WITHIN: Duration = Duration::from_secs(5);
/// Maximum time for an answer. A healthy storefront needs far less.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

// Requests in flight at SIGTERM must end within the role's drain time.
const _: () = assert!(
    ANSWER_WITHIN.as_secs() + BODY_WITHIN.as_secs() + 1 < STOREFRONT.drain.as_secs(),
    "an answer outlives the drain"
);

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
        let detail = "A service that we need is unavailable. Please try again in a moment.";
        return refuse(Shed::Dependency, Problem::busy(seconds(after), detail));
    }
    let client = app.rates.client(&request);
    let (class, headers) = (route.rate, request.headers());
    if let Err(problem) = app.rates.check(client, class, headers, &app.settings) {
        return refuse(Shed::Rate, problem);
    }
    let admission: Arc<Admission> = app.admission.clone();
    let Some(_in_flight) = admission.enter(client) else {
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
        Err(problem) if problem.kind == Kind::TooSlow => {
            return refuse(Shed::Slow, problem);
        }
        Err(problem) => return problem.into_response(),
    };
    let Some(_place) = admission.place().await else {
        return refuse(
            Shed::Busy,
            Problem::busy(1, "We have too many requests right now. Please try again."),
        );
    };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) if reads => Problem::busy(2, "The request took too long. Please try again.").into_response(),
        Err(late) => Problem::uncertain(
            &late,
            "The request took too long and may have been carried out. Check before you repeat it. An order or a stock \
             change that you send again with the same key is made only once.",
        )
        .into_response(),
    }
}

/// Reads the body of the request, up to [`BODY_MAX`] bytes within [`BODY_WITHIN`].
///
/// # Errors
/// Returns 413 for a body that is too long, 408 for one that is too slow, and 400 for one that
/// cannot be read to its end.
pub async fn with_body(request: Request) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let declared =
        header_text(&parts.headers, header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    if declared.is_some_and(|length: usize| length > BODY_MAX) {
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
    use axum::http::StatusCode;

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
}
