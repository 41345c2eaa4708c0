//! `haven keep`: runs a server program that ends when its parent ends. For `haven up` itself.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use platform::keep;

#[derive(Debug, Clone, Args)]
pub struct Keep {
    /// Seconds that the program may take to stop before it is killed
    #[arg(long, default_value_t = 10)]
    pub within: u64,
    /// Signal that asks the program to stop
    #[arg(long, value_enum, default_value_t = StopSignal::Term)]
    pub signal: StopSignal,
    /// File that the process ids are written to
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Stop the whole process group, whose leader this process must be
    #[arg(long)]
    pub group: bool,
    /// Text in the program's command line that identifies it
    #[arg(long, default_value = "")]
    pub mark: String,
    /// Become the program at once, as a child of this process id
    #[arg(long, value_name = "PID")]
    pub exec_for: Option<u32>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub program: Vec<OsString>,
}

/// The signal that asks a program to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StopSignal {
    Term,
    /// PostgreSQL's fast shutdown: SIGTERM waits until the last client has left.
    Int,
}

/// Runs the program until it ends. Returns its exit code, or 128 plus the number of the signal that
/// ended it.
pub fn run(options: &Keep) -> ExitCode {
    keep::run(&keep::Keep {
        within: options.within,
        signal: match options.signal {
            StopSignal::Term => keep::StopSignal::Term,
            StopSignal::Int => keep::StopSignal::Int,
        },
        record: options.record.clone(),
        group: options.group,
        mark: options.mark.clone(),
        exec_for: options.exec_for,
        program: options.program.clone(),
    })
}
