//! The JSON API under `/api/v1/`, specified in `docs/interfaces.md`.

pub mod admin;
pub mod batch;
pub mod cart;
pub mod events;
pub mod journey;
pub mod ledger;
pub mod menu;
mod new_order;
mod order_view;
pub mod orders;
pub mod slots;
pub mod stock;
pub mod webhook;
