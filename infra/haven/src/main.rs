//! The `haven` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    haven::main()
}
