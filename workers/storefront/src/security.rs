//! The middleware around every route: request ids, cross-site checks, security headers, and one
//! format of error bodies.

use std::any::Any;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use uuid::Uuid;

use crate::pages::shell::ProblemPage;
use crate::ports::{Observation, Ports, SecurityEvent, SecurityEvents};
use crate::problem::{Kind, Problem, wants_page};
use crate::rates::Client;
use crate::session;
use crate::state::App;
use crate::text::header_text;

/// The header with the id of the request, on every response.
pub static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Assigns the request id and the trace, refuses cross-site writes, and adds the common headers to
/// the response.
pub async fn outermost<P: Ports>(
    State(app): State<App<P>>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let request_id = Uuid::now_v7().to_string();
    let writes = is_unsafe(request.method());
    let browser = wants_page(request.headers(), request.uri().path());
    let public = request.uri().path().starts_with("/static/");
    let renewal = (!public)
        .then(|| session::renewal(request.headers(), &app.settings))
        .flatten();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned());
    let (method, Client(client)) = (request.method().to_string(), app.rates.client(&request));
    let traceparent = header_text(request.headers(), contract::TRACEPARENT_ATTRIBUTE);
    let trace = chassis::trace::Traceparent::continuing(traceparent);
    let foreign = writes && from_another_site(request.headers());
    let response = if foreign {
        Problem::new(
            Kind::CrossSite,
            "The request came from another site. Open this shop and send the form from there.",
        )
        .noting(SecurityEvent::CrossSite)
        .into_response()
    } else {
        chassis::trace::scope(trace, next.run(request)).await
    };
    for event in security_events(&response) {
        app.ports.observe(Observation::Security(event));
        // The log gets the route pattern and not the path: a path may contain a token or an order
        // id.
        tracing::warn!(
            event = event.code(),
            status = response.status().as_u16(),
            method = method.as_str(),
            route = route.as_deref(),
            client = client.map(|client| client.to_string()),
            request_id = request_id.as_str(),
            "Refused a request"
        );
    }
    let mut response = as_problem(&app, response, &request_id, browser, writes);
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID.clone(), id);
    }
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // No URL of ours reaches another site or its logs. Forms are then sent with `Origin: null`,
        // so the check of the origin uses `Sec-Fetch-Site`, which all browsers send since 2023.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if app.settings.secure_cookies {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000; includeSubDomains"),
        );
    }
    // A cookie that the handler set takes precedence over a renewal.
    let of_session = |cookie: &HeaderValue| {
        cookie
            .as_bytes()
            .starts_with(session::name(&app.settings).as_bytes())
    };
    if let Some(cookie) = renewal
        && !headers.get_all(header::SET_COOKIE).iter().any(of_session)
    {
        headers.append(header::SET_COOKIE, cookie);
    }
    if !public {
        headers
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
    }
    let status = response.status().as_u16();
    app.ports.observe(Observation::Answered {
        status,
        took: begun.elapsed(),
    });
    response
}

/// Returns the security events of a response, from the handler or from its [`Problem`].
fn security_events(response: &Response) -> Vec<SecurityEvent> {
    let extensions = response.extensions();
    if let Some(SecurityEvents(events)) = extensions.get() {
        return events.clone();
    }
    let of_handler = extensions.get::<SecurityEvent>().copied();
    of_handler
        .or_else(|| {
            extensions
                .get::<Problem>()
                .and_then(|problem| problem.security)
        })
        .into_iter()
        .collect()
}

/// Gives every error response a body of ours, as JSON or as a page. Examples: a [`Problem`], an
/// unknown method, an unreadable body.
fn as_problem<P: Ports>(
    app: &App<P>,
    response: Response,
    request_id: &str,
    browser: bool,
    writes: bool,
) -> Response {
    let status = response.status();
    let problem = match response.extensions().get::<Problem>() {
        Some(problem) => problem.clone(),
        // A form that shows its errors beside the fields.
        None if is_page(&response) => return response,
        None if status.is_client_error() || status.is_server_error() => Problem::of_status(status),
        None => return response,
    };
    // After an internal error the result of a write is unknown: the write may have been executed.
    let problem = if problem.kind == Kind::Internal && writes {
        problem.detailed(
            "Something went wrong on our side. Your request may have been carried out. Check before you repeat it.",
        )
    } else {
        problem
    };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let (kind, body) = if browser {
        (
            "text/html; charset=utf-8",
            ProblemPage::render(app, &problem, request_id),
        )
    } else {
        ("application/problem+json", problem.json(request_id))
    };
    parts
        .headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Response::from_parts(parts, Body::from(body))
}

/// Turns a panic of a handler into a logged error and a 500.
pub fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let message = message
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(panic = message, "A request panicked");
    Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR).into_response()
}

fn is_page(response: &Response) -> bool {
    let kind = header_text(response.headers(), header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.starts_with("text/html"))
}

fn is_unsafe(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Returns true if another site made a browser send the request. Browsers state the origin;
/// programs state none, and carry no other person's cookies.
fn from_another_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| header_text(headers, name);
    // Pages cannot forge this header. Browsers before 2023 do not send it.
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    match (text("origin"), text("host")) {
        (Some(origin), Some(host)) => origin
            .split_once("://")
            .is_none_or(|(_, from)| from != host),
        _ => false,
    }
}
