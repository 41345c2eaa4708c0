//! The VPC: subnets, routes, endpoints, and who may talk to whom.

use crate::Environment;
use crate::template::Template;

pub fn network(_environment: &Environment) -> Template {
    Template::new("Brew Haven: network")
}
