//! Signature Version 4: reads the signature of a request and verifies it.
//!
//! A request is checked in two steps. [`Verifier::claim`] reads the signature, from the
//! `Authorization` header or from the query of a presigned URL. The function refuses everything
//! that can be refused without the body: a missing signature, another key id, a time that differs
//! too much. Then the body is read, and [`Verifier::verify`] computes the signature and compares it
//! in constant time. Therefore only a client that knows the key id can make the front hold a body
//! in memory.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::http::request::Parts;
use time::format_description::FormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::Keys;
use crate::canonical;
use crate::chunked::{Chunks, Ending};
use crate::refusal::Reason;

/// The largest accepted difference between a signature's time and the front's clock, as in AWS.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
/// The longest validity of a presigned URL in seconds, as in AWS.
const EXPIRES_MAX_S: u64 = 7 * 24 * 3600;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The number of derived keys that are kept. Each day and service in use needs one, about ten in
/// all.
const DERIVED_MAX: usize = 64;
const S3: &str = "s3";
/// The values that S3 accepts in place of the SHA-256 of a body
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html>).
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const FORMS: [&str; 4] = [UNSIGNED, UNSIGNED_TRAILER, SIGNED, SIGNED_TRAILER];
/// The characters of an unknown value that the refusal repeats.
const FORM_MAX: usize = 80;
/// The time format of signatures: `20130524T000000Z`.
const TIME: &[FormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");

/// The way in which the request covers its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payload {
    /// The request does not contain the digest, so the front computes it from the body.
    Computed,
    /// The request contains the digest, which the body must have.
    Declared([u8; 32]),
    /// The body is sent in chunks, each with its own signature.
    Chunked(Ending),
    /// The signature does not cover the body.
    Unsigned,
}

/// The signature of a request and the values that it is computed with.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    /// `20130524T000000Z`
    time: Cow<'a, str>,
    /// `AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request`
    credential: Cow<'a, str>,
    signed_headers: Cow<'a, str>,
    signature: [u8; 32],
    pub payload: Payload,
    /// The last line of the canonical request, or `None` if it is computed from the body.
    payload_line: Option<&'a str>,
}

impl Claim<'_> {
    fn key_id(&self) -> &str {
        self.credential.split('/').next().unwrap_or_default()
    }

    fn scope(&self) -> &str {
        self.credential
            .split_once('/')
            .map_or("", |(_, scope)| scope)
    }

    fn service(&self) -> &str {
        service_of(&self.credential)
    }
}

/// Returns whether a request claims to be signed for S3. This decides about the error format before
/// anything is verified.
pub(crate) fn is_for_s3(parts: &Parts) -> bool {
    is_of_version_2(parts)
        || credential(parts).is_some_and(|credential| service_of(&credential) == S3)
}

fn service_of(credential: &str) -> &str {
    credential.split('/').nth(3).unwrap_or_default()
}

/// Returns whether a request has a Signature Version 2, in its URL or in a header. Such
/// requests count as requests to S3.
fn is_of_version_2(parts: &Parts) -> bool {
    let query = parts.uri.query().unwrap_or_default();
    let in_query = ["AWSAccessKeyId", "Signature"]
        .iter()
        .all(|name| canonical::parameter(query, name).is_some());
    let header = parts.headers.get(AUTHORIZATION);
    header.map_or(in_query, |header| header.as_bytes().starts_with(b"AWS "))
}

fn credential(parts: &Parts) -> Option<Cow<'_, str>> {
    match parts.headers.get(AUTHORIZATION) {
        Some(header) => {
            let text = header.to_str().ok()?;
            text.split_once("Credential=")
                .and_then(|(_, rest)| rest.split(',').next())
                .map(Cow::Borrowed)
        }
        None => canonical::parameter(parts.uri.query()?, "X-Amz-Credential"),
    }
}

/// Verifies signatures of known key pairs.
pub(crate) struct Verifier {
    /// The key pairs by access key id.
    keys: HashMap<String, Keys>,
    skew: Duration,
    /// The signing keys by credential. A derivation takes four HMACs, and a credential's scope is
    /// valid for a day.
    derived: Mutex<HashMap<String, hmac::Key>>,
}

impl Verifier {
    /// Makes a verifier for key pairs and an accepted clock skew.
    pub fn new(keys: impl IntoIterator<Item = Keys>, skew: Duration) -> Verifier {
        let keys = keys
            .into_iter()
            .map(|keys| (keys.access_key_id.clone(), keys))
            .collect();
        Verifier {
            keys,
            skew,
            derived: Mutex::default(),
        }
    }

    /// Reads the signature of a request and checks everything that does not need the body.
    ///
    /// # Errors
    /// The reason for which AWS would refuse the request as well.
    pub fn claim<'a>(&self, parts: &'a Parts, now: OffsetDateTime) -> Result<Claim<'a>, Reason> {
        let query = parts.uri.query().unwrap_or_default();
        if is_of_version_2(parts) {
            return Err(Reason::Version2);
        }
        let header = parts.headers.get(AUTHORIZATION);
        let claim = match header {
            Some(header) => {
                let text = header
                    .to_str()
                    .map_err(|_| Reason::malformed("the Authorization header is not ASCII"))?;
                self.in_header(parts, text, now)?
            }
            None if query.contains("X-Amz-Signature=") => self.in_query(parts, query, now)?,
            None => return Err(Reason::Missing),
        };
        if !self.keys.contains_key(claim.key_id()) {
            return Err(Reason::UnknownKey);
        }
        must_be_signed(&parts.headers, &claim.signed_headers)?;
        Ok(claim)
    }

    fn in_header<'a>(
        &self,
        parts: &'a Parts,
        text: &'a str,
        now: OffsetDateTime,
    ) -> Result<Claim<'a>, Reason> {
        let fields = text
            .strip_prefix(ALGORITHM)
            .filter(|rest| rest.starts_with(' '));
        let fields = fields.ok_or_else(|| {
            Reason::malformed("the Authorization header must be of AWS4-HMAC-SHA256")
        })?;
        let field = |name: &str| {
            let mut all = fields
                .split(',')
                .filter_map(|field| field.trim().split_once('='));
            let found = all
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value);
            found
                .ok_or_else(|| Reason::Malformed(format!("the Authorization header has no {name}")))
        };
        let credential = field("Credential")?;
        let sent = parts
            .headers
            .get("x-amz-date")
            .and_then(|date| date.to_str().ok());
        let sent = sent.ok_or_else(|| Reason::malformed("the request has no x-amz-date header"))?;
        let signed_at = signed_at(sent, credential)?;
        let apart = (now - signed_at).unsigned_abs();
        if apart > self.skew {
            return Err(Reason::Expired(format!(
                "Signature not current: it was made at {sent}, and the clock here is at {}; they may be {} s apart",
                written(now),
                self.skew.as_secs()
            )));
        }
        let payload_line = payload_line(&parts.headers)?;
        Ok(Claim {
            time: Cow::Borrowed(sent),
            credential: Cow::Borrowed(credential),
            signed_headers: Cow::Borrowed(field("SignedHeaders")?),
            signature: signature(field("Signature")?)?,
            payload: payload(payload_line, service_of(credential))?,
            payload_line,
        })
    }

    fn in_query<'a>(
        &self,
        parts: &'a Parts,
        query: &'a str,
        now: OffsetDateTime,
    ) -> Result<Claim<'a>, Reason> {
        let field = |name: &str| {
            canonical::parameter(query, name)
                .ok_or_else(|| Reason::Malformed(format!("the query has no {name}")))
        };
        if field("X-Amz-Algorithm")? != ALGORITHM {
            return Err(Reason::malformed(
                "X-Amz-Algorithm must be AWS4-HMAC-SHA256",
            ));
        }
        let credential = field("X-Amz-Credential")?;
        let sent = field("X-Amz-Date")?;
        let signed_at = signed_at(&sent, &credential)?;
        let expires = field("X-Amz-Expires")?
            .parse::<u64>()
            .ok()
            .filter(|seconds| *seconds <= EXPIRES_MAX_S);
        let expires = expires
            .ok_or_else(|| Reason::malformed("X-Amz-Expires must be 0 to 604800 seconds"))?;
        let early = signed_at - now > self.skew;
        if early || now - signed_at > Duration::from_secs(expires) {
            return Err(Reason::UrlExpired(format!(
                "Request has expired: it was signed at {sent} for {expires} s, and the clock here is at {}",
                written(now)
            )));
        }
        // A presigned URL is made before its body is known. S3 does not cover the body then; other
        // services sign its digest.
        let payload_line = match payload_line(&parts.headers)? {
            None if service_of(&credential) == S3 => Some(UNSIGNED),
            line => line,
        };
        Ok(Claim {
            time: sent,
            payload: payload(payload_line, service_of(&credential))?,
            credential,
            signed_headers: field("X-Amz-SignedHeaders")?,
            signature: signature(&field("X-Amz-Signature")?)?,
            payload_line,
        })
    }

    /// Computes the signature and compares it in constant time. `body` is the digest of the body,
    /// for requests that do not declare one.
    ///
    /// # Errors
    /// `Reason::Mismatch` for another signature.
    pub fn verify(
        &self,
        claim: &Claim<'_>,
        parts: &Parts,
        body: Option<&digest::Digest>,
    ) -> Result<(), Reason> {
        let computed = body.map(hex::encode);
        let payload = claim
            .payload_line
            .or(computed.as_deref())
            .ok_or(Reason::Mismatch)?;
        let text = string_to_sign(claim, parts, payload)?;
        let key = self.signing_key(claim).ok_or(Reason::UnknownKey)?;
        hmac::verify(&key, text.as_bytes(), &claim.signature).map_err(|_| Reason::Mismatch)?;
        self.keep(&claim.credential, key);
        Ok(())
    }

    /// Returns the verification for the chunks of a body, after the request was verified.
    ///
    /// # Errors
    /// `Reason::UnknownKey` for an unknown key id.
    pub fn chunks(&self, claim: &Claim<'_>, ending: Ending) -> Result<Chunks, Reason> {
        let key = self.signing_key(claim).ok_or(Reason::UnknownKey)?;
        Ok(Chunks::new(
            key,
            &claim.time,
            claim.scope(),
            claim.signature,
            ending,
        ))
    }

    fn signing_key(&self, claim: &Claim<'_>) -> Option<hmac::Key> {
        let derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        let known = derived.get(claim.credential.as_ref()).cloned();
        drop(derived);
        known.or_else(|| Some(derive(self.keys.get(claim.key_id())?, claim.scope())))
    }

    /// Keeps the signing key of a credential with a valid signature. Keys of other credentials are
    /// never kept, so callers cannot fill the cache.
    fn keep(&self, credential: &str, key: hmac::Key) {
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if derived.contains_key(credential) {
            return;
        }
        if derived.len() >= DERIVED_MAX {
            derived.clear();
        }
        derived.insert(credential.to_owned(), key);
    }
}

/// Signs a request again after its body has changed, for proxies in tests. The time, the scope and
/// the signed headers stay the same. `request` is the whole HTTP/1.1 request with the new body and
/// the old `Authorization` header. Returns `None` if the request has no signature in a header.
pub fn resign(keys: &Keys, request: &[u8]) -> Option<Vec<u8>> {
    const END: &[u8] = b"\r\n\r\n";
    let end = request.windows(END.len()).position(|four| four == END)?;
    let (head, body) = (
        std::str::from_utf8(&request[..end]).ok()?,
        &request[end + END.len()..],
    );
    let mut lines = head.split("\r\n");
    let first = lines.next()?;
    let mut words = first.split(' ');
    let mut sent = hyper::Request::builder()
        .method(words.next()?)
        .uri(words.next()?);
    for (name, value) in lines.clone().filter_map(|line| line.split_once(':')) {
        sent = sent.header(name, value.trim());
    }
    let (parts, ()) = sent.body(()).ok()?.into_parts();
    let old = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let claim = Verifier::new([], Duration::MAX)
        .in_header(&parts, old, OffsetDateTime::now_utc())
        .ok()?;
    let digest = hex::encode(digest::digest(&digest::SHA256, body));
    let text = string_to_sign(&claim, &parts, &digest).ok()?;
    let signature = hex::encode(hmac::sign(&derive(keys, claim.scope()), text.as_bytes()));
    let mut signed = first.to_owned();
    for line in lines.filter(|line| !line.to_ascii_lowercase().starts_with("authorization:")) {
        let _ = write!(signed, "\r\n{line}");
    }
    let (credential, headers) = (&claim.credential, &claim.signed_headers);
    let _ = write!(
        signed,
        "\r\nauthorization: {ALGORITHM} Credential={credential}, SignedHeaders={headers}, Signature={signature}\r\n\r\n"
    );
    Some([signed.as_bytes(), body].concat())
}

/// Moves the signature of a presigned URL into the `Authorization` header. MiniStack verifies
/// presigned URLs itself, against keys that it has issued, and would refuse this run's key pair.
/// From the header it takes only the service and the region.
pub(crate) fn move_to_header(parts: &mut Parts) -> Result<(), Reason> {
    const MOVED: [&str; 6] = [
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Signature",
    ];
    let query = parts.uri.query().unwrap_or_default();
    let [_, credential, date, _, headers, signature] =
        MOVED.map(|name| canonical::parameter(query, name));
    let (Some(credential), Some(date), Some(headers), Some(signature)) =
        (credential, date, headers, signature)
    else {
        return Ok(());
    };
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|error| Reason::Malformed(error.to_string()))
    };
    let authorization = value(&format!(
        "{ALGORITHM} Credential={credential}, SignedHeaders={headers}, Signature={signature}"
    ))?;
    let date = value(&date)?;
    let name = |parameter: &str| {
        parameter
            .split('=')
            .next()
            .is_some_and(|name| MOVED.contains(&name))
    };
    let rest: Vec<&str> = query
        .split('&')
        .filter(|parameter| !name(parameter))
        .collect();
    let target = if rest.is_empty() {
        parts.uri.path().to_owned()
    } else {
        format!("{}?{}", parts.uri.path(), rest.join("&"))
    };
    parts.uri = target
        .parse()
        .map_err(|_| Reason::malformed("the request target is not a valid path"))?;
    parts.headers.insert(AUTHORIZATION, authorization);
    parts.headers.insert("x-amz-date", date);
    Ok(())
}

fn string_to_sign(claim: &Claim<'_>, parts: &Parts, payload: &str) -> Result<String, Reason> {
    let mut canonical = digest::Context::new(&digest::SHA256);
    for part in [
        parts.method.as_str(),
        &canonical::path(parts.uri.path(), claim.service()),
        &canonical::query(parts.uri.query().unwrap_or_default()),
    ] {
        canonical.update(part.as_bytes());
        canonical.update(b"\n");
    }
    for name in claim.signed_headers.split(';') {
        if !canonical::header(&parts.headers, name, &mut canonical) {
            return Err(Reason::Malformed(format!(
                "the header {name} is signed and was not sent"
            )));
        }
    }
    canonical.update(b"\n");
    canonical.update(claim.signed_headers.as_bytes());
    canonical.update(b"\n");
    canonical.update(payload.as_bytes());
    let digest = hex::encode(canonical.finish());
    Ok([ALGORITHM, &claim.time, claim.scope(), &digest].join("\n"))
}

fn derive(keys: &Keys, scope: &str) -> hmac::Key {
    let mut key = hmac::Key::new(
        hmac::HMAC_SHA256,
        format!("AWS4{}", keys.secret_access_key).as_bytes(),
    );
    for part in scope.split('/') {
        key = hmac::Key::new(
            hmac::HMAC_SHA256,
            hmac::sign(&key, part.as_bytes()).as_ref(),
        );
    }
    key
}

/// Checks that the signature covers the host and every AWS header. Otherwise these could be changed
/// without invalidating the signature. Signers do not sign `x-amz-user-agent` in presigned URLs,
/// and no service acts on it.
fn must_be_signed(headers: &HeaderMap, signed: &str) -> Result<(), Reason> {
    let is_signed = |name: &str| signed.split(';').any(|known| known == name);
    let of_aws = headers
        .keys()
        .map(hyper::header::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-") && *name != "x-amz-user-agent");
    match std::iter::once("host")
        .chain(of_aws)
        .find(|name| !is_signed(name))
    {
        Some(name) => Err(Reason::Malformed(format!(
            "the header {name} must be signed"
        ))),
        None => Ok(()),
    }
}

/// Parses the time of a signature, which must be on the day of its credential.
fn signed_at(sent: &str, credential: &str) -> Result<OffsetDateTime, Reason> {
    let mut parts = credential.split('/').skip(1);
    let day = parts.next().unwrap_or_default();
    let named = parts.next().is_some_and(|region| !region.is_empty())
        && parts.next().is_some_and(|service| !service.is_empty())
        && parts.next() == Some("aws4_request")
        && parts.next().is_none();
    if !named {
        return Err(Reason::malformed(
            "the credential must be KEY/DAY/REGION/SERVICE/aws4_request",
        ));
    }
    let at = PrimitiveDateTime::parse(sent, TIME)
        .map_err(|_| Reason::malformed("the date must be YYYYMMDDTHHMMSSZ"))?;
    if sent.get(..8) != Some(day) {
        return Err(Reason::malformed(
            "the day of the scope is not that of the date",
        ));
    }
    Ok(at.assume_utc())
}

fn written(at: OffsetDateTime) -> String {
    at.format(TIME).unwrap_or_default()
}

fn signature(text: &str) -> Result<[u8; 32], Reason> {
    canonical::from_hex(text)
        .ok_or_else(|| Reason::malformed("the signature must be 64 hexadecimal digits"))
}

fn payload_line(headers: &HeaderMap) -> Result<Option<&str>, Reason> {
    let sent = headers
        .get("x-amz-content-sha256")
        .map(|line| line.to_str());
    sent.transpose()
        .map_err(|_| Reason::malformed("x-amz-content-sha256 is not ASCII"))
}

/// Parses `x-amz-content-sha256`. Only S3 accepts bodies that the signature of the request does not
/// cover.
fn payload(line: Option<&str>, service: &str) -> Result<Payload, Reason> {
    let Some(line) = line else {
        return Ok(Payload::Computed);
    };
    if let Some(digest) = canonical::from_hex(line) {
        return Ok(Payload::Declared(digest));
    }
    if service != S3 && FORMS.contains(&line) {
        return Err(Reason::Malformed(format!(
            "x-amz-content-sha256 can be {line} only for S3"
        )));
    }
    match line {
        UNSIGNED | UNSIGNED_TRAILER => Ok(Payload::Unsigned),
        SIGNED => Ok(Payload::Chunked(Ending::Plain)),
        SIGNED_TRAILER => Ok(Payload::Chunked(Ending::Trailer)),
        // Examples are the values for ECDSA signatures and for event streams.
        form if form.starts_with("STREAMING-") => {
            Err(Reason::UnknownForm(form.chars().take(FORM_MAX).collect()))
        }
        _ => Err(Reason::Malformed(format!(
            "x-amz-content-sha256 must be a SHA-256 in hexadecimal, or for S3 one of {}",
            FORMS.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use aws_sigv4::http_request::{
        PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
        UriPathNormalizationMode, sign,
    };
    use aws_sigv4::sign::v4;
    use time::macros::datetime;

    use super::*;

    /// The key pair of the examples in AWS's documentation.
    const S3_EXAMPLE: (&str, &str) = (
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    );
    const S3_TIME: OffsetDateTime = datetime!(2013-05-24 00:00 UTC);

    fn verifier(pair: (&str, &str)) -> Verifier {
        let keys = Keys {
            access_key_id: pair.0.to_owned(),
            secret_access_key: pair.1.to_owned(),
        };
        Verifier::new([keys], CLOCK_SKEW)
    }

    fn parts(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = hyper::Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn check(
        verifier: &Verifier,
        parts: &Parts,
        body: &[u8],
        now: OffsetDateTime,
    ) -> Result<(), Reason> {
        let claim = verifier.claim(parts, now)?;
        let digest = digest::digest(&digest::SHA256, body);
        verifier.verify(
            &claim,
            parts,
            (claim.payload == Payload::Computed).then_some(&digest),
        )
    }

    fn in_s3(headers: &str, signature: &str) -> String {
        let credential = format!("{}/20130524/us-east-1/s3/aws4_request", S3_EXAMPLE.0);
        format!(
            "AWS4-HMAC-SHA256 Credential={credential},SignedHeaders={headers},Signature={signature}"
        )
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>
    #[test]
    fn the_examples_of_s3_verify() {
        const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let verifier = verifier(S3_EXAMPLE);
        let get = parts(
            "GET",
            "/test.txt",
            &[
                ("host", "examplebucket.s3.amazonaws.com"),
                ("range", "bytes=0-9"),
                ("x-amz-content-sha256", EMPTY),
                ("x-amz-date", "20130524T000000Z"),
                (
                    "authorization",
                    &in_s3(
                        "host;range;x-amz-content-sha256;x-amz-date",
                        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
                    ),
                ),
            ],
        );
        assert_eq!(check(&verifier, &get, b"", S3_TIME), Ok(()));
        let put = parts(
            "PUT",
            "/test%24file.text",
            &[
                ("host", "examplebucket.s3.amazonaws.com"),
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                (
                    "x-amz-content-sha256",
                    "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
                ),
                ("x-amz-date", "20130524T000000Z"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                (
                    "authorization",
                    &in_s3(
                        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
                        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
                    ),
                ),
            ],
        );
        assert_eq!(
            check(&verifier, &put, b"Welcome to Amazon S3.", S3_TIME),
            Ok(())
        );
        let list = parts(
            "GET",
            "/?max-keys=2&prefix=J",
            &[
                ("host", "examplebucket.s3.amazonaws.com"),
                ("x-amz-content-sha256", EMPTY),
                ("x-amz-date", "20130524T000000Z"),
                (
                    "authorization",
                    &in_s3(
                        "host;x-amz-content-sha256;x-amz-date",
                        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
                    ),
                ),
            ],
        );
        assert_eq!(check(&verifier, &list, b"", S3_TIME), Ok(()));
        // https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html: the seed signature
        // of a body in signed chunks.
        let streamed = parts(
            "PUT",
            "/examplebucket/chunkObject.txt",
            &[
                ("host", "s3.amazonaws.com"),
                ("content-encoding", "aws-chunked"),
                ("content-length", "66824"),
                ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
                ("x-amz-date", "20130524T000000Z"),
                ("x-amz-decoded-content-length", "66560"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                (
                    "authorization",
                    &in_s3(
                        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;\
                         x-amz-decoded-content-length;x-amz-storage-class",
                        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
                    ),
                ),
            ],
        );
        assert_eq!(check(&verifier, &streamed, b"", S3_TIME), Ok(()));
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>
    fn presigned(path: &str) -> Parts {
        let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3\
                     %2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
                     &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        parts(
            "GET",
            &format!("{path}?{query}"),
            &[("host", "examplebucket.s3.amazonaws.com")],
        )
    }

    #[test]
    fn a_presigned_url_is_valid_until_it_expires_and_only_for_its_object() {
        let verifier = verifier(S3_EXAMPLE);
        let at = |seconds: i64| S3_TIME + time::Duration::seconds(seconds);
        assert_eq!(
            check(&verifier, &presigned("/test.txt"), b"", at(0)),
            Ok(())
        );
        assert_eq!(
            check(&verifier, &presigned("/test.txt"), b"", at(86_400)),
            Ok(())
        );
        assert!(matches!(
            check(&verifier, &presigned("/test.txt"), b"", at(86_401)),
            Err(Reason::UrlExpired(_))
        ));
        assert!(matches!(
            check(&verifier, &presigned("/test.txt"), b"", at(-301)),
            Err(Reason::UrlExpired(_))
        ));
        assert_eq!(
            check(&verifier, &presigned("/other.txt"), b"", at(0)),
            Err(Reason::Mismatch)
        );
    }

    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
    fn of_iam(change: impl FnOnce(&mut Vec<(&'static str, String)>)) -> Parts {
        let mut headers = vec![
            ("host", "iam.amazonaws.com".to_owned()),
            (
                "content-type",
                "application/x-www-form-urlencoded; charset=utf-8".to_owned(),
            ),
            ("x-amz-date", "20150830T123600Z".to_owned()),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date, \
                 Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
                    .to_owned(),
            ),
        ];
        change(&mut headers);
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        parts("GET", "/?Action=ListUsers&Version=2010-05-08", &headers)
    }

    #[test]
    fn the_example_of_iam_verifies_and_no_change_of_it() {
        let verifier = verifier(("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"));
        let now = datetime!(2015-08-30 12:36 UTC);
        let checked = |parts: &Parts, body: &[u8], now| check(&verifier, parts, body, now);
        assert_eq!(checked(&of_iam(|_| {}), b"", now), Ok(()));
        assert_eq!(
            checked(&of_iam(|_| {}), b"another body", now),
            Err(Reason::Mismatch)
        );
        let replaced = |index: usize, from: &'static str, to: &'static str| {
            of_iam(move |headers| headers[index].1 = headers[index].1.replace(from, to))
        };
        let malformed =
            |parts: &Parts| matches!(checked(parts, b"", now), Err(Reason::Malformed(_)));
        assert_eq!(
            checked(&replaced(1, "utf-8", "utf-9"), b"", now),
            Err(Reason::Mismatch),
            "a signed header"
        );
        assert_eq!(
            checked(&replaced(0, "iam.", "sts."), b"", now),
            Err(Reason::Mismatch),
            "the host"
        );
        assert_eq!(
            checked(&replaced(3, "5d672d79", "5d672d78"), b"", now),
            Err(Reason::Mismatch)
        );
        assert_eq!(
            checked(&replaced(3, "us-east-1", "eu-west-1"), b"", now),
            Err(Reason::Mismatch),
            "the region"
        );
        assert_eq!(
            checked(&replaced(3, "AKIDEXAMPLE", "AKIDOTHER"), b"", now),
            Err(Reason::UnknownKey)
        );
        assert!(
            malformed(&replaced(3, "5d672d79", "5D672D79")),
            "capital digits"
        );
        assert!(malformed(&replaced(3, "5d672d79", "")), "a short signature");
        assert!(
            malformed(&replaced(3, "host;", "")),
            "the host is not signed"
        );
        assert!(
            malformed(&replaced(3, "20150830/", "20150829/")),
            "another day"
        );
        assert!(malformed(&replaced(3, "aws4_request", "aws4_request/more")));
        assert!(malformed(&replaced(3, "SignedHeaders", "Headers")));
        assert!(malformed(&replaced(
            3,
            "AWS4-HMAC-SHA256",
            "AWS4-ECDSA-P256-SHA256"
        )));
        assert!(malformed(&of_iam(
            |headers| headers.push(("x-amz-target", "Iam.DeleteUser".to_owned()))
        )));
        assert!(malformed(&of_iam(
            |headers| headers.retain(|(name, _)| *name != "x-amz-date")
        )));
        assert!(malformed(&of_iam(
            |headers| headers.retain(|(name, _)| *name != "content-type")
        )));
        let unsigned = of_iam(|headers| headers.retain(|(name, _)| *name != "authorization"));
        assert_eq!(checked(&unsigned, b"", now), Err(Reason::Missing));
    }

    #[test]
    fn a_signature_is_current_for_five_minutes() {
        let verifier = verifier(("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"));
        let now = |seconds: i64| datetime!(2015-08-30 12:36 UTC) + time::Duration::seconds(seconds);
        for good in [-300, 0, 300] {
            assert_eq!(
                check(&verifier, &of_iam(|_| {}), b"", now(good)),
                Ok(()),
                "{good}"
            );
        }
        for bad in [-301, 301, 86_400] {
            assert!(
                matches!(
                    check(&verifier, &of_iam(|_| {}), b"", now(bad)),
                    Err(Reason::Expired(_))
                ),
                "{bad}"
            );
        }
    }

    /// Signs with the SDK's own signer, and returns the request as it would be sent.
    fn signed_by_the_sdk(
        service: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        in_query: bool,
    ) -> Parts {
        let is_s3 = service == "s3";
        let identity = Credentials::new(S3_EXAMPLE.0, S3_EXAMPLE.1, None, None, "test").into();
        let mut settings = SigningSettings::default();
        if is_s3 {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        }
        if in_query {
            settings.signature_location = SignatureLocation::QueryParams;
            settings.expires_in = Some(Duration::from_secs(60));
        }
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name(service)
            .time(S3_TIME.into())
            .settings(settings)
            .build()
            .expect("parameters")
            .into();
        let url = format!("http://127.0.0.1:4566{target}");
        let body = if in_query && is_s3 {
            SignableBody::UnsignedPayload
        } else {
            SignableBody::Bytes(body)
        };
        let request = SignableRequest::new(method, url.as_str(), headers.iter().copied(), body)
            .expect("a request");
        let (instructions, _) = sign(request, &parameters).expect("signed").into_parts();
        let mut sent = hyper::Request::builder()
            .method(method)
            .uri(url.as_str())
            .body(())
            .expect("a request");
        for (name, value) in headers {
            let name = hyper::header::HeaderName::from_bytes(name.as_bytes()).expect("a name");
            sent.headers_mut()
                .append(name, value.parse().expect("a value"));
        }
        instructions.apply_to_request_http1x(&mut sent);
        let (mut parts, ()) = sent.into_parts();
        parts
            .headers
            .insert("host", "127.0.0.1:4566".parse().expect("a host"));
        parts.uri = parts
            .uri
            .path_and_query()
            .expect("a path")
            .as_str()
            .parse()
            .expect("a URI");
        parts
    }

    #[test]
    fn requests_that_the_sdk_signs_are_verified_with_their_secret_only() {
        let right = verifier(S3_EXAMPLE);
        let wrong = verifier((S3_EXAMPLE.0, "another"));
        let json: &[(&str, &str)] = &[
            ("x-amz-target", "AmazonSQS.SendMessage"),
            ("content-type", "application/x-amz-json-1.0"),
        ];
        let spaced: &[(&str, &str)] = &[
            ("x-amz-meta-a", "  two   words "),
            ("x-amz-user-agent", "aws-sdk-rust/1"),
        ];
        type Case<'a> = (
            &'a str,
            &'a str,
            &'a str,
            &'a [(&'a str, &'a str)],
            &'a [u8],
        );
        let cases: &[Case<'_>] = &[
            ("sqs", "POST", "/", json, b"{}"),
            ("ses", "GET", "/v2/email/identities/a%40b.example", &[], b""),
            ("ses", "PUT", "/v2/a%20b/c%2Fd//e/", spaced, b"body"),
            (
                "lambda",
                "GET",
                "/2015-03-31/functions?Marker=a%2Fb%20c&MaxItems=1",
                &[],
                b"",
            ),
            ("s3", "PUT", "/bucket/a%20b/%C3%A9%2B.txt", spaced, b"body"),
            (
                "s3",
                "GET",
                "/bucket?list-type=2&prefix=a%2Fb&delimiter=%2F",
                &[],
                b"",
            ),
        ];
        for (service, method, target, headers, body) in cases.iter().copied() {
            for in_query in [false, true] {
                let sent = signed_by_the_sdk(service, method, target, headers, body, in_query);
                let what = format!("{service} {method} {} in the query: {in_query}", sent.uri);
                assert_eq!(check(&right, &sent, body, S3_TIME), Ok(()), "{what}");
                assert_eq!(
                    check(&wrong, &sent, body, S3_TIME),
                    Err(Reason::Mismatch),
                    "{what}"
                );
                if !(in_query && service == "s3") {
                    assert_eq!(
                        check(&right, &sent, b"changed", S3_TIME),
                        Err(Reason::Mismatch),
                        "{what}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_request_whose_body_was_changed_is_signed_again() {
        let headers = [
            ("x-amz-target", "AmazonSQS.SendMessage"),
            ("content-length", "2"),
        ];
        let sent = signed_by_the_sdk("sqs", "POST", "/", &headers, b"{}", false);
        let old = sent.headers["authorization"].to_str().expect("text");
        let time = sent.headers["x-amz-date"].to_str().expect("text");
        let raw = format!(
            "POST / HTTP/1.1\r\nHost: 127.0.0.1:4566\r\nX-Amz-Date: {time}\r\nx-amz-target: AmazonSQS.SendMessage\r\n\
             content-length: 7\r\nauthorization: {old}\r\n\r\n{{\"a\":1}}"
        );
        let keys = Keys {
            access_key_id: S3_EXAMPLE.0.to_owned(),
            secret_access_key: S3_EXAMPLE.1.to_owned(),
        };
        let signed =
            String::from_utf8(resign(&keys, raw.as_bytes()).expect("signed")).expect("text");
        let (head, body) = signed.split_once("\r\n\r\n").expect("a body");
        let headers: Vec<(&str, &str)> = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .collect();
        let again = parts("POST", "/", &headers);
        assert_eq!(
            check(&verifier(S3_EXAMPLE), &again, body.as_bytes(), S3_TIME),
            Ok(())
        );
        assert!(signed.matches("authorization").count() == 1 && !signed.contains(old));
        assert_eq!(resign(&keys, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"), None);
    }

    #[test]
    fn unknown_keys_are_not_stored() {
        let verifier = verifier(("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"));
        let now = datetime!(2015-08-30 12:36 UTC);
        let other = of_iam(|headers| headers[3].1 = headers[3].1.replace("iam", "iam2"));
        assert_eq!(check(&verifier, &other, b"", now), Err(Reason::Mismatch));
        assert!(verifier.derived.lock().expect("not poisoned").is_empty());
        assert_eq!(check(&verifier, &of_iam(|_| {}), b"", now), Ok(()));
        assert_eq!(verifier.derived.lock().expect("not poisoned").len(), 1);
    }
}
