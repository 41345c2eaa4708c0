//! Bodies in signed chunks, as S3 accepts them, verified while they are streamed.
//!
//! Each chunk has a line `SIZE;chunk-signature=SIGNATURE`, the data and a line break. A chunk of
//! size 0 is the last. Each signature covers the previous one, and the first covers that of the
//! request, so chunks cannot be left out or reordered. With a trailer, header lines and their
//! signature follow the last chunk.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html>
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html>

use aws_lc_rs::{digest, hmac};

use crate::canonical;
use crate::refusal::Reason;

/// The longest line in bytes. A chunk's line has about 100 bytes, and trailer lines contain
/// checksums.
const LINE_MAX: usize = 4096;
const TRAILER_MAX: usize = 16 * 1024;
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// The end of a body after the last chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Plain,
    Trailer,
}

/// The part of the body that must come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The line of a chunk with its size.
    Size,
    /// Data; this many bytes are left in the chunk.
    Data(u64),
    /// The line break after the data.
    Break,
    /// A line of the trailer.
    Trailer,
    /// The empty line at the end.
    End,
    Nothing,
}

/// The verification of one body so far.
pub(crate) struct Chunks {
    key: hmac::Key,
    /// Time and scope, as in the string to sign.
    context: String,
    ending: Ending,
    next: Next,
    /// The previous signature.
    before: [u8; 32],
    /// The signature that the current chunk or the trailer claims.
    claimed: [u8; 32],
    /// The digest of the current chunk's data so far.
    data: digest::Context,
    /// The beginning of an incomplete line.
    line: Vec<u8>,
    /// The trailer lines in canonical form.
    trailer: String,
}

impl Chunks {
    /// Starts the verification with the signature of the request.
    pub fn new(key: hmac::Key, time: &str, scope: &str, seed: [u8; 32], ending: Ending) -> Chunks {
        Chunks {
            key,
            context: format!("{time}\n{scope}"),
            ending,
            next: Next::Size,
            before: seed,
            claimed: seed,
            data: digest::Context::new(&digest::SHA256),
            line: Vec::new(),
            trailer: String::new(),
        }
    }

    /// Verifies the next piece of the body.
    ///
    /// # Errors
    /// `Reason::OtherChunk` for a wrong signature, and `Reason::BrokenChunks` for a wrong format.
    pub fn update(&mut self, mut piece: &[u8]) -> Result<(), Reason> {
        while !piece.is_empty() {
            if let Next::Data(left) = self.next {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
                let (data, rest) = piece.split_at(length);
                self.data.update(data);
                piece = rest;
                // `length` is at most `left`.
                self.next = match left - length as u64 {
                    0 => {
                        self.verify_chunk()?;
                        Next::Break
                    }
                    left => Next::Data(left),
                };
                continue;
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let (line, rest) = piece.split_at(end.map_or(piece.len(), |end| end + 1));
            self.line.extend_from_slice(line);
            piece = rest;
            if self.line.len() > LINE_MAX {
                return Err(Reason::BrokenChunks);
            }
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                let line = std::str::from_utf8(&line).map_err(|_| Reason::BrokenChunks)?;
                self.next = self.read(line.trim_end_matches(['\r', '\n']))?;
            }
        }
        Ok(())
    }

    /// Checks that the body is complete.
    ///
    /// # Errors
    /// `Reason::BrokenChunks` when the body ended too early.
    pub fn finish(&self) -> Result<(), Reason> {
        if self.next == Next::Nothing && self.line.is_empty() {
            Ok(())
        } else {
            Err(Reason::BrokenChunks)
        }
    }

    /// Reads a line, and returns the part that must follow.
    fn read(&mut self, line: &str) -> Result<Next, Reason> {
        match self.next {
            Next::Size => self.read_size(line),
            Next::Break if line.is_empty() => Ok(Next::Size),
            Next::Trailer => self.read_trailer(line),
            Next::End if line.is_empty() => Ok(Next::Nothing),
            Next::Break | Next::End | Next::Data(_) | Next::Nothing => Err(Reason::BrokenChunks),
        }
    }

    fn read_size(&mut self, line: &str) -> Result<Next, Reason> {
        let (size, signature) = line
            .split_once(";chunk-signature=")
            .ok_or(Reason::BrokenChunks)?;
        let is_hexadecimal = size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = u64::from_str_radix(size, 16)
            .ok()
            .filter(|_| is_hexadecimal)
            .ok_or(Reason::BrokenChunks)?;
        self.claimed = canonical::from_hex(signature).ok_or(Reason::BrokenChunks)?;
        if size > 0 {
            return Ok(Next::Data(size));
        }
        self.verify_chunk()?;
        Ok(match self.ending {
            Ending::Plain => Next::End,
            Ending::Trailer => Next::Trailer,
        })
    }

    fn read_trailer(&mut self, line: &str) -> Result<Next, Reason> {
        let (name, value) = line.split_once(':').ok_or(Reason::BrokenChunks)?;
        let name = name.trim().to_ascii_lowercase();
        if name != TRAILER_SIGNATURE {
            self.trailer
                .push_str(&[&name, ":", value.trim(), "\n"].concat());
            return if self.trailer.len() > TRAILER_MAX {
                Err(Reason::BrokenChunks)
            } else {
                Ok(Next::Trailer)
            };
        }
        self.claimed = canonical::from_hex(value.trim()).ok_or(Reason::BrokenChunks)?;
        let digest = digest::digest(&digest::SHA256, self.trailer.as_bytes());
        self.verify("AWS4-HMAC-SHA256-TRAILER", &[&hex::encode(digest)])?;
        Ok(Next::End)
    }

    fn verify_chunk(&mut self) -> Result<(), Reason> {
        let data = std::mem::replace(&mut self.data, digest::Context::new(&digest::SHA256));
        // The digest of no bytes takes the place of the headers, which a chunk does not have.
        let nothing = hex::encode(digest::digest(&digest::SHA256, b""));
        let data = hex::encode(data.finish());
        self.verify("AWS4-HMAC-SHA256-PAYLOAD", &[&nothing, &data])
    }

    /// Verifies the claimed signature in constant time, and remembers it for the next one.
    fn verify(&mut self, algorithm: &str, digests: &[&str]) -> Result<(), Reason> {
        let before = hex::encode(self.before);
        let text = [&[algorithm, &self.context, &before], digests]
            .concat()
            .join("\n");
        hmac::verify(&self.key, text.as_bytes(), &self.claimed).map_err(|_| Reason::OtherChunk)?;
        self.before = self.claimed;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: &str = "20130524/us-east-1/s3/aws4_request";
    const SEED: &str = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
    const SEED_OF_TRAILER: &str =
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";

    /// Starts with the key of the examples in AWS's documentation.
    fn chunks(seed: &str, ending: Ending) -> Chunks {
        let mut key = hmac::Key::new(
            hmac::HMAC_SHA256,
            b"AWS4wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        );
        for part in SCOPE.split('/') {
            key = hmac::Key::new(
                hmac::HMAC_SHA256,
                hmac::sign(&key, part.as_bytes()).as_ref(),
            );
        }
        Chunks::new(
            key,
            "20130524T000000Z",
            SCOPE,
            canonical::from_hex(seed).expect("hexadecimal"),
            ending,
        )
    }

    fn body(signatures: [&str; 3], end: &str) -> Vec<u8> {
        let [first, second, last] = signatures;
        let chunk = |size: usize, signature: &str| {
            let head = format!("{size:x};chunk-signature={signature}\r\n");
            [head.as_bytes(), &vec![b'a'; size], b"\r\n"].concat()
        };
        let last = format!("0;chunk-signature={last}\r\n{end}");
        [chunk(65536, first), chunk(1024, second), last.into_bytes()].concat()
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html>
    fn plain() -> Vec<u8> {
        let signatures = [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ];
        let body = body(signatures, "\r\n");
        assert_eq!(body.len(), 66824, "the length in the document");
        body
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html>
    fn with_trailer() -> Vec<u8> {
        let signatures = [
            "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        ];
        let end = "x-amz-checksum-crc32c:sOO8/Q==\r\n\
                   x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n";
        body(signatures, end)
    }

    fn judge(mut chunks: Chunks, body: &[u8], pieces: usize) -> Result<(), Reason> {
        body.chunks(pieces)
            .try_for_each(|piece| chunks.update(piece))?;
        chunks.finish()
    }

    #[test]
    fn the_examples_of_s3_verify_in_pieces_of_any_size() {
        for pieces in [1, 7, 85, 4096, usize::MAX] {
            assert_eq!(
                judge(chunks(SEED, Ending::Plain), &plain(), pieces),
                Ok(()),
                "{pieces}"
            );
            let trailer = chunks(SEED_OF_TRAILER, Ending::Trailer);
            assert_eq!(judge(trailer, &with_trailer(), pieces), Ok(()), "{pieces}");
        }
    }

    #[test]
    fn a_change_of_any_part_is_detected() {
        let changed = |body: &[u8], from: &str, to: &str| {
            let at = body
                .windows(from.len())
                .rposition(|part| part == from.as_bytes())
                .expect("it is there");
            [&body[..at], to.as_bytes(), &body[at + from.len()..]].concat()
        };
        let (plain, with_trailer) = (plain(), with_trailer());
        let one_letter = |at: usize| {
            let mut body = plain.clone();
            body[at] = b'b';
            body
        };
        for body in [
            one_letter(100),
            one_letter(65_600),
            one_letter(66_000),
            changed(&plain, "=b6c6", "=b6c7"),
        ] {
            assert_eq!(
                judge(chunks(SEED, Ending::Plain), &body, 1000),
                Err(Reason::OtherChunk)
            );
        }
        assert_eq!(
            judge(chunks(SEED_OF_TRAILER, Ending::Plain), &plain, 1000),
            Err(Reason::OtherChunk),
            "another seed"
        );
        for (from, to) in [("sOO8", "sOO9"), ("crc32c", "crc32d"), (":d81f", ":d81e")] {
            let body = changed(&with_trailer, from, to);
            assert_eq!(
                judge(chunks(SEED_OF_TRAILER, Ending::Trailer), &body, 1000),
                Err(Reason::OtherChunk),
                "{to}"
            );
        }
        // The second chunk in the place of the first, which is the same as leaving the first out.
        let second = &plain[65626..];
        assert_eq!(
            judge(chunks(SEED, Ending::Plain), second, 1000),
            Err(Reason::OtherChunk)
        );
        let without = [&plain[..65626], &plain[65626 + 1112..]].concat();
        assert_eq!(
            judge(chunks(SEED, Ending::Plain), &without, 1000),
            Err(Reason::OtherChunk)
        );
    }

    #[test]
    fn a_body_in_another_form_is_refused() {
        let plain = plain();
        for length in [0, 50, 90, 65_625, 65_626, 66_824 - 2, 66_824 - 1] {
            assert_eq!(
                judge(chunks(SEED, Ending::Plain), &plain[..length], 1000),
                Err(Reason::BrokenChunks),
                "{length}"
            );
        }
        let more = [&plain, b"more\r\n".as_slice()].concat();
        let long = vec![b'1'; 2 * LINE_MAX];
        let no_end = with_trailer();
        for (body, ending) in [
            (more.as_slice(), Ending::Plain),
            (b"10000\r\n", Ending::Plain),
            (b"+1;chunk-signature=00\r\n", Ending::Plain),
            (&long, Ending::Plain),
            (&plain, Ending::Trailer),
        ] {
            assert_eq!(
                judge(chunks(SEED, ending), body, 1000),
                Err(Reason::BrokenChunks)
            );
        }
        let cut = &no_end[..no_end.len() - 92];
        assert_eq!(
            judge(chunks(SEED_OF_TRAILER, Ending::Trailer), cut, 1000),
            Err(Reason::BrokenChunks),
            "unsigned"
        );
    }
}
