//! The `haven` command: everything that people do with the platform. `cli` lists the commands, and
//! `commands` has their options, code and output. The crate `platform` runs the platform on this
//! machine, the crate `provision` deploys it to AWS.

#[macro_use]
extern crate haven_console;

mod agreement;
mod arguments;
mod cli;
mod commands;
mod ending;
mod login;
mod schemas;
mod shop;
mod target;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use haven_console::exit::Exit;
use haven_console::settings::Settings;
use haven_console::{output, settings, style};

use crate::cli::Command;
use crate::commands::run::{keep, role};

/// Returns the settings that environment variables ask for, for another program that prints through
/// the same crates.
pub fn settings_of_variables() -> Settings {
    cli::global::of_variables()
}

/// Runs the command line. `ending` and `docs/interfaces.md` describe the exit codes.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    style::choose_color(&arguments);
    settings::set(cli::global::of_variables());
    if arguments.len() < 2 {
        print!("{}", cli::first_screen());
        return output::ending("haven", Exit::Done);
    }
    if let Some(exit) = cli::topics::print(&arguments[1..]) {
        return output::ending("haven", exit);
    }
    let (command, settings) = match cli::parse(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => return output::ending("haven", cli::explain(&error, &arguments)),
    };
    settings::set(settings);
    // Many commands write secrets, account ids or customers' data.
    platform::private_file::close_new_files();
    match &command {
        Command::Role { name } => return role::run(name),
        Command::Keep(keep) => return keep::run(keep),
        _ => {}
    }
    if let Ok(haven) = std::env::current_exe() {
        platform::server::keep_with(haven);
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ran = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start a runtime")
        .and_then(|runtime| {
            // The watch needs its own task: a command that waits for the user's answer blocks its
            // thread.
            runtime.spawn(ending::watch_for_interrupt(&command));
            runtime.block_on(cli::run(command))
        });
    let exit = ran.unwrap_or_else(|error| ending::report(&error));
    output::ending("haven", exit)
}
