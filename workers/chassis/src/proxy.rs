//! HTTP clients, and the requests that go through the proxy of `HTTP_PROXY`, `HTTPS_PROXY`,
//! `ALL_PROXY` and `NO_PROXY`.
//!
//! A company's proxy cannot reach loopback addresses of this machine, nor the link-local addresses
//! that return credentials on EC2 and ECS. Requests to these addresses always connect directly,
//! even without an entry in `NO_PROXY`. All other requests follow the variables.

use std::net::IpAddr;

use reqwest::ClientBuilder;

/// Returns a builder of a client for the server at `url`. The client connects directly to a server
/// on loopback, and through the configured proxy to any other server.
pub fn client_of(url: &str) -> ClientBuilder {
    let builder = reqwest::Client::builder();
    if is_direct(url) {
        builder.no_proxy()
    } else {
        builder
    }
}

/// Returns whether a URL's host is one that no proxy can reach: loopback, unspecified or
/// link-local.
pub fn is_direct(url: &str) -> bool {
    let Some(host) = host(url) else { return false };
    match host.parse::<IpAddr>() {
        Ok(address) => match address.to_canonical() {
            IpAddr::V4(address) => {
                address.is_loopback() || address.is_unspecified() || address.is_link_local()
            }
            IpAddr::V6(address) => {
                address.is_loopback() || address.is_unspecified() || address.is_unicast_link_local()
            }
        },
        // RFC 6761, section 6.3: every name below `localhost` is loopback.
        Err(_) => {
            let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

/// Returns the host of `scheme://user@host:port/path`, without the brackets of an IPv6 address.
fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let address = authority.rsplit('@').next()?;
    match address.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next(),
        None => address.split(':').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_to_loopback_and_link_local_addresses_are_direct() {
        for url in [
            "http://127.0.0.1:4566/",
            "http://127.8.9.1",
            "http://localhost:8080/a?b@c",
            "http://LocalHost./",
            "http://shop.localhost:1",
            "https://[::1]:443/",
            "http://[::ffff:127.0.0.1]/",
            "http://user:secret@127.0.0.1:1/",
            "http://0.0.0.0:9000",
            "http://169.254.170.2/v2/credentials/1",
            "http://[fe80::1]/",
        ] {
            assert!(is_direct(url), "{url}");
        }
        for url in [
            "https://sqs.eu-west-1.amazonaws.com/",
            "http://10.0.0.1/",
            "https://localhost.example.com/",
            "https://notlocalhost/",
            "http://127.0.0.1@example.com/",
            "https://example.com/http://127.0.0.1/",
            "http://128.0.0.1/",
            "127.0.0.1:4566",
            "",
        ] {
            assert!(!is_direct(url), "{url}");
        }
    }
}
