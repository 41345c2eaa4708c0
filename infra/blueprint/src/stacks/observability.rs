//! Logs, queries, dashboards, traces, the budget, and what calls for a human.

use crate::Environment;
use crate::template::Template;

pub fn observability(_environment: &Environment) -> Template {
    Template::new("Brew Haven: observability")
}
