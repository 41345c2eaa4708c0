//! The gateway's books in memory, and every decision about money. No clock, no disk, no network, no
//! chance.
//!
//! `decide_*` says what a request comes to and changes nothing; [`Books::record`] takes one
//! [`Entry`] over. The running gateway and the replay of its ledger go through the same `record`,
//! so they cannot disagree.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::tokens::{Outcome, Token, Trouble};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChargeRequest {
    pub amount_minor: i64,
    pub currency: String,
    pub token: String,
    pub reference: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundRequest {
    pub charge_id: String,
    pub amount_minor: i64,
}

/// One line of the ledger file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    Charge(Charge),
    Refund(Refund),
    /// No money moved: kept for the count of tries and for the key's claim on its body, not shown
    /// in `GET /v1/ledger`.
    Withheld(Withheld),
}

/// A charge that was executed, captured or declined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    pub charge_id: String,
    pub idempotency_key: String,
    pub request: ChargeRequest,
    pub outcome: Outcome,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// Money given back. `currency` and `reference` are the charge's, repeated so that a line can be
/// read alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refund {
    pub refund_id: String,
    pub idempotency_key: String,
    pub request: RefundRequest,
    pub currency: String,
    pub reference: String,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// A try that a token's [`Trouble`] kept from executing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Withheld {
    pub idempotency_key: String,
    pub request: ChargeRequest,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// What a charge request comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum ChargeStep {
    Known(Charge),
    Execute(Charge),
    Withhold(Withheld, Trouble),
}

/// What a refund request comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum RefundStep {
    Known(Refund),
    Execute(Refund),
}

/// Why a request is turned away. A refusal moves nothing and is not remembered under the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    KeyReused,
    UnknownCharge,
    MoreThanRefundable { refundable_minor: i64 },
}

/// An entry that cannot follow those before it: the file was edited, or the gateway has a bug.
#[derive(Debug, PartialEq, Eq)]
pub struct Inconsistent(pub &'static str);

/// The identity and instant of a new entry, given from outside.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub id: Uuid,
    pub at: OffsetDateTime,
}

#[derive(Default)]
pub struct Books {
    /// By charge id.
    accounts: HashMap<String, Account>,
    /// By idempotency key: one namespace for charges and refunds.
    claims: HashMap<String, Claim>,
    /// What moved or was refused, in order.
    movements: Vec<Movement>,
}

struct Account {
    charge: Charge,
    refunded_minor: i64,
}

/// What a key stands for.
enum Claim {
    Tried { request: ChargeRequest, tries: u32 },
    Charged { charge_id: String },
    Refunded(Refund),
}

/// One entry of `GET /v1/ledger`.
#[derive(Debug, Clone, Serialize)]
pub struct Movement {
    kind: &'static str,
    charge_id: String,
    reference: String,
    amount_minor: i64,
    currency: String,
    status: &'static str,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
}

/// The status of every refund: a refund is executed whole or refused.
pub const REFUNDED: &str = "refunded";

impl Books {
    pub fn decide_charge(
        &self,
        key: &str,
        request: ChargeRequest,
        moment: Moment,
    ) -> Result<ChargeStep, Refusal> {
        let tries = match self.claims.get(key) {
            None => 0,
            Some(Claim::Tried {
                request: tried,
                tries,
            }) if *tried == request => *tries,
            Some(Claim::Charged { charge_id }) => {
                return match self.accounts.get(charge_id) {
                    Some(account) if account.charge.request == request => {
                        Ok(ChargeStep::Known(account.charge.clone()))
                    }
                    Some(_) | None => Err(Refusal::KeyReused),
                };
            }
            Some(Claim::Tried { .. } | Claim::Refunded(_)) => return Err(Refusal::KeyReused),
        };
        let token = Token::named(&request.token);
        let idempotency_key = key.to_owned();
        Ok(match token.trouble(tries) {
            Some(trouble) => ChargeStep::Withhold(
                Withheld {
                    idempotency_key,
                    request,
                    at: moment.at,
                },
                trouble,
            ),
            None => ChargeStep::Execute(Charge {
                charge_id: format!("ch_{}", moment.id.simple()),
                idempotency_key,
                request,
                outcome: token.outcome(),
                at: moment.at,
            }),
        })
    }

    pub fn decide_refund(
        &self,
        key: &str,
        request: RefundRequest,
        moment: Moment,
    ) -> Result<RefundStep, Refusal> {
        match self.claims.get(key) {
            None => {}
            Some(Claim::Refunded(refund)) if refund.request == request => {
                return Ok(RefundStep::Known(refund.clone()));
            }
            Some(Claim::Refunded(_) | Claim::Charged { .. } | Claim::Tried { .. }) => {
                return Err(Refusal::KeyReused);
            }
        }
        let account = self
            .accounts
            .get(&request.charge_id)
            .ok_or(Refusal::UnknownCharge)?;
        let refundable_minor = account.refundable_minor();
        if request.amount_minor > refundable_minor {
            return Err(Refusal::MoreThanRefundable { refundable_minor });
        }
        Ok(RefundStep::Execute(Refund {
            refund_id: format!("re_{}", moment.id.simple()),
            idempotency_key: key.to_owned(),
            request,
            currency: account.charge.request.currency.clone(),
            reference: account.charge.request.reference.clone(),
            at: moment.at,
        }))
    }

    pub fn charge_of_key(&self, key: &str) -> Option<&Charge> {
        match self.claims.get(key)? {
            Claim::Charged { charge_id } => {
                self.accounts.get(charge_id).map(|account| &account.charge)
            }
            Claim::Tried { .. } | Claim::Refunded(_) => None,
        }
    }

    pub fn movements(&self) -> &[Movement] {
        &self.movements
    }

    /// Takes one entry over. On an error nothing has changed.
    pub fn record(&mut self, entry: Entry) -> Result<(), Inconsistent> {
        match entry {
            Entry::Charge(charge) => self.record_charge(charge),
            Entry::Refund(refund) => self.record_refund(refund),
            Entry::Withheld(withheld) => self.record_withheld(withheld),
        }
    }

    fn record_charge(&mut self, charge: Charge) -> Result<(), Inconsistent> {
        match self.claims.get(&charge.idempotency_key) {
            None => {}
            Some(Claim::Tried { request, .. }) if *request == charge.request => {}
            Some(Claim::Tried { .. } | Claim::Charged { .. } | Claim::Refunded(_)) => {
                return Err(KEY_TAKEN);
            }
        }
        let Slot::Vacant(slot) = self.accounts.entry(charge.charge_id.clone()) else {
            return Err(Inconsistent("the charge is there already"));
        };
        let claim = Claim::Charged {
            charge_id: charge.charge_id.clone(),
        };
        self.claims.insert(charge.idempotency_key.clone(), claim);
        self.movements.push(Movement {
            kind: "charge",
            charge_id: charge.charge_id.clone(),
            reference: charge.request.reference.clone(),
            amount_minor: charge.request.amount_minor,
            currency: charge.request.currency.clone(),
            status: charge.outcome.status(),
            at: charge.at,
        });
        slot.insert(Account {
            charge,
            refunded_minor: 0,
        });
        Ok(())
    }

    fn record_refund(&mut self, refund: Refund) -> Result<(), Inconsistent> {
        let Slot::Vacant(claim) = self.claims.entry(refund.idempotency_key.clone()) else {
            return Err(KEY_TAKEN);
        };
        let account = self
            .accounts
            .get_mut(&refund.request.charge_id)
            .ok_or(Inconsistent("the refund is of no known charge"))?;
        if refund.request.amount_minor > account.refundable_minor() {
            return Err(Inconsistent("the refund is of more than was captured"));
        }
        account.refunded_minor += refund.request.amount_minor;
        self.movements.push(Movement {
            kind: "refund",
            charge_id: refund.request.charge_id.clone(),
            reference: refund.reference.clone(),
            amount_minor: refund.request.amount_minor,
            currency: refund.currency.clone(),
            status: REFUNDED,
            at: refund.at,
        });
        claim.insert(Claim::Refunded(refund));
        Ok(())
    }

    fn record_withheld(&mut self, withheld: Withheld) -> Result<(), Inconsistent> {
        match self.claims.entry(withheld.idempotency_key) {
            Slot::Vacant(slot) => {
                slot.insert(Claim::Tried {
                    request: withheld.request,
                    tries: 1,
                });
                Ok(())
            }
            Slot::Occupied(mut slot) => match slot.get_mut() {
                Claim::Tried { request, tries } if *request == withheld.request => {
                    *tries = tries.saturating_add(1);
                    Ok(())
                }
                Claim::Tried { .. } | Claim::Charged { .. } | Claim::Refunded(_) => Err(KEY_TAKEN),
            },
        }
    }
}

const KEY_TAKEN: Inconsistent =
    Inconsistent("the idempotency key stands for something else already");

impl Account {
    fn refundable_minor(&self) -> i64 {
        match self.charge.outcome {
            Outcome::Captured => self.charge.request.amount_minor - self.refunded_minor,
            Outcome::Declined { .. } => 0,
        }
    }
}

impl Outcome {
    pub fn status(self) -> &'static str {
        match self {
            Outcome::Captured => "captured",
            Outcome::Declined { .. } => "declined",
        }
    }
}
