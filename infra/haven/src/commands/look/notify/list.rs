//! `haven notify list`: shows the state of each notification.

use std::path::PathBuf;

use adapter_sql::Login;
use anyhow::Context as _;
use app::ports::notices::{NoticeFilter, NoticeRow, NoticeStore as _};
use clap::Args;
use comfy_table::{Table, presets};
use domain::Timestamp;
use domain::ids::OrderId;
use domain::text::printable;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use worker::stores::Store;

use crate::arguments::{STATE, order_id};
use haven_console::terminal;
use platform::facts::Facts;

#[derive(Debug, Args)]
pub struct List {
    /// Show only notifications that failed or were given up
    #[arg(long)]
    pub failed: bool,
    /// Show only the notifications of this order
    #[arg(long, value_name = "ORDER_ID", value_parser = order_id)]
    pub order: Option<OrderId>,
    /// The state directory
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Prints the notifications that match the options.
///
/// # Errors
/// When no platform runs on the state directory, or its database cannot be read.
pub async fn print(options: &List) -> anyhow::Result<()> {
    let facts = Facts::read(&options.state)?;
    let store = Store::connect(&facts.database_url, &Login::default())
        .await
        .context("open the database")?;
    let filter = NoticeFilter {
        order_id: options.order,
        failed: options.failed,
    };
    let notices = store.notices(&filter).await.context("read the notices")?;
    if options.json {
        println!(
            "{}",
            terminal::json(&json!({ "notices": notices.iter().map(as_json).collect::<Vec<_>>() }))
        );
    } else if notices.is_empty() {
        println!(
            "{}",
            if options.failed {
                "No notice failed"
            } else {
                "No notice yet"
            }
        );
    } else {
        println!("{}", table(&notices));
    }
    Ok(())
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

fn table(notices: &[NoticeRow]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "Order",
        "Notice",
        "By",
        "State",
        "Tries",
        "Begun",
        "Why, or the provider's id",
    ]);
    for notice in notices {
        table.add_row([
            notice
                .order_id
                .map_or_else(|| "(staff)".to_owned(), |id| id.to_string()),
            notice.kind.clone(),
            notice.channel.code().to_owned(),
            notice.state.code().to_owned(),
            notice.attempts.to_string(),
            time_text(notice.created_at),
            printable(
                notice
                    .reason
                    .as_ref()
                    .or(notice.message_id.as_ref())
                    .map_or("", String::as_str),
            ),
        ]);
    }
    table
}

fn time_text(at: Timestamp) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use app::ports::notices::NoticeStatus;
    use domain::channel::Channel;
    use domain::ids::EventId;
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_failed_notice_says_why_and_a_sent_one_where_to_ask() {
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
        let text = table(&[failed.clone(), sent.clone()]).to_string();
        assert!(
            text.contains("MessageRejected")
                && text.contains("0100-abc")
                && text.contains("(staff)"),
            "{text}"
        );
        assert_eq!(as_json(&sent)["sent_at"], "2026-03-01T08:00:01Z");
        assert_eq!(as_json(&failed)["reason"], "MessageRejected");
    }
}
