//! A reader that leaves early, such as `haven cost prod | head -3`, is no fault worth a word.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::process::ExitCode;

/// What a shell says of a program that SIGPIPE stopped: 128 and the signal's number. Not 0: what was to be said, or
/// checked, was not said to its end.
const STOPPED_BY_THE_PIPE: u8 = 141;

/// Runs a program to its end, or until nobody reads what it prints: then everything is dropped as at any end (processes
/// that were started are stopped), and nothing more is said. The print macros panic on a closed pipe, and Rust starts
/// every program with SIGPIPE ignored; to let the signal stop us instead would take unsafe code.
pub fn until_closed(program: impl FnOnce() -> ExitCode) -> ExitCode {
    let usual = take_hook();
    set_hook(Box::new(move |panic| {
        if !is_closed_pipe(panic.payload()) {
            usual(panic);
        }
    }));
    match catch_unwind(AssertUnwindSafe(program)) {
        Ok(code) => code,
        Err(payload) if is_closed_pipe(payload.as_ref()) => ExitCode::from(STOPPED_BY_THE_PIPE),
        Err(payload) => resume_unwind(payload),
    }
}

/// As the print macros say it: "failed printing to stdout: Broken pipe (os error 32)".
fn is_closed_pipe(payload: &(dyn Any + Send)) -> bool {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.is_some_and(|text| text.starts_with("failed printing to ") && text.contains("Broken pipe"))
}
