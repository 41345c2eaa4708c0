//! Stock in memory: one lock, the same answers.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::Timestamp;
use domain::cart::Lines;
use domain::ids::{OrderId, ProductId};
use domain::menu::Product;
use domain::stock::{Counters, Movement};

use crate::ports::Unavailable;
use crate::ports::stock::{
    Adjusted, Adjustment, AdjustmentKind, Confirmed, ExpiredHold, ReservationState, Reservations, Reserved, Stock,
    StockedProduct,
};

#[derive(Default)]
pub struct MemoryStock(Mutex<Books>);

#[derive(Default)]
struct Books {
    products: BTreeMap<ProductId, StockedProduct>,
    reservations: BTreeMap<OrderId, Reservation>,
    movements: BTreeMap<(ProductId, String), AdjustmentKind>,
}

enum Reservation {
    Held { lines: Lines, expires_at: Timestamp },
    Confirmed { lines: Lines },
    Released,
}

impl MemoryStock {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// All lines or none; else the products that do not allow it.
    fn count(&mut self, lines: &Lines, movement: fn(u32) -> Movement) -> Result<(), Vec<ProductId>> {
        let after = |product_id: &ProductId, units: u32| {
            self.products.get(product_id).and_then(|there| there.counters.after(movement(units)).ok())
        };
        let counted: Vec<_> =
            lines.iter().map(|line| (line.product_id.clone(), after(&line.product_id, line.quantity.get()))).collect();
        let short: Vec<ProductId> =
            counted.iter().filter(|(_, after)| after.is_none()).map(|(product_id, _)| product_id.clone()).collect();
        if !short.is_empty() {
            return Err(short);
        }
        for (product_id, after) in counted {
            if let (Some(product), Some(after)) = (self.products.get_mut(&product_id), after) {
                product.counters = after;
                product.version += 1;
            }
        }
        Ok(())
    }
}

impl Stock for MemoryStock {
    async fn products(&self) -> Result<Vec<StockedProduct>, Unavailable> {
        Ok(self.books().products.values().cloned().collect())
    }

    async fn product(&self, id: &ProductId) -> Result<Option<StockedProduct>, Unavailable> {
        Ok(self.books().products.get(id).cloned())
    }

    async fn reserve(
        &self,
        order_id: OrderId,
        lines: &Lines,
        _now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Reserved, Unavailable> {
        let mut books = self.books();
        match books.reservations.get(&order_id) {
            Some(Reservation::Held { .. }) => return Ok(Reserved::Held),
            Some(Reservation::Confirmed { .. }) => return Ok(Reserved::Confirmed),
            Some(Reservation::Released) => return Ok(Reserved::Released),
            None => {}
        }
        if let Err(short) = books.count(lines, Movement::Reserve) {
            return Ok(Reserved::TooFew(short));
        }
        books.reservations.insert(order_id, Reservation::Held { lines: lines.clone(), expires_at });
        Ok(Reserved::Held)
    }

    async fn confirm(&self, order_id: OrderId, _now: Timestamp) -> Result<Confirmed, Unavailable> {
        let mut books = self.books();
        let lines = match books.reservations.get(&order_id) {
            Some(Reservation::Held { lines, .. }) => lines.clone(),
            Some(Reservation::Confirmed { .. }) => return Ok(Confirmed::Sold),
            Some(Reservation::Released) | None => return Ok(Confirmed::NoHold),
        };
        books.count(&lines, Movement::Confirm).map_err(|short| Unavailable::new("stock", format!("{short:?}")))?;
        books.reservations.insert(order_id, Reservation::Confirmed { lines });
        Ok(Confirmed::Sold)
    }

    async fn release(&self, order_id: OrderId, _now: Timestamp) -> Result<(), Unavailable> {
        let mut books = self.books();
        let given_back = match books.reservations.get(&order_id) {
            Some(Reservation::Held { lines, .. }) => Some((lines.clone(), Movement::Release as fn(u32) -> Movement)),
            Some(Reservation::Confirmed { lines }) => Some((lines.clone(), Movement::Return as fn(u32) -> Movement)),
            Some(Reservation::Released) | None => None,
        };
        if let Some((lines, movement)) = given_back {
            books.count(&lines, movement).map_err(|short| Unavailable::new("stock", format!("{short:?}")))?;
        }
        books.reservations.insert(order_id, Reservation::Released);
        Ok(())
    }

    async fn expired_holds(&self, now: Timestamp, limit: u32) -> Result<Vec<ExpiredHold>, Unavailable> {
        let books = self.books();
        let holds = books.reservations.iter().filter_map(|(order_id, reservation)| match reservation {
            Reservation::Held { expires_at, .. } if *expires_at < now => {
                Some(ExpiredHold { order_id: *order_id, expires_at: *expires_at })
            }
            Reservation::Held { .. } | Reservation::Confirmed { .. } | Reservation::Released => None,
        });
        Ok(holds.take(limit as usize).collect())
    }

    async fn adjust(&self, adjustment: &Adjustment) -> Result<Adjusted, Unavailable> {
        let mut books = self.books();
        let made = (adjustment.product_id.clone(), adjustment.movement_id.clone());
        let before = books.movements.get(&made).copied();
        let Some(product) = books.products.get_mut(&adjustment.product_id) else {
            return Ok(Adjusted::NoSuchProduct);
        };
        if let Some(before) = before {
            return Ok(if before == adjustment.change { Adjusted::Now(product.clone()) } else { Adjusted::IdReused });
        }
        let units = |change: i64| u32::try_from(change.unsigned_abs()).unwrap_or(u32::MAX);
        let movement = match adjustment.change {
            AdjustmentKind::Restock(count) => Movement::Restock(count),
            AdjustmentKind::Correct(change) if change < 0 => Movement::WriteOff(units(change)),
            AdjustmentKind::Correct(change) => Movement::WriteOn(units(change)),
        };
        let Ok(after) = product.counters.after(movement) else { return Ok(Adjusted::TooFew) };
        product.counters = after;
        product.version += 1;
        if let AdjustmentKind::Restock(_) = adjustment.change {
            product.last_restocked = Some(adjustment.at);
        }
        let now = product.clone();
        books.movements.insert(made, adjustment.change);
        Ok(Adjusted::Now(now))
    }

    async fn add_product(
        &self,
        product: &Product,
        received: u32,
        low_stock_threshold: i64,
        now: Timestamp,
    ) -> Result<bool, Unavailable> {
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
        Ok(true)
    }
}

impl Reservations for MemoryStock {
    async fn reservation(&self, order_id: OrderId) -> Result<Option<crate::ports::stock::Reservation>, Unavailable> {
        let books = self.books();
        let Some(reservation) = books.reservations.get(&order_id) else { return Ok(None) };
        let (state, lines, expires_at) = match reservation {
            Reservation::Held { lines, expires_at } => (ReservationState::Held, Some(lines), Some(*expires_at)),
            Reservation::Confirmed { lines } => (ReservationState::Confirmed, Some(lines), None),
            Reservation::Released => (ReservationState::Released, None, None),
        };
        let lines = lines.map(|lines| lines.iter().cloned().collect()).unwrap_or_default();
        Ok(Some(crate::ports::stock::Reservation { state, lines, created_at: None, expires_at, settled_at: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws;

    #[test]
    fn it_passes_the_laws_of_stock() {
        futures::executor::block_on(laws::stock::all(&MemoryStock::default()));
    }

    #[test]
    fn a_race_sells_what_there_is() {
        let race = futures::executor::block_on(laws::stock::race(&MemoryStock::default()));
        assert_eq!((race.sold, race.unavailable), (100, 0));
    }
}
