//! The `notification-worker` service.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::main(&contract::role::NOTIFICATION_WORKER)
}
