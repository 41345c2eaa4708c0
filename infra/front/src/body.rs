//! Bodies of requests and responses on their way to and from the local AWS.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_lc_rs::{constant_time, digest};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::chunked::Chunks;
use crate::refusal::Reason;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A body that is in memory or streamed.
pub(crate) enum Body {
    Whole(Full<Bytes>),
    Streamed(Incoming),
    Checked(Box<Checked>),
}

impl Body {
    /// Makes a body from bytes in memory.
    pub fn whole(bytes: Bytes) -> Body {
        Body::Whole(Full::new(bytes))
    }

    /// Streams a body and checks its SHA-256 digest.
    pub fn checked(incoming: Incoming, digest: [u8; 32]) -> Body {
        Body::with(
            incoming,
            Check::Digest {
                expected: digest,
                seen: digest::Context::new(&digest::SHA256),
            },
        )
    }

    /// Streams a body and verifies the signatures of its chunks.
    pub fn chunked(incoming: Incoming, chunks: Chunks) -> Body {
        Body::with(incoming, Check::Chunks(Box::new(chunks)))
    }

    fn with(incoming: Incoming, check: Check) -> Body {
        Body::Checked(Box::new(Checked {
            incoming,
            check: Some(check),
            held: None,
        }))
    }
}

/// A body that is checked while it is streamed. Each piece is held back until the next one has
/// arrived, and the last one until the whole body is verified. If the check fails, the body ends
/// with a [`Reason`] as its error, so the local AWS never receives a complete request.
pub(crate) struct Checked {
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

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Body::Whole(body) => Pin::new(body)
                .poll_frame(context)
                .map_err(|never| match never {}),
            Body::Streamed(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Body::Checked(body) => body.poll_checked(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(body) => body.is_end_stream(),
            Body::Streamed(body) => body.is_end_stream(),
            Body::Checked(body) => body.check.is_none() && body.held.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(body) => body.size_hint(),
            Body::Streamed(body) => body.size_hint(),
            Body::Checked(body) => match (&body.held, body.incoming.size_hint().exact()) {
                (held, Some(rest)) => {
                    let held = held.as_ref().map_or(0, Bytes::len);
                    SizeHint::with_exact(rest + u64::try_from(held).unwrap_or(u64::MAX))
                }
                (_, None) => SizeHint::default(),
            },
        }
    }
}

impl Checked {
    fn poll_checked(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            let Some(check) = &mut self.check else {
                return Poll::Ready(None);
            };
            match ready!(Pin::new(&mut self.incoming).poll_frame(context)) {
                Some(Ok(frame)) => {
                    // HTTP trailers are dropped, because no signature covers them.
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    if let Err(reason) = check.update(&data) {
                        return self.refuse(reason);
                    }
                    if let Some(before) = self.held.replace(data) {
                        return Poll::Ready(Some(Ok(Frame::data(before))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    return match self.check.take().map_or(Ok(()), Check::finish) {
                        Ok(()) => Poll::Ready(self.held.take().map(|held| Ok(Frame::data(held)))),
                        Err(reason) => self.refuse(reason),
                    };
                }
            }
        }
    }

    fn refuse(&mut self, reason: Reason) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        (self.check, self.held) = (None, None);
        Poll::Ready(Some(Err(reason.into())))
    }
}
