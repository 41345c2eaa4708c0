//! What the world reaches: load balancer, API, firewall, names.

use crate::Environment;
use crate::template::Template;

pub fn edge(_environment: &Environment) -> Template {
    Template::new("Brew Haven: edge")
}
