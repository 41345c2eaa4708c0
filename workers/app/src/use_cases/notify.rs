//! Notifies customers and staff, once for each event and on one channel. Of the channels that a
//! customer wants, the first that works is used.

#[cfg(test)]
mod tests;

use std::time::Duration;

use contract::cause::{Cause, chain};
use contract::messages::{Audience, Envelope, Message};
use contract::settlement::Settlement;
use domain::channel::Channel;
use domain::ids::{EventId, OrderId};
use domain::order::{Order, Status};
use domain::stock::Availability;

use super::for_customers::{Charged, charged};
use super::fulfil::shipped_id;
use super::{Handled, load};
use crate::ports::notices::{
    Mail, Mailer, Notice, NoticeEnd, NoticeFilter, NoticeKind, NoticeRow, NoticeState,
    NoticeStatus, NoticeStore, SEND_WITHIN, SendError, Text, Texter,
};
use crate::ports::orders::{OrderStore, StoredOrder};
use crate::ports::scope::Scope;
use crate::ports::{Source, StoreError};

/// Maximum number of attempts on a channel before the next channel is used. Attempts on the last
/// channel continue until the provider works again.
const TRIES: u32 = 3;
/// Pause between attempts while another channel is left. On the last channel, the growing back-off
/// of the queue applies.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Maximum time until a customer is notified, even if one provider is down.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

const _: () = assert!(
    TRIES as u64 * (SEND_WITHIN.as_secs() + TRY_AGAIN_AFTER.as_secs()) + SEND_WITHIN.as_secs()
        < TOLD_WITHIN.as_secs(),
    "the fallback comes too late"
);

/// The content of a notification.
#[derive(Debug, Clone)]
pub enum News<'a> {
    /// To the customer: a new status. `charged` is the state of the charge of an order that was
    /// cancelled or failed.
    Order {
        stored: &'a StoredOrder,
        status: Status,
        charged: Charged,
    },
    /// To the customer: the parcel is on its way.
    Shipped {
        stored: &'a StoredOrder,
        tracking_number: &'a str,
    },
    /// To the customer: the order is ready and waits to be collected.
    Waiting { stored: &'a StoredOrder },
    /// To staff: the order waits for them.
    Overdue { stored: &'a StoredOrder },
    /// To staff: a product is low or sold out.
    Stock {
        name: &'a str,
        level: StockLevel,
        available: i64,
        low_stock_threshold: i64,
    },
}

/// The level to which the stock of a product fell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StockLevel {
    /// No more units than the threshold.
    Low,
    /// Sold out.
    Out,
}

impl News<'_> {
    /// Returns the kind of the notification. `None` when the status causes none.
    pub fn kind(&self) -> Option<NoticeKind> {
        match self {
            News::Order { status, .. } => match status {
                Status::Confirmed => Some(NoticeKind::OrderConfirmed),
                Status::Ready => Some(NoticeKind::OrderReady),
                Status::Cancelled => Some(NoticeKind::OrderCancelled),
                Status::Failed => Some(NoticeKind::OrderFailed),
                Status::Pending | Status::Preparing | Status::Completed => None,
            },
            News::Shipped { .. } => Some(NoticeKind::OrderShipped),
            News::Waiting { .. } => Some(NoticeKind::OrderWaiting),
            News::Overdue { .. } => Some(NoticeKind::OrderOverdue),
            News::Stock {
                level: StockLevel::Low,
                ..
            } => Some(NoticeKind::StockLow),
            News::Stock {
                level: StockLevel::Out,
                ..
            } => Some(NoticeKind::StockOut),
        }
    }

    /// Returns the event id under which the notification is recorded and deduplicated. It is the id
    /// of the message, except for parcels: before release 0.1.0, messages about parcels had other
    /// ids.
    pub(super) fn event_id(&self, envelope: &Envelope) -> EventId {
        match self {
            News::Shipped { stored, .. } => shipped_id(stored.order.order_id),
            News::Order { .. }
            | News::Waiting { .. }
            | News::Overdue { .. }
            | News::Stock { .. } => envelope.event_id,
        }
    }

    /// Returns the recipient for the daily limit. `None` for staff. Different spellings of one
    /// mailbox (`ana+1@`, `Ana@`) are one recipient.
    fn recipient(&self, channel: Channel) -> Option<String> {
        let customer = match self {
            News::Order { stored, .. }
            | News::Shipped { stored, .. }
            | News::Waiting { stored } => &stored.order.customer,
            News::Overdue { .. } | News::Stock { .. } => return None,
        };
        let address = match channel {
            Channel::Email => {
                let address = customer.email.to_ascii_lowercase();
                match address.rsplit_once('@') {
                    Some((user, host)) => {
                        format!("{}@{host}", user.split('+').next().unwrap_or(user))
                    }
                    None => address,
                }
            }
            Channel::Sms => customer.text_number()?,
        };
        Some(format!("{}:{address}", channel.code()))
    }

    /// Returns the channels, the preferred one first. Staff get mails.
    pub(super) fn channels(&self) -> &'static [Channel] {
        match self {
            News::Order { stored, .. }
            | News::Shipped { stored, .. }
            | News::Waiting { stored } => stored.order.customer.notify.channels(),
            News::Overdue { .. } | News::Stock { .. } => &[Channel::Email],
        }
    }
}

/// Composes the text of notifications.
pub trait Compose: Sync {
    /// Returns the mail.
    fn mail(&self, news: &News<'_>, dedup_id: String) -> Mail;

    /// Returns the text message. `None` when the customer has no number for texts.
    fn text(&self, news: &News<'_>, dedup_id: String) -> Option<Text>;
}

/// The channels that are switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switches {
    pub email: bool,
    pub sms: bool,
}

impl Switches {
    const fn on(self, channel: Channel) -> bool {
        match channel {
            Channel::Email => self.email,
            Channel::Sms => self.sms,
        }
    }
}

/// The means of sending notifications.
#[derive(Debug, Clone, Copy)]
pub struct Post<'a, M, T, C> {
    pub mailer: &'a M,
    pub texter: &'a T,
    pub composer: &'a C,
    pub switches: Switches,
}

/// One attempt on one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub channel: Channel,
    /// The error of the provider. `None` when it accepted the notification.
    pub failed: Option<String>,
}

/// The result of handling a message, with the attempts for metrics and the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Notified {
    pub handled: Handled,
    pub tried: Vec<Attempt>,
}

/// Handles one message of the `notifications` queue.
pub async fn notify(
    store: &(impl OrderStore + NoticeStore),
    post: &Post<'_, impl Mailer, impl Texter, impl Compose>,
    source: &impl Source,
    envelope: &Envelope,
) -> Notified {
    let mut tried = Vec::new();
    let handled = tell(store, post, source, envelope, &mut tried)
        .await
        .unwrap_or_else(Handled::from);
    Notified { handled, tried }
}

/// Sends the notification of a message on the first channel that works.
async fn tell(
    store: &(impl OrderStore + NoticeStore),
    post: &Post<'_, impl Mailer, impl Texter, impl Compose>,
    source: &impl Source,
    envelope: &Envelope,
    tried: &mut Vec<Attempt>,
) -> Result<Handled, StoreError> {
    let mut stored = None;
    let news = match news_of(store, envelope, &mut stored).await {
        Ok(news) => news,
        Err(handled) => return Ok(handled),
    };
    let Some(kind) = news.kind() else {
        return Ok(Handled::done());
    };
    let event_id = news.event_id(envelope);
    if kind == NoticeKind::OrderShipped
        && was_told(store, envelope.order_id, kind, event_id).await?
    {
        return Ok(Handled::duplicate());
    }
    let notice = |channel, recipient| Notice {
        event_id,
        order_id: envelope.order_id,
        kind,
        channel,
        recipient,
        at: source.now(),
    };

    let channels = news.channels();
    if channels.is_empty() {
        // The notification is recorded as suppressed, so that it does not look lost.
        let notice = notice(Channel::Email, None);
        if matches!(
            store.begin_notice(&notice).await?,
            NoticeState::Pending { .. }
        ) {
            let end = NoticeEnd::Suppressed {
                reason: "the customer wants none".to_owned(),
            };
            store
                .end_notice(notice.event_id, notice.channel, &end, notice.at)
                .await?;
        }
        return Ok(Handled::done());
    }
    for (index, channel) in channels.iter().copied().enumerate() {
        let is_on = post.switches.on(channel);
        // A notification that is not sent does not count for the daily limit.
        let notice = notice(channel, news.recipient(channel).filter(|_| is_on));
        let attempt = match store.begin_notice(&notice).await? {
            NoticeState::Pending { attempt } => attempt,
            // Another delivery of the event is being handled. The first one sends the notification.
            NoticeState::InHand => return Ok(Handled::retry("another try is under way")),
            NoticeState::Sent => return Ok(Handled::duplicate()),
            NoticeState::NotSent => continue,
        };
        let end = if is_on {
            let sent = send(post, &news, channel, event_id.to_string()).await;
            let failed = sent.as_ref().err().map(|error| chain(error));
            tried.push(Attempt { channel, failed });
            let another = channels[index + 1..]
                .iter()
                .any(|next| post.switches.on(*next));
            match sent {
                Ok(message_id) => NoticeEnd::Sent { message_id },
                Err(SendError::Refused(why)) => NoticeEnd::Failed {
                    reason: chain(&why),
                },
                // Perhaps only the answer was lost, and the customer is notified twice. That is
                // better than not at all.
                Err(SendError::Unavailable(why)) if another && attempt >= TRIES => {
                    NoticeEnd::Failed {
                        reason: format!("given up after {attempt} tries: {}", chain(&why)),
                    }
                }
                Err(SendError::Unavailable(why)) => {
                    let why = chain(&why);
                    // An error is ignored, because the attempt becomes free when its claim expires.
                    let _ = store.give_back_notice(notice.event_id, channel, &why).await;
                    let after = another.then_some(TRY_AGAIN_AFTER);
                    return Ok(Handled {
                        settlement: Settlement::Retry { reason: why, after },
                        ..Handled::done()
                    });
                }
            }
        } else {
            NoticeEnd::Suppressed {
                reason: format!("notification/{}_enabled is false", channel.code()),
            }
        };
        let ended = store
            .end_notice(notice.event_id, channel, &end, source.now())
            .await?;
        match end {
            NoticeEnd::Sent { .. } => return Ok(Handled::done()),
            NoticeEnd::Failed { .. } | NoticeEnd::Suppressed { .. } if ended => {}
            // This attempt took so long that another one began and ended it. The result of the
            // other one counts.
            NoticeEnd::Failed { .. } | NoticeEnd::Suppressed { .. } => {
                return Ok(Handled::retry("another try ended it"));
            }
        }
    }
    Ok(Handled::done())
}

/// Returns whether an earlier event already notified the customer. Before release 0.1.0, the event
/// was sent when a parcel got its number. An order from that time can still be handed over now.
async fn was_told(
    store: &impl NoticeStore,
    order_id: Option<OrderId>,
    kind: NoticeKind,
    event_id: EventId,
) -> Result<bool, StoreError> {
    let told = store
        .notices(&NoticeFilter {
            order_id,
            failed: false,
        })
        .await?;
    let is_it = |row: &NoticeRow| {
        row.event_id != event_id && row.kind == kind.code() && row.state == NoticeStatus::Sent
    };
    Ok(told.iter().any(is_it))
}

/// Sends the notification on one channel.
async fn send(
    post: &Post<'_, impl Mailer, impl Texter, impl Compose>,
    news: &News<'_>,
    channel: Channel,
    dedup_id: String,
) -> Result<String, SendError> {
    match channel {
        Channel::Email => post.mailer.send(&post.composer.mail(news, dedup_id)).await,
        Channel::Sms => match post.composer.text(news, dedup_id) {
            Some(text) => post.texter.send_text(&text).await,
            None => Err(SendError::Refused(Cause::new("there is no number to text"))),
        },
    }
}

/// Returns the content of the notification for a message, or the result of handling a message that
/// causes none. The order of the message is stored in `stored`.
pub(super) async fn news_of<'a>(
    store: &impl OrderStore,
    envelope: &'a Envelope,
    stored: &'a mut Option<StoredOrder>,
) -> Result<News<'a>, Handled> {
    match (&envelope.message, envelope.order_id) {
        (Message::OrderStatusChanged { to, .. }, Some(order_id)) => {
            let Some(status) = Status::from_code(to) else {
                return Err(Handled::park(format!("no status {to}")));
            };
            let stored = stored.insert(load(store, order_id).await?);
            if !happened(&stored.order, status) {
                return Err(Handled::park(format!("order {order_id} never was {to}")));
            }
            let charged = match status {
                Status::Cancelled | Status::Failed => {
                    charged(store, &Scope::Everything, order_id).await?
                }
                Status::Pending
                | Status::Confirmed
                | Status::Preparing
                | Status::Ready
                | Status::Completed => Charged::Nothing,
            };
            Ok(News::Order {
                stored,
                status,
                charged,
            })
        }
        (
            Message::OrderShipped {
                tracking_number, ..
            },
            Some(order_id),
        ) => {
            let stored = stored.insert(load(store, order_id).await?);
            // A message from before release 0.1.0, which was sent when the parcel got its number. A
            // second message follows at the handover.
            if stored.order.status != Status::Completed {
                return Err(Handled::done());
            }
            Ok(News::Shipped {
                stored,
                tracking_number,
            })
        }
        (Message::OrderOverdue { status, tell, .. }, Some(order_id)) => {
            let stored = stored.insert(load(store, order_id).await?);
            // The order has advanced in the meantime, so the notification is out of date.
            if stored.order.status.code() != status {
                return Err(Handled::done());
            }
            Ok(match tell {
                Audience::Customer => News::Waiting { stored },
                Audience::Staff => News::Overdue { stored },
            })
        }
        (
            Message::StockLevelReached {
                name,
                level,
                available,
                low_stock_threshold,
                ..
            },
            _,
        ) => {
            let level = match level {
                Availability::Low => StockLevel::Low,
                Availability::Out => StockLevel::Out,
                Availability::InStock => {
                    return Err(Handled::park("staff get no alert for the level in_stock"));
                }
            };
            Ok(News::Stock {
                name,
                level,
                available: *available,
                low_stock_threshold: *low_stock_threshold,
            })
        }
        (
            Message::OrderStatusChanged { .. }
            | Message::OrderShipped { .. }
            | Message::OrderOverdue { .. }
            | Message::ReserveStock {}
            | Message::ReleaseStock {}
            | Message::ChargeCard { .. }
            | Message::RefundCard { .. }
            | Message::OrderCreated { .. }
            | Message::InventoryReserved { .. }
            | Message::PaymentCompleted { .. }
            | Message::PaymentFailed { .. }
            | Message::PaymentRefunded { .. },
            _,
        ) => Err(Handled::park_misrouted(envelope)),
    }
}
/// Returns whether the order has or must have had the status. Customers are not notified of a
/// status that their order never had.
fn happened(order: &Order, status: Status) -> bool {
    let rank = |status| match status {
        Status::Pending => 0,
        Status::Confirmed => 1,
        Status::Preparing => 2,
        Status::Ready => 3,
        Status::Completed => 4,
        Status::Cancelled | Status::Failed => 5,
    };
    order.status == status || (rank(status) < 4 && rank(order.status) > rank(status))
}
