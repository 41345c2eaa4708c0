//! Telling customers and staff what happened, each once.

use contract::messages::{Envelope, Message};
use domain::ids::OrderId;
use domain::order::{Order, Status};

use super::Handled;
use crate::ports::Source;
use crate::ports::notices::{Mail, MailError, Mailer, Notice, NoticeEnd, NoticeState, NoticeStore};
use crate::ports::orders::{OrderStore, StoredOrder};

/// What there is to say.
#[derive(Debug, Clone)]
pub enum News<'a> {
    /// To the customer.
    Order { stored: &'a StoredOrder, status: Status },
    /// To the customer: the parcel is on its way.
    Shipped { stored: &'a StoredOrder, tracking_number: &'a str },
    /// To the customer: it is ready and waits.
    Waiting { stored: &'a StoredOrder },
    /// To the staff: it waits for them.
    Overdue { stored: &'a StoredOrder },
    /// To the staff.
    Stock { name: &'a str, level: &'a str, available: i64, low_stock_threshold: i64 },
}

impl News<'_> {
    /// The notice's kind, as it is recorded.
    pub fn kind(&self) -> Option<&'static str> {
        match self {
            News::Order { status, .. } => match status {
                Status::Confirmed => Some("order_confirmed"),
                Status::Ready => Some("order_ready"),
                Status::Cancelled => Some("order_cancelled"),
                Status::Failed => Some("order_failed"),
                Status::Pending | Status::Preparing | Status::Completed => None,
            },
            News::Shipped { .. } => Some("order_shipped"),
            News::Waiting { .. } => Some("order_waiting"),
            News::Overdue { .. } => Some("order_overdue"),
            News::Stock { level, .. } => Some(if *level == "out" { "stock_out" } else { "stock_low" }),
        }
    }
}

/// Puts news into words for `email`.
pub trait Compose: Sync {
    fn mail(&self, news: &News<'_>, dedup_id: String) -> Mail;
}

/// What was done about a message, for the metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub handled: Handled,
    pub sent: bool,
    /// Why the mail service did not take it, for the log.
    pub failed: Option<String>,
}

/// Handles one message of the `notifications` queue.
pub async fn notify<O: OrderStore + NoticeStore, M: Mailer, C: Compose, S: Source>(
    store: &O,
    mailer: &M,
    composer: &C,
    source: &S,
    email_enabled: bool,
    envelope: &Envelope,
) -> Told {
    let told = |handled| Told { handled, sent: false, failed: None };
    let stored;
    let news = match (&envelope.message, envelope.order_id) {
        (Message::OrderStatusChanged { to, .. }, Some(order_id)) => {
            let Some(status) = Status::from_code(to) else { return told(Handled::park(format!("no status {to}"))) };
            stored = match load(store, order_id).await {
                Ok(stored) => stored,
                Err(handled) => return told(handled),
            };
            if !happened(&stored.order, status) {
                return told(Handled::park(format!("order {order_id} never was {to}")));
            }
            News::Order { stored: &stored, status }
        }
        (Message::OrderShipped { tracking_number, .. }, Some(order_id)) => {
            stored = match load(store, order_id).await {
                Ok(stored) => stored,
                Err(handled) => return told(handled),
            };
            News::Shipped { stored: &stored, tracking_number }
        }
        (Message::OrderOverdue { status, tell, .. }, Some(order_id)) => {
            stored = match load(store, order_id).await {
                Ok(stored) => stored,
                Err(handled) => return told(handled),
            };
            // It does not wait any more: there is nothing to say.
            if stored.order.status.code() != status {
                return told(Handled::done());
            }
            match tell.as_str() {
                "customer" => News::Waiting { stored: &stored },
                "staff" => News::Overdue { stored: &stored },
                other => return told(Handled::park(format!("nobody is called {other}"))),
            }
        }
        (Message::StockLevelReached { name, level, available, low_stock_threshold, .. }, _) => {
            News::Stock { name, level, available: *available, low_stock_threshold: *low_stock_threshold }
        }
        _ => {
            let kind = envelope.message.kind();
            return told(Handled::park(format!("{kind:?} does not belong on this queue")));
        }
    };
    let Some(kind) = news.kind() else { return told(Handled::done()) };

    let notice =
        Notice { event_id: envelope.event_id, order_id: envelope.order_id, kind, channel: "email", at: source.now() };
    match store.begin_notice(&notice).await {
        Ok(NoticeState::Pending { .. }) => {}
        Ok(NoticeState::Ended) => return told(Handled::duplicate()),
        // A copy of the event, delivered beside this one: whoever is first sends it.
        Ok(NoticeState::InHand) => return told(Handled::retry("another try is under way")),
        Err(error) => return told(error.into()),
    }
    let mut failed = None;
    let end = if email_enabled {
        match mailer.send(&composer.mail(&news, envelope.event_id.to_string())).await {
            Ok(()) => NoticeEnd::Sent,
            Err(MailError::Refused(why)) => {
                failed = Some(why);
                NoticeEnd::Refused
            }
            Err(MailError::Unavailable(why)) => {
                // Not given back, it would be free again a little later.
                let _ = store.give_back_notice(envelope.event_id, "email").await;
                return Told { handled: Handled::retry(why.clone()), sent: false, failed: Some(why) };
            }
        }
    } else {
        NoticeEnd::Suppressed
    };
    let handled = match store.end_notice(envelope.event_id, "email", end, source.now()).await {
        Ok(()) => Handled::done(),
        Err(error) => error.into(),
    };
    Told { handled, sent: end == NoticeEnd::Sent, failed }
}

async fn load(store: &impl OrderStore, order_id: OrderId) -> Result<StoredOrder, Handled> {
    let stored = store.load(order_id).await?;
    stored.ok_or_else(|| Handled::park(format!("order {order_id} does not exist")))
}

/// Whether the order is, or must have been, in the status: nobody is told what never happened.
pub(super) fn happened(order: &Order, status: Status) -> bool {
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
