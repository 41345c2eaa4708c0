//! HTML pages: plain forms that work without JavaScript, over the same use cases as the API.

pub mod cart;
pub mod checkout;
mod checkout_form;
mod clock;
pub mod kept_form;
pub mod lookup;
pub mod mailbox;
pub mod menu;
pub mod order;
pub mod shell;
mod slots;
pub mod staff;
pub mod stock;
mod views;
