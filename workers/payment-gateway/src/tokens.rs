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

/// The effects of a payment token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The result of an executed charge.
    pub outcome: Outcome,
    /// When the answer to an executed charge is sent.
    pub delivery: Delivery,
    /// How attempts fail, and the number of attempts per key that do.
    trouble: Option<(Trouble, u32)>,
}

const OK: Token = Token {
    outcome: Outcome::Captured,
    delivery: Delivery::AtOnce,
    trouble: None,
};

const fn declined(reason: DeclineReason) -> Token {
    let outcome = Outcome::Declined { reason };
    Token { outcome, ..OK }
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
            "tok_ok" => OK,
            "tok_declined" => declined(DeclineReason::CardDeclined),
            "tok_insufficient_funds" => declined(DeclineReason::InsufficientFunds),
            "tok_timeout" => Token {
                delivery: Delivery::Never,
                ..OK
            },
            "tok_timeout_before" => Token {
                trouble: Some((Trouble::Hangs, 1)),
                ..OK
            },
            // More failures than a single retry survives.
            "tok_flaky" => Token {
                trouble: Some((Trouble::Fails, 2)),
                ..OK
            },
            "tok_slow" => Token {
                delivery: Delivery::After(SLOW_ANSWER),
                ..OK
            },
            _ => declined(DeclineReason::UnknownToken),
        }
    }

    /// Returns how the next attempt fails after `tries` attempts of a key were not executed, or
    /// `None` if it is executed.
    pub fn trouble(self, tries: u32) -> Option<Trouble> {
        let (trouble, times) = self.trouble?;
        (tries < times).then_some(trouble)
    }
}
