//! A simulated payment gateway. Its ledger records what the gateway did, even if a reply was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use app::ports::gateway::{ChargeOutcome, Gateway, GatewayError};
use contract::cause::Cause;
use domain::ids::OrderId;
use domain::money::Money;

use super::engine::{Engine, Lost};
use super::hits::Hit;
use super::mistake::Mistake;
use super::port::Port;
use super::task::Who;

/// The captures and refunds of one order, in minor units.
#[derive(Debug, Clone, Default)]
pub struct Account {
    pub captured: Vec<i64>,
    pub refunded: Vec<i64>,
}

/// The gateway's ledger.
#[derive(Default)]
pub struct Ledger(Mutex<Books>);

#[derive(Default)]
struct Books {
    by_key: BTreeMap<String, ChargeOutcome>,
    tries: BTreeMap<String, u32>,
    refunds: BTreeSet<String>,
    charges: BTreeMap<String, OrderId>,
    accounts: BTreeMap<OrderId, Account>,
    /// Requests that were delayed, with the times at which they arrive.
    under_way: Vec<(u64, Request)>,
}

#[derive(Clone)]
struct Request {
    key: String,
    order_id: OrderId,
    amount: Money,
    token: String,
}

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles all requests that were delayed.
    pub fn take_in_all(&self, engine: &Engine) {
        self.books().arrive(engine, u64::MAX);
    }

    /// Returns the captures and refunds of an order.
    pub fn account(&self, order_id: OrderId) -> Account {
        self.books()
            .accounts
            .get(&order_id)
            .cloned()
            .unwrap_or_default()
    }
}

impl Books {
    fn arrive(&mut self, engine: &Engine, now_ms: u64) {
        let (there, later) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|(at, _)| *at <= now_ms);
        self.under_way = later;
        let there: Vec<(u64, Request)> = there;
        for (_, request) in there {
            engine.hit(Hit::LateCharge);
            self.charge(engine, &request);
        }
    }

    fn charge(&mut self, engine: &Engine, request: &Request) -> ChargeOutcome {
        let Request {
            key,
            order_id,
            amount,
            token,
        } = request;
        if let Some(known) = self.by_key.get(key) {
            return known.clone();
        }
        let charge_id = format!("ch_{}", self.charges.len());
        self.charges.insert(charge_id.clone(), *order_id);
        let outcome = if token == "tok_declined" {
            engine.hit(Hit::Declined);
            ChargeOutcome::Declined {
                charge_id,
                reason: "card_declined".to_owned(),
            }
        } else {
            let account = self.accounts.entry(*order_id).or_default();
            account.captured.push(amount.minor);
            if account.captured.len() > 1 {
                engine.violate(
                    "I7",
                    format!("charged {} times", account.captured.len()),
                    Some(*order_id),
                );
            }
            ChargeOutcome::Captured {
                charge_id,
                amount: *amount,
            }
        };
        self.by_key.insert(key.clone(), outcome.clone());
        outcome
    }

    fn refund(&mut self, engine: &Engine, key: &str, charge_id: &str, amount: Money) {
        let Some(order_id) = self.charges.get(charge_id).copied() else {
            engine.violate(
                "I7",
                format!("a refund of the unknown charge {charge_id}"),
                None,
            );
            return;
        };
        if self.refunds.insert(key.to_owned()) {
            engine.hit(Hit::Refund);
            let account = self.accounts.entry(order_id).or_default();
            account.refunded.push(amount.minor);
            if account.refunded.len() > account.captured.len() {
                engine.violate(
                    "I7",
                    format!("refunded {} times", account.refunded.len()),
                    Some(order_id),
                );
            }
        }
    }
}

/// The client of one process.
pub struct SimGateway {
    pub engine: Arc<Engine>,
    pub ledger: Arc<Ledger>,
    pub who: Who,
}

impl SimGateway {
    /// Returns the idempotency key that the gateway sees.
    fn key(&self, key: &str, mistake: Mistake) -> String {
        if self.engine.is_mistaken(mistake) {
            format!("{key}:{}", self.engine.uuid())
        } else {
            key.to_owned()
        }
    }

    fn unknown(&self, why: &str) -> GatewayError {
        self.engine.hit(Hit::UnknownPayment);
        if self.engine.is_mistaken(Mistake::UnknownIsRefused) {
            return GatewayError::Refused(Cause::new(why));
        }
        GatewayError::Unknown(Cause::new(why))
    }

    fn charge_now(&self, request: &Request) -> Result<ChargeOutcome, GatewayError> {
        let engine = &*self.engine;
        let mut books = self.ledger.books();
        books.arrive(engine, engine.now_ms());
        let tries = books.tries.entry(request.order_id.to_string()).or_default();
        *tries += 1;
        let tries = *tries;
        match request.token.as_str() {
            "tok_flaky" if tries <= 2 => {
                engine.hit(Hit::FlakyGateway);
                Err(GatewayError::Unavailable(Cause::new("500")))
            }
            "tok_timeout_before" if tries == 1 => Err(self.unknown("no answer")),
            "tok_timeout" => {
                books.charge(engine, request);
                Err(self.unknown("no answer"))
            }
            _ => Ok(books.charge(engine, request)),
        }
    }

    /// Handles a request that had no effect. The request may still arrive later.
    fn lose(&self, request: Request) -> GatewayError {
        let engine = &self.engine;
        let late = engine.plan.late;
        if engine.dice(|dice| dice.permille(late)) {
            let at = engine.now_ms() + engine.dice(|dice| dice.between(100, 40_000));
            self.ledger.books().under_way.push((at, request));
            return self.unknown("no answer");
        }
        // The client either knows that the request was not sent or does not; both are simulated.
        if engine.dice(|dice| dice.permille(500)) {
            GatewayError::Unavailable(Cause::new("connection refused"))
        } else {
            self.unknown("no answer")
        }
    }
}

impl Gateway for SimGateway {
    async fn charge(
        &self,
        key: &str,
        order_id: OrderId,
        amount: Money,
        token: &str,
    ) -> Result<ChargeOutcome, GatewayError> {
        let key = self.key(key, Mistake::ChargeWithNewKey);
        let request = Request {
            key,
            order_id,
            amount,
            token: token.to_owned(),
        };
        let effect = || self.charge_now(&request);
        match self
            .engine
            .call(self.who, Port::Gateway, "charge", Some(order_id), effect)
            .await
        {
            Ok(outcome) => outcome,
            Err(Lost::After) => Err(self.unknown("no answer")),
            Err(Lost::Before) => Err(self.lose(request)),
        }
    }

    async fn charge_by_key(
        &self,
        key: &str,
        _amount: Money,
    ) -> Result<Option<ChargeOutcome>, GatewayError> {
        let effect = || {
            let mut books = self.ledger.books();
            books.arrive(&self.engine, self.engine.now_ms());
            books.by_key.get(key).cloned()
        };
        let called = self
            .engine
            .call(self.who, Port::Gateway, "ask after charge", None, effect)
            .await;
        // The query changes nothing, so a lost reply is no unknown outcome.
        called.map_err(|_| GatewayError::Unavailable(Cause::new("no answer")))
    }

    async fn refund(&self, key: &str, charge_id: &str, amount: Money) -> Result<(), GatewayError> {
        let key = self.key(key, Mistake::RefundWithNewKey);
        let order_id = self.ledger.books().charges.get(charge_id).copied();
        let effect = || {
            self.ledger
                .books()
                .refund(&self.engine, &key, charge_id, amount)
        };
        match self
            .engine
            .call(self.who, Port::Gateway, "refund", order_id, effect)
            .await
        {
            Ok(()) => Ok(()),
            Err(Lost::After) => Err(GatewayError::Unknown(Cause::new("no answer"))),
            Err(Lost::Before) => Err(GatewayError::Unavailable(Cause::new("connection refused"))),
        }
    }
}
