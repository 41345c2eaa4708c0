//! `haven notify list`: shows the state of each notification.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Context as _;
use app::ports::notices::{NoticeFilter, NoticeRow, NoticeStatus, NoticeStore as _};
use app::ports::orders::OrderStore as _;
use app::ports::scope::Scope;
use clap::Args;
use domain::Timestamp;
use domain::ids::OrderId;
use domain::text::printable;
use haven_console::exit::Exit;
use haven_console::style::Meaning;
use haven_console::table::{Cell, Column, Table};
use haven_console::time::{counted, relative};
use haven_console::verdict::Verdict;
use haven_console::width::wrap;
use haven_console::{settings, width};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::arguments::{ORDER, STATE};
use crate::commands::look::order_name::{OrderName, order_name};
use crate::target;

#[derive(Debug, Args)]
pub struct List {
    /// Show only notifications that failed or were given up
    #[arg(long)]
    pub failed: bool,
    #[arg(long, value_name = "ORDER", help = ORDER, value_parser = order_name)]
    pub order: Option<OrderName>,
    /// The state directory
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

/// Prints the notifications that match the options.
///
/// # Errors
/// When no platform is running in the state directory, no order has the number, or the database
/// cannot be read.
pub async fn print(options: &List) -> anyhow::Result<Exit> {
    let store = target::running_store(&options.state).await?;
    let order_id = match options.order {
        Some(order) => Some(order.find(&store).await?),
        None => None,
    };
    let filter = NoticeFilter {
        order_id,
        failed: options.failed,
    };
    let notices = store.notices(&filter).await;
    let mut notices = notices.context("read the notifications")?;
    let verdict = verdict(&notices, options.failed);
    if settings::get().json {
        let document = json!({ "notices": notices.iter().map(as_json).collect::<Vec<_>>() });
        return Ok(verdict.print_json("haven.notifications/1", document));
    }
    let mut numbers = HashMap::new();
    for order_id in notices.iter().filter_map(|notice| notice.order_id) {
        if !numbers.contains_key(&order_id)
            && let Some(stored) = store.load_in(&Scope::Everything, order_id).await?
        {
            numbers.insert(order_id, stored.order.order_number);
        }
    }
    // The sort is stable: the newest stays first.
    notices.sort_by_key(|notice| notice.state != NoticeStatus::Failed);
    let now = OffsetDateTime::now_utc();
    let note = match &notices[..] {
        [] => None,
        [notice] => {
            let text = sentence(notice, &numbers, now);
            println!("{}\n", wrap(&text, width::stdout_text(), "", "  "));
            None
        }
        several => {
            let note = table(several, &numbers, now).print();
            println!();
            note
        }
    };
    Ok(verdict.note(note).print())
}

fn verdict(notices: &[NoticeRow], only_failed: bool) -> Verdict {
    if notices.is_empty() {
        return Verdict::neutral(match only_failed {
            true => "No notification failed.",
            false => "No notifications.",
        });
    }
    let states = NoticeStatus::ALL.into_iter().filter_map(|state| {
        let notices = notices.iter().filter(|notice| notice.state == state);
        match notices.count() {
            0 => None,
            count => Some(format!("{count} {}", state.code())),
        }
    });
    let states = states.collect::<Vec<_>>().join(", ");
    let total = counted(notices.len(), "notification");
    let verdict = Verdict::neutral(format!("{total}: {states}."));
    match notices
        .iter()
        .any(|notice| notice.state == NoticeStatus::Failed)
    {
        true => verdict.next("haven runbook show notification-failures"),
        false => verdict,
    }
}

fn as_json(notice: &NoticeRow) -> Value {
    json!({
        "event_id": notice.event_id,
        "order_id": notice.order_id,
        "kind": notice.kind,
        "channel": notice.channel.code(),
        "state": notice.state.code(),
        "attempts": notice.attempts,
        "reason": notice.reason,
        "message_id": notice.message_id,
        "created_at": time_text(notice.created_at),
        "sent_at": notice.sent_at.map(time_text),
    })
}

fn table(notices: &[NoticeRow], numbers: &HashMap<OrderId, String>, now: OffsetDateTime) -> Table {
    let mut table = Table::new([
        Column::text("State"),
        Column::text("Notification"),
        Column::text("Channel"),
        Column::text("Order"),
        Column::number("Tries").optional(2),
        Column::text("Age").optional(3),
        Column::text("Order id").optional(1),
        Column::text("Reason or id").shortened(),
    ]);
    for notice in notices {
        let meaning = match notice.state {
            NoticeStatus::Sent => Meaning::Ok,
            NoticeStatus::Pending => Meaning::Waiting,
            NoticeStatus::Failed => Meaning::Fail,
            NoticeStatus::Suppressed => Meaning::Warn,
        };
        let order_id = notice.order_id.map(|id| id.to_string());
        table.row([
            meaning.cell(notice.state.code()),
            Cell::from(notice.kind.as_str()),
            Cell::from(notice.channel.code()),
            Cell::from(recipient(notice, numbers)),
            Cell::from(notice.attempts.to_string()),
            Cell::from(relative(notice.created_at, now)),
            Cell::from(order_id.unwrap_or_default()),
            Cell::from(reason(notice)),
        ]);
    }
    table
}

/// Returns what a row of the table says, for a list of one.
fn sentence(notice: &NoticeRow, numbers: &HashMap<OrderId, String>, now: OffsetDateTime) -> String {
    format!(
        "{} by {} for {}: {} after {}, begun {} ago: {}",
        notice.kind,
        notice.channel.code(),
        recipient(notice, numbers),
        notice.state.code(),
        match notice.attempts {
            1 => "1 try".to_owned(),
            tries => format!("{tries} tries"),
        },
        relative(notice.created_at, now),
        reason(notice)
    )
    .trim_end_matches([':', ' '])
    .to_owned()
}

/// Returns the order's number, or its id if it has none.
fn recipient(notice: &NoticeRow, numbers: &HashMap<OrderId, String>) -> String {
    match notice.order_id {
        None => "staff".to_owned(),
        Some(id) => numbers.get(&id).cloned().unwrap_or_else(|| id.to_string()),
    }
}

/// Returns why a notification was not sent, or the provider's id of a sent one.
fn reason(notice: &NoticeRow) -> String {
    let reason = notice.reason.as_deref().or(notice.message_id.as_deref());
    reason.map(printable).unwrap_or_default()
}

fn time_text(at: Timestamp) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use domain::channel::Channel;
    use domain::ids::EventId;
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;
    use crate::commands::look::fitting;
    use crate::schemas::testing::valid;

    #[test]
    fn failed_notifications_show_the_reason_and_sent_ones_the_id() {
        let failed = NoticeRow {
            event_id: EventId(Uuid::nil()),
            order_id: None,
            kind: "stock_out".to_owned(),
            channel: Channel::Email,
            state: NoticeStatus::Failed,
            attempts: 2,
            reason: Some("MessageRejected".to_owned()),
            message_id: None,
            created_at: datetime!(2026-03-01 08:00 UTC),
            sent_at: None,
        };
        let sent = NoticeRow {
            state: NoticeStatus::Sent,
            reason: None,
            message_id: Some("0100-abc".to_owned()),
            sent_at: Some(datetime!(2026-03-01 08:00:01 UTC)),
            ..failed.clone()
        };
        let now = datetime!(2026-03-01 08:05 UTC);
        let numbers = HashMap::from([(OrderId(Uuid::nil()), "A-047".to_owned())]);
        let ours = NoticeRow {
            order_id: Some(OrderId(Uuid::nil())),
            kind: "order_ready".to_owned(),
            ..sent.clone()
        };
        let rows = [failed.clone(), ours.clone()];
        let shown = |columns| fitting(&table(&rows, &numbers, now).render(columns).text, columns);
        assert_eq!(
            shown(80),
            "State   Notification  Channel  Order  Tries  Age    Reason or id\n\
             failed  stock_out     email    staff      2  5 min  MessageRejected\n\
             sent    order_ready   email    A-047      2  5 min  0100-abc\n"
        );
        for columns in [60, 120] {
            let text = shown(columns);
            assert!(
                text.contains("MessageRejected") && text.contains("A-047"),
                "{text}"
            );
        }
        assert_eq!(
            sentence(&failed, &numbers, now),
            "stock_out by email for staff: failed after 2 tries, begun 5 min ago: MessageRejected"
        );
        assert_eq!(
            verdict(&rows, false),
            Verdict::neutral("2 notifications: 1 sent, 1 failed.")
                .next("haven runbook show notification-failures")
        );
        assert_eq!(
            verdict(&[], true),
            Verdict::neutral("No notification failed.")
        );
        let fields = json!({ "notices": rows.iter().map(as_json).collect::<Vec<_>>() });
        valid(verdict(&rows, false).document("haven.notifications/1", fields));
        assert_eq!(as_json(&sent)["sent_at"], "2026-03-01T08:00:01Z");
        assert_eq!(as_json(&failed)["reason"], "MessageRejected");
    }
}
