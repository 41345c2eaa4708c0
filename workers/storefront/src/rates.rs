//! How often one client may order, sign in, look an order up or begin a cart: token buckets in
//! memory, by address and by session, and counts in the shared store where there is one.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, Method};

use crate::problem::Problem;
use crate::shed::places_an_order;
use crate::{Settings, session};

/// Orders a minute of one session: a table of friends, not a script.
const ORDERS_OF_A_SESSION: u32 = 30;
/// Tries to sign in a minute from one address.
const SIGN_INS: u32 = 20;
/// Tries to find an order by number and e-mail address a minute from one address.
const LOOK_UPS: u32 = 20;
/// Links with a tracking token opened a minute from one address: a café whose guests share one.
/// Nobody guesses 128 bits.
const OPENED: u32 = 300;
/// Carts that one address begins in a day: a tenth of those that a storefront keeps in memory, so
/// that it takes ten addresses to push anybody's cart out.
const CARTS_A_DAY: u32 = 1_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);
/// Buckets of each kind in memory: some hundred kilobytes.
const BUCKETS_MAX: usize = 8_192;

/// The limits of this process. Where storefronts share a store, [`Rates::shared`] bounds what a
/// client gets of all of them.
pub struct Rates {
    orders_by_address: Buckets<IpAddr>,
    orders_by_session: Buckets<String>,
    sign_ins: Buckets<IpAddr>,
    look_ups: Buckets<IpAddr>,
    opened: Buckets<IpAddr>,
    carts: Buckets<IpAddr>,
    orders_per_minute: u32,
    /// See [`Settings::trusted_proxies`].
    trusted_proxies: usize,
}

impl Rates {
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

    /// Who sends the request.
    pub fn client(&self, request: &Request) -> Client {
        Client(client_address(request, self.trusted_proxies))
    }

    /// Takes the request's tokens, or says when there is one again.
    pub fn check(
        &self,
        client: Client,
        request: &Request,
        settings: &Settings,
    ) -> Result<(), Problem> {
        let of_address =
            |buckets: &Buckets<IpAddr>| client.0.map_or(Ok(()), |address| buckets.take(address));
        let taken = match limited(request) {
            Some(Limited::Order) => {
                let session = session::of(request.headers(), settings).map(|session| session.hash);
                // The session first: one that is refused uses up nothing of its neighbors'.
                session
                    .map_or(Ok(()), |session| self.orders_by_session.take(session))
                    .and_then(|()| of_address(&self.orders_by_address))
            }
            Some(Limited::SignIn) => of_address(&self.sign_ins),
            Some(Limited::LookUp) => of_address(&self.look_ups),
            Some(Limited::Open) => of_address(&self.opened),
            None => Ok(()),
        };
        taken.map_err(Problem::too_many)
    }

    /// What the request counts as in the store that storefronts share. The session first, as in
    /// [`Rates::check`].
    pub fn shared(&self, client: Client, request: &Request, settings: &Settings) -> Vec<Shared> {
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
            let session = session::of(request.headers(), settings)?;
            Some(count(
                format!("session-orders:{}", session.hash),
                ORDERS_OF_A_SESSION,
            ))
        };
        let [first, second] = match limited(request) {
            Some(Limited::Order) if self.orders_per_minute == 0 => [None, None],
            Some(Limited::Order) => [of_session(), of_address("orders", self.orders_per_minute)],
            Some(Limited::SignIn) => [None, of_address("sign-ins", SIGN_INS)],
            Some(Limited::LookUp) => [None, of_address("look-ups", LOOK_UPS)],
            Some(Limited::Open) => [None, of_address("opened", OPENED)],
            None => [None, None],
        };
        first.into_iter().chain(second).collect()
    }

    /// Whether the client may begin one more cart.
    pub fn may_begin_cart(&self, client: Client) -> Result<(), Problem> {
        let left = client.0.map_or(Ok(()), |address| self.carts.look(address));
        left.map_err(Problem::too_many)
    }

    /// The client has begun a cart. Gives what that counts as in the shared store.
    pub fn begun_cart(&self, client: Client) -> Option<Shared> {
        let address = client.0?;
        // Whether there was a token was asked before.
        let _ = self.carts.take(address);
        Some(Shared {
            key: format!("carts:{address}"),
            most: u64::from(CARTS_A_DAY),
            window: DAY,
        })
    }
}

/// A count in the store that storefronts share, and its limit within a window of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    pub key: String,
    pub most: u64,
    pub window: Duration,
}

/// The address of a client, or its network where it has many; unknown only where no connection is
/// behind the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client(pub Option<IpAddr>);

/// What is limited of a client.
enum Limited {
    Order,
    SignIn,
    LookUp,
    Open,
}

fn limited(request: &Request) -> Option<Limited> {
    if places_an_order(request) {
        return Some(Limited::Order);
    }
    let opens = |path: &str| path.starts_with("/orders/") && path.ends_with("/open");
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/staff/sign-in") => Some(Limited::SignIn),
        (&Method::POST, "/orders") => Some(Limited::LookUp),
        (&Method::POST, path) if opens(path) => Some(Limited::Open),
        _ => None,
    }
}

/// Where the request really comes from: the entry of `X-Forwarded-For` that the outermost trusted
/// proxy wrote. Each proxy adds the address of whoever spoke to it at the end, so what a client
/// invents stands before it and is not read.
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

/// One household has 2^64 addresses of IPv6.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

/// A bucket for each key, with room for ten seconds' worth and at least five; forgotten when it was
/// not used for long.
struct Buckets<K> {
    per_second: f64,
    room: f64,
    kept: Mutex<Kept<K>>,
}

/// In two halves, of which the older is dropped whole when the newer is full: no use costs more
/// than another.
struct Kept<K> {
    newer: HashMap<K, Bucket>,
    older: HashMap<K, Bucket>,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl<K: Hash + Eq> Buckets<K> {
    /// No limit when it is 0.
    fn new(per_minute: u32) -> Buckets<K> {
        Buckets::filled(
            f64::from(per_minute) / 60.0,
            (f64::from(per_minute) / 6.0).max(5.0),
        )
    }

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

    /// Says how long until there is a token, and takes none.
    fn look(&self, key: K) -> Result<(), Duration> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept
            .newer
            .get(&key)
            .or_else(|| kept.older.get(&key))
            .copied();
        let tokens = known.map_or(self.room, |bucket| {
            bucket.tokens + bucket.at.elapsed().as_secs_f64() * self.per_second
        });
        if tokens >= 1.0 {
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - tokens) / self.per_second))
        }
    }

    fn take(&self, key: K) -> Result<(), Duration> {
        self.take_at(key, Instant::now())
    }

    /// Takes a token, or says how long until there is one.
    fn take_at(&self, key: K, now: Instant) -> Result<(), Duration> {
        if self.per_second == 0.0 {
            return Ok(());
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept
            .newer
            .get(&key)
            .or_else(|| kept.older.get(&key))
            .copied();
        let mut bucket = known.unwrap_or(Bucket {
            tokens: self.room,
            at: now,
        });
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket = Bucket {
            tokens: (bucket.tokens + since * self.per_second).min(self.room),
            at: now,
        };
        let taken = if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64(
                (1.0 - bucket.tokens) / self.per_second,
            ))
        };
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
    fn what_a_client_invents_does_not_make_it_another_client() {
        let ip = |text: &str| Some(text.parse().expect("an IP"));
        let (balancer, edge) = ("10.0.0.9", "198.51.100.7");
        assert_eq!(
            from("203.0.113.5", &["1.2.3.4"], 0),
            ip("203.0.113.5"),
            "nobody is trusted"
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
    fn a_household_is_one_client_however_many_addresses_it_has() {
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
    fn tokens_come_back_with_time_and_each_key_has_its_own() {
        let (buckets, begun) = (Buckets::new(60), Instant::now());
        let taken = (0..20)
            .filter(|_| buckets.take_at("a", begun).is_ok())
            .count();
        assert_eq!(taken, 10, "ten seconds' worth at once");
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
    fn memory_is_bounded_and_whoever_is_busy_is_not_forgotten() {
        let (buckets, begun) = (Buckets::new(6), Instant::now());
        for _ in 0..10 {
            let _ = buckets.take_at(0, begun);
        }
        for key in 1..100_000 {
            let _ = buckets.take_at(key, begun);
            if key % 1_000 == 0 {
                assert!(
                    buckets.take_at(0, begun).is_err(),
                    "forgotten after {key} others"
                );
            }
        }
        let kept = buckets.kept.lock().expect("not poisoned");
        assert!(kept.newer.len() + kept.older.len() <= BUCKETS_MAX);
    }
}
