//! Keys, one a class of data, and the boundary of every role.

use crate::Environment;
use crate::template::Template;

pub fn security(_environment: &Environment) -> Template {
    Template::new("Brew Haven: security")
}
