//! Connections: how many there may be, and how long a client may take.
//!
//! A client that sends its headers a byte at a time, reads nothing of its answer, or only holds a
//! connection open costs one place among many, for a bounded time. When the places are taken, the
//! connection that has been without a request longest is closed, first of the client that holds
//! most: silence keeps nobody out.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
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
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::rates::network;

/// What a connection may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Beyond these, clients wait in the system's backlog while every connection has a request in
    /// hand.
    pub connections_max: usize,
    /// Of one address. Behind a proxy every connection is from the proxy: then as many as there may
    /// be at all.
    pub of_a_client_max: usize,
    /// From the first byte of a request to the end of its headers.
    pub headers_within: Duration,
    /// Without a request.
    pub idle_within: Duration,
    /// For the client to take some more of its answer.
    pub read_within: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            // Followers of orders, requests, and as many again that are idle.
            connections_max: 2_048,
            // Four clients that hold all they can still leave one place to a fifth.
            of_a_client_max: 511,
            headers_within: Duration::from_secs(10),
            // Longer than the balancer keeps an idle connection (60 s): else it sends requests into
            // one that we close.
            idle_within: Duration::from_secs(75),
            read_within: Duration::from_secs(30),
        }
    }
}

/// After an accept that failed, mostly for want of file descriptors: some are given back meanwhile.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(100);

/// Serves until shutdown, and then until every request in hand is answered.
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
                    // One too many of this client: its own oldest makes room, or it is refused.
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

/// A place for one more connection, made where somebody holds one without a request. `None` never
/// comes: the semaphore is not closed.
async fn next_place(places: &Arc<Semaphore>, held: &Held) -> Option<OwnedSemaphorePermit> {
    /// Connections whose request was answered meanwhile can be closed.
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

/// The open connections.
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

/// A connection's entry, taken out when it is dropped.
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

    /// Enters a connection. `None` when the client holds as many as it may, all with a request in
    /// hand.
    fn enter(&self, client: IpAddr, of_a_client_max: usize) -> Option<Entry> {
        let mut connections = self.connections();
        let theirs = connections.open.values().filter(|one| one.client == client);
        if theirs.clone().count() >= of_a_client_max {
            // Its place is free in a moment; that the client holds one more until then harms
            // nobody.
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

    /// Closes the connection that has been without a request longest, of the client that holds most
    /// of such.
    fn close_an_idle_one(&self) {
        let connections = self.connections();
        let idle = connections
            .open
            .values()
            .filter(|one| !one.requests.in_hand() && !one.close.is_cancelled());
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

fn oldest_idle<'a>(open: impl Iterator<Item = &'a Open>) -> Option<&'a Open> {
    let idle = open.filter(|one| !one.requests.in_hand() && !one.close.is_cancelled());
    idle.min_by_key(|one| one.requests.last())
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.held.connections().open.remove(&self.id);
    }
}

async fn serve_one(
    stream: TcpStream,
    peer: SocketAddr,
    entry: Entry,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    // Answers are written whole: nothing is gained by holding back the last part of one.
    let _ = stream.set_nodelay(true);
    let requests = entry.requests.clone();
    let client = Client {
        stream,
        requests: requests.clone(),
        limits,
        headers: None,
        taking: None,
    };
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
        // A request that came at the last moment is answered.
        () = entry.close.cancelled() => match entry.requests.in_hand() {
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
    // Clients go away all the time.
    if let Err(error) = served {
        tracing::debug!(error = %error, "A connection ended early");
    }
}

/// The body of an answer: the request is in hand until all of it was sent. A followed order sends
/// for minutes.
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

/// The requests of one connection.
struct Requests {
    /// Their headers were read.
    begun: AtomicUsize,
    /// Their answers were sent whole.
    answered: AtomicUsize,
    /// When the last one was answered, or the connection came.
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

    /// One is being answered: what the client sends now is its body, for which there is a limit of
    /// its own.
    fn in_hand(&self) -> bool {
        self.answered.load(Ordering::Relaxed) != self.begun()
    }
}

/// A client's connection, which fails when the client takes too long.
struct Client {
    stream: TcpStream,
    requests: Arc<Requests>,
    limits: Limits,
    /// Runs from the first byte of a request, the one after so many others, until it has begun.
    headers: Option<(usize, Pin<Box<Sleep>>)>,
    /// Runs while the client takes nothing of what is being written.
    taking: Option<Pin<Box<Sleep>>>,
}

impl Client {
    /// Ready when the client has taken too long to read.
    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let within = self.limits.read_within;
        let taking = self.taking.get_or_insert_with(|| Box::pin(sleep(within)));
        ready!(taking.as_mut().poll(context));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// Of a write: it is over, or the client has all the time that is left.
    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_pending() {
            return self.poll_stalled(context).map(Err);
        }
        self.taking = None;
        poll
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
        let poll = Pin::new(&mut client.stream).poll_read(context, buffer);
        if buffer.filled().len() > before && !client.requests.in_hand() {
            let within = client.limits.headers_within;
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
        let client = self.get_mut();
        let poll = Pin::new(&mut client.stream).poll_write(context, bytes);
        client.written(context, poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let client = self.get_mut();
        let poll = Pin::new(&mut client.stream).poll_write_vectored(context, slices);
        client.written(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
