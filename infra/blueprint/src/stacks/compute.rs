//! Where the roles run: cluster, a service and a task role each, scaling.

use crate::Environment;
use crate::template::Template;

pub fn compute(_environment: &Environment) -> Template {
    Template::new("Brew Haven: compute")
}
