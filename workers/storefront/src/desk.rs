//! The steps that the pages and the API share: each is written once and answers with a
//! [`Problem`](crate::problem::Problem) when it fails.

pub mod cart;
pub mod orders;
pub mod slots;
pub mod staff;
pub mod stock;
pub mod timeline;
