//! The front on a real socket, as clients and strangers meet it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use front::{Front, Keys, Options};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};

/// The front, and behind it a server that says what reached it.
struct World {
    address: SocketAddr,
    keys: Keys,
    /// Whole requests that reached the server.
    reached: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    directory: PathBuf,
    _front: Front,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl World {
    async fn open() -> World {
        let keys = Keys::random();
        let directory = std::env::temp_dir().join(format!("front-{}", keys.access_key_id));
        std::fs::create_dir(&directory).expect("a directory");
        let (reached, connections) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let upstream = UnixListener::bind(directory.join("socket")).expect("a socket");
        tokio::spawn(serve(upstream, Arc::clone(&reached), Arc::clone(&connections)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let front = Front::serve(listener, &Options::new(directory.join("socket"), keys.clone())).expect("it serves");
        World { address: front.address(), keys, reached, connections, directory, _front: front }
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    /// The lines of the head of a signed request, without `host` and `content-length`.
    fn signed(&self, method: &str, target: &str, headers: &[(&str, &str)], body: SignableBody<'_>) -> Vec<String> {
        signed_with(&self.keys, self.address, method, target, headers, body)
    }

    /// Sends bytes and returns the answer, status and body.
    async fn send(&self, head: &[String], first: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        ask(&mut stream, self.address, head, first, body).await
    }
}

fn signed_with(
    keys: &Keys,
    host: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: SignableBody<'_>,
) -> Vec<String> {
    let Keys { access_key_id, secret_access_key } = keys;
    let identity = Credentials::new(access_key_id, secret_access_key, None, None, "test").into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("sqs")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .expect("parameters")
        .into();
    let url = format!("http://{host}{target}");
    let request = SignableRequest::new(method, url.as_str(), headers.iter().copied(), body).expect("a request");
    let signed = sign(request, &parameters).expect("signed");
    let all = headers.iter().copied().chain(signed.output().headers());
    all.map(|(name, value)| format!("{name}: {value}")).collect()
}

/// One request on a connection that stays open.
async fn ask(stream: &mut TcpStream, host: SocketAddr, head: &[String], first: &str, body: &[u8]) -> (u16, String) {
    let has_host = head.iter().any(|line| line.to_ascii_lowercase().starts_with("host:"));
    let host = if has_host { String::new() } else { format!("host: {host}\r\n") };
    let lines = head.join("\r\n");
    let separator = if lines.is_empty() { "" } else { "\r\n" };
    let head = format!("{first} HTTP/1.1\r\n{host}content-length: {}\r\n{lines}{separator}\r\n", body.len());
    stream.write_all(head.as_bytes()).await.expect("sent");
    // A refusal may come before the body is read.
    let _ = stream.write_all(body).await;
    answer(stream).await
}

async fn answer(stream: &mut TcpStream) -> (u16, String) {
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length = length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or_default();
            if body.len() >= length {
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
                return (status, format!("{head}\n{body}"));
            }
        }
        match stream.read(&mut piece).await {
            Ok(count) if count > 0 => read.extend_from_slice(&piece[..count]),
            _ => return (0, String::from_utf8_lossy(&read).into_owned()),
        }
    }
}

/// Answers with the method, the target and the length of the body, when the body has come whole.
async fn serve(listener: UnixListener, reached: Arc<AtomicUsize>, connections: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::SeqCst);
        let reached = Arc::clone(&reached);
        let service = service_fn(move |request: Request<Incoming>| {
            let reached = Arc::clone(&reached);
            async move {
                let (head, body) = request.into_parts();
                let Ok(body) = body.collect().await else { return Ok::<_, Infallible>(Response::new(Full::default())) };
                reached.fetch_add(1, Ordering::SeqCst);
                let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
                let text = format!("{} {} {} {target:?}", head.method, head.uri, body.to_bytes().len());
                Ok(Response::new(Full::new(Bytes::from(text))))
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

const TARGET: (&str, &str) = ("x-amz-target", "AmazonSQS.ListQueues");

#[tokio::test]
async fn a_signed_request_passes_as_it_is_and_the_way_to_the_server_is_used_again() {
    let world = World::open().await;
    let mut stream = TcpStream::connect(world.address).await.expect("it listens");
    for number in 0..5 {
        let body = format!("{{\"number\":{number}}}");
        let target = "/a%20b?x=%2F&y";
        let head = world.signed("POST", target, &[TARGET], SignableBody::Bytes(body.as_bytes()));
        let (status, text) = ask(&mut stream, world.address, &head, &format!("POST {target}"), body.as_bytes()).await;
        assert_eq!(status, 200, "{text}");
        assert!(text.ends_with("POST /a%20b?x=%2F&y 12 Some(\"AmazonSQS.ListQueues\")"), "{text}");
    }
    assert_eq!((world.reached(), world.connections.load(Ordering::SeqCst)), (5, 1));
}

#[tokio::test]
async fn nothing_else_reaches_the_server() {
    let world = World::open().await;
    let good = || world.signed("POST", "/", &[TARGET], SignableBody::Bytes(b"{}"));
    let with = |line: String| [good(), vec![line]].concat();
    let signed_by = |keys: Keys| signed_with(&keys, world.address, "POST", "/", &[TARGET], SignableBody::Bytes(b"{}"));
    let of_a_stranger = signed_by(Keys::random());
    let of_an_impostor = signed_by(Keys { access_key_id: world.keys.access_key_id.clone(), ..Keys::random() });
    let cases: Vec<(&str, Vec<String>, &str, u16, &str)> = vec![
        ("unsigned", vec![format!("{}: {}", TARGET.0, TARGET.1)], "POST /", 403, "MissingAuthenticationTokenException"),
        ("inspection", Vec::new(), "GET /_ministack/ses/messages", 403, "MissingAuthenticationTokenException"),
        (
            "a form",
            vec!["content-type: application/x-www-form-urlencoded".to_owned()],
            "POST /",
            403,
            "<Code>MissingAuthenticationToken</Code>",
        ),
        ("another key id", of_a_stranger, "POST /", 403, "UnrecognizedClientException"),
        ("another secret", of_an_impostor, "POST /", 403, "InvalidSignatureException"),
        ("another path", good(), "POST /_ministack/reset", 403, "InvalidSignatureException"),
        ("another method", good(), "PUT /", 403, "InvalidSignatureException"),
        ("a page", with("origin: http://evil.example".to_owned()), "POST /", 403, "AccessDeniedException"),
        (
            "a page of the same site",
            with("Sec-Fetch-Site: same-site".to_owned()),
            "POST /",
            403,
            "AccessDeniedException",
        ),
        ("a foreign host", with("host: evil.example".to_owned()), "POST /", 403, "AccessDeniedException"),
        (
            "a header that is not signed",
            with("x-amz-security-token: t".to_owned()),
            "POST /",
            400,
            "IncompleteSignatureException",
        ),
        ("a preflight", vec!["origin: null".to_owned()], "OPTIONS /", 403, "AccessDeniedException"),
    ];
    for (what, head, first, status, code) in cases {
        let (got, text) = world.send(&head, first, b"{}").await;
        assert_eq!(got, status, "{what}: {text}");
        assert!(text.contains(code), "{what}: {text}");
        assert!(!text.to_ascii_lowercase().contains("access-control-allow"), "{what}: {text}");
    }
    let (status, text) = world.send(&good(), "POST /", b"{ }").await;
    assert_eq!(status, 403, "another body: {text}");
    assert_eq!(world.reached(), 0);
    assert_eq!(world.send(&good(), "POST /", b"{}").await.0, 200, "the request that all of these were made from");
}

#[tokio::test]
async fn a_large_body_is_streamed_when_its_digest_is_declared_and_never_reaches_the_server_whole_with_another() {
    const LARGE: usize = 12 * 1024 * 1024;
    let world = World::open().await;
    let body = vec![b'x'; LARGE];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let declared = [("x-amz-content-sha256", digest.as_str())];
    let head = || world.signed("PUT", "/bucket/large", &declared, SignableBody::Precomputed(digest.clone()));
    let (status, text) = world.send(&head(), "PUT /bucket/large", &body).await;
    assert!(status == 200 && text.contains(&format!(" {LARGE} ")), "{text}");
    let mut other = body.clone();
    other[LARGE / 2] = b'y';
    let (status, text) = world.send(&head(), "PUT /bucket/large", &other).await;
    assert_ne!(status, 200, "{text}");
    assert_eq!(world.reached(), 1);
    let (status, text) = world.send(&head(), "PUT /bucket/large", b"short").await;
    assert!(status == 400 && text.contains("InvalidSignatureException"), "{text}");

    let unsigned = [("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
    let head = world.signed("PUT", "/bucket/large", &unsigned, SignableBody::UnsignedPayload);
    assert_eq!(world.send(&head, "PUT /bucket/large", &body).await.0, 200);
    let head = world.signed("POST", "/", &[], SignableBody::Bytes(&body));
    let (status, text) = world.send(&head, "POST /", &body).await;
    assert!(status == 413 && text.contains("x-amz-content-sha256"), "{text}");
}

#[tokio::test]
async fn silent_connections_of_a_stranger_do_not_keep_the_owner_out() {
    let world = World::open().await;
    let mut owner = TcpStream::connect(world.address).await.expect("it listens");
    let head = || world.signed("POST", "/", &[TARGET], SignableBody::Bytes(b"{}"));
    assert_eq!(ask(&mut owner, world.address, &head(), "POST /", b"{}").await.0, 200);
    let mut silent = Vec::new();
    for _ in 0..400 {
        let mut stream = TcpStream::connect(world.address).await.expect("it listens");
        stream.write_all(b"POST / HTTP/1.1\r\nhost: 127").await.expect("sent");
        silent.push(stream);
    }
    let begun = Instant::now();
    assert_eq!(world.send(&head(), "POST /", b"{}").await.0, 200, "a new connection");
    assert_eq!(ask(&mut owner, world.address, &head(), "POST /", b"{}").await.0, 200, "one that was there");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // The oldest were closed to bound how many are open.
    let mut end = [0; 1];
    let closed = tokio::time::timeout(Duration::from_secs(5), silent[0].read(&mut end)).await.expect("it is closed");
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
}

#[tokio::test]
async fn while_the_server_is_away_the_answer_is_an_error_that_clients_repeat() {
    let world = World::open().await;
    std::fs::remove_file(world.directory.join("socket")).expect("removed");
    let head = world.signed("POST", "/", &[TARGET], SignableBody::Bytes(b"{}"));
    let (status, text) = world.send(&head, "POST /", b"{}").await;
    assert!(status == 503 && text.contains("ServiceUnavailableException"), "{text}");
}
