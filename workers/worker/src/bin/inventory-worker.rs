//! The `inventory-worker` service.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::main(&contract::role::INVENTORY_WORKER)
}
