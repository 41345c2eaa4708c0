//! Forwards requests to MiniStack: HTTP over its Unix socket, with reused connections.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::header::{
    CONNECTION, EXPECT, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
};
use hyper::header::{HeaderMap, TRANSFER_ENCODING, UPGRADE};
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tower::Service;

use crate::body::{Body, streamed};
use crate::refusal::Reason;

/// The time after which an idle connection is closed. MiniStack closes idle connections later
/// (`keep_alive_timeout` in `localstack/serve.py`), so no request is sent on a connection that
/// MiniStack is closing.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// Headers that apply to one connection, not to the request (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    EXPECT,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

pub(crate) struct Forward {
    client: Client<Socket, Body>,
}

impl Forward {
    /// Makes a client for a socket. Connects when the first request is sent.
    pub fn new(socket: &Path) -> Forward {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .set_host(false)
            .build(Socket(socket.into()));
        Forward { client }
    }

    /// Forwards a request and returns the response. Path, query and end-to-end headers are not
    /// changed.
    ///
    /// # Errors
    /// `Reason::Unavailable` when the local AWS does not answer, or the reason for which the body
    /// was refused.
    pub async fn send(&self, mut parts: Parts, body: Body) -> Result<Response<Body>, Reason> {
        let path = parts
            .uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut uri = hyper::http::uri::Parts::default();
        // The client's connection pool needs an absolute URI. Only its path and query are sent.
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(Authority::from_static("local-aws"));
        uri.path_and_query = Some(path);
        parts.uri = Uri::from_parts(uri).map_err(|error| Reason::Malformed(error.to_string()))?;
        parts.version = hyper::Version::HTTP_11;
        strip(&mut parts.headers);
        let response = self.client.request(Request::from_parts(parts, body)).await;
        let response = response.map_err(|error| reason(&error))?;
        let (mut parts, body) = response.into_parts();
        strip(&mut parts.headers);
        Ok(Response::from_parts(parts, streamed(body)))
    }
}

fn strip(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(KEEP_ALIVE);
}

/// Returns the reason of a missing response: the body failed its check, or the local AWS did not
/// answer.
fn reason(error: &(dyn std::error::Error + 'static)) -> Reason {
    let causes = || std::iter::successors(Some(error), |error| error.source());
    match causes().find_map(|cause| cause.downcast_ref::<Reason>()) {
        Some(reason) => reason.clone(),
        None => Reason::Unavailable(
            causes()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(": "),
        ),
    }
}

/// Connects to the socket. The URI has no influence.
#[derive(Clone)]
struct Socket(Arc<Path>);

impl Service<Uri> for Socket {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<UnixStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = Arc::clone(&self.0);
        Box::pin(async move { UnixStream::connect(&path).await.map(TokioIo::new) })
    }
}
