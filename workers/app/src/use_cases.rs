//! What the system does, one file for each reason to act.

pub mod change_order;
pub mod for_customers;
pub mod fulfil;
pub mod idempotency;
pub mod journey;
pub mod notify;
pub mod pay;
pub mod place_order;
pub mod progress;
pub mod project;
pub mod reconcile;
pub mod rehearse;
pub mod relay;
pub mod run_saga;
pub mod staff_tokens;
pub mod suggest_reorders;
pub mod sweep;
pub mod time_out;
pub mod watch_stock;

use std::time::Duration;

use contract::messages::{Envelope, Message, Metadata};
use contract::settlement::Settlement;
use domain::Timestamp;
use domain::hours::{Hours, SlotRule, Zone};
use domain::ids::{EventId, LocationId, OrderId, TenantId};
use domain::money::{Currency, TaxRate};
use domain::order::Status;
use domain::phone::Country;

use crate::ports::{Source, Unavailable};

/// Stock is held so long for an order that is not paid. Longer than `ORDER_DEADLINE`, so that a
/// hold never ends under an order that may still be paid.
pub const HOLD: Duration = Duration::from_secs(15 * 60);
/// An order that is not confirmed so long after it was accepted is given up.
pub const ORDER_DEADLINE: Duration = Duration::from_secs(10 * 60);
/// An answer that is so late is asked for again: well above what a healthy system needs, well below
/// the minute in which a fault must be recovered from.
pub const ASK_AGAIN: Duration = Duration::from_secs(20);
/// What waits for people is first looked at so long after it began to: settings below it act as if
/// they were it. Above what a bar that is not busy needs, so that few orders are looked at at all.
pub const LOOK_FIRST: Duration = Duration::from_secs(30);
/// Times a decision is made again because somebody else was faster, before the message goes back to
/// the queue.
const CONFLICTS_MAX: u32 = 5;

/// The tenant that a new installation has.
pub const FIRST_TENANT: &str = "brew-haven";

/// A location that takes orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shop {
    pub tenant_id: TenantId,
    pub location_id: LocationId,
    pub name: String,
    pub tax: TaxRate,
    pub currency: Currency,
    /// Where phone numbers without a country code belong.
    pub country: Country,
    pub hours: Hours,
    pub slots: SlotRule,
}

impl Shop {
    /// The one shop of a new installation; the migrations insert the same.
    pub fn default_shop() -> Shop {
        let slug = |text: &str| text.to_owned();
        Shop {
            tenant_id: TenantId::try_from(slug(FIRST_TENANT))
                .unwrap_or_else(|_| unreachable!("a legal slug")),
            location_id: LocationId::try_from(slug("main-street"))
                .unwrap_or_else(|_| unreachable!("a legal slug")),
            name: "Brew Haven, Main Street".to_owned(),
            tax: TaxRate::of_millionths(88_750),
            currency: Currency::Usd,
            country: Country::US,
            hours: Hours::always(Zone::parse("America/New_York").unwrap_or_else(|_| Zone::utc())),
            slots: SlotRule::new(15, 20).unwrap_or_else(|_| unreachable!("a legal rule")),
        }
    }
}

/// Who makes messages, and on whose behalf.
#[derive(Debug, Clone)]
pub struct Maker {
    /// The role's slug: the actor in the history, the source of messages, and the consumer in the
    /// inbox.
    pub role: &'static str,
    pub version: &'static str,
    /// The trace that the work belongs to.
    pub traceparent: Option<String>,
}

impl Maker {
    /// An envelope with a new event id.
    pub fn envelope(
        &self,
        source: &impl Source,
        order_id: Option<OrderId>,
        message: Message,
    ) -> Envelope {
        self.envelope_with(EventId(source.uuid()), source.now(), order_id, message)
    }

    pub fn envelope_with(
        &self,
        event_id: EventId,
        at: Timestamp,
        order_id: Option<OrderId>,
        message: Message,
    ) -> Envelope {
        Envelope {
            event_id,
            schema: message.kind().schema(),
            message,
            occurred_at: at,
            order_id,
            metadata: Metadata {
                source: self.role.to_owned(),
                version: self.version.to_owned(),
                traceparent: self.traceparent.clone(),
            },
        }
    }
}

/// What a handler tells its queue, and what is worth counting.
#[derive(Debug, Clone, PartialEq)]
pub struct Handled {
    pub settlement: Settlement,
    /// The message had been applied before.
    pub duplicate: bool,
    /// The status that an order came to, and its age in seconds then.
    pub reached: Option<(Status, f64)>,
}

impl Handled {
    pub fn done() -> Handled {
        Handled {
            settlement: Settlement::Done,
            duplicate: false,
            reached: None,
        }
    }

    pub fn duplicate() -> Handled {
        Handled {
            settlement: Settlement::Done,
            duplicate: true,
            reached: None,
        }
    }

    pub fn park(reason: impl Into<String>) -> Handled {
        Handled {
            settlement: Settlement::Park {
                reason: reason.into(),
            },
            duplicate: false,
            reached: None,
        }
    }

    /// Parks a message of a kind that its queue is not for.
    pub fn park_misrouted(envelope: &Envelope) -> Handled {
        Handled::park(format!(
            "{:?} does not belong on this queue",
            envelope.message.kind()
        ))
    }

    pub fn retry(reason: impl Into<String>) -> Handled {
        Handled {
            settlement: Settlement::Retry {
                reason: reason.into(),
                after: None,
            },
            duplicate: false,
            reached: None,
        }
    }
}

impl From<Unavailable> for Handled {
    fn from(error: Unavailable) -> Handled {
        Handled::retry(error.to_string())
    }
}
