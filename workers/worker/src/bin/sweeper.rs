//! The `sweeper` service.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::main(&contract::role::SWEEPER)
}
