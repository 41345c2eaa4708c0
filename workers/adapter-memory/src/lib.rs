//! Carts in the storefront's own memory, for one storefront without Redis.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use app::ports::carts::{CART_LIFETIME, Cart, CartError, CartStore};
use app::ports::{Source, StoreError};
use domain::Timestamp;
use domain::cart::{Line, Lines, Quantity};
use domain::ids::ProductId;

/// The maximum of carts, of a few kilobytes each. A new cart replaces the one that was unused
/// longest.
const CARTS_MAX: usize = 10_000;

/// Carts in memory.
pub struct MemoryCarts<S> {
    source: S,
    carts: Mutex<HashMap<String, Kept>>,
}

#[derive(Clone)]
struct Kept {
    cart: Cart,
    expires_at: Timestamp,
}

impl<S: Source> MemoryCarts<S> {
    /// Creates an empty store of carts.
    pub fn new(source: S) -> Self {
        Self {
            source,
            carts: Mutex::default(),
        }
    }

    fn carts(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.carts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a cart under the lock, so that changes of two tabs do not overwrite each other.
    fn change<T>(&self, session: &str, change: impl FnOnce(&mut Cart) -> T) -> (T, Cart) {
        let now = self.source.now();
        let mut carts = self.carts();
        let mut cart = carts
            .remove(session)
            .filter(|kept| kept.expires_at > now)
            .map(|kept| kept.cart)
            .unwrap_or_default();
        let outcome = change(&mut cart);
        cart.lines = sorted(cart.lines);
        if !cart.lines.is_empty() {
            if carts.len() >= CARTS_MAX {
                make_room(&mut carts, now);
            }
            carts.insert(
                session.to_owned(),
                Kept {
                    cart: cart.clone(),
                    expires_at: now + CART_LIFETIME,
                },
            );
        }
        (outcome, cart)
    }
}

impl<S: Source> CartStore for MemoryCarts<S> {
    async fn get(&self, session: &str) -> Result<Cart, StoreError> {
        let now = self.source.now();
        let kept = self
            .carts()
            .get(session)
            .filter(|kept| kept.expires_at > now)
            .cloned();
        Ok(kept.map(|kept| kept.cart).unwrap_or_default())
    }

    async fn add(&self, session: &str, line: &Line, price_minor: i64) -> Result<Cart, CartError> {
        let (added, cart) = self.change(session, |cart| {
            cart.lines.add(line.clone())?;
            cart.seen
                .entry(line.product_id.clone())
                .or_insert(price_minor);
            Ok::<(), CartError>(())
        });
        added?;
        Ok(cart)
    }

    async fn set(
        &self,
        session: &str,
        product_id: &ProductId,
        quantity: Quantity,
    ) -> Result<Option<Cart>, StoreError> {
        let (there, cart) = self.change(session, |cart| cart.lines.set(product_id, quantity));
        Ok(there.then_some(cart))
    }

    async fn remove(&self, session: &str, product_id: &ProductId) -> Result<Cart, StoreError> {
        let remove = |cart: &mut Cart| {
            cart.seen.remove(product_id);
            cart.lines.remove(product_id)
        };
        Ok(self.change(session, remove).1)
    }

    async fn take_out(&self, session: &str, ordered: &Lines) -> Result<(), StoreError> {
        let take_out = |cart: &mut Cart| {
            for Line {
                product_id,
                quantity,
            } in ordered
            {
                let there = cart
                    .lines
                    .iter()
                    .find(|line| line.product_id == *product_id)
                    .map(|line| line.quantity.get());
                match Quantity::new(there.unwrap_or_default().saturating_sub(quantity.get())) {
                    Some(rest) => {
                        cart.lines.set(product_id, rest);
                    }
                    None => {
                        cart.seen.remove(product_id);
                        cart.lines.remove(product_id);
                    }
                }
            }
        };
        self.change(session, take_out);
        Ok(())
    }

    async fn clear(&self, session: &str) -> Result<(), StoreError> {
        self.carts().remove(session);
        Ok(())
    }
}

fn sorted(lines: Lines) -> Lines {
    let mut lines = Vec::from(lines);
    lines.sort_by(|a, b| a.product_id.cmp(&b.product_id));
    // They were within the limits before they were sorted.
    Lines::merge(lines).unwrap_or_default()
}

/// Removes expired carts, or the cart that was unused longest if none has expired.
fn make_room(carts: &mut HashMap<String, Kept>, now: Timestamp) {
    let before = carts.len();
    carts.retain(|_, cart| cart.expires_at > now);
    if carts.len() == before
        && let Some(oldest) = carts
            .iter()
            .min_by_key(|(_, cart)| cart.expires_at)
            .map(|(session, _)| session.clone())
    {
        carts.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use app::laws;
    use uuid::Uuid;

    use super::*;

    #[derive(Clone, Default)]
    struct Clock(Arc<AtomicI64>);

    impl Source for Clock {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH + time::Duration::seconds(self.0.load(Ordering::Relaxed))
        }

        fn uuid(&self) -> Uuid {
            Uuid::nil()
        }
    }

    #[test]
    fn the_adapter_passes_the_laws_of_carts() {
        futures::executor::block_on(laws::carts::all(&MemoryCarts::new(Clock::default())));
    }

    #[test]
    fn a_cart_left_alone_for_a_day_is_forgotten_and_a_used_one_is_not() {
        let clock = Clock::default();
        let carts = MemoryCarts::new(clock.clone());
        futures::executor::block_on(async {
            carts
                .add("used", &laws::carts::line("espresso", 1), 300)
                .await
                .expect("added");
            carts
                .add("left", &laws::carts::line("espresso", 1), 300)
                .await
                .expect("added");
            clock.0.store(20 * 3600, Ordering::Relaxed);
            carts
                .add("used", &laws::carts::line("espresso", 1), 300)
                .await
                .expect("added");
            clock.0.store(30 * 3600, Ordering::Relaxed);
            assert_eq!(carts.get("used").await.expect("read").lines.units(), 2);
            assert!(carts.get("left").await.expect("read").lines.is_empty());
        });
    }

    #[test]
    fn when_there_are_too_many_carts_the_one_left_alone_longest_makes_room() {
        let clock = Clock::default();
        let carts = MemoryCarts::new(clock.clone());
        futures::executor::block_on(async {
            for number in 0..=CARTS_MAX {
                clock
                    .0
                    .store(i64::try_from(number).expect("small"), Ordering::Relaxed);
                carts
                    .add(&number.to_string(), &laws::carts::line("tea", 1), 300)
                    .await
                    .expect("added");
            }
            assert!(
                carts.get("0").await.expect("read").lines.is_empty(),
                "the oldest made room"
            );
            for kept in ["1", &CARTS_MAX.to_string()] {
                assert_eq!(
                    carts.get(kept).await.expect("read").lines.units(),
                    1,
                    "{kept}"
                );
            }
            assert_eq!(carts.carts().len(), CARTS_MAX);
        });
    }
}
