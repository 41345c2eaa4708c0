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
        chain(self).to_string() == chain(other).to_string()
    }
}

impl Eq for Cause {}

/// Prints an error and all its causes in one line: `what: cause: cause`.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl fmt::Display + 'a {
    Chain(error)
}

struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(Cause);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("orders is unavailable")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_chain_prints_each_cause_once() {
        let inner = Outer(Cause::new("connection refused"));
        let outer = Outer(Cause::new(inner));
        assert_eq!(
            chain(&outer).to_string(),
            "orders is unavailable: orders is unavailable: connection refused"
        );
        let alone = std::fmt::Error;
        assert_eq!(chain(&alone).to_string(), alone.to_string());
    }

    #[test]
    fn causes_with_different_chains_differ() {
        let of = |text: &str| Cause::new(Outer(Cause::new(text)));
        assert_eq!(of("refused"), of("refused"));
        assert_ne!(of("refused"), of("reset"));
    }
}
