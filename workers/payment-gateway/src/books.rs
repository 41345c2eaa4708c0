//! The state of the gateway in memory, and every decision about money. The module uses no clock,
//! disk, network or random numbers.
//!
//! `decide_*` returns what to do with a request and changes nothing; [`Books::record`] applies one
//! [`Entry`]. The running gateway and the replay of the ledger file use the same `record`, so they
//! always agree.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::tokens::{Outcome, Token, Trouble};

/// The fields of a charge request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChargeRequest {
    /// Amount in minor units.
    pub amount_minor: i64,
    /// Currency code (ISO 4217).
    pub currency: String,
    /// The payment token.
    pub token: String,
    /// The client's reference, such as an order id.
    pub reference: String,
}

/// The fields of a refund request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundRequest {
    /// The charge to refund.
    pub charge_id: String,
    /// Amount in minor units.
    pub amount_minor: i64,
}

/// One line of the ledger file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// A charge was executed.
    Charge(Charge),
    /// A refund was executed.
    Refund(Refund),
    /// No money moved. The entry counts the attempts, and binds the key to its body. `GET
    /// /v1/ledger` does not show it.
    Withheld(Withheld),
}

/// An executed charge, captured or declined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// Id of the charge.
    pub charge_id: String,
    /// The client's idempotency key.
    pub idempotency_key: String,
    /// The request.
    pub request: ChargeRequest,
    /// The result.
    pub outcome: Outcome,
    /// When the charge was executed.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// An executed refund. `currency` and `reference` repeat those of the charge, so that a line is
/// complete on its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refund {
    /// Id of the refund.
    pub refund_id: String,
    /// The client's idempotency key.
    pub idempotency_key: String,
    /// The request.
    pub request: RefundRequest,
    /// Currency of the charge.
    pub currency: String,
    /// Reference of the charge.
    pub reference: String,
    /// When the refund was executed.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// An attempt that a token's [`Trouble`] kept from executing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Withheld {
    /// The client's idempotency key.
    pub idempotency_key: String,
    /// The request.
    pub request: ChargeRequest,
    /// When the attempt was made.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// The decision on a charge request.
#[derive(Debug, PartialEq, Eq)]
pub enum ChargeStep {
    /// The charge was executed before.
    Known(Charge),
    /// Execute and record this charge.
    Execute(Charge),
    /// Record the attempt and fail as the token requires.
    Withhold(Withheld, Trouble),
}

/// The decision on a refund request.
#[derive(Debug, PartialEq, Eq)]
pub enum RefundStep {
    /// The refund was executed before.
    Known(Refund),
    /// Execute and record this refund.
    Execute(Refund),
}

/// Why a request is refused. A refusal moves no money and does not bind the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The key was used for another request.
    KeyReused,
    /// There is no such charge.
    UnknownCharge,
    /// The amount is more than is left to refund.
    MoreThanRefundable { refundable_minor: i64 },
}

/// An entry that contradicts earlier entries: the file was edited, or the gateway has a bug.
#[derive(Debug, PartialEq, Eq)]
pub struct Inconsistent(pub &'static str);

/// The id and time of a new entry, supplied by the caller.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Id of the entry.
    pub id: Uuid,
    /// Time of the entry.
    pub at: OffsetDateTime,
}

/// The state of the gateway.
#[derive(Default)]
pub struct Books {
    /// Accounts by charge id.
    accounts: HashMap<String, Account>,
    /// Claims by idempotency key. Charges and refunds share one namespace.
    claims: HashMap<String, Claim>,
    /// Charges, captured or declined, and refunds, in order.
    movements: Vec<Movement>,
}

struct Account {
    charge: Charge,
    refunded_minor: i64,
}

/// The request to which an idempotency key belongs.
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

/// The status of every refund: a refund is executed completely or refused.
pub const REFUNDED: &str = "refunded";

impl Books {
    /// Decides on a charge request.
    ///
    /// # Errors
    /// Returns `KeyReused` when the key was used for another request.
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
                outcome: token.outcome,
                at: moment.at,
            }),
        })
    }

    /// Decides on a refund request.
    ///
    /// # Errors
    /// Returns the reason when the key was used for another request, the charge is unknown, or the
    /// amount is too high.
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

    /// Returns the executed charge with this idempotency key.
    pub fn charge_of_key(&self, key: &str) -> Option<&Charge> {
        match self.claims.get(key)? {
            Claim::Charged { charge_id } => {
                self.accounts.get(charge_id).map(|account| &account.charge)
            }
            Claim::Tried { .. } | Claim::Refunded(_) => None,
        }
    }

    /// Returns all charges and refunds, in order.
    pub fn movements(&self) -> &[Movement] {
        &self.movements
    }

    /// Applies one entry.
    ///
    /// # Errors
    /// Returns `Inconsistent` and changes nothing when the entry contradicts earlier ones.
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
    /// Returns the status in responses.
    pub fn status(self) -> &'static str {
        match self {
            Outcome::Captured => "captured",
            Outcome::Declined { .. } => "declined",
        }
    }
}
