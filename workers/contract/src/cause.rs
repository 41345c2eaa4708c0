//! Causes of errors: how a port's error keeps the error of a library, and how a log prints both.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// An error of a library or of a handler, whose type does not matter to the caller.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The cause of a port's error. It can be cloned, because one failed call can fail several
/// entries of a batch.
#[derive(Clone)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    /// Creates a cause from an error, or from a text where no error exists.
    pub fn new(error: impl Into<BoxError>) -> Cause {
        Cause(Arc::from(error.into()))
    }

    /// Creates a cause with its subject in front: `subject: error`.
    pub fn about(subject: impl Into<String>, error: impl Into<BoxError>) -> Cause {
        Cause::new(About {
            subject: subject.into(),
            cause: Cause::new(error),
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{subject}")]
struct About {
    subject: String,
    #[source]
    cause: Cause,
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Causes are equal when their chains print the same text.
impl PartialEq for Cause {
    fn eq(&self, other: &Cause) -> bool {
        chain(self) == chain(other)
    }
}

impl Eq for Cause {}

/// Returns an error and all its causes in one line: `what: cause: cause`. Leaves out a cause that
/// the text before it already ends with, because some libraries print the cause themselves.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_prints_each_cause_once() {
        let refused = std::io::Error::other("connection refused");
        let outer = Cause::about("orders is unavailable", refused);
        assert_eq!(chain(&outer), "orders is unavailable: connection refused");
        let twice = Cause::about("query: down", Cause::about("down", "down"));
        assert_eq!(chain(&twice), "query: down");
        assert_eq!(chain(&std::fmt::Error), std::fmt::Error.to_string());
    }

    #[test]
    fn causes_with_different_chains_differ() {
        let of = |text: &str| Cause::about("orders", text);
        assert_eq!(of("refused"), of("refused"));
        assert_ne!(of("refused"), of("reset"));
    }
}
