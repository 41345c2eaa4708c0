//! The canonical form of a request in Signature Version 4
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>).

use std::borrow::Cow;
use std::fmt::Write as _;

use aws_lc_rs::digest;
use hyper::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// All characters except the unreserved ones of RFC 3986; AWS encodes these.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// In a path, slashes are not encoded.
const IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// Returns the canonical path. S3 signs the path of the object, encoded once. Every other service
/// signs the path of the request line, normalized and encoded a second time.
pub(crate) fn path(raw: &str, service: &str) -> String {
    if service == "s3" {
        return encode(&decode(raw), IN_PATH);
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in raw.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut normal = format!("/{}", segments.join("/"));
    let is_folder = raw.ends_with('/') || raw.ends_with("/.") || raw.ends_with("/..");
    if is_folder && !segments.is_empty() {
        normal.push('/');
    }
    encode(normal.as_bytes(), IN_PATH)
}

/// Returns the canonical query: names and values encoded uniformly and sorted, without the
/// signature.
pub(crate) fn query(raw: &str) -> String {
    let mut pairs: Vec<(String, String)> = pairs(raw)
        .filter(|(name, _)| *name != "X-Amz-Signature")
        .map(|(name, value)| {
            (
                encode(&decode(name), RESERVED),
                encode(&decode(value), RESERVED),
            )
        })
        .collect();
    pairs.sort();
    let mut canonical = String::with_capacity(raw.len());
    for (name, value) in &pairs {
        let separator = if canonical.is_empty() { "" } else { "&" };
        let _ = write!(canonical, "{separator}{name}={value}");
    }
    canonical
}

/// Returns the decoded value of a query parameter.
pub(crate) fn parameter<'a>(raw: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let (_, value) = pairs(raw).find(|(known, _)| *known == name)?;
    match decode(value) {
        Cow::Borrowed(_) => Some(Cow::Borrowed(value)),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

fn pairs(raw: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts = raw.split('&').filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').unwrap_or((part, "")))
}

/// Adds the canonical form of one header to the digest: values joined by commas, trimmed, with runs
/// of spaces reduced to one. Returns false if the request does not have the header.
pub(crate) fn header(headers: &HeaderMap, name: &str, into: &mut digest::Context) -> bool {
    let mut values = headers.get_all(name).iter().peekable();
    if values.peek().is_none() {
        return false;
    }
    into.update(name.as_bytes());
    into.update(b":");
    for (index, value) in values.enumerate() {
        if index > 0 {
            into.update(b",");
        }
        let value = value.as_bytes().trim_ascii();
        if value.windows(2).any(|two| two == b"  ") {
            let words = value
                .split(|byte| *byte == b' ')
                .filter(|word| !word.is_empty());
            for (index, word) in words.enumerate() {
                if index > 0 {
                    into.update(b" ");
                }
                into.update(word);
            }
        } else {
            into.update(value);
        }
    }
    into.update(b"\n");
    true
}

/// Decodes percent-encoding. A `%` without two hexadecimal digits is kept.
fn decode(text: &str) -> Cow<'_, [u8]> {
    percent_decode_str(text).into()
}

fn encode(bytes: &[u8], encoded: &'static AsciiSet) -> String {
    percent_encode(bytes, encoded).to_string()
}

/// Decodes 32 bytes in hexadecimal. Only lower case is accepted, in which AWS writes signatures and
/// digests.
pub(crate) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let is_lower_case = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    let mut bytes = [0; 32];
    let decoded = hex::decode_to_slice(text, &mut bytes);
    (is_lower_case && decoded.is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_paths_are_encoded_once_and_others_twice() {
        assert_eq!(
            path("/bucket/a%20b%2Bc!.txt", "s3"),
            "/bucket/a%20b%2Bc%21.txt"
        );
        assert_eq!(path("/bucket//a/../b/", "s3"), "/bucket//a/../b/");
        assert_eq!(path("/v2/a%20b", "ses"), "/v2/a%2520b");
        assert_eq!(path("//v2/./x/../y/", "ses"), "/v2/y/");
        assert_eq!(path("/", "sqs"), "/");
        assert_eq!(path("/..", "sqs"), "/");
    }

    #[test]
    fn queries_are_sorted_and_encoded_alike() {
        assert_eq!(query("b=2&a=1&a=0&flag"), "a=0&a=1&b=2&flag=");
        assert_eq!(
            query("k=a%2fb&%E1=1&k=a+b&X-Amz-Signature=0"),
            "%E1=1&k=a%2Bb&k=a%2Fb"
        );
        assert_eq!(query(""), "");
        assert_eq!(
            parameter("a=1&X-Amz-Credential=k%2Fd", "X-Amz-Credential").as_deref(),
            Some("k/d")
        );
        assert_eq!(parameter("a=1", "b"), None);
    }

    #[test]
    fn hexadecimal_text_is_read_and_anything_else_refused() {
        let text = "00ff10ab".repeat(8);
        assert_eq!(from_hex(&text).map(hex::encode), Some(text.clone()));
        for wrong in [
            "",
            "00",
            &text[1..],
            &text.to_uppercase(),
            &text.replace('b', "g"),
        ] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_stray_percent_sign_stays() {
        assert_eq!(decode("100%&%4"), Cow::<[u8]>::Owned(b"100%&%4".to_vec()));
        assert_eq!(decode("%41%zz"), Cow::<[u8]>::Owned(b"A%zz".to_vec()));
    }
}
