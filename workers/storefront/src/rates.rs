//! Rate limits: how often one client may order, sign in, look up an order or begin a cart.
//!
//! Each process keeps token buckets in memory, by address and by session. Where storefronts share a
//! store, the same limits are also counted there.
//!
//! The buckets are our own, because the keyed limiter of `governor` does not limit the number of
//! its keys. A client with many addresses could fill the memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderMap;
use contract::route::RateClass;

use crate::problem::Problem;
use crate::session;
use crate::settings::Settings;

/// Orders per minute of one session: enough for a group of friends, too few for a script.
const ORDERS_OF_A_SESSION: u32 = 30;
/// Attempts to sign in per minute from one address.
const SIGN_INS: u32 = 20;
/// Attempts per minute from one address to find an order by number and e-mail address.
const LOOK_UPS: u32 = 20;
/// Links with a tracking token that one address may open per minute. The limit allows for a café
/// whose guests share one address: a token of 128 bits cannot be guessed.
const OPENED: u32 = 300;
/// Carts that one address may begin in a day: a tenth of the carts that a storefront keeps in
/// memory. One address alone cannot evict anybody else's cart.
const CARTS_A_DAY: u32 = 1_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);
/// Maximum of buckets of each kind in memory, a few hundred kilobytes.
const BUCKETS_MAX: usize = 8_192;

/// The rate limits of this process. [`Rates::shared`] limits a client across all storefronts that
/// share a store.
pub struct Rates {
    orders_by_address: Buckets<IpAddr>,
    orders_by_session: Buckets<String>,
    sign_ins: Buckets<IpAddr>,
    look_ups: Buckets<IpAddr>,
    opened: Buckets<IpAddr>,
    carts: Buckets<IpAddr>,
    orders_per_minute: u32,
    /// Same as [`Settings::trusted_proxies`].
    trusted_proxies: usize,
}

impl Rates {
    /// Creates full buckets with the limits of `settings`. No order limit applies when
    /// `orders_per_minute` is 0.
    pub fn new(settings: &Settings) -> Rates {
        let of_a_session = if settings.orders_per_minute == 0 {
            0
        } else {
            ORDERS_OF_A_SESSION
        };
        Rates {
            orders_by_address: Buckets::new(settings.orders_per_minute),
            orders_by_session: Buckets::new(of_a_session),
            sign_ins: Buckets::new(SIGN_INS),
            look_ups: Buckets::new(LOOK_UPS),
            opened: Buckets::new(OPENED),
            carts: Buckets::filled(
                f64::from(CARTS_A_DAY) / DAY.as_secs_f64(),
                f64::from(CARTS_A_DAY),
            ),
            orders_per_minute: settings.orders_per_minute,
            trusted_proxies: settings.trusted_proxies,
        }
    }

    /// Returns the client that sent the request.
    pub fn client(&self, request: &Request) -> Client {
        Client(client_address(request, self.trusted_proxies))
    }

    /// Takes the tokens that a request of this class costs.
    ///
    /// # Errors
    /// Returns 429 with the time until the next token when a bucket is empty.
    pub fn check(
        &self,
        client: Client,
        class: Option<RateClass>,
        headers: &HeaderMap,
        settings: &Settings,
    ) -> Result<(), Problem> {
        let of_address =
            |buckets: &Buckets<IpAddr>| client.0.map_or(Ok(()), |address| buckets.take(address));
        let taken = match class {
            Some(RateClass::Order) => {
                let session = session::of(headers, settings).map(|session| session.hash);
                // The session is checked first: a refused session takes no token from other clients
                // at its address.
                session
                    .map_or(Ok(()), |session| self.orders_by_session.take(session))
                    .and_then(|()| of_address(&self.orders_by_address))
            }
            Some(RateClass::SignIn) => of_address(&self.sign_ins),
            Some(RateClass::LookUp) => of_address(&self.look_ups),
            Some(RateClass::OpenLink) => of_address(&self.opened),
            None => Ok(()),
        };
        taken.map_err(Problem::too_many)
    }

    /// Returns the counters of a request of this class in the store that storefronts share, the
    /// session first as in [`Rates::check`].
    pub fn shared(
        &self,
        client: Client,
        class: Option<RateClass>,
        headers: &HeaderMap,
        settings: &Settings,
    ) -> Vec<Shared> {
        let count = |key: String, most: u32| Shared {
            key,
            most: u64::from(most),
            window: MINUTE,
        };
        let of_address = |what: &str, most| {
            client
                .0
                .map(|address| count(format!("{what}:{address}"), most))
        };
        let of_session = || {
            let session = session::of(headers, settings)?;
            Some(count(
                format!("session-orders:{}", session.hash),
                ORDERS_OF_A_SESSION,
            ))
        };
        let [first, second] = match class {
            Some(RateClass::Order) if self.orders_per_minute == 0 => [None, None],
            Some(RateClass::Order) => [of_session(), of_address("orders", self.orders_per_minute)],
            Some(RateClass::SignIn) => [None, of_address("sign-ins", SIGN_INS)],
            Some(RateClass::LookUp) => [None, of_address("look-ups", LOOK_UPS)],
            Some(RateClass::OpenLink) => [None, of_address("opened", OPENED)],
            None => [None, None],
        };
        first.into_iter().chain(second).collect()
    }

    /// Checks that the client may begin one more cart, without taking a token.
    ///
    /// # Errors
    /// Returns 429 with the time until the next token when the client has begun too many.
    pub fn may_begin_cart(&self, client: Client) -> Result<(), Problem> {
        let left = client.0.map_or(Ok(()), |address| self.carts.look(address));
        left.map_err(Problem::too_many)
    }

    /// Takes a token for a cart that the client has begun. Returns the counter of the shared store.
    pub fn begun_cart(&self, client: Client) -> Option<Shared> {
        let address = client.0?;
        // `may_begin_cart` has checked that there is a token.
        let _ = self.carts.take(address);
        Some(Shared {
            key: format!("carts:{address}"),
            most: u64::from(CARTS_A_DAY),
            window: DAY,
        })
    }
}

/// A counter in the store that storefronts share, and its limit within a time window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// Name of the counter.
    pub key: String,
    /// Maximum of uses within the window.
    pub most: u64,
    /// Length of the window.
    pub window: Duration,
}

/// A client: its address, or its /64 network for IPv6. `None` only when the request has no
/// connection, as in tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client(pub Option<IpAddr>);

/// Returns the address of the client: the entry of `X-Forwarded-For` that the outermost trusted
/// proxy wrote. Each proxy appends the address of its peer, so entries that a client invents stand
/// further left and are not read.
fn client_address(request: &Request, trusted_proxies: usize) -> Option<IpAddr> {
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(peer)| peer.ip());
    let forwarded = (trusted_proxies > 0)
        .then(|| forwarded_for(request.headers(), trusted_proxies))
        .flatten();
    forwarded.or(peer).map(network)
}

/// Returns the entry that is `trusted_proxies` places from the right, and `None` when there are
/// fewer entries or it is no address.
fn forwarded_for(headers: &HeaderMap, trusted_proxies: usize) -> Option<IpAddr> {
    let lines = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|line| line.to_str().ok());
    let entries: Vec<&str> = lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .collect();
    let entry = entries.iter().rev().nth(trusted_proxies - 1)?;
    entry
        .parse()
        .ok()
        .or_else(|| entry.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// Returns the /64 network of an IPv6 address, because one household has 2^64 addresses. Returns an
/// IPv4 address unchanged.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

/// Token buckets by key. Each has room for the tokens of ten seconds, at least five. Buckets that
/// were not used for long are dropped.
struct Buckets<K> {
    per_second: f64,
    room: f64,
    kept: Mutex<Kept<K>>,
}

/// Two generations of buckets. When the newer one is full, the older one is dropped as a whole, so
/// every use costs the same.
struct Kept<K> {
    newer: HashMap<K, Bucket>,
    older: HashMap<K, Bucket>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl<K: Hash + Eq> Buckets<K> {
    /// Creates buckets that refill with `per_minute` tokens; 0 means no limit.
    fn new(per_minute: u32) -> Buckets<K> {
        Buckets::filled(
            f64::from(per_minute) / 60.0,
            (f64::from(per_minute) / 6.0).max(5.0),
        )
    }

    /// Creates buckets with `room` tokens each that refill with `per_second` tokens.
    fn filled(per_second: f64, room: f64) -> Buckets<K> {
        let kept = Kept {
            newer: HashMap::new(),
            older: HashMap::new(),
        };
        Buckets {
            per_second,
            room,
            kept: Mutex::new(kept),
        }
    }

    /// Returns the tokens in the bucket of `key` at `now`.
    fn tokens(&self, kept: &Kept<K>, key: &K, now: Instant) -> f64 {
        let known = kept.newer.get(key).or_else(|| kept.older.get(key));
        known.map_or(self.room, |bucket| {
            let since = now.saturating_duration_since(bucket.at).as_secs_f64();
            (bucket.tokens + since * self.per_second).min(self.room)
        })
    }

    /// Returns the time until the next token if there is none.
    fn enough(&self, tokens: f64) -> Result<(), Duration> {
        if tokens >= 1.0 {
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - tokens) / self.per_second))
        }
    }

    /// Checks that there is a token, and takes none.
    ///
    /// # Errors
    /// Returns the time until the next token.
    fn look(&self, key: K) -> Result<(), Duration> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.enough(self.tokens(&kept, &key, Instant::now()))
    }

    fn take(&self, key: K) -> Result<(), Duration> {
        self.take_at(key, Instant::now())
    }

    /// Takes a token.
    ///
    /// # Errors
    /// Returns the time until the next token.
    fn take_at(&self, key: K, now: Instant) -> Result<(), Duration> {
        if self.per_second == 0.0 {
            return Ok(());
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = self.tokens(&kept, &key, now);
        let taken = self.enough(tokens);
        let tokens = if taken.is_ok() { tokens - 1.0 } else { tokens };
        let bucket = Bucket { tokens, at: now };
        if kept.newer.len() >= BUCKETS_MAX / 2 {
            kept.older = std::mem::take(&mut kept.newer);
        }
        kept.newer.insert(key, bucket);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str, forwarded: &[&str], trusted_proxies: usize) -> Option<IpAddr> {
        let mut request = Request::builder().extension(ConnectInfo(SocketAddr::new(
            peer.parse().expect("an IP"),
            1,
        )));
        for line in forwarded {
            request = request.header("x-forwarded-for", *line);
        }
        client_address(
            &request.body(axum::body::Body::empty()).expect("a request"),
            trusted_proxies,
        )
    }

    #[test]
    fn invented_forwarded_addresses_are_ignored() {
        let ip = |text: &str| Some(text.parse().expect("an IP"));
        let (balancer, edge) = ("10.0.0.9", "198.51.100.7");
        assert_eq!(
            from("203.0.113.5", &["1.2.3.4"], 0),
            ip("203.0.113.5"),
            "no proxy is trusted"
        );
        assert_eq!(
            from(balancer, &["1.2.3.4, 203.0.113.5"], 1),
            ip("203.0.113.5")
        );
        assert_eq!(
            from(balancer, &["1.2.3.4", "5.6.7.8, 203.0.113.5:4711"], 1),
            ip("203.0.113.5")
        );
        assert_eq!(
            from(balancer, &[&format!("1.2.3.4, 203.0.113.5, {edge}")], 2),
            ip("203.0.113.5")
        );
        assert_eq!(from(balancer, &["nonsense"], 1), ip(balancer));
        assert_eq!(from(balancer, &[], 1), ip(balancer));
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        assert_eq!(
            from("2001:db8:1:2:3:4:5:6", &[], 0),
            from("2001:db8:1:2:ffff::1", &[], 0)
        );
        assert_ne!(
            from("2001:db8:1:2::1", &[], 0),
            from("2001:db8:1:3::1", &[], 0)
        );
        assert_eq!(
            from("::ffff:203.0.113.5", &[], 0),
            from("203.0.113.5", &[], 0)
        );
    }

    #[test]
    fn buckets_refill_with_time_and_are_separate_by_key() {
        let (buckets, begun) = (Buckets::new(60), Instant::now());
        let taken = (0..20)
            .filter(|_| buckets.take_at("a", begun).is_ok())
            .count();
        assert_eq!(taken, 10, "the tokens of ten seconds");
        assert_eq!(buckets.take_at("a", begun), Err(Duration::from_secs(1)));
        assert!(buckets.take_at("b", begun).is_ok());
        assert!(buckets.take_at("a", begun + Duration::from_secs(1)).is_ok());
        assert!(
            buckets
                .take_at("a", begun + Duration::from_secs(1))
                .is_err()
        );
    }

    #[test]
    fn memory_is_bounded_and_active_clients_are_kept() {
        let (buckets, begun) = (Buckets::new(6), Instant::now());
        for _ in 0..10 {
            let _ = buckets.take_at(0, begun);
        }
        for key in 1..100_000 {
            let _ = buckets.take_at(key, begun);
            if key % 1_000 == 0 {
                assert!(
                    buckets.take_at(0, begun).is_err(),
                    "dropped after {key} other clients"
                );
            }
        }
        let kept = buckets.kept.lock().expect("not poisoned");
        assert!(kept.newer.len() + kept.older.len() <= BUCKETS_MAX);
    }
}
