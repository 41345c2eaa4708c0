//! The storefront: the JSON API and the server-rendered pages over the same use cases.
//!
//! The crate is generic over its ports, so that tests run it on fakes. Business rules are not here:
//! a handler validates the request, calls a use case and renders the result. Modules depend on each
//! other in one direction: `router` on the layers and the handlers, `api` and `pages` on `desk` (the
//! steps that both take), and all of them on `state`, `problem` and the leaves below.

mod access;
mod admission;
mod api;
mod audit;
mod cookies;
mod desk;
mod followers;
pub mod keys;
mod menu;
mod openapi;
mod pages;
mod ports;
mod problem;
mod random;
mod rates;
mod request;
mod revoked;
mod router;
mod schema;
mod security;
pub mod server;
mod session;
mod settings;
mod shed;
mod shops;
pub mod sign_in_link;
pub mod signature;
pub mod staff;
mod state;
mod static_files;
mod taken_places;
mod text;
mod tracking;

pub use ports::{Observation, Ports, SecurityEvent, Shed};
pub use random::digest;
pub use revoked::Revoked;
pub use settings::Settings;
pub use shops::Shops;

/// Returns all routes with their middleware: limits, access checks, headers and error bodies.
pub fn router<P: Ports>(ports: P, settings: Settings) -> axum::Router {
    router::router(&state::App::new(ports, settings))
}
