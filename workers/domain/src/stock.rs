//! Stock counters of a product. The conservation law `received = available + reserved + sold +
//! written_off` always holds, and no counter is negative.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

/// The five stock counters of one product, in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    pub available: i64,
    pub reserved: i64,
    pub sold: i64,
    pub written_off: i64,
    pub received: i64,
}

/// A change of a product's stock counters. Each change becomes a ledger entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Movement {
    /// Units are reserved for an order that is not paid yet.
    Reserve(u32),
    /// Reserved units are sold.
    Confirm(u32),
    /// Reserved units become available again.
    Release(u32),
    /// Sold units of a cancelled order become available again.
    Return(u32),
    /// Units are delivered to the shop.
    Restock(u32),
    /// Units are missing or spoiled.
    WriteOff(u32),
    /// Written-off units become available again, because the write-off was a mistake.
    WriteOn(u32),
}

/// A change that the counters do not allow, because a counter would become negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too few units: {wanted} wanted, {there} there")]
pub struct TooFew {
    /// Units to subtract from the counter.
    pub wanted: u32,
    /// The value of the counter.
    pub there: i64,
}

impl Movement {
    /// Returns the name of the change in the ledger.
    pub const fn code(self) -> &'static str {
        self.into_str()
    }

    /// Returns the change with this name.
    pub fn from_code(code: &str, units: u32) -> Option<Movement> {
        let all = [
            Movement::Reserve(units),
            Movement::Confirm(units),
            Movement::Release(units),
            Movement::Return(units),
            Movement::Restock(units),
            Movement::WriteOff(units),
            Movement::WriteOn(units),
        ];
        all.into_iter().find(|movement| movement.code() == code)
    }

    /// Returns the number of units.
    pub const fn units(self) -> u32 {
        match self {
            Movement::Reserve(n)
            | Movement::Confirm(n)
            | Movement::Release(n)
            | Movement::Return(n)
            | Movement::Restock(n)
            | Movement::WriteOff(n)
            | Movement::WriteOn(n) => n,
        }
    }

    /// Returns the change of each counter. The change of `received` equals the sum of the other
    /// changes, which preserves the conservation law.
    pub const fn delta(self) -> Counters {
        let n = self.units() as i64;
        let [available, reserved, sold, written_off, received] = match self {
            Movement::Reserve(_) => [-n, n, 0, 0, 0],
            Movement::Confirm(_) => [0, -n, n, 0, 0],
            Movement::Release(_) => [n, -n, 0, 0, 0],
            Movement::Return(_) => [n, 0, -n, 0, 0],
            Movement::Restock(_) => [n, 0, 0, 0, n],
            Movement::WriteOff(_) => [-n, 0, 0, n, 0],
            Movement::WriteOn(_) => [n, 0, 0, -n, 0],
        };
        Counters {
            available,
            reserved,
            sold,
            written_off,
            received,
        }
    }
}

impl Counters {
    /// Returns the counters of a product after its first delivery.
    pub const fn received(units: u32) -> Counters {
        Counters {
            available: units as i64,
            reserved: 0,
            sold: 0,
            written_off: 0,
            received: units as i64,
        }
    }

    /// Returns the counters after `movement`.
    ///
    /// # Errors
    /// [`TooFew`] when a counter would become negative.
    pub fn after(self, movement: Movement) -> Result<Counters, TooFew> {
        let delta = movement.delta();
        let mut next = self;
        for (counter, change) in [
            (&mut next.available, delta.available),
            (&mut next.reserved, delta.reserved),
            (&mut next.sold, delta.sold),
            (&mut next.written_off, delta.written_off),
            (&mut next.received, delta.received),
        ] {
            if *counter + change < 0 {
                return Err(TooFew {
                    wanted: u32::try_from(-change).unwrap_or(u32::MAX),
                    there: *counter,
                });
            }
            *counter += change;
        }
        Ok(next)
    }

    /// Returns the sum of ledger entries, in any order: the counters according to the ledger.
    pub fn of(movements: impl IntoIterator<Item = Movement>) -> Counters {
        movements
            .into_iter()
            .fold(Counters::default(), |sum, movement| {
                let delta = movement.delta();
                Counters {
                    available: sum.available + delta.available,
                    reserved: sum.reserved + delta.reserved,
                    sold: sum.sold + delta.sold,
                    written_off: sum.written_off + delta.written_off,
                    received: sum.received + delta.received,
                }
            })
    }

    /// Returns whether the conservation law holds. False means a defect or a manual change of the
    /// table; see `runbooks/stock-drift.md`.
    pub const fn conserved(self) -> bool {
        self.received == self.available + self.reserved + self.sold + self.written_off
            && self.available >= 0
            && self.reserved >= 0
            && self.sold >= 0
            && self.written_off >= 0
    }

    /// Returns the availability that customers see.
    pub const fn availability(self, low_stock_threshold: i64) -> Availability {
        if self.available <= 0 {
            Availability::Out
        } else if self.available <= low_stock_threshold {
            Availability::Low
        } else {
            Availability::InStock
        }
    }
}

/// The availability of a product as customers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Availability {
    /// More units than the threshold for low stock.
    InStock,
    /// No more units than the threshold.
    Low,
    /// Sold out.
    Out,
}

crate::named_variants!(Availability);

impl Availability {
    /// Returns the new level when the stock fell from level `self` to `now`. `None` when the level
    /// did not get worse. Staff are therefore notified once for each change of level, not once for
    /// each order.
    pub fn worsened_to(self, now: Availability) -> Option<Availability> {
        (now > self).then_some(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn movements() -> impl Strategy<Value = Movement> {
        (0u8..7, 0u32..50).prop_map(|(kind, n)| match kind {
            0 => Movement::Reserve(n),
            1 => Movement::Confirm(n),
            2 => Movement::Release(n),
            3 => Movement::Return(n),
            4 => Movement::Restock(n),
            5 => Movement::WriteOff(n),
            _ => Movement::WriteOn(n),
        })
    }

    proptest! {
        #[test]
        fn no_sequence_of_changes_creates_or_loses_a_unit(
            received in 0u32..200,
            sequence in proptest::collection::vec(movements(), 0..200),
        ) {
            let mut counters = Counters::received(received);
            for movement in sequence {
                counters = counters.after(movement).unwrap_or(counters);
                prop_assert!(counters.conserved(), "{movement:?} gave {counters:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_ledger_entries_sum_to_the_counters(
            sequence in proptest::collection::vec(movements(), 0..200),
        ) {
            let (mut counters, mut ledger) = (Counters::default(), Vec::new());
            for movement in sequence {
                if let Ok(after) = counters.after(movement) {
                    counters = after;
                    ledger.push(movement);
                }
            }
            ledger.reverse();
            let read = ledger.iter().filter_map(|made| Movement::from_code(made.code(), made.units()));
            prop_assert_eq!(Counters::of(read), counters);
        }
    }

    #[test]
    fn a_released_reservation_leaves_the_counters_unchanged() {
        let full = Counters::received(3);
        let held = full.after(Movement::Reserve(3)).expect("three are there");
        assert_eq!(
            held.after(Movement::Reserve(1)),
            Err(TooFew {
                wanted: 1,
                there: 0
            })
        );
        assert_eq!(held.after(Movement::Release(3)), Ok(full));
        let sold = held.after(Movement::Confirm(3)).expect("three are held");
        assert_eq!(sold.after(Movement::Return(3)), Ok(full));
    }

    #[test]
    fn invalid_counters_are_reported() {
        let sound = Counters {
            available: 1,
            reserved: 2,
            sold: 3,
            written_off: 4,
            received: 10,
        };
        assert!(sound.conserved());
        assert!(
            !Counters {
                received: 11,
                ..sound
            }
            .conserved()
        );
        // Each of these satisfies the equation and has one negative counter.
        for broken in [
            Counters {
                available: -1,
                reserved: 4,
                ..sound
            },
            Counters {
                reserved: -1,
                available: 4,
                ..sound
            },
            Counters {
                sold: -1,
                available: 5,
                ..sound
            },
            Counters {
                written_off: -1,
                available: 6,
                ..sound
            },
        ] {
            assert!(!broken.conserved(), "{broken:?}");
        }
        assert!(Counters::default().conserved(), "none is as good as any");
    }

    #[test]
    fn a_level_is_low_at_its_threshold_and_out_at_nothing() {
        use Availability::*;
        for (available, level) in [(-1, Out), (0, Out), (1, Low), (3, Low), (4, InStock)] {
            assert_eq!(
                Counters {
                    available,
                    ..Counters::default()
                }
                .availability(3),
                level,
                "{available}"
            );
        }
        for (code, level) in [("in_stock", InStock), ("low", Low), ("out", Out)] {
            assert_eq!(
                (level.code(), Availability::from_code(code)),
                (code, Some(level))
            );
        }
        assert_eq!(Availability::from_code("Out"), None);
    }

    #[test]
    fn staff_are_notified_of_a_level_once() {
        use Availability::*;
        let heard = |from: Availability, to| from.worsened_to(to);
        assert_eq!(heard(InStock, Low), Some(Low));
        assert_eq!(heard(InStock, Out), Some(Out));
        assert_eq!(heard(Low, Out), Some(Out));
        for (from, to) in [
            (Low, Low),
            (Out, Out),
            (Out, Low),
            (Low, InStock),
            (InStock, InStock),
        ] {
            assert_eq!(heard(from, to), None);
        }
    }
}
