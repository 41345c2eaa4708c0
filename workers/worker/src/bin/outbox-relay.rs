//! The `outbox-relay` service.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::main(&contract::role::OUTBOX_RELAY)
}
