//! The payment tokens and their effects. This file has the complete list; no other module contains
//! a token's name.
//!
//! | token | executes | answer to `POST /v1/charges` |
//! |---|---|---|
//! | `tok_ok` | captured | at once |
//! | `tok_declined` | declined, `card_declined` | at once |
//! | `tok_insufficient_funds` | declined, `insufficient_funds` | at once |
//! | `tok_timeout` | captured | never, on any attempt; the charge is found by its key |
//! | `tok_timeout_before` | nothing on the first attempt of a key, captured on the second | never on the first attempt, then at once |
//! | `tok_flaky` | nothing on the first two attempts of a key, captured on the third | 500 twice, then at once |
//! | `tok_slow` | captured at once | after two seconds, on every attempt |
//! | any other | declined, `unknown_token` | at once |
//!
//! `tok_timeout_before` hangs once per key and not always. A client that asks for the charge (404)
//! and then retries must succeed, as with a gateway that lost one request. Both counts survive a
//! restart.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Delay of `tok_slow`: longer than a client's latency target, and shorter than its timeout.
pub const SLOW_ANSWER: Duration = Duration::from_secs(2);

/// Failures of `tok_flaky` per key, more than a single retry survives.
const FLAKY_FAILURES: u32 = 2;
/// Timeouts of `tok_timeout_before` per key.
const TIMEOUTS_BEFORE: u32 = 1;

/// A payment token.
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

/// The result of an executed charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// The amount was captured.
    Captured,
    /// The charge was declined.
    Declined { reason: DeclineReason },
}

/// Why a charge is declined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeclineReason {
    CardDeclined,
    InsufficientFunds,
    UnknownToken,
}

/// How an attempt fails *without* being executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The answer is an error.
    Fails,
    /// There is no answer.
    Hangs,
}

/// When the answer to an executed charge is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Without a delay.
    AtOnce,
    /// After this delay.
    After(Duration),
    /// Never.
    Never,
}

impl Token {
    /// Returns the token with this name.
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

    /// Returns how the next attempt fails after `tries` attempts of a key were not executed, or
    /// `None` if it is executed.
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

    /// Returns the result of an executed charge.
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

    /// Returns when the answer to an executed charge is sent.
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
