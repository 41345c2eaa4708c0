//! Connections: how many there may be, and how long a client may take.
//!
//! A client that sends its headers a byte at a time, reads nothing of its answer, or only holds a connection open costs
//! one place among many, for a bounded time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// What a connection may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Beyond these, clients wait in the system's backlog.
    pub connections_max: usize,
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
            headers_within: Duration::from_secs(10),
            // Longer than the balancer keeps an idle connection (60 s): else it sends requests into one that we close.
            idle_within: Duration::from_secs(75),
            read_within: Duration::from_secs(30),
        }
    }
}

/// After an accept that failed, mostly for want of file descriptors: some are given back meanwhile.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(100);

/// Serves until shutdown, and then until every request in hand is answered.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let connections = TaskTracker::new();
    let accepting = async {
        loop {
            // The semaphore is never closed.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let serving = serve_one(stream, peer, router.clone(), limits, shutdown.clone());
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

async fn serve_one(stream: TcpStream, peer: SocketAddr, router: Router, limits: Limits, shutdown: CancellationToken) {
    // Answers are written whole: nothing is gained by holding back the last part of one.
    let _ = stream.set_nodelay(true);
    let requests = Arc::new(Requests::default());
    let client = Client { stream, requests: requests.clone(), limits, headers: None, taking: None };
    let service = service_fn(move |mut request: Request<Incoming>| {
        requests.begun.fetch_add(1, Ordering::Relaxed);
        request.extensions_mut().insert(ConnectInfo(peer));
        let (router, requests) = (router.clone(), requests.clone());
        async move {
            let answered = router.oneshot(request.map(Body::new)).await;
            requests.answered.fetch_add(1, Ordering::Relaxed);
            answered
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_within)
        .serve_connection(TokioIo::new(client), service);
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
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

/// The requests of one connection.
#[derive(Default)]
struct Requests {
    /// Their headers were read.
    begun: AtomicUsize,
    answered: AtomicUsize,
}

impl Requests {
    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// One is being answered: what the client sends now is its body, for which there is a limit of its own.
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
    fn written<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_pending() {
            return self.poll_stalled(context).map(Err);
        }
        self.taking = None;
        poll
    }
}

impl AsyncRead for Client {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let client = self.get_mut();
        let begun = client.requests.begun();
        client.headers.take_if(|(before, _)| *before != begun);
        let before = buffer.filled().len();
        let poll = Pin::new(&mut client.stream).poll_read(context, buffer);
        if buffer.filled().len() > before && !client.requests.in_hand() {
            let within = client.limits.headers_within;
            client.headers.get_or_insert_with(|| (begun, Box::pin(sleep(within))));
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
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
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
