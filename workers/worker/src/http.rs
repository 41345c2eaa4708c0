//! HTTP clients for one server each.

use adapter_aws::proxy::is_direct;
use reqwest::ClientBuilder;

/// Returns a builder of a client for the server at `url`. A server on loopback is reached directly;
/// any other through the proxy of `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, if one
/// is set.
pub fn client_of(url: &str) -> ClientBuilder {
    let builder = reqwest::Client::builder();
    if is_direct(url) {
        builder.no_proxy()
    } else {
        builder
    }
}
