//! The customers of a run, and their orders.

use std::sync::{Mutex, MutexGuard, PoisonError};

use app::use_cases::place_order::{Expected, Request};
use domain::cart::{Line, Lines, Quantity};
use domain::channel::Preferences;
use domain::ids::{OrderId, ProductId};
use faults::Dice;

use super::plan::Plan;

/// The product that most customers order.
pub const HOT: &str = "affogato";
/// A product with enough stock for all.
pub const PLAIN: &str = "espresso";
const TABS_MAX: usize = 2;

/// A customer with one idempotency key and one or two browser tabs.
pub struct Customer {
    pub n: u64,
    pub tabs: usize,
    pub lines: Lines,
    pub token: &'static str,
    pub start_ms: u64,
    /// How long after the response the customer cancels the order.
    pub cancels_after_ms: Option<u64>,
    pub repeats: bool,
    pub history: Mutex<History>,
}

/// The responses that a customer saw, as a Jepsen client would record them.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Orders that were acknowledged.
    pub ok: Vec<OrderId>,
    /// Whether an attempt was refused finally.
    pub refused: bool,
    /// Whether an attempt had no response, so that an order may exist.
    pub unknown: bool,
    pub open: [bool; TABS_MAX],
    pub done: [bool; TABS_MAX],
    pub tries: [u32; TABS_MAX],
}

impl Customer {
    /// Draws a customer's behavior.
    pub fn of(n: u64, plan: &Plan, dice: &mut Dice) -> Customer {
        const TOKENS: [&str; 8] = [
            "tok_ok",
            "tok_ok",
            "tok_ok",
            "tok_ok",
            "tok_declined",
            "tok_timeout",
            "tok_timeout_before",
            "tok_flaky",
        ];
        let mut lines = Lines::default();
        let mut wanted = vec![if dice.permille(700) { HOT } else { PLAIN }];
        if dice.permille(300) {
            wanted.push(PLAIN);
        }
        for slug in wanted {
            let quantity = Quantity::new(dice.between(1, 2) as u32);
            let added = quantity.map(|quantity| {
                lines.add(Line {
                    product_id: product_id(slug),
                    quantity,
                })
            });
            debug_assert!(matches!(added, Some(Ok(()))));
        }
        Customer {
            n,
            tabs: if dice.permille(150) { TABS_MAX } else { 1 },
            lines,
            token: TOKENS[dice.below(TOKENS.len() as u64) as usize],
            start_ms: dice.below(plan.storm_ms.min(40_000)),
            cancels_after_ms: dice.permille(250).then(|| dice.below(6_000)),
            repeats: dice.permille(250),
            history: Mutex::default(),
        }
    }

    /// Returns the customer's address, which no other customer has.
    pub fn email(&self) -> String {
        format!("customer{}@example.com", self.n)
    }

    /// Returns the responses so far.
    pub fn history(&self) -> History {
        self.book().clone()
    }

    /// Returns whether all tabs are done.
    pub fn is_done(&self) -> bool {
        self.book().done[..self.tabs].iter().all(|done| *done)
    }

    /// Locks the history.
    pub fn book(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the request, which is the same for every attempt.
    pub fn request(&self) -> Request {
        Request {
            customer_name: format!("Customer {}", self.n),
            customer_phone: "+1 555 010 0123".to_owned(),
            customer_email: self.email(),
            notify: Preferences::default(),
            order_type: "pickup".to_owned(),
            location_id: None,
            pickup_at: None,
            special_instructions: String::new(),
            delivery_address: None,
            address_required: false,
            payment_token: self.token.to_owned(),
            lines: self.lines.clone(),
            from_cart: false,
            idempotency_key: format!("key-{}", self.n),
            session_hash: None,
            other_sessions: Vec::new(),
            traceparent: None,
            expected: Expected::default(),
        }
    }
}

/// Returns the product id for a valid slug.
pub fn product_id(slug: &str) -> ProductId {
    ProductId::parse(slug).unwrap_or_else(|_| unreachable!("a slug"))
}
