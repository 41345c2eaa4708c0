//! The whole platform on this machine: started, watched over, stopped.

pub mod children;
pub mod containers;
pub mod database;
pub mod emulator;
pub mod environment;
pub mod facts;
pub mod phases;
pub mod ports;
pub mod python;
pub mod repair;
pub mod seed;
pub mod state;
pub mod up;
