//! The HTTP server on loopback.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use aws_lc_rs::{constant_time, digest};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{AUTHORIZATION, HOST, ORIGIN};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::Keys;
use crate::body::{self, Body};
use crate::connections::{Place, Unproven};
use crate::forward::Forward;
use crate::refusal::{Protocol, Reason};
use crate::signature::{CLOCK_SKEW, Payload, Verifier, is_for_s3, move_to_header};

/// The largest body in bytes that is held in memory until its digest is verified. The largest body
/// that our services accept is 1 MiB (a batch of SQS messages). Larger uploads to S3 declare their
/// digest and are streamed.
const HELD_MAX: usize = 10 * 1024 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// The longest time between two requests on the owner's connection. No SDK keeps idle connections
/// that long (90 s), so the client always closes first. Connections without a valid signature end
/// after [`crate::connections::PROVEN_WITHIN`].
const SILENT_MAX: Duration = Duration::from_secs(120);
/// The limit in bytes of the request line and the headers. MiniStack itself refuses more than 16
/// KiB.
const HEAD_MAX: usize = 64 * 1024;
const CONNECTIONS_MAX: usize = 4096;

/// The settings of a front.
#[derive(Clone)]
pub struct Options {
    /// The Unix socket of MiniStack.
    pub socket: PathBuf,
    /// The accepted key pairs: the one of this run, and more in tests.
    pub keys: Vec<Keys>,
    /// The accepted difference between the time of a signature and our clock. Only tests of wrong
    /// clocks use another value than [`CLOCK_SKEW`].
    pub clock_skew: Duration,
    /// Called for each refused request.
    pub on_refusal: Option<OnRefusal>,
}

impl Options {
    /// Returns settings with one key pair, the clock skew of AWS, and no hook.
    pub fn new(socket: PathBuf, keys: Keys) -> Options {
        Options {
            socket,
            keys: vec![keys],
            clock_skew: CLOCK_SKEW,
            on_refusal: None,
        }
    }
}

/// A hook for refused requests. It must be fast, because the client waits for it.
pub type OnRefusal = Arc<dyn Fn(&Refusal<'_>) + Send + Sync>;

/// A refused request without secrets: the query, which can contain a signature, and the headers are
/// left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// The name of the error in S3's spelling.
    pub name: &'static str,
    pub status: u16,
    pub method: &'a str,
    pub path: &'a str,
}

/// A running front. Dropping the value stops the front and closes its connections.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    /// Dropping this sender stops the front.
    running: oneshot::Sender<()>,
    /// Resolves when the front has stopped.
    stopped: oneshot::Receiver<()>,
}

impl Front {
    /// Serves on a listener that is bound to loopback.
    ///
    /// The front runs on its own thread with a single-threaded runtime. Each request passes two
    /// sockets, and waking another thread for each step would cost more than the rest of the
    /// front's work.
    ///
    /// # Errors
    /// When the listener has no address, or the thread or its runtime cannot be created.
    pub fn serve(listener: TcpListener, options: &Options) -> std::io::Result<Front> {
        let address = listener.local_addr()?;
        let listener = listener.into_std()?;
        let shared = Arc::new(Shared {
            verifier: Verifier::new(options.keys.clone(), options.clock_skew),
            forward: Forward::new(&options.socket),
            on_refusal: options.on_refusal.clone(),
        });
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        // A tokio listener must be registered with the runtime that uses it.
        let listener = {
            let _within = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (running, to_stop) = oneshot::channel();
        let (ended, stopped) = oneshot::channel();
        thread::Builder::new()
            .name("haven-front".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(listener, shared) => {}
                        _ = to_stop => {}
                    }
                });
                // Dropping the runtime closes every connection.
                drop(runtime);
                let _ = ended.send(());
            })?;
        Ok(Front {
            address,
            running,
            stopped,
        })
    }

    /// Returns the address that the front listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops the front, and waits until the listener and all connections are closed.
    pub async fn stop(self) {
        drop(self.running);
        let _ = self.stopped.await;
    }
}

struct Shared {
    verifier: Verifier,
    forward: Forward,
    on_refusal: Option<OnRefusal>,
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    /// The pause after a failed accept, for example while no file descriptor is available.
    const PAUSE: Duration = Duration::from_millis(50);
    let unproven = Arc::<Unproven>::default();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                    connections.spawn(connection(stream, Arc::clone(&shared), unproven.add()));
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection until it ends, or until it must be closed because it sent no valid
/// signature.
async fn connection(stream: TcpStream, shared: Arc<Shared>, place: Place) {
    // Responses are small and the client waits for them, so do not delay packets.
    let _ = stream.set_nodelay(true);
    let standing = Arc::clone(&place.standing);
    let proven = AtomicBool::new(false);
    let service = service_fn(|request| {
        let (shared, place, proven) = (&shared, &place, &proven);
        async move {
            let prove = || {
                if !proven.swap(true, Ordering::Relaxed) {
                    place.prove();
                }
            };
            Ok::<_, Infallible>(answer(shared, request, prove).await)
        }
    });
    let serves = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENT_MAX)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serves);
    tokio::select! {
        _ = &mut serves => {}
        may_stay = standing.decided() => if may_stay {
            let _ = serves.await;
        },
    }
}

async fn answer(shared: &Shared, request: Request<Incoming>, prove: impl Fn()) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let protocol = Protocol::of(&parts, is_for_s3(&parts));
    let (method, uri) = (parts.method.clone(), parts.uri.clone());
    let answered = async {
        let body = admitted(shared, &parts, body).await?;
        prove();
        if !parts.headers.contains_key(AUTHORIZATION) {
            move_to_header(&mut parts)?;
        }
        shared.forward.send(parts, body).await
    };
    match answered.await {
        Ok(response) => response,
        Err(reason) => {
            if let (Some(report), Some(name)) = (&shared.on_refusal, reason.refusal()) {
                report(&Refusal {
                    name,
                    status: reason.status(),
                    method: method.as_str(),
                    path: uri.path(),
                });
            }
            reason.response(protocol).map(body::whole)
        }
    }
}

/// Checks a request, and returns the body to forward.
///
/// # Errors
/// The reason when the request must be refused.
async fn admitted(shared: &Shared, parts: &Parts, body: Incoming) -> Result<Body, Reason> {
    not_of_a_page(&parts.headers)?;
    for_this_host(parts)?;
    let claim = shared.verifier.claim(parts, OffsetDateTime::now_utc())?;
    let length = body.size_hint().exact();
    let is_small = length.is_none_or(|length| length <= HELD_MAX as u64);
    match claim.payload {
        Payload::Unsigned => {
            shared.verifier.verify(&claim, parts, None)?;
            Ok(body::streamed(body))
        }
        Payload::Declared(digest) => {
            // The signature covers the declared digest, so it can be verified before the body is
            // read.
            shared.verifier.verify(&claim, parts, None)?;
            // A body of unknown length is streamed too, because it can be long.
            if !is_small || length.is_none() {
                return Ok(body::checked(body, digest));
            }
            let (body, seen) = held(body).await?;
            constant_time::verify_slices_are_equal(seen.as_ref(), &digest)
                .map_err(|_| Reason::OtherBody)?;
            Ok(body::whole(body))
        }
        Payload::Chunked(ending) => {
            shared.verifier.verify(&claim, parts, None)?;
            let mut chunks = shared.verifier.chunks(&claim, ending)?;
            if !is_small || length.is_none() {
                return Ok(body::chunked(body, chunks));
            }
            let (body, _) = held(body).await?;
            chunks.update(&body)?;
            chunks.finish()?;
            Ok(body::whole(body))
        }
        Payload::Computed if !is_small => Err(Reason::TooLarge(HELD_MAX)),
        Payload::Computed => {
            let (body, seen) = held(body).await?;
            shared.verifier.verify(&claim, parts, Some(&seen))?;
            Ok(body::whole(body))
        }
    }
}

/// Reads a whole body, up to [`HELD_MAX`] bytes, and computes its digest.
async fn held(body: Incoming) -> Result<(Bytes, digest::Digest), Reason> {
    let read = Limited::new(body, HELD_MAX).collect();
    let read = tokio::time::timeout(BODY_WITHIN, read)
        .await
        .map_err(|_| Reason::NoBody)?;
    let body = match read {
        // Most bodies arrive in one piece, which is not copied.
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(Reason::TooLarge(HELD_MAX)),
        Err(_) => return Err(Reason::NoBody),
    };
    let digest = digest::digest(&digest::SHA256, &body);
    Ok((body, digest))
}

/// Refuses requests of browser pages. Browsers send `Origin` or `Sec-Fetch-*` headers, and pages
/// cannot remove them.
fn not_of_a_page(headers: &HeaderMap) -> Result<(), Reason> {
    let of_a_browser = |name: &str| name == ORIGIN.as_str() || name.starts_with("sec-fetch-");
    let mut names = headers.keys().map(hyper::header::HeaderName::as_str);
    names
        .find(|name| of_a_browser(name))
        .map_or(Ok(()), |name| Err(Reason::Browser(name.to_owned())))
}

/// Accepts only host names of this machine. With another name, the request can come from a page
/// whose name was made to resolve to loopback. The port is not compared, because forwarded ports
/// and the fault proxies of tests differ.
fn for_this_host(parts: &Parts) -> Result<(), Reason> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next(), parts.uri.authority()) {
        (Some(host), None, None) => host.to_str().unwrap_or_default(),
        _ => {
            return Err(Reason::malformed(
                "the request must have exactly one Host header, and a target that is only a path",
            ));
        }
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    // S3 clients put the bucket in front of the host name. Browsers resolve names below `localhost`
    // to loopback only.
    let is_ours = name == "127.0.0.1"
        || name.eq_ignore_ascii_case("localhost")
        || name == "[::1]"
        || name.to_ascii_lowercase().ends_with(".localhost");
    if is_ours {
        Ok(())
    } else {
        Err(Reason::ForeignHost(host.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for ours in [
            "127.0.0.1:4566",
            "127.0.0.1",
            "localhost:1",
            "LOCALHOST",
            "[::1]:80",
            "bucket.localhost:4566",
        ] {
            assert_eq!(for_this_host(&parts(&[("host", ours)])), Ok(()), "{ours}");
        }
        for foreign in [
            "",
            "evil.example",
            "127.0.0.1.evil.example:80",
            "notlocalhost",
            "10.0.0.1",
            "localhost.evil",
            "0.0.0.0:1",
        ] {
            assert!(
                for_this_host(&parts(&[("host", foreign)])).is_err(),
                "{foreign}"
            );
        }
        assert!(for_this_host(&parts(&[])).is_err(), "no host");
        assert!(
            for_this_host(&parts(&[("host", "localhost"), ("host", "evil.example")])).is_err(),
            "two hosts"
        );
    }

    #[test]
    fn requests_of_browsers_are_refused() {
        for header in ["origin", "sec-fetch-mode", "sec-fetch-site"] {
            let refused = not_of_a_page(&parts(&[("host", "localhost"), (header, "null")]).headers);
            assert_eq!(refused, Err(Reason::Browser(header.to_owned())));
        }
        assert_eq!(
            not_of_a_page(&parts(&[("host", "localhost"), ("accept", "*/*")]).headers),
            Ok(())
        );
    }
}
