//! In-memory stock with its ledger, behind one lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::Timestamp;
use domain::cart::Lines;
use domain::ids::{OrderId, ProductId};
use domain::menu::Product;
use domain::stock::{Counters, Movement};

use crate::ports::ledger::{ENTRIES_MAX, Entry, Hold, HoldState, Ledger};
use crate::ports::stock::{
    Adjusted, Adjustment, AdjustmentKind, Confirmed, ExpiredHold, OPENING, Reservations, Reserved,
    Stock, StockedProduct,
};
use crate::ports::{Backend, StoreError};

/// The actor of changes by orders.
const ACTOR: &str = "memory";

/// An in-memory implementation of [`Stock`].
#[derive(Default)]
pub struct MemoryStock {
    books: Mutex<Books>,
    silent: AtomicBool,
}

#[derive(Default)]
struct Books {
    products: BTreeMap<ProductId, StockedProduct>,
    reservations: BTreeMap<OrderId, Reservation>,
    adjustments: BTreeMap<(ProductId, String), AdjustmentKind>,
    ledger: BTreeMap<(ProductId, String), Entry>,
}

enum Reservation {
    Held { lines: Lines, expires_at: Timestamp },
    Confirmed { lines: Lines },
    Released { lines: Lines },
}

impl MemoryStock {
    /// Makes later calls hang, as if the table did. Writes are carried out nevertheless.
    pub fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    /// Changes the price of a product.
    pub fn set_price(&self, product_id: &ProductId, minor: i64) {
        if let Some(stocked) = self.books().products.get_mut(product_id) {
            stocked.product.price.minor = minor;
        }
    }

    /// Removes a product from the menu.
    pub fn remove_product(&self, product_id: &ProductId) {
        self.books().products.remove(product_id);
    }

    /// Deletes the records of settled holds, as the table does after some time.
    pub fn forget_settled_holds(&self) {
        self.books()
            .reservations
            .retain(|_, reservation| matches!(reservation, Reservation::Held { .. }));
    }

    /// Waits forever while the stock is silent.
    async fn answers(&self) {
        if self.silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// Applies all lines or none. Fails with the products that do not allow it.
    fn count(
        &mut self,
        order_id: OrderId,
        lines: &Lines,
        movement: fn(u32) -> Movement,
        now: Timestamp,
    ) -> Result<(), Vec<ProductId>> {
        let after = |product_id: &ProductId, units: u32| {
            self.products
                .get(product_id)
                .and_then(|there| there.counters.after(movement(units)).ok())
        };
        let counted: Vec<_> = lines
            .iter()
            .map(|line| {
                (
                    line.product_id.clone(),
                    after(&line.product_id, line.quantity.get()),
                )
            })
            .collect();
        let short: Vec<ProductId> = counted
            .iter()
            .filter(|(_, after)| after.is_none())
            .map(|(product_id, _)| product_id.clone())
            .collect();
        if !short.is_empty() {
            return Err(short);
        }
        for (product_id, after) in counted {
            if let (Some(product), Some(after)) = (self.products.get_mut(&product_id), after) {
                product.counters = after;
                product.version += 1;
            }
        }
        for line in lines {
            let movement = movement(line.quantity.get());
            self.write_down(
                &line.product_id,
                movement,
                &order_id.to_string(),
                ACTOR,
                None,
                now,
            );
        }
        Ok(())
    }

    fn adjust(&mut self, adjustment: &Adjustment) -> Adjusted {
        let made = (
            adjustment.product_id.clone(),
            adjustment.movement_id.clone(),
        );
        let before = self.adjustments.get(&made).copied();
        let Some(product) = self.products.get_mut(&adjustment.product_id) else {
            return Adjusted::NoSuchProduct;
        };
        if let Some(before) = before {
            return if before == adjustment.change {
                Adjusted::Now(product.clone())
            } else {
                Adjusted::IdReused
            };
        }
        let movement = adjustment.change.movement();
        let Ok(after) = product.counters.after(movement) else {
            return Adjusted::TooFew;
        };
        product.counters = after;
        product.version += 1;
        if let AdjustmentKind::Restock(_) = adjustment.change {
            product.last_restocked = Some(adjustment.at);
        }
        let now = product.clone();
        let Adjustment {
            product_id,
            movement_id,
            actor,
            reason,
            at,
            ..
        } = adjustment;
        self.write_down(product_id, movement, movement_id, actor, Some(reason), *at);
        self.adjustments.insert(made, adjustment.change);
        Adjusted::Now(now)
    }

    fn write_down(
        &mut self,
        product_id: &ProductId,
        movement: Movement,
        reference: &str,
        actor: &str,
        note: Option<&str>,
        at: Timestamp,
    ) {
        let entry = Entry {
            entry_id: Entry::id_of(at, movement, reference),
            product_id: product_id.clone(),
            movement,
            reference: reference.to_owned(),
            actor: actor.to_owned(),
            note: note.map(str::to_owned),
            at,
        };
        self.ledger
            .insert((product_id.clone(), entry.entry_id.clone()), entry);
    }
}

impl Stock for MemoryStock {
    async fn products(&self) -> Result<Vec<StockedProduct>, StoreError> {
        self.answers().await;
        Ok(self.books().products.values().cloned().collect())
    }

    async fn product(&self, id: &ProductId) -> Result<Option<StockedProduct>, StoreError> {
        self.answers().await;
        Ok(self.books().products.get(id).cloned())
    }

    async fn reserve(
        &self,
        order_id: OrderId,
        lines: &Lines,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Reserved, StoreError> {
        let mut books = self.books();
        match books.reservations.get(&order_id) {
            Some(Reservation::Held { .. }) => return Ok(Reserved::Held),
            Some(Reservation::Confirmed { .. }) => return Ok(Reserved::Confirmed),
            Some(Reservation::Released { .. }) => return Ok(Reserved::Released),
            None => {}
        }
        if let Err(short) = books.count(order_id, lines, Movement::Reserve, now) {
            return Ok(Reserved::TooFew(short));
        }
        books.reservations.insert(
            order_id,
            Reservation::Held {
                lines: lines.clone(),
                expires_at,
            },
        );
        Ok(Reserved::Held)
    }

    async fn confirm(&self, order_id: OrderId, now: Timestamp) -> Result<Confirmed, StoreError> {
        let mut books = self.books();
        let lines = match books.reservations.get(&order_id) {
            Some(Reservation::Held { lines, .. }) => lines.clone(),
            Some(Reservation::Confirmed { .. }) => return Ok(Confirmed::Sold),
            Some(Reservation::Released { .. }) | None => return Ok(Confirmed::NoHold),
        };
        let counted = books.count(order_id, &lines, Movement::Confirm, now);
        counted.map_err(|short| StoreError::new(Backend::Stock, format!("{short:?}")))?;
        books
            .reservations
            .insert(order_id, Reservation::Confirmed { lines });
        Ok(Confirmed::Sold)
    }

    async fn release(&self, order_id: OrderId, now: Timestamp) -> Result<(), StoreError> {
        let mut books = self.books();
        let given_back = match books.reservations.get(&order_id) {
            Some(Reservation::Held { lines, .. }) => {
                Some((lines.clone(), Movement::Release as fn(u32) -> Movement))
            }
            Some(Reservation::Confirmed { lines }) => {
                Some((lines.clone(), Movement::Return as fn(u32) -> Movement))
            }
            Some(Reservation::Released { .. }) => return Ok(()),
            None => None,
        };
        let mut lines_of_it = Lines::default();
        if let Some((lines, movement)) = given_back {
            let counted = books.count(order_id, &lines, movement, now);
            counted.map_err(|short| StoreError::new(Backend::Stock, format!("{short:?}")))?;
            lines_of_it = lines;
        }
        books
            .reservations
            .insert(order_id, Reservation::Released { lines: lines_of_it });
        Ok(())
    }

    async fn expired_holds(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ExpiredHold>, StoreError> {
        let books = self.books();
        let holds =
            books
                .reservations
                .iter()
                .filter_map(|(order_id, reservation)| match reservation {
                    Reservation::Held { expires_at, .. } if *expires_at < now => {
                        Some(ExpiredHold {
                            order_id: *order_id,
                            expires_at: *expires_at,
                        })
                    }
                    Reservation::Held { .. }
                    | Reservation::Confirmed { .. }
                    | Reservation::Released { .. } => None,
                });
        Ok(holds.take(limit as usize).collect())
    }

    async fn adjust(&self, adjustment: &Adjustment) -> Result<Adjusted, StoreError> {
        let adjusted = self.books().adjust(adjustment);
        self.answers().await;
        Ok(adjusted)
    }

    async fn add_product(
        &self,
        product: &Product,
        received: u32,
        low_stock_threshold: i64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut books = self.books();
        if books.products.contains_key(&product.product_id) {
            return Ok(false);
        }
        let stocked = StockedProduct {
            product: product.clone(),
            counters: Counters::received(received),
            low_stock_threshold,
            version: 1,
            last_restocked: Some(now),
        };
        books.products.insert(product.product_id.clone(), stocked);
        if received > 0 {
            books.write_down(
                &product.product_id,
                Movement::Restock(received),
                OPENING,
                ACTOR,
                Some(OPENING),
                now,
            );
        }
        Ok(true)
    }
}

impl Reservations for MemoryStock {
    async fn reservation(
        &self,
        order_id: OrderId,
    ) -> Result<Option<crate::ports::stock::Reservation>, StoreError> {
        self.answers().await;
        let books = self.books();
        let Some(reservation) = books.reservations.get(&order_id) else {
            return Ok(None);
        };
        let (state, lines, expires_at) = match reservation {
            Reservation::Held { lines, expires_at } => (HoldState::Held, lines, Some(*expires_at)),
            Reservation::Confirmed { lines } => (HoldState::Confirmed, lines, None),
            Reservation::Released { lines } => (HoldState::Released, lines, None),
        };
        let lines = Vec::from(lines.clone());
        Ok(Some(crate::ports::stock::Reservation {
            state,
            lines,
            created_at: None,
            expires_at,
            settled_at: None,
        }))
    }
}

impl Ledger for MemoryStock {
    async fn entries(
        &self,
        product_id: &ProductId,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        let books = self.books();
        let of_product = books
            .ledger
            .values()
            .filter(|entry| entry.product_id == *product_id);
        let older =
            of_product.filter(|entry| before.is_none_or(|before| entry.entry_id.as_str() < before));
        let mut entries: Vec<Entry> = older.cloned().collect();
        entries.reverse();
        entries.truncate(limit.min(ENTRIES_MAX) as usize);
        Ok(entries)
    }

    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        let books = self.books();
        let hold = |(order_id, reservation): (&OrderId, &Reservation)| {
            let (state, lines) = match reservation {
                Reservation::Held { lines, .. } => (HoldState::Held, lines.clone()),
                Reservation::Confirmed { lines } => (HoldState::Confirmed, lines.clone()),
                Reservation::Released { lines } => (HoldState::Released, lines.clone()),
            };
            let mut lines = Vec::from(lines);
            lines.sort_by(|a, b| a.product_id.cmp(&b.product_id));
            Hold {
                order_id: *order_id,
                state,
                lines,
            }
        };
        Ok(books.reservations.iter().map(hold).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws;

    #[test]
    fn the_adapter_passes_the_laws_of_stock() {
        futures::executor::block_on(laws::stock::all(&MemoryStock::default()));
    }

    #[test]
    fn a_race_never_sells_more_than_the_stock() {
        let race = futures::executor::block_on(laws::stock::race(&MemoryStock::default()));
        assert_eq!((race.sold, race.unavailable), (100, 0));
    }
}
