//! An in-memory payment gateway that can lose its answers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::cause::Cause;
use domain::ids::OrderId;
use domain::money::Money;

use crate::ports::gateway::{ChargeOutcome, Gateway, GatewayError};

/// An in-memory payment gateway with its charges and refunds by idempotency key.
#[derive(Default)]
pub struct MemoryGateway(Mutex<Ledger>);

#[derive(Default)]
struct Ledger {
    charges: HashMap<String, Money>,
    refunds: HashMap<String, Money>,
    silent: bool,
}

impl MemoryGateway {
    /// Makes the gateway carry out requests without answering.
    pub fn set_silent(&self, silent: bool) {
        self.ledger().silent = silent;
    }

    /// Returns the sum of all charges minus all refunds, in minor units.
    pub fn balance(&self) -> i64 {
        let ledger = self.ledger();
        let sum = |entries: &HashMap<String, Money>| {
            entries.values().map(|amount| amount.minor).sum::<i64>()
        };
        sum(&ledger.charges) - sum(&ledger.refunds)
    }

    /// Returns the numbers of charges and refunds.
    pub fn entries(&self) -> (usize, usize) {
        let ledger = self.ledger();
        (ledger.charges.len(), ledger.refunds.len())
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lost() -> GatewayError {
    GatewayError::Unknown(Cause::new("no answer came"))
}

impl Gateway for MemoryGateway {
    async fn charge(
        &self,
        key: &str,
        _order_id: OrderId,
        amount: Money,
        _token: &str,
    ) -> Result<ChargeOutcome, GatewayError> {
        let mut ledger = self.ledger();
        let amount = *ledger.charges.entry(key.to_owned()).or_insert(amount);
        let outcome = ChargeOutcome::Captured {
            charge_id: format!("ch:{key}"),
            amount,
        };
        if ledger.silent {
            Err(lost())
        } else {
            Ok(outcome)
        }
    }

    async fn charge_by_key(
        &self,
        key: &str,
        _amount: Money,
    ) -> Result<Option<ChargeOutcome>, GatewayError> {
        let ledger = self.ledger();
        if ledger.silent {
            return Err(lost());
        }
        let outcome = |amount: &Money| ChargeOutcome::Captured {
            charge_id: format!("ch:{key}"),
            amount: *amount,
        };
        Ok(ledger.charges.get(key).map(outcome))
    }

    async fn refund(&self, key: &str, _charge_id: &str, amount: Money) -> Result<(), GatewayError> {
        let mut ledger = self.ledger();
        ledger.refunds.entry(key.to_owned()).or_insert(amount);
        if ledger.silent { Err(lost()) } else { Ok(()) }
    }
}
