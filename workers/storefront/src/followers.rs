//! The clients that follow an order, and their places.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use domain::ids::OrderId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::rates::Client;

/// Maximum of followers; each holds a connection.
const FOLLOWERS_MAX: usize = 1_000;
/// Maximum of followers from one address, which may be a shop's whole network.
const FOLLOWERS_OF_A_CLIENT_MAX: usize = 200;

/// Followers, and one watcher per followed order.
#[derive(Default)]
pub struct Watchers {
    /// The followers.
    pub followers: Followers,
    /// Watchers by order. Orders without followers are removed, so the number of followers bounds
    /// the map.
    pub orders: Mutex<HashMap<OrderId, Weak<watch::Sender<i64>>>>,
}

/// All followers, oldest first.
///
/// - When an address has all the places that it may have, its new follower replaces the oldest one.
///   The replaced follower is of the order that the address follows most.
/// - When all places are taken, the address with most followers gives one up, unless the newcomer's
///   own address would then have as many.
///
/// A browser that lost its place reconnects.
#[derive(Clone, Default)]
pub struct Followers(Arc<Mutex<Following>>);

#[derive(Default)]
struct Following {
    entered: u64,
    all: Vec<Seat>,
}

#[derive(Clone)]
struct Seat {
    id: u64,
    client: Client,
    order_id: OrderId,
    /// Canceled when another follower takes the place.
    lost: CancellationToken,
}

/// A follower's place, free again on drop.
pub struct Place {
    seat: Seat,
    followers: Followers,
}

impl Followers {
    fn following(&self) -> MutexGuard<'_, Following> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place. Returns `None` when all places are taken and no address has to give one up.
    pub fn enter(&self, client: Client, order_id: OrderId) -> Option<Place> {
        let mut following = self.following();
        let mut of: HashMap<Client, usize> = HashMap::new();
        following
            .all
            .iter()
            .for_each(|seat| *of.entry(seat.client).or_default() += 1);
        let own = of.get(&client).copied().unwrap_or_default();
        if own >= FOLLOWERS_OF_A_CLIENT_MAX {
            following.give_up_one_of(client);
        } else if following.all.len() >= FOLLOWERS_MAX {
            let (most, theirs) = of.into_iter().max_by_key(|(_, count)| *count)?;
            // Counts the newcomer too. When every client has one stream, none of them has to leave.
            if theirs <= own + 1 {
                return None;
            }
            following.give_up_one_of(most);
        }
        following.entered += 1;
        let seat = Seat {
            id: following.entered,
            client,
            order_id,
            lost: CancellationToken::new(),
        };
        following.all.push(seat.clone());
        drop(following);
        Some(Place {
            seat,
            followers: self.clone(),
        })
    }
}

impl Following {
    /// Removes the oldest follower of the order that the client follows most.
    fn give_up_one_of(&mut self, client: Client) {
        let theirs = || self.all.iter().filter(|seat| seat.client == client);
        let followers =
            |order_id: OrderId| theirs().filter(|seat| seat.order_id == order_id).count();
        // `max_by_key` returns the last of equal items, which is the oldest one in reverse order.
        let most = theirs()
            .rev()
            .max_by_key(|seat| followers(seat.order_id))
            .map(|seat| seat.order_id);
        let oldest = self
            .all
            .iter()
            .position(|seat| seat.client == client && Some(seat.order_id) == most);
        if let Some(oldest) = oldest {
            self.all.remove(oldest).lost.cancel();
        }
    }
}

impl Place {
    /// Returns the token that is canceled when another follower takes the place.
    pub fn lost(&self) -> &CancellationToken {
        &self.seat.lost
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.followers
            .following()
            .all
            .retain(|seat| seat.id != self.seat.id);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use uuid::Uuid;

    use super::*;

    fn client(number: u8) -> Client {
        Client(Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, number))))
    }

    fn order() -> OrderId {
        OrderId(Uuid::now_v7())
    }

    fn is_lost(place: &Place) -> bool {
        place.seat.lost.is_cancelled()
    }

    #[test]
    fn one_client_with_many_streams_takes_no_place_of_another() {
        let followers = Followers::default();
        let quiet: Vec<_> = (1..=50)
            .map(|number| followers.enter(client(number), order()).expect("a place"))
            .collect();
        let orders: Vec<_> = (0..50).map(|_| order()).collect();
        // Fifty orders with twenty streams each, from one address.
        let loud: Vec<_> = (0..20)
            .flat_map(|_| &orders)
            .map(|order| followers.enter(client(99), *order).expect("taken"))
            .collect();
        assert_eq!(
            loud.iter().filter(|place| !is_lost(place)).count(),
            FOLLOWERS_OF_A_CLIENT_MAX
        );
        assert!(
            !quiet.iter().any(is_lost),
            "other clients keep their places"
        );
        // Another customer behind the same address gets a place, and keeps it while more streams
        // arrive.
        let neighbor = followers.enter(client(99), order()).expect("a place");
        let _more: Vec<_> = orders
            .iter()
            .map(|order| followers.enter(client(99), *order).expect("taken"))
            .collect();
        assert!(!is_lost(&neighbor));
    }

    #[test]
    fn when_all_places_are_taken_the_client_with_most_loses_one() {
        let followers = Followers::default();
        let mut places = Vec::new();
        for number in 1..=5 {
            for _ in 0..FOLLOWERS_OF_A_CLIENT_MAX {
                places.push(followers.enter(client(number), order()).expect("a place"));
            }
        }
        assert_eq!(places.len(), FOLLOWERS_MAX);
        let newcomer = followers.enter(client(99), order()).expect("a place");
        assert_eq!(places.iter().filter(|place| is_lost(place)).count(), 1);
        drop(newcomer);
        assert_eq!(
            followers.following().all.len(),
            FOLLOWERS_MAX - 1,
            "the place is free again"
        );
    }

    #[test]
    fn many_clients_with_one_stream_each_keep_their_places() {
        let followers = Followers::default();
        let of = |number: u32| Client(Some(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number))));
        let crowd: Vec<_> = (0..1_000)
            .map(|number| followers.enter(of(number), order()).expect("a place"))
            .collect();
        assert!(followers.enter(of(1_000), order()).is_none());
        assert!(!crowd.iter().any(is_lost));
    }
}
