//! The `projection-worker` service.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::main(&contract::role::PROJECTION_WORKER)
}
