//! The local platform: `haven up` starts it and restarts processes that die, `haven down` stops it.

#[macro_use]
extern crate haven_console;

pub mod audit;
pub mod aws;
pub mod children;
pub mod containers;
pub mod database;
pub mod detach;
pub mod down;
pub mod emulator;
mod emulator_state;
pub mod environment;
pub mod facts;
pub mod format;
pub mod given;
pub mod guard;
pub mod history;
pub mod keep;
pub mod leftovers;
pub mod phases;
pub mod ports;
pub mod postgres;
mod process;
pub mod python;
mod refusals;
pub mod repair;
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
