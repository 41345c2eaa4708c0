//! Error responses, in the protocol of the request.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};

/// The reason why a request is not forwarded or not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    /// A browser page sent the request: it has this header.
    #[error(
        "the local AWS refuses requests of web pages (header {0}); use the aws command or an SDK"
    )]
    Browser(String),
    /// The `Host` header does not name this machine. A page whose host name resolves to loopback
    /// could otherwise read responses.
    #[error("the local AWS answers to 127.0.0.1 and localhost, not to the host {0:?}")]
    ForeignHost(String),
    /// The request has no signature.
    #[error(
        "Missing Authentication Token: the local AWS accepts only requests that are signed \
         with this run's key pair; print it with `haven env`"
    )]
    Missing,
    /// The request has a Signature Version 2.
    #[error(
        "The authorization mechanism you have provided is not supported. Please use \
         AWS4-HMAC-SHA256: with boto3, botocore.config.Config(signature_version='s3v4'); with the \
         aws command, aws configure set default.s3.signature_version s3v4"
    )]
    Version2,
    #[error("{0}")]
    Malformed(String),
    /// The value of `x-amz-content-sha256` is not supported.
    #[error(
        "x-amz-content-sha256 is {0}, which the local AWS does not implement: use \
         STREAMING-AWS4-HMAC-SHA256-PAYLOAD, or the SHA-256 of the body"
    )]
    UnknownForm(String),
    #[error(
        "The security token included in the request is invalid: the key pair changes with each \
         start of `haven up`; print the present one with `haven env`"
    )]
    UnknownKey,
    /// The time of the signature differs too much from the clock.
    #[error("{0}")]
    Expired(String),
    #[error("{0}")]
    UrlExpired(String),
    #[error(
        "The request signature we calculated does not match the signature you provided. Check \
         your AWS Secret Access Key and signing method; `haven env` prints the present key pair"
    )]
    Mismatch,
    /// A chunk of the body, or its trailer, has a wrong signature.
    #[error(
        "The signature of a chunk of the body, or of its trailer, is not the one that we calculated"
    )]
    OtherChunk,
    /// The format of the chunks is wrong.
    #[error("The body is not in the chunks that x-amz-content-sha256 declares")]
    BrokenChunks,
    /// The body does not have the declared digest.
    #[error("The body does not have the SHA-256 that x-amz-content-sha256 declares")]
    OtherBody,
    /// The body is too large to be held in memory, and has no declared digest.
    #[error(
        "A body of more than {0} bytes needs its SHA-256 in x-amz-content-sha256, or \
         UNSIGNED-PAYLOAD there"
    )]
    TooLarge(usize),
    /// The body did not arrive completely or in time.
    #[error("The body of the request did not arrive")]
    NoBody,
    /// The local AWS did not answer.
    #[error("The local AWS does not answer: {0}")]
    Unavailable(String),
}

/// The HTTP status and the names of an error: in JSON and CBOR, and in S3.
struct Names {
    status: u16,
    json: &'static str,
    s3: &'static str,
}

impl Names {
    /// Returns the name in the query protocol, which has no suffix.
    fn query(&self) -> &'static str {
        match self.json {
            "UnrecognizedClientException" => "InvalidClientTokenId",
            "InvalidSignatureException" => "SignatureDoesNotMatch",
            json => json.trim_end_matches("Exception"),
        }
    }
}

impl Reason {
    /// Makes the reason for a request with a wrong format.
    pub fn malformed(message: &str) -> Reason {
        Reason::Malformed(message.to_owned())
    }

    fn names(&self) -> Names {
        const SIGNATURE: &str = "InvalidSignatureException";
        const INCOMPLETE: &str = "IncompleteSignatureException";
        let of = |status, json, s3| Names { status, json, s3 };
        match self {
            Reason::Browser(_) | Reason::ForeignHost(_) => {
                of(403, "AccessDeniedException", "AccessDenied")
            }
            Reason::Missing => of(403, "MissingAuthenticationTokenException", "AccessDenied"),
            Reason::Version2 => of(400, "InvalidRequestException", "InvalidRequest"),
            Reason::UnknownForm(_) => of(501, "NotImplementedException", "NotImplemented"),
            Reason::BrokenChunks => of(400, INCOMPLETE, "IncompleteBody"),
            Reason::Malformed(_) => of(400, INCOMPLETE, "AuthorizationHeaderMalformed"),
            Reason::UnknownKey => of(403, "UnrecognizedClientException", "InvalidAccessKeyId"),
            Reason::Expired(_) => of(403, SIGNATURE, "RequestTimeTooSkewed"),
            Reason::UrlExpired(_) => of(403, SIGNATURE, "AccessDenied"),
            Reason::Mismatch | Reason::OtherChunk => of(403, SIGNATURE, "SignatureDoesNotMatch"),
            Reason::OtherBody => of(400, SIGNATURE, "XAmzContentSHA256Mismatch"),
            Reason::TooLarge(_) => of(413, "RequestEntityTooLargeException", "EntityTooLarge"),
            Reason::NoBody => of(408, "RequestTimeoutException", "RequestTimeout"),
            Reason::Unavailable(_) => of(503, "ServiceUnavailableException", "ServiceUnavailable"),
        }
    }

    /// Returns the name of a refusal for the log, or `None` for a failure of the local AWS, which
    /// has its own log.
    pub fn refusal(&self) -> Option<&'static str> {
        (!matches!(self, Reason::Unavailable(_))).then(|| self.names().s3)
    }

    /// Returns the HTTP status.
    pub fn status(&self) -> u16 {
        self.names().status
    }

    /// Returns the response, which an SDK converts into an error of its service.
    pub fn response(&self, protocol: Protocol) -> Response<Bytes> {
        let (names, message) = (self.names(), self.to_string());
        let (kind, body) = match protocol {
            Protocol::Cbor => (
                "application/cbor",
                cbor(&[("__type", names.json), ("message", &message)]),
            ),
            Protocol::Json10 => ("application/x-amz-json-1.0", json(names.json, &message)),
            Protocol::Json11 => ("application/x-amz-json-1.1", json(names.json, &message)),
            Protocol::Query => ("text/xml", query_xml(names.query(), &message)),
            Protocol::S3 => ("application/xml", s3_xml(names.s3, &message)),
            Protocol::Rest => ("application/json", json(names.json, &message)),
        };
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(names.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert("x-amzn-errortype", HeaderValue::from_static(names.json));
        if protocol == Protocol::Cbor {
            headers.insert("smithy-protocol", HeaderValue::from_static(CBOR));
        }
        response
    }
}

const CBOR: &str = "rpc-v2-cbor";

/// The AWS protocols with different error formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Cbor,
    Json10,
    Json11,
    Query,
    S3,
    Rest,
}

impl Protocol {
    /// Determines the protocol of a request. `is_for_s3` is whether the request claims to be signed
    /// for S3, which has no header of its own.
    pub fn of(parts: &Parts, is_for_s3: bool) -> Protocol {
        let header = |name: &str| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let content_type = header(CONTENT_TYPE.as_str());
        let is_action = |query: &str| query.split('&').any(|pair| pair.starts_with("Action="));
        if header("smithy-protocol") == CBOR {
            Protocol::Cbor
        } else if content_type.starts_with("application/x-amz-json-1.1") {
            Protocol::Json11
        } else if parts.headers.contains_key("x-amz-target") {
            Protocol::Json10
        } else if content_type.starts_with("application/x-www-form-urlencoded")
            || parts.uri.query().is_some_and(is_action)
        {
            Protocol::Query
        } else if is_for_s3 {
            Protocol::S3
        } else {
            Protocol::Rest
        }
    }
}

fn json(kind: &str, message: &str) -> Bytes {
    serde_json::json!({ "__type": kind, "message": message })
        .to_string()
        .into()
}

fn query_xml(code: &str, message: &str) -> Bytes {
    let message = in_xml(message);
    format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
         <RequestId>front</RequestId></ErrorResponse>"
    )
    .into()
}

fn s3_xml(code: &str, message: &str) -> Bytes {
    let message = in_xml(message);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>\
         <RequestId>front</RequestId></Error>"
    )
    .into()
}

fn in_xml(text: &str) -> String {
    let printable = text.chars().filter(|letter| !letter.is_control());
    printable.fold(String::with_capacity(text.len()), |mut escaped, letter| {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            letter => escaped.push(letter),
        }
        escaped
    })
}

/// Encodes a map of strings (RFC 8949), the error format of Smithy's CBOR protocol.
fn cbor(fields: &[(&str, &str)]) -> Bytes {
    fn head(major: u8, length: usize, into: &mut Vec<u8>) {
        let major = major << 5;
        match u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes() {
            [0, short @ 0..=23] => into.push(major | short),
            [0, byte] => into.extend([major | 24, byte]),
            [high, low] => into.extend([major | 25, high, low]),
        }
    }
    let mut encoded = Vec::new();
    head(5, fields.len(), &mut encoded);
    for text in fields.iter().flat_map(|(name, value)| [name, value]) {
        let text = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
        head(3, text.len(), &mut encoded);
        encoded.extend_from_slice(text.as_bytes());
    }
    encoded.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cbor_maps_are_those_of_the_rfc() {
        assert_eq!(cbor(&[("a", "b")]).as_ref(), b"\xa1\x61a\x61b");
        let long = "x".repeat(300);
        let encoded = cbor(&[("__type", &long)]);
        assert_eq!(&encoded[..11], b"\xa1\x66__type\x79\x01\x2c");
        assert_eq!(encoded.len(), 11 + 300);
    }

    #[test]
    fn messages_cannot_break_out_of_their_document() {
        let host = "\"<x>&\u{1}\n\\";
        assert_eq!(in_xml(host), "\"&lt;x&gt;&amp;\\");
        assert_eq!(
            json("T", "a \"b\"\n").as_ref(),
            br#"{"__type":"T","message":"a \"b\"\n"}"#
        );
    }
}
