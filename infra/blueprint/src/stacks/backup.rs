//! Copies of what must not be lost.

use crate::Environment;
use crate::template::Template;

pub fn backup(_environment: &Environment) -> Template {
    Template::new("Brew Haven: backup")
}
