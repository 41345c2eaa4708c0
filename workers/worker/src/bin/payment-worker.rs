//! The `payment-worker` service.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::main(&contract::role::PAYMENT_WORKER)
}
