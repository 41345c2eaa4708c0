//! Resources that differ from their templates.

use serde::{Deserialize, Serialize};

/// A resource that differs from its template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Drifted {
    /// The logical id.
    pub resource: String,
    pub kind: String,
    pub how: How,
    #[serde(default)]
    pub by: By,
    pub differences: Vec<Difference>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
/// The kind of a drift.
pub enum How {
    Modified,
    Deleted,
    /// CloudFormation could not read the resource, for this reason.
    Unknown(String),
}

/// The source of a comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    #[default]
    CloudFormation,
    /// Haven compared with the service's own answer, because CloudFormation does not compare this
    /// resource.
    Reading,
}

/// A property that differs from the template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Difference {
    /// The path inside the resource's properties, such as `/RedrivePolicy/maxReceiveCount`.
    pub path: String,
    /// The value in the template; `None` if the template has none.
    pub expected: Option<String>,
    /// The actual value; `None` if it was removed.
    pub actual: Option<String>,
}

/// The drift of one stack.
#[derive(Debug, Clone, Serialize)]
pub struct StackDrift {
    pub slug: &'static str,
    pub name: String,
    pub drift: Vec<Drifted>,
    /// The reason if the drift could not be detected.
    pub unknown: Option<String>,
}
