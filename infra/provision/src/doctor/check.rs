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
    /// Makes the result of a check without a problem.
    pub fn ok(what: impl Into<String>) -> Check {
        Check {
            verdict: Verdict::Ok,
            what: what.into(),
            next: None,
        }
    }

    /// Makes the result of a check that needs attention.
    pub fn look(what: impl Into<String>, next: impl Into<String>) -> Check {
        Check {
            verdict: Verdict::Look,
            what: what.into(),
            next: Some(next.into()),
        }
    }

    /// Makes the result of a failed check.
    pub fn wrong(what: impl Into<String>, next: impl Into<String>) -> Check {
        Check {
            verdict: Verdict::Wrong,
            what: what.into(),
            next: Some(next.into()),
        }
    }

    /// Makes the result of a check that was not possible.
    pub(crate) fn not_made(what: &str, error: impl std::fmt::Display) -> Check {
        Check {
            verdict: Verdict::Look,
            what: format!("{what} could not be checked: {error}"),
            next: None,
        }
    }
}
