//! The result of one check of `haven doctor`.

use serde::Serialize;

use crate::doctor::next_step::Verdict;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub verdict: Verdict,
    pub what: String,
    /// The next command, or a setting to change.
    pub next: Option<String>,
}

impl Check {
    /// Makes the result of a check.
    pub(crate) fn new(verdict: Verdict, what: impl Into<String>, next: Option<String>) -> Check {
        Check {
            verdict,
            what: what.into(),
            next,
        }
    }

    /// Makes the result of a check without a problem.
    pub fn ok(what: impl Into<String>) -> Check {
        Check::new(Verdict::Ok, what, None)
    }

    /// Makes the result of a check that needs attention.
    pub fn look(what: impl Into<String>, next: impl Into<String>) -> Check {
        Check::new(Verdict::Look, what, Some(next.into()))
    }

    /// Makes the result of a failed check.
    pub fn wrong(what: impl Into<String>, next: impl Into<String>) -> Check {
        Check::new(Verdict::Wrong, what, Some(next.into()))
    }

    /// Makes the result of a check that was not possible.
    pub(crate) fn not_made(what: &str, error: impl std::fmt::Display) -> Check {
        let what = format!("{what} could not be checked: {error}");
        Check::new(Verdict::Look, what, None)
    }
}
