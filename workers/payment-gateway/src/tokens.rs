//! What each payment token makes the gateway do. This file is the list; nothing elsewhere knows a
//! token's name.
//!
//! | token | executes | answer to `POST /v1/charges` |
//! |---|---|---|
//! | `tok_ok` | captured | at once |
//! | `tok_declined` | declined, `card_declined` | at once |
//! | `tok_insufficient_funds` | declined, `insufficient_funds` | at once |
//! | `tok_timeout` | captured | never, on any try; the charge is found by its key |
//! | `tok_timeout_before` | nothing on the first try of a key, captured on the second | never on the first try, then at once |
//! | `tok_flaky` | nothing on the first two tries of a key, captured on the third | 500 twice, then at once |
//! | `tok_slow` | captured at once | after two seconds, on every try |
//! | any other | declined, `unknown_token` | at once |
//!
//! `tok_timeout_before` hangs once per key, not always: a client that asks (404) and then tries
//! again must get through, as it would with a gateway that lost one request. Both counts survive a
//! restart.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longer than a patient client's latency budget, shorter than its time limit.
pub const SLOW_ANSWER: Duration = Duration::from_secs(2);

/// How often `tok_flaky` fails for one key: more than a single blind retry survives.
const FLAKY_FAILURES: u32 = 2;
/// How often `tok_timeout_before` hangs for one key.
const TIMEOUTS_BEFORE: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    Ok,
    Declined,
    InsufficientFunds,
    Timeout,
    TimeoutBefore,
    Flaky,
    Slow,
    Unknown,
}

/// What a charge came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    Captured,
    Declined { reason: DeclineReason },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeclineReason {
    CardDeclined,
    InsufficientFunds,
    UnknownToken,
}

/// How a try goes wrong *without* executing anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Fails,
    Hangs,
}

/// When the answer about an executed charge leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    AtOnce,
    After(Duration),
    Never,
}

impl Token {
    pub fn named(name: &str) -> Token {
        match name {
            "tok_ok" => Token::Ok,
            "tok_declined" => Token::Declined,
            "tok_insufficient_funds" => Token::InsufficientFunds,
            "tok_timeout" => Token::Timeout,
            "tok_timeout_before" => Token::TimeoutBefore,
            "tok_flaky" => Token::Flaky,
            "tok_slow" => Token::Slow,
            _ => Token::Unknown,
        }
    }

    /// The trouble of the next try of a key that was tried `tries` times without executing; `None`:
    /// it executes.
    pub fn trouble(self, tries: u32) -> Option<Trouble> {
        match self {
            Token::Flaky => (tries < FLAKY_FAILURES).then_some(Trouble::Fails),
            Token::TimeoutBefore => (tries < TIMEOUTS_BEFORE).then_some(Trouble::Hangs),
            Token::Ok
            | Token::Declined
            | Token::InsufficientFunds
            | Token::Timeout
            | Token::Slow
            | Token::Unknown => None,
        }
    }

    pub fn outcome(self) -> Outcome {
        match self {
            Token::Ok | Token::Timeout | Token::TimeoutBefore | Token::Flaky | Token::Slow => {
                Outcome::Captured
            }
            Token::Declined => Outcome::Declined {
                reason: DeclineReason::CardDeclined,
            },
            Token::InsufficientFunds => Outcome::Declined {
                reason: DeclineReason::InsufficientFunds,
            },
            Token::Unknown => Outcome::Declined {
                reason: DeclineReason::UnknownToken,
            },
        }
    }

    pub fn delivery(self) -> Delivery {
        match self {
            Token::Timeout => Delivery::Never,
            Token::Slow => Delivery::After(SLOW_ANSWER),
            Token::Ok
            | Token::Declined
            | Token::InsufficientFunds
            | Token::TimeoutBefore
            | Token::Flaky
            | Token::Unknown => Delivery::AtOnce,
        }
    }
}
