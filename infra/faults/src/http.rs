//! HTTP/1.1 messages, read whole and kept byte for byte.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The size limit of a message in bytes. The operations that we call accept at most 1 MiB.
const MESSAGE_MAX: usize = 16 * 1024 * 1024;
const HEADERS_MAX: usize = 64;

/// One request or response.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// Head and body as they were received.
    pub raw: Vec<u8>,
    /// Method and target of a request, or version and status of a response.
    pub first: (String, String),
    headers: Vec<(String, String)>,
    /// The body without chunk framing.
    pub body: Vec<u8>,
}

impl Message {
    /// Returns the first value of a header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Returns the bytes of the message with another body.
    pub fn with_body(&self, body: &[u8]) -> Vec<u8> {
        let (one, two) = &self.first;
        let mut head = if one.starts_with("HTTP/") {
            format!("{one} {two} \r\n")
        } else {
            format!("{one} {two} HTTP/1.1\r\n")
        };
        for (name, value) in &self.headers {
            let framing = ["content-length", "transfer-encoding", "x-amz-crc32"];
            if !framing.iter().any(|known| name.eq_ignore_ascii_case(known)) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        let mut raw = head.into_bytes();
        raw.extend_from_slice(body);
        raw
    }
}

/// Returns the bytes of a response that the proxy makes.
pub(crate) fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} \r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("{head}\r\n{body}").into_bytes()
}

/// Bytes that were read and do not form a whole message yet.
#[derive(Debug, Default)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    /// Reads the next request. Returns `None` if the client closes the connection between two
    /// requests.
    ///
    /// # Errors
    /// When the connection fails or ends inside a request, or the bytes are not HTTP/1.1.
    pub async fn request(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
    ) -> Result<Option<Message>> {
        loop {
            if let Some(message) = parse_request(&self.0)? {
                self.0.drain(..message.raw.len());
                return Ok(Some(message));
            }
            if !self.more(from).await? {
                return if self.0.is_empty() {
                    Ok(None)
                } else {
                    Err(ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// Reads the response to a request with the given method. Interim responses (1xx) are kept
    /// before the response in [`Message::raw`].
    ///
    /// # Errors
    /// When the connection fails or ends inside a response, or the bytes are not HTTP/1.1.
    pub async fn response(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        method: &str,
    ) -> Result<Message> {
        let mut interim = Vec::new();
        let mut ended = false;
        loop {
            if let Some(mut message) = parse_response(&self.0, method, ended)? {
                self.0.drain(..message.raw.len());
                interim.append(&mut message.raw);
                // 101 ends HTTP on the connection, so no other response follows it.
                if message.first.1.starts_with('1') && message.first.1 != "101" {
                    continue;
                }
                message.raw = interim;
                return Ok(message);
            }
            if ended {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if !self.more(from).await? {
                // Without a length, the body ends with the connection.
                ended = true;
            }
        }
    }

    async fn more(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Result<bool> {
        if self.0.len() > MESSAGE_MAX {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "a message longer than any that AWS takes",
            ));
        }
        Ok(from.read_buf(&mut self.0).await? > 0)
    }
}

fn invalid(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidData, error.to_string())
}

fn parse_request(bytes: &[u8]) -> Result<Option<Message>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(bytes).map_err(invalid)? else {
        return Ok(None);
    };
    let first = (
        request.method.unwrap_or_default().to_owned(),
        request.path.unwrap_or_default().to_owned(),
    );
    let headers = owned(request.headers);
    let framed = body(&headers, &bytes[head..], Some(0))?;
    Ok(message(bytes, head, first, headers, framed))
}

fn parse_response(bytes: &[u8], method: &str, ended: bool) -> Result<Option<Message>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes).map_err(invalid)? else {
        return Ok(None);
    };
    let code = response.code.unwrap_or_default();
    let first = (
        format!("HTTP/1.{}", response.version.unwrap_or(1)),
        code.to_string(),
    );
    let headers = owned(response.headers);
    let bodiless = method == "HEAD" || code == 204 || code == 304 || code < 200;
    let framed = if bodiless {
        Some((Vec::new(), 0))
    } else {
        let unframed = ended.then(|| bytes.len() - head);
        body(&headers, &bytes[head..], unframed)?
    };
    Ok(message(bytes, head, first, headers, framed))
}

/// Makes a message of `bytes` that begin with its head, if its body is there.
fn message(
    bytes: &[u8],
    head: usize,
    first: (String, String),
    headers: Vec<(String, String)>,
    framed: Option<(Vec<u8>, usize)>,
) -> Option<Message> {
    let (body, used) = framed?;
    Some(Message {
        raw: bytes[..head + used].to_vec(),
        first,
        headers,
        body,
    })
}

fn owned(headers: &[httparse::Header<'_>]) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    headers
        .iter()
        .map(|header| (header.name.to_owned(), text(header.value)))
        .collect()
}

/// Returns the body and its length on the wire, or `None` if it is not complete. `unframed` is the
/// length to assume if no header has one.
fn body(
    headers: &[(String, String)],
    bytes: &[u8],
    unframed: Option<usize>,
) -> Result<Option<(Vec<u8>, usize)>> {
    let header = |name: &str| {
        headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    };
    if header("transfer-encoding")
        .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"))
    {
        return chunks(bytes);
    }
    let length = match header("content-length") {
        Some(text) => Some(text.trim().parse::<usize>().map_err(invalid)?),
        None => unframed,
    };
    Ok(length.and_then(|length| Some((bytes.get(..length)?.to_vec(), length))))
}

fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let httparse::Status::Complete((head, size)) = httparse::parse_chunk_size(&bytes[at..])
            .map_err(|_| invalid("a chunk without a size"))?
        else {
            return Ok(None);
        };
        at += head;
        let size = usize::try_from(size).map_err(invalid)?;
        if size > MESSAGE_MAX {
            return Err(invalid("a chunk longer than any message that AWS takes"));
        }
        // Trailers are not supported, because none of our peers sends them. A chunk and the body
        // both end with an empty line.
        let Some(chunk) = bytes.get(at..at + size + 2) else {
            return Ok(None);
        };
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_are_read_whole_in_any_fragmentation() {
        let bytes = b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\n\r\n";
        for size in [1, 7, 1_000] {
            let parts: Vec<Vec<u8>> = bytes.chunks(size).map(<[u8]>::to_vec).collect();
            let (mut near, mut far) = tokio::io::duplex(64);
            tokio::spawn(async move {
                use tokio::io::AsyncWriteExt as _;
                for part in parts {
                    let _ = far.write_all(&part).await;
                    tokio::task::yield_now().await;
                }
            });
            let mut buffer = Buffer::default();
            let first = buffer
                .request(&mut near)
                .await
                .expect("HTTP")
                .expect("a request");
            assert_eq!(
                (first.first.1.as_str(), first.body.as_slice()),
                ("/a", b"abc".as_slice())
            );
            let second = buffer
                .request(&mut near)
                .await
                .expect("HTTP")
                .expect("a request");
            assert_eq!(
                (second.first.1.as_str(), second.body.as_slice()),
                ("/b", b"".as_slice())
            );
            assert!(buffer.request(&mut near).await.expect("the end").is_none());
        }
    }

    #[test]
    fn chunks_lengths_and_ends_of_connection_frame_a_response() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let message = parse_response(chunked, "GET", false)
            .expect("HTTP")
            .expect("whole");
        assert_eq!(
            (message.body.as_slice(), message.raw.len()),
            (b"abc".as_slice(), chunked.len())
        );
        assert!(
            parse_response(&chunked[..chunked.len() - 1], "GET", false)
                .expect("HTTP")
                .is_none()
        );
        let open = b"HTTP/1.1 200 OK\r\n\r\nrest";
        assert!(parse_response(open, "GET", false).expect("HTTP").is_none());
        let message = parse_response(open, "GET", true)
            .expect("HTTP")
            .expect("whole");
        assert_eq!(message.body, b"rest");
        let message = parse_response(open, "HEAD", false)
            .expect("HTTP")
            .expect("whole");
        assert!(message.body.is_empty());
    }

    #[test]
    fn a_chunk_with_an_impossible_size_is_refused() {
        for size in ["ffffffffffffffff", "fffffffffffffffd", "1000001"] {
            let chunked =
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\nabc");
            let refused = parse_response(chunked.as_bytes(), "GET", false);
            assert!(refused.is_err(), "{size}");
        }
    }

    #[tokio::test]
    async fn interim_responses_come_with_the_response_that_follows_them() {
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n";
        let response = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        let next = "HTTP/1.1 204 No Content\r\n\r\n";
        let bytes = format!("{interim}{response}{next}");
        let mut from = bytes.as_bytes();
        let mut buffer = Buffer::default();
        let first = buffer.response(&mut from, "POST").await.expect("HTTP");
        assert_eq!(
            (first.first.1.as_str(), first.body.as_slice()),
            ("200", b"abc".as_slice())
        );
        assert_eq!(first.raw, format!("{interim}{response}").as_bytes());
        let second = buffer.response(&mut from, "POST").await.expect("HTTP");
        assert_eq!(second.first.1, "204");
        let mut cut = interim.as_bytes();
        let ended = Buffer::default().response(&mut cut, "POST").await;
        assert_eq!(
            ended.expect_err("no response").kind(),
            ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn a_changed_body_has_its_own_length() {
        let raw =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nx-a: b\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let message = parse_response(raw, "GET", false)
            .expect("HTTP")
            .expect("whole");
        let changed = message.with_body(b"longer");
        let message = parse_response(&changed, "GET", false)
            .expect("HTTP")
            .expect("whole");
        assert_eq!(
            (message.body.as_slice(), message.header("X-A")),
            (b"longer".as_slice(), Some("b"))
        );
    }
}
