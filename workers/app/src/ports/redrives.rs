//! The record of parked messages that were sent back to work: who, when, what, and how it ended.
//! Written before a message is sent, so that nothing is lost however the sending ends.

use std::future::Future;

use domain::Timestamp;
use domain::ids::{EventId, OrderId};
use uuid::Uuid;

use super::Unavailable;

/// How a message that was sent back ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedriveEnd {
    Applied,
    /// It had been applied before.
    Dropped,
    ParkedAgain,
    /// Nobody looked any longer.
    Unknown,
}

impl RedriveEnd {
    pub const ALL: [RedriveEnd; 4] = [
        RedriveEnd::Applied,
        RedriveEnd::Dropped,
        RedriveEnd::ParkedAgain,
        RedriveEnd::Unknown,
    ];

    pub const fn code(self) -> &'static str {
        match self {
            RedriveEnd::Applied => "applied",
            RedriveEnd::Dropped => "dropped",
            RedriveEnd::ParkedAgain => "parked_again",
            RedriveEnd::Unknown => "unknown",
        }
    }

    pub fn from_code(code: &str) -> Option<RedriveEnd> {
        RedriveEnd::ALL.into_iter().find(|end| end.code() == code)
    }
}

/// One parked copy on its way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// Derived from the parked copy: sent again after a crash, it is the same.
    pub redrive_id: Uuid,
    pub queue: String,
    pub fingerprint: String,
    /// Why it had been parked.
    pub reason: String,
    /// Of what could be read in the body.
    pub event_id: Option<EventId>,
    pub order_id: Option<OrderId>,
    /// The whole message, so that nothing is lost.
    pub body: String,
    /// Who sent it back.
    pub actor: String,
    pub at: Timestamp,
    pub end: Option<(RedriveEnd, Timestamp)>,
}

pub trait RedriveLog: Send + Sync {
    /// Once a redrive, however often it is begun.
    fn begin_redrive(
        &self,
        redrive: &Redrive,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    fn end_redrive(
        &self,
        redrive_id: Uuid,
        end: RedriveEnd,
        at: Timestamp,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}
