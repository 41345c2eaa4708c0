//! Bodies on their way to the local AWS and back.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_lc_rs::{constant_time, digest};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A body: in memory, or streamed as it comes.
pub(crate) enum Body {
    Whole(Full<Bytes>),
    Streamed(Incoming),
    Checked(Box<Checked>),
}

impl Body {
    pub fn whole(bytes: Bytes) -> Body {
        Body::Whole(Full::new(bytes))
    }

    /// Streams a body that must have a digest.
    pub fn checked(incoming: Incoming, digest: [u8; 32]) -> Body {
        let checked =
            Checked { incoming, expected: digest, seen: Some(digest::Context::new(&digest::SHA256)), held: None };
        Body::Checked(Box::new(checked))
    }
}

/// Keeps one piece back until the next one has come, and the last one until the digest of everything is right. With
/// another digest the body ends in an error, so the local AWS never sees a whole request.
pub(crate) struct Checked {
    incoming: Incoming,
    expected: [u8; 32],
    /// Taken when the body has ended.
    seen: Option<digest::Context>,
    held: Option<Bytes>,
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Body::Whole(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Body::Streamed(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Body::Checked(body) => body.poll_checked(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(body) => body.is_end_stream(),
            Body::Streamed(body) => body.is_end_stream(),
            Body::Checked(body) => body.seen.is_none() && body.held.is_none(),
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
    fn poll_checked(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            let Some(seen) = &mut self.seen else { return Poll::Ready(None) };
            match ready!(Pin::new(&mut self.incoming).poll_frame(context)) {
                Some(Ok(frame)) => {
                    // Trailers belong to the streaming forms, which declare no digest of the whole.
                    let Ok(data) = frame.into_data() else { continue };
                    seen.update(&data);
                    if let Some(before) = self.held.replace(data) {
                        return Poll::Ready(Some(Ok(Frame::data(before))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    let is_right = self.seen.take().is_some_and(|seen| is_right(seen, &self.expected));
                    return Poll::Ready(match (is_right, self.held.take()) {
                        (true, held) => held.map(|held| Ok(Frame::data(held))),
                        (false, _) => Some(Err(io::Error::from(io::ErrorKind::InvalidData).into())),
                    });
                }
            }
        }
    }
}

fn is_right(seen: digest::Context, expected: &[u8; 32]) -> bool {
    constant_time::verify_slices_are_equal(seen.finish().as_ref(), expected).is_ok()
}
