//! The `order-worker` service.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::main(&contract::role::ORDER_WORKER)
}
