//! The local platform: `haven up` starts it and restarts processes that die, `haven down` stops it.

#[macro_use]
extern crate haven_console;

pub mod audit;
pub mod aws;
pub mod children;
mod containers;
pub mod database;
pub mod detach;
pub mod down;
pub mod emulator;
mod emulator_state;
pub mod environment;
pub mod facts;
pub mod format;
pub mod given;
mod guard;
pub mod history;
pub mod keep;
pub mod leftovers;
mod lock;
mod log_tail;
mod mutex;
mod phases;
mod ports;
pub mod postgres;
pub mod private_file;
mod process;
pub mod python;
mod python_marks;
mod records;
mod refusals;
mod repair;
pub mod secrets;
pub mod seed;
pub mod server;
mod socket;
pub mod staff_token;
pub mod state;
pub mod stop;
mod tool;
pub mod up;

pub use stop::Interrupted;
