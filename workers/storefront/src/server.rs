//! Accepts HTTP connections, and limits their number and the time that a client may take.
//!
//! A slow client (headers byte by byte, an answer that it does not read, an idle connection) costs
//! one connection for a bounded time. When all places are used, the server closes the connection
//! that has been idle longest, taken from the client with the most idle connections. Idle
//! connections therefore never lock out a new client.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep, timeout};
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::rates::network;

/// Limits of the connections of one server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum of open connections. When all of them have a request in flight, new clients wait in
    /// the accept backlog of the system.
    pub connections_max: usize,
    /// Maximum of one client address. Behind a proxy every connection has the proxy's address, so
    /// the caller sets this to `connections_max`.
    pub of_a_client_max: usize,
    /// Maximum time from the first byte of a request to the end of its headers.
    pub headers_within: Duration,
    /// Maximum time without a request before the connection is closed.
    pub idle_within: Duration,
    /// Maximum time in which the client must read some more of its answer.
    pub read_within: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            // Room for event streams, for requests, and for as many idle connections again.
            connections_max: 2_048,
            // Four clients at this limit use 2,044 places and leave four to others.
            of_a_client_max: 511,
            headers_within: Duration::from_secs(10),
            // Longer than the idle timeout of the load balancer (60 s). Otherwise the balancer
            // would send requests into a connection that the server is closing.
            idle_within: Duration::from_secs(75),
            read_within: Duration::from_secs(30),
        }
    }
}

/// Pause after a failed accept. Most such failures are a lack of file descriptors, and other
/// connections free some meanwhile.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is canceled, then waits until every request in flight is answered.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let (connections, held) = (TaskTracker::new(), Held::default());
    let accepting = async {
        loop {
            let Some(place) = next_place(&places, &held).await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    // The client is at its limit: its oldest idle connection is closed, or the new
                    // connection is refused.
                    let Some(connection) = held.enter(network(peer.ip()), limits.of_a_client_max)
                    else {
                        continue;
                    };
                    let serving = serve_one(
                        stream,
                        peer,
                        connection,
                        router.clone(),
                        limits,
                        shutdown.clone(),
                    );
                    connections.spawn(async move {
                        serving.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(error = %error, "Cannot accept a connection");
                    sleep(AFTER_FAILED_ACCEPT).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(accepting).await;
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Waits for a free place, and closes an idle connection when there is none. Never returns `None`,
/// because the semaphore is not closed.
async fn next_place(places: &Arc<Semaphore>, held: &Held) -> Option<OwnedSemaphorePermit> {
    /// How often to look again for a connection that has become idle.
    const LOOK_AGAIN: Duration = Duration::from_millis(50);
    loop {
        if let Ok(place) = places.clone().try_acquire_owned() {
            return Some(place);
        }
        held.close_an_idle_one();
        if let Ok(place) = timeout(LOOK_AGAIN, places.clone().acquire_owned()).await {
            return place.ok();
        }
    }
}

/// The table of open connections.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<Connections>>);

#[derive(Default)]
struct Connections {
    entered: u64,
    open: HashMap<u64, Open>,
}

struct Open {
    client: IpAddr,
    requests: Arc<Requests>,
    close: CancellationToken,
}

/// The row of one connection in [`Held`], removed on drop.
struct Entry {
    id: u64,
    held: Held,
    requests: Arc<Requests>,
    close: CancellationToken,
}

impl Held {
    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection to the table. Returns `None` when the client is at its limit and all its
    /// connections have a request in flight.
    fn enter(&self, client: IpAddr, of_a_client_max: usize) -> Option<Entry> {
        let mut connections = self.connections();
        let theirs = connections.open.values().filter(|one| one.client == client);
        if theirs.clone().count() >= of_a_client_max {
            // The place of the closed connection is free in a moment. Until then the client may
            // have one connection more than its limit, which is harmless.
            oldest_idle(theirs)?.close.cancel();
        }
        let (requests, close) = (Arc::new(Requests::default()), CancellationToken::new());
        connections.entered += 1;
        let id = connections.entered;
        connections.open.insert(
            id,
            Open {
                client,
                requests: requests.clone(),
                close: close.clone(),
            },
        );
        Some(Entry {
            id,
            held: self.clone(),
            requests,
            close,
        })
    }

    /// Closes the connection that has been idle longest, of the client with the most idle
    /// connections.
    fn close_an_idle_one(&self) {
        let connections = self.connections();
        let idle = connections
            .open
            .values()
            .filter(|one| !one.requests.in_flight() && !one.close.is_cancelled());
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        idle.clone()
            .for_each(|one| *counts.entry(one.client).or_default() += 1);
        let Some(most) = counts
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map(|(client, _)| client)
        else {
            return;
        };
        if let Some(one) = oldest_idle(idle.filter(|one| one.client == most)) {
            one.close.cancel();
        }
    }
}

/// Returns the connection that has been without a request longest, and `None` when every connection
/// has a request in flight.
fn oldest_idle<'a>(open: impl Iterator<Item = &'a Open>) -> Option<&'a Open> {
    let idle = open.filter(|one| !one.requests.in_flight() && !one.close.is_cancelled());
    idle.min_by_key(|one| one.requests.last())
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.held.connections().open.remove(&self.id);
    }
}

/// Serves the requests of one connection until the client, a limit or the shutdown ends it.
async fn serve_one(
    stream: TcpStream,
    peer: SocketAddr,
    entry: Entry,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    // Each answer is written as a whole, so Nagle's algorithm would only delay its last packet.
    let _ = stream.set_nodelay(true);
    let requests = entry.requests.clone();
    let client = Client::new(stream, requests.clone(), limits);
    let service = service_fn(move |mut request: Request<Incoming>| {
        requests.begin();
        request.extensions_mut().insert(ConnectInfo(peer));
        let (router, requests) = (router.clone(), requests.clone());
        async move {
            let answered = router.oneshot(request.map(Body::new)).await;
            answered.map(|response| response.map(|body| Answering { body, requests }))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_within)
        .serve_connection(TokioIo::new(client), service);
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        // The request may have arrived between the choice of this connection and its closing; then
        // it is answered.
        () = entry.close.cancelled() => match entry.requests.in_flight() {
            true => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            false => return,
        },
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // Clients close connections at any time, so this is not a warning.
    if let Err(error) = served {
        tracing::debug!(error = %error, "A connection ended early");
    }
}

/// The body of an answer. The request counts as in flight until the body is dropped, because an
/// event stream sends for minutes.
struct Answering {
    body: Body,
    requests: Arc<Requests>,
}

impl hyper::body::Body for Answering {
    type Data = axum::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.requests.answer();
    }
}

/// Counters of the requests of one connection.
struct Requests {
    /// Requests whose headers were read.
    begun: AtomicUsize,
    /// Requests whose answers were sent completely.
    answered: AtomicUsize,
    /// When the last request was answered, or when the connection was accepted.
    last: Mutex<Instant>,
}

impl Default for Requests {
    fn default() -> Requests {
        Requests {
            begun: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            last: Mutex::new(Instant::now()),
        }
    }
}

impl Requests {
    fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    fn answer(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// Returns true while a request is being answered. Bytes that the client sends then belong to
    /// the body, which has its own time limit (`shed`).
    fn in_flight(&self) -> bool {
        self.answered.load(Ordering::Relaxed) != self.begun()
    }
}

/// A client's TCP stream that fails with `TimedOut` when the client takes too long.
///
/// The time limit of a blocked write is `tokio-io-timeout`'s. Neither that crate nor hyper has one
/// from the first byte of a request to the end of its headers: hyper's limit also covers the time
/// without a request.
struct Client {
    stream: Pin<Box<TimeoutWriter<TcpStream>>>,
    requests: Arc<Requests>,
    headers_within: Duration,
    /// The timer for the headers of a request, with the number of requests that began before it.
    /// Started by the request's first byte.
    headers: Option<(usize, Pin<Box<Sleep>>)>,
}

impl Client {
    fn new(stream: TcpStream, requests: Arc<Requests>, limits: Limits) -> Client {
        let mut stream = TimeoutWriter::new(stream);
        stream.set_timeout(Some(limits.read_within));
        Client {
            stream: Box::pin(stream),
            requests,
            headers_within: limits.headers_within,
            headers: None,
        }
    }
}

impl AsyncRead for Client {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let client = self.get_mut();
        let begun = client.requests.begun();
        client.headers.take_if(|(before, _)| *before != begun);
        let before = buffer.filled().len();
        let poll = client.stream.as_mut().poll_read(context, buffer);
        if buffer.filled().len() > before && !client.requests.in_flight() {
            let within = client.headers_within;
            client
                .headers
                .get_or_insert_with(|| (begun, Box::pin(sleep(within))));
        }
        if let Some((_, ends)) = &mut client.headers
            && ends.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        poll
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().stream.as_mut().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut().stream.as_mut();
        stream.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.as_mut().poll_shutdown(context)
    }
}
