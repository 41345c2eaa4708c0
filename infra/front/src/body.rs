//! Bodies of requests and responses on their way to and from the local AWS.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_lc_rs::{constant_time, digest};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;

use crate::chunked::Chunks;
use crate::refusal::Reason;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A body that is in memory or streamed.
pub(crate) type Body = UnsyncBoxBody<Bytes, Error>;

/// Makes a body from bytes in memory.
pub(crate) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Streams a body as it arrives.
pub(crate) fn streamed(incoming: Incoming) -> Body {
    incoming.map_err(Into::into).boxed_unsync()
}

/// Streams a body and checks its SHA-256 digest.
pub(crate) fn checked(incoming: Incoming, expected: [u8; 32]) -> Body {
    let seen = digest::Context::new(&digest::SHA256);
    with_check(incoming, Check::Digest { expected, seen })
}

/// Streams a body and verifies the signatures of its chunks.
pub(crate) fn chunked(incoming: Incoming, chunks: Chunks) -> Body {
    with_check(incoming, Check::Chunks(Box::new(chunks)))
}

fn with_check(incoming: Incoming, check: Check) -> Body {
    let checked = Checked {
        incoming,
        check: Some(check),
        held: None,
    };
    checked.boxed_unsync()
}

/// A body that is checked while it is streamed. Each piece is held back until the next one has
/// arrived, and the last one until the whole body is verified. If the check fails, the body ends
/// with a [`Reason`] as its error, so the local AWS never receives a complete request.
struct Checked {
    incoming: Incoming,
    /// The check. Taken when the body has ended.
    check: Option<Check>,
    held: Option<Bytes>,
}

/// The property of a body that is checked.
enum Check {
    Digest {
        expected: [u8; 32],
        seen: digest::Context,
    },
    Chunks(Box<Chunks>),
}

impl Check {
    fn update(&mut self, data: &[u8]) -> Result<(), Reason> {
        match self {
            Check::Digest { seen, .. } => {
                seen.update(data);
                Ok(())
            }
            Check::Chunks(chunks) => chunks.update(data),
        }
    }

    fn finish(self) -> Result<(), Reason> {
        match self {
            Check::Digest { expected, seen } => {
                let is_right =
                    constant_time::verify_slices_are_equal(seen.finish().as_ref(), &expected);
                is_right.map_err(|_| Reason::OtherBody)
            }
            Check::Chunks(chunks) => chunks.finish(),
        }
    }
}

impl HttpBody for Checked {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = self.get_mut();
        loop {
            let Some(check) = &mut body.check else {
                return Poll::Ready(None);
            };
            match ready!(Pin::new(&mut body.incoming).poll_frame(context)) {
                Some(Ok(frame)) => {
                    // HTTP trailers are dropped, because no signature covers them.
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    if let Err(reason) = check.update(&data) {
                        return body.refuse(reason);
                    }
                    if let Some(before) = body.held.replace(data) {
                        return Poll::Ready(Some(Ok(Frame::data(before))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    return match body.check.take().map_or(Ok(()), Check::finish) {
                        Ok(()) => Poll::Ready(body.held.take().map(|held| Ok(Frame::data(held)))),
                        Err(reason) => body.refuse(reason),
                    };
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.check.is_none() && self.held.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.held, self.incoming.size_hint().exact()) {
            (held, Some(rest)) => {
                let held = held.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(rest + u64::try_from(held).unwrap_or(u64::MAX))
            }
            (_, None) => SizeHint::default(),
        }
    }
}

impl Checked {
    fn refuse(&mut self, reason: Reason) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        (self.check, self.held) = (None, None);
        Poll::Ready(Some(Err(reason.into())))
    }
}
