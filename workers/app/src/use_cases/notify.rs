//! Telling customers and staff what happened, each once, by one channel: the first that works of
//! those they want.

#[cfg(test)]
mod tests;

use std::time::Duration;

use contract::messages::{Envelope, Message};
use contract::settlement::Settlement;
use domain::channel::Channel;
use domain::ids::{EventId, OrderId};
use domain::order::{Order, Status};
use domain::stock::Availability;

use super::Handled;
use super::for_customers::{Charged, charged};
use super::fulfil::shipped_id;
use crate::ports::notices::{
    Mail, Mailer, Notice, NoticeEnd, NoticeFilter, NoticeKind, NoticeRow, NoticeState, NoticeStore,
    SEND_WITHIN, SendError, Text, Texter,
};
use crate::ports::orders::{OrderStore, StoredOrder};
use crate::ports::scope::Scope;
use crate::ports::{Source, Unavailable};

/// Tries by one channel before the next takes over. The last channel is tried until the provider is
/// back.
const TRIES: u32 = 3;
/// Between them. The queue's own back-off, which grows, is for when there is no other channel.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// A customer hears of an order within this, one dead provider included.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

const _: () = assert!(
    TRIES as u64 * (SEND_WITHIN.as_secs() + TRY_AGAIN_AFTER.as_secs()) + SEND_WITHIN.as_secs()
        < TOLD_WITHIN.as_secs(),
    "the fallback comes too late"
);

/// What there is to say.
#[derive(Debug, Clone)]
pub enum News<'a> {
    /// To the customer. `charged` is what happened to the money of an order that was cancelled or
    /// failed.
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
    /// To the customer: it is ready and waits.
    Waiting { stored: &'a StoredOrder },
    /// To the staff: it waits for them.
    Overdue { stored: &'a StoredOrder },
    /// To the staff.
    Stock {
        name: &'a str,
        level: StockLevel,
        available: i64,
        low_stock_threshold: i64,
    },
}

/// How far a product fell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StockLevel {
    Low,
    Out,
}

impl StockLevel {
    /// Returns `None` for what is no level, and for one that staff are not told of.
    fn from_code(code: &str) -> Option<StockLevel> {
        match Availability::from_code(code)? {
            Availability::Low => Some(StockLevel::Low),
            Availability::Out => Some(StockLevel::Out),
            Availability::InStock => None,
        }
    }
}

impl News<'_> {
    /// The notice's kind, as it is recorded. `None` where there is nothing to say.
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

    /// The event that the notice is recorded and deduplicated under: the message's own. Messages
    /// from before 0.1.0 that a parcel left have an id of their own; they say the same as today's.
    pub(super) fn event_id(&self, envelope: &Envelope) -> EventId {
        match self {
            News::Shipped { stored, .. } => shipped_id(stored.order.order_id),
            News::Order { .. }
            | News::Waiting { .. }
            | News::Overdue { .. }
            | News::Stock { .. } => envelope.event_id,
        }
    }

    /// The address that the message is counted for: `None` for staff. Addresses that one mailbox
    /// has under many names (`ana+1@`, `Ana@`) are one.
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

    /// Best first. Staff read mail.
    pub(super) fn channels(&self) -> &'static [Channel] {
        match self {
            News::Order { stored, .. }
            | News::Shipped { stored, .. }
            | News::Waiting { stored } => stored.order.customer.notify.channels(),
            News::Overdue { .. } | News::Stock { .. } => &[Channel::Email],
        }
    }
}

/// Puts news into words.
pub trait Compose: Sync {
    fn mail(&self, news: &News<'_>, dedup_id: String) -> Mail;

    /// `None` when there is no number to send it to.
    fn text(&self, news: &News<'_>, dedup_id: String) -> Option<Text>;
}

/// Which channels are on now.
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

/// What notices leave by.
#[derive(Debug, Clone, Copy)]
pub struct Post<'a, M, T, C> {
    pub mailer: &'a M,
    pub texter: &'a T,
    pub composer: &'a C,
    pub switches: Switches,
}

/// One try by one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    pub channel: Channel,
    /// Why the provider did not take it.
    pub failed: Option<String>,
}

/// What was done about a message, for the metrics and the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub handled: Handled,
    pub tried: Vec<Tried>,
}

/// Handles one message of the `notifications` queue.
pub async fn notify<O: OrderStore + NoticeStore, M: Mailer, T: Texter, C: Compose, S: Source>(
    store: &O,
    post: &Post<'_, M, T, C>,
    source: &S,
    envelope: &Envelope,
) -> Told {
    let mut tried = Vec::new();
    let handled = tell(store, post, source, envelope, &mut tried)
        .await
        .unwrap_or_else(Handled::from);
    Told { handled, tried }
}

async fn tell<O: OrderStore + NoticeStore, M: Mailer, T: Texter, C: Compose, S: Source>(
    store: &O,
    post: &Post<'_, M, T, C>,
    source: &S,
    envelope: &Envelope,
    tried: &mut Vec<Tried>,
) -> Result<Handled, Unavailable> {
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
        // Recorded, so that nobody looks for a notice that was lost.
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
        // What is not sent does not count.
        let notice = notice(channel, news.recipient(channel).filter(|_| is_on));
        let attempt = match store.begin_notice(&notice).await? {
            NoticeState::Pending { attempt } => attempt,
            // A copy of the event, delivered beside this one: whoever is first sends it.
            NoticeState::InHand => return Ok(Handled::retry("another try is under way")),
            NoticeState::Sent => return Ok(Handled::duplicate()),
            NoticeState::NotSent => continue,
        };
        let end = if is_on {
            let sent = send(post, &news, channel, event_id.to_string()).await;
            let failed = sent.as_ref().err().map(ToString::to_string);
            tried.push(Tried { channel, failed });
            let another = channels[index + 1..]
                .iter()
                .any(|next| post.switches.on(*next));
            match sent {
                Ok(message_id) => NoticeEnd::Sent { message_id },
                Err(SendError::Refused(reason)) => NoticeEnd::Failed { reason },
                // The answer may have been lost alone, and the customer hears of it twice. That is
                // better than not at all.
                Err(SendError::Unavailable(why)) if another && attempt >= TRIES => {
                    NoticeEnd::Failed {
                        reason: format!("given up after {attempt} tries: {why}"),
                    }
                }
                Err(SendError::Unavailable(why)) => {
                    // Not given back, it would be free again a little later.
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
            // This try took so long that another one began, and ended it: what came of it decides.
            NoticeEnd::Failed { .. } | NoticeEnd::Suppressed { .. } => {
                return Ok(Handled::retry("another try ended it"));
            }
        }
    }
    Ok(Handled::done())
}

/// Whether another event than this one already told the customer. The version before 0.1.0 said
/// that a parcel was on its way when it got its number, and an order of that time may leave now.
async fn was_told(
    store: &impl NoticeStore,
    order_id: Option<OrderId>,
    kind: NoticeKind,
    event_id: EventId,
) -> Result<bool, Unavailable> {
    let told = store
        .notices(&NoticeFilter {
            order_id,
            failed: false,
        })
        .await?;
    let is_it = |row: &NoticeRow| {
        row.event_id != event_id && row.kind == kind.code() && row.state == "sent"
    };
    Ok(told.iter().any(is_it))
}

async fn send<M: Mailer, T: Texter, C: Compose>(
    post: &Post<'_, M, T, C>,
    news: &News<'_>,
    channel: Channel,
    dedup_id: String,
) -> Result<String, SendError> {
    match channel {
        Channel::Email => post.mailer.send(&post.composer.mail(news, dedup_id)).await,
        Channel::Sms => match post.composer.text(news, dedup_id) {
            Some(text) => post.texter.send_text(&text).await,
            None => Err(SendError::Refused("there is no number to text".to_owned())),
        },
    }
}

/// What a message has to say, or what to do with one that has nothing to say. The order it is about
/// is kept in `stored`.
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
            // From before 0.1.0, when it was said as soon as the parcel had its number. It is said
            // again when it leaves.
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
            // It does not wait any more: there is nothing to say.
            if stored.order.status.code() != status {
                return Err(Handled::done());
            }
            match tell.as_str() {
                "customer" => Ok(News::Waiting { stored }),
                "staff" => Ok(News::Overdue { stored }),
                other => Err(Handled::park(format!("nobody is called {other}"))),
            }
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
            let Some(level) = StockLevel::from_code(level) else {
                return Err(Handled::park(format!(
                    "{level} is no level that staff are told of"
                )));
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

async fn load(store: &impl OrderStore, order_id: OrderId) -> Result<StoredOrder, Handled> {
    let stored = store.load(order_id).await?;
    stored.ok_or_else(|| Handled::park(format!("order {order_id} does not exist")))
}

/// Whether the order is, or must have been, in the status: nobody is told what never happened.
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
