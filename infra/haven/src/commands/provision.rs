//! Commands that check, plan and deploy the stacks.

pub mod apply;
pub mod bootstrap;
pub mod check;
pub mod cost;
pub mod deploy;
pub mod destroy;
pub mod diff;
pub mod doctor;
pub mod drift;
pub mod left_out;
pub mod plan;
pub mod present;
pub mod promote;
pub mod readable;
pub mod rehearse;
pub mod smoke;
pub mod synth;
pub mod targets;
pub mod why;
