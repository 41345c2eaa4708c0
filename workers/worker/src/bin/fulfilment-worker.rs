//! The `fulfilment-worker` service.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::main(&contract::role::FULFILMENT_WORKER)
}
