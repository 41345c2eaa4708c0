//! W3C Trace Context: the `traceparent` that joins the spans of one request across processes and
//! queues.

use std::fmt;
use std::future::Future;

use crate::chance;

/// A `traceparent` (W3C Trace Context, level 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traceparent {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

tokio::task_local! {
    static CURRENT: Traceparent;
}

/// Runs a future within a span: messages that it sends continue the trace. Tasks that the future
/// spawns need a scope of their own.
pub async fn scope<F: Future>(traceparent: Traceparent, future: F) -> F::Output {
    CURRENT.scope(traceparent, future).await
}

/// Returns the `traceparent` for an outgoing message, or `None` outside of a [`scope`].
pub fn current() -> Option<String> {
    CURRENT.try_with(Traceparent::to_string).ok()
}

impl Traceparent {
    /// Continues the trace of the caller, or begins a new one if the header is missing or invalid.
    pub fn continuing(received: Option<&str>) -> Self {
        received
            .and_then(Self::parse)
            .map_or_else(Self::root, Self::child)
    }

    /// Begins a new trace.
    pub fn root() -> Self {
        let trace_id = u128::from(nonzero_bits()) << 64 | u128::from(chance::bits());
        Self {
            trace_id,
            span_id: nonzero_bits(),
            flags: SAMPLED,
        }
    }

    /// Returns a new span below this one.
    pub fn child(self) -> Self {
        Self {
            span_id: nonzero_bits(),
            ..self
        }
    }

    /// Parses a header. Returns `None` for a header that the standard calls invalid.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace_id, span_id, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let version = hex(version, 2)?;
        // Version 00 has exactly four parts; a later one may append more, and ff is forbidden.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let trace_id = hex(trace_id, 32)?;
        let span_id = hex(span_id, 16)? as u64;
        let flags = hex(flags, 2)? as u8;
        (trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            flags,
        })
    }

    /// Returns the id of the trace in hexadecimal, as in logs.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace_id, self.span_id, self.flags
        )
    }
}

const SAMPLED: u8 = 1;

/// Returns a valid id: the standard forbids zero.
fn nonzero_bits() -> u64 {
    chance::bits().max(1)
}

/// Parses exactly `digits` lower-case hexadecimal digits, as the standard requires.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let valid =
        text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    valid.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn headers_are_parsed_and_written_alike() {
        let sent = Traceparent::parse(SENT).expect("valid");
        assert_eq!(sent.to_string(), SENT);
        assert_eq!(sent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(
            Traceparent::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later")
                .is_some()
        );
        let root = Traceparent::root();
        assert_eq!(Traceparent::parse(&root.to_string()), Some(root));
    }

    #[test]
    fn an_invalid_header_begins_a_new_trace() {
        for bad in [
            "",
            "00",
            "hello",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Traceparent::parse(bad), None, "{bad:?}");
            assert_ne!(
                Traceparent::continuing(Some(bad)),
                Traceparent::continuing(Some(bad)),
                "{bad:?}"
            );
        }
    }

    #[tokio::test]
    async fn messages_sent_inside_a_scope_continue_its_trace() {
        assert_eq!(current(), None);
        let child = Traceparent::continuing(Some(SENT));
        let seen = scope(child, async { current() })
            .await
            .expect("inside a scope");
        assert!(
            seen.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && seen != SENT,
            "{seen}"
        );
        assert_eq!(current(), None);
    }
}
