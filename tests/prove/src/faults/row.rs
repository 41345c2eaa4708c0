//! The rows of the matrix of faults.

use std::time::Duration;

use faults::{Dependency, Fault, Rule};

use super::acts::Act;

/// A row of the matrix.
#[derive(Debug)]
pub struct Row {
    pub id: &'static str,
    pub about: &'static str,
    pub how: How,
}

/// How a fault is injected.
#[derive(Debug, Clone, Copy)]
pub enum How {
    /// By rules of the fault proxies. The argument is how long the fault lasts.
    Rules(fn(Duration) -> Vec<Rule>),
    /// By an action during the load.
    Act(Act),
    /// Not injected: another proof or test of this repository shows it.
    Elsewhere(&'static str),
    /// Not injected on one machine; the text is the reason.
    NotHere(&'static str),
}

impl How {
    /// Returns why the fault is not injected here, or `None` if it is.
    pub fn not_here(self) -> Option<String> {
        match self {
            How::Rules(_) | How::Act(_) => None,
            How::Elsewhere(by) => Some(format!("shown by {by}")),
            How::NotHere(why) => Some(why.to_owned()),
        }
    }
}

/// Creates a row of the matrix.
pub const fn row(id: &'static str, about: &'static str, how: How) -> Row {
    Row { id, about, how }
}

/// Returns an error response of AWS.
pub const fn aws(code: &'static str, status: u16) -> Fault {
    Fault::Fail { status, code }
}

/// Returns a rule for the calls of a name.
pub fn on(dependency: Dependency, name: &str, fault: Fault) -> Rule {
    Rule::on(dependency, name, fault)
}

/// Applies the rule to a share of the calls while the fault lasts.
pub fn now_and_then(rule: Rule, chance: f64, lasting: Duration) -> Rule {
    rule.chance(chance).between(Duration::ZERO, lasting)
}
