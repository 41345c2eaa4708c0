//! Tests the front on a real socket, for clients with and without the key pair.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_lc_rs::hmac;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use front::{Front, Keys, Options, Refusal};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};

/// The front, and behind it a server that reports the requests that it receives.
struct World {
    address: SocketAddr,
    keys: Keys,
    /// The number of complete requests that reached the server.
    reached: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    /// The refusals that were reported.
    refused: Arc<Mutex<Vec<String>>>,
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
        tokio::spawn(serve(
            upstream,
            Arc::clone(&reached),
            Arc::clone(&connections),
        ));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let refused = Arc::<Mutex<Vec<String>>>::default();
        let mut options = Options::new(directory.join("socket"), keys.clone());
        let report = Arc::clone(&refused);
        options.on_refusal = Some(Arc::new(move |refusal: &Refusal<'_>| {
            report
                .lock()
                .expect("not poisoned")
                .push(format!("{refusal:?}"));
        }));
        let front = Front::serve(listener, &options).expect("it serves");
        World {
            address: front.address(),
            keys,
            reached,
            connections,
            refused,
            directory,
            _front: front,
        }
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    /// Returns the head lines of a signed request, without `host` and `content-length`.
    fn signed(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: SignableBody<'_>,
    ) -> Vec<String> {
        signed_with(
            &self.keys,
            "sqs",
            self.address,
            method,
            target,
            headers,
            body,
        )
    }

    /// Returns the same for an upload to S3.
    fn signed_for_s3(
        &self,
        target: &str,
        headers: &[(&str, &str)],
        body: SignableBody<'_>,
    ) -> Vec<String> {
        signed_with(&self.keys, "s3", self.address, "PUT", target, headers, body)
    }

    /// Sends bytes and returns status and body of the response.
    async fn send(&self, head: &[String], first: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        ask(&mut stream, self.address, head, first, body).await
    }
}

fn signed_with(
    keys: &Keys,
    service: &str,
    host: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: SignableBody<'_>,
) -> Vec<String> {
    let Keys {
        access_key_id,
        secret_access_key,
    } = keys;
    let identity = Credentials::new(access_key_id, secret_access_key, None, None, "test").into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name(service)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .expect("parameters")
        .into();
    let url = format!("http://{host}{target}");
    let request = SignableRequest::new(method, url.as_str(), headers.iter().copied(), body)
        .expect("a request");
    let signed = sign(request, &parameters).expect("signed");
    let all = headers.iter().copied().chain(signed.output().headers());
    all.map(|(name, value)| format!("{name}: {value}"))
        .collect()
}

/// Sends one request on a connection that stays open.
async fn ask(
    stream: &mut TcpStream,
    host: SocketAddr,
    head: &[String],
    first: &str,
    body: &[u8],
) -> (u16, String) {
    let has_host = head
        .iter()
        .any(|line| line.to_ascii_lowercase().starts_with("host:"));
    let host = if has_host {
        String::new()
    } else {
        format!("host: {host}\r\n")
    };
    let lines = head.join("\r\n");
    let separator = if lines.is_empty() { "" } else { "\r\n" };
    let head = format!(
        "{first} HTTP/1.1\r\n{host}content-length: {}\r\n{lines}{separator}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    // The front can refuse before it reads the body, so the write can fail.
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
            let length = length
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.lines().next());
            let length: usize = length
                .and_then(|length| length.parse().ok())
                .unwrap_or_default();
            if body.len() >= length {
                let status = head
                    .split(' ')
                    .nth(1)
                    .and_then(|status| status.parse().ok())
                    .unwrap_or_default();
                return (status, format!("{head}\n{body}"));
            }
        }
        match stream.read(&mut piece).await {
            Ok(count) if count > 0 => read.extend_from_slice(&piece[..count]),
            _ => return (0, String::from_utf8_lossy(&read).into_owned()),
        }
    }
}

/// Responds with method, target and body length after the whole body has arrived.
async fn serve(listener: UnixListener, reached: Arc<AtomicUsize>, connections: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::SeqCst);
        let reached = Arc::clone(&reached);
        let service = service_fn(move |request: Request<Incoming>| {
            let reached = Arc::clone(&reached);
            async move {
                let (head, body) = request.into_parts();
                let Ok(body) = body.collect().await else {
                    return Ok::<_, Infallible>(Response::new(Full::default()));
                };
                reached.fetch_add(1, Ordering::SeqCst);
                let target = head
                    .headers
                    .get("x-amz-target")
                    .and_then(|target| target.to_str().ok());
                let text = format!(
                    "{} {} {} {target:?}",
                    head.method,
                    head.uri,
                    body.to_bytes().len()
                );
                Ok(Response::new(Full::new(Bytes::from(text))))
            }
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

const TARGET: (&str, &str) = ("x-amz-target", "AmazonSQS.ListQueues");

#[tokio::test]
async fn a_signed_request_passes_unchanged_and_the_connection_is_reused() {
    let world = World::open().await;
    let mut stream = TcpStream::connect(world.address).await.expect("it listens");
    for number in 0..5 {
        let body = format!("{{\"number\":{number}}}");
        let target = "/a%20b?x=%2F&y";
        let head = world.signed(
            "POST",
            target,
            &[TARGET],
            SignableBody::Bytes(body.as_bytes()),
        );
        let (status, text) = ask(
            &mut stream,
            world.address,
            &head,
            &format!("POST {target}"),
            body.as_bytes(),
        )
        .await;
        assert_eq!(status, 200, "{text}");
        assert!(
            text.ends_with("POST /a%20b?x=%2F&y 12 Some(\"AmazonSQS.ListQueues\")"),
            "{text}"
        );
    }
    assert_eq!(
        (world.reached(), world.connections.load(Ordering::SeqCst)),
        (5, 1)
    );
}

#[tokio::test]
async fn unsigned_requests_do_not_reach_the_server() {
    let world = World::open().await;
    let good = || world.signed("POST", "/", &[TARGET], SignableBody::Bytes(b"{}"));
    let with = |line: String| [good(), vec![line]].concat();
    let signed_by = |keys: Keys| {
        signed_with(
            &keys,
            "sqs",
            world.address,
            "POST",
            "/",
            &[TARGET],
            SignableBody::Bytes(b"{}"),
        )
    };
    let of_a_stranger = signed_by(Keys::random());
    let of_an_impostor = signed_by(Keys {
        access_key_id: world.keys.access_key_id.clone(),
        ..Keys::random()
    });
    let cases: Vec<(&str, Vec<String>, &str, u16, &str)> = vec![
        (
            "unsigned",
            vec![format!("{}: {}", TARGET.0, TARGET.1)],
            "POST /",
            403,
            "MissingAuthenticationTokenException",
        ),
        (
            "inspection",
            Vec::new(),
            "GET /_ministack/ses/messages",
            403,
            "MissingAuthenticationTokenException",
        ),
        (
            "a form",
            vec!["content-type: application/x-www-form-urlencoded".to_owned()],
            "POST /",
            403,
            "<Code>MissingAuthenticationToken</Code>",
        ),
        (
            "another key id",
            of_a_stranger,
            "POST /",
            403,
            "UnrecognizedClientException",
        ),
        (
            "another secret",
            of_an_impostor,
            "POST /",
            403,
            "InvalidSignatureException",
        ),
        (
            "another path",
            good(),
            "POST /_ministack/reset",
            403,
            "InvalidSignatureException",
        ),
        (
            "another method",
            good(),
            "PUT /",
            403,
            "InvalidSignatureException",
        ),
        (
            "a page",
            with("origin: http://evil.example".to_owned()),
            "POST /",
            403,
            "AccessDeniedException",
        ),
        (
            "a page of the same site",
            with("Sec-Fetch-Site: same-site".to_owned()),
            "POST /",
            403,
            "AccessDeniedException",
        ),
        (
            "a foreign host",
            with("host: evil.example".to_owned()),
            "POST /",
            403,
            "AccessDeniedException",
        ),
        (
            "a header that is not signed",
            with("x-amz-security-token: t".to_owned()),
            "POST /",
            400,
            "IncompleteSignatureException",
        ),
        (
            "a preflight",
            vec!["origin: null".to_owned()],
            "OPTIONS /",
            403,
            "AccessDeniedException",
        ),
    ];
    let refusals = cases.len();
    for (what, head, first, status, code) in cases {
        let (got, text) = world.send(&head, first, b"{}").await;
        assert_eq!(got, status, "{what}: {text}");
        assert!(text.contains(code), "{what}: {text}");
        assert!(
            !text.to_ascii_lowercase().contains("access-control-allow"),
            "{what}: {text}"
        );
    }
    let (status, text) = world.send(&good(), "POST /", b"{ }").await;
    assert_eq!(status, 403, "another body: {text}");
    assert_eq!(world.reached(), 0);
    assert_eq!(
        world.send(&good(), "POST /", b"{}").await.0,
        200,
        "the request that all of these were made from"
    );
    let refused = world.refused.lock().expect("not poisoned").clone();
    assert_eq!(
        refused.len(),
        refusals + 1,
        "each of them, and the one with another body"
    );
    assert!(
        refused[1].contains("AccessDenied") && refused[1].contains("/_ministack/ses/messages"),
        "{}",
        refused[1]
    );
}

#[tokio::test]
async fn a_large_body_is_streamed_when_its_digest_is_declared_and_never_reaches_the_server_whole_with_another()
 {
    const LARGE: usize = 12 * 1024 * 1024;
    let world = World::open().await;
    let body = vec![b'x'; LARGE];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
    let digest: String = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let declared = [("x-amz-content-sha256", digest.as_str())];
    let head = || {
        world.signed_for_s3(
            "/bucket/large",
            &declared,
            SignableBody::Precomputed(digest.clone()),
        )
    };
    let (status, text) = world.send(&head(), "PUT /bucket/large", &body).await;
    assert!(
        status == 200 && text.contains(&format!(" {LARGE} ")),
        "{text}"
    );
    let mut other = body.clone();
    other[LARGE / 2] = b'y';
    let (status, text) = world.send(&head(), "PUT /bucket/large", &other).await;
    assert!(
        status == 400 && text.contains("XAmzContentSHA256Mismatch"),
        "{text}"
    );
    assert_eq!(world.reached(), 1);
    let (status, text) = world.send(&head(), "PUT /bucket/large", b"short").await;
    assert!(
        status == 400 && text.contains("XAmzContentSHA256Mismatch"),
        "{text}"
    );

    let unsigned = [("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
    let head = world.signed_for_s3("/bucket/large", &unsigned, SignableBody::UnsignedPayload);
    assert_eq!(world.send(&head, "PUT /bucket/large", &body).await.0, 200);
    let head = world.signed("POST", "/", &[], SignableBody::Bytes(&body));
    let (status, text) = world.send(&head, "POST /", &body).await;
    assert!(
        status == 413 && text.contains("x-amz-content-sha256"),
        "{text}"
    );
}

const CHUNKED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";

/// Formats a body as signed chunks, for the request with these head lines.
fn in_chunks(keys: &Keys, head: &[String], chunks: &[&[u8]]) -> Vec<u8> {
    let value = |name: &str| {
        let line = head
            .iter()
            .find_map(|line| line.strip_prefix(name))
            .expect("it was signed");
        line.trim_start_matches(": ").to_owned()
    };
    let (time, authorization) = (value("x-amz-date"), value("authorization"));
    let mut before = authorization
        .rsplit_once("Signature=")
        .expect("a signature")
        .1
        .to_owned();
    let scope = format!("{}/us-east-1/s3/aws4_request", &time[..8]);
    let sign = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
    };
    let mut key = format!("AWS4{}", keys.secret_access_key).into_bytes();
    for part in scope.split('/') {
        key = sign(&key, part).as_ref().to_vec();
    }
    let mut body = Vec::new();
    for chunk in chunks.iter().copied().chain([b"".as_slice()]) {
        let (nothing, data) = (sha256(b""), sha256(chunk));
        let text =
            format!("AWS4-HMAC-SHA256-PAYLOAD\n{time}\n{scope}\n{before}\n{nothing}\n{data}");
        before = hex(sign(&key, &text).as_ref());
        body.extend_from_slice(
            format!("{:x};chunk-signature={before}\r\n", chunk.len()).as_bytes(),
        );
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body
}

fn sha256(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn every_chunk_of_a_signed_upload_is_verified() {
    let world = World::open().await;
    let declared = [
        ("x-amz-content-sha256", CHUNKED),
        ("content-encoding", "aws-chunked"),
    ];
    let head = || {
        world.signed_for_s3(
            "/bucket/large",
            &declared,
            SignableBody::Precomputed(CHUNKED.to_owned()),
        )
    };
    // The smaller body is held in memory until it is verified, and the larger one is streamed.
    for (passed, size) in [(1, 64 * 1024), (2, 6 * 1024 * 1024)] {
        let data = vec![b'x'; size];
        let head = head();
        let body = in_chunks(&world.keys, &head, &[&data, &data]);
        let (status, text) = world.send(&head, "PUT /bucket/large", &body).await;
        assert!(
            status == 200 && text.contains(&format!(" {} ", body.len())),
            "{text}"
        );
        for place in [size / 2, size + size / 2] {
            let mut other = body.clone();
            other[place] = b'y';
            let (status, text) = world.send(&head, "PUT /bucket/large", &other).await;
            assert!(
                status == 403 && text.contains("<Code>SignatureDoesNotMatch</Code>"),
                "{place}: {text}"
            );
        }
        let (status, text) = world
            .send(&head, "PUT /bucket/large", &body[..body.len() - 2])
            .await;
        assert!(
            status == 400 && text.contains("<Code>IncompleteBody</Code>"),
            "{text}"
        );
        assert_eq!(world.reached(), passed);
    }
}

#[tokio::test]
async fn unsigned_bodies_are_accepted_only_for_s3_and_other_forms_are_named() {
    let world = World::open().await;
    let unsigned_for_sqs = |form: &'static str| {
        world.signed(
            "POST",
            "/",
            &[TARGET, ("x-amz-content-sha256", form)],
            SignableBody::Precomputed(form.to_owned()),
        )
    };
    for form in [
        "UNSIGNED-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        CHUNKED,
    ] {
        let (status, text) = world.send(&unsigned_for_sqs(form), "POST /", b"{}").await;
        assert!(
            status == 400 && text.contains("only for S3") && text.contains(form),
            "{text}"
        );
    }
    let for_s3 = |form: &'static str| {
        world.signed_for_s3(
            "/b/k",
            &[("x-amz-content-sha256", form)],
            SignableBody::Precomputed(form.to_owned()),
        )
    };
    for form in [
        "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
        "STREAMING-nonsense",
    ] {
        let (status, text) = world.send(&for_s3(form), "PUT /b/k", b"data").await;
        assert!(
            status == 501 && text.contains("<Code>NotImplemented</Code>") && text.contains(form),
            "{text}"
        );
    }
    assert_eq!(world.reached(), 0);
    let (status, text) = world
        .send(
            &for_s3("STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
            "PUT /b/k",
            b"0\r\n\r\n",
        )
        .await;
    assert_eq!(status, 200, "{text}");
}

#[tokio::test]
async fn a_url_with_signature_version_2_gets_the_remedy() {
    let world = World::open().await;
    let id = &world.keys.access_key_id;
    let url = format!("GET /beans/key?AWSAccessKeyId={id}&Signature=abc%3D&Expires=1764421200");
    let (status, text) = world.send(&[], &url, b"").await;
    assert!(
        status == 400 && text.contains("<Code>InvalidRequest</Code>") && text.contains("s3v4"),
        "{text}"
    );
    let header = format!("authorization: AWS {id}:abc=");
    let (status, text) = world.send(&[header], "GET /beans/key", b"").await;
    assert!(
        status == 400 && text.contains("signature_version='s3v4'"),
        "{text}"
    );
    let refused = world.refused.lock().expect("not poisoned").join("\n");
    assert!(
        refused.contains("/beans/key") && !refused.contains("abc") && !refused.contains(id),
        "{refused}"
    );
}

#[tokio::test]
async fn silent_connections_do_not_block_the_owner() {
    let world = World::open().await;
    let mut owner = TcpStream::connect(world.address).await.expect("it listens");
    let head = || world.signed("POST", "/", &[TARGET], SignableBody::Bytes(b"{}"));
    assert_eq!(
        ask(&mut owner, world.address, &head(), "POST /", b"{}")
            .await
            .0,
        200
    );
    let mut silent = Vec::new();
    for _ in 0..400 {
        let mut stream = TcpStream::connect(world.address).await.expect("it listens");
        stream
            .write_all(b"POST / HTTP/1.1\r\nhost: 127")
            .await
            .expect("sent");
        silent.push(stream);
    }
    let begun = Instant::now();
    assert_eq!(
        world.send(&head(), "POST /", b"{}").await.0,
        200,
        "a new connection"
    );
    assert_eq!(
        ask(&mut owner, world.address, &head(), "POST /", b"{}")
            .await
            .0,
        200,
        "one that was there"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    // The oldest connections were closed to limit the number of open ones.
    let mut end = [0; 1];
    let closed = tokio::time::timeout(Duration::from_secs(5), silent[0].read(&mut end))
        .await
        .expect("it is closed");
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
}

#[tokio::test]
async fn while_the_server_is_down_the_response_is_a_retryable_error() {
    let world = World::open().await;
    std::fs::remove_file(world.directory.join("socket")).expect("removed");
    let head = world.signed("POST", "/", &[TARGET], SignableBody::Bytes(b"{}"));
    let (status, text) = world.send(&head, "POST /", b"{}").await;
    assert!(
        status == 503 && text.contains("ServiceUnavailableException"),
        "{text}"
    );
}
