//! What a `NoticeStore` must do.

use domain::ids::EventId;
use time::macros::datetime;
use uuid::Uuid;

use crate::ports::notices::{Notice, NoticeEnd, NoticeState, NoticeStore};

/// All laws, on notices of their own.
pub async fn all(notices: &impl NoticeStore) {
    tries_are_counted_until_an_end(notices).await;
    every_end_is_an_end(notices).await;
    channels_are_apart(notices).await;
    tries_at_once_are_all_counted(notices).await;
}

fn notice(channel: &'static str) -> Notice {
    let at = datetime!(2026-03-01 08:00 UTC);
    Notice { event_id: EventId(Uuid::now_v7()), order_id: None, kind: "stock_low", channel, at }
}

async fn begin(notices: &impl NoticeStore, notice: &Notice) -> NoticeState {
    notices.begin_notice(notice).await.expect("begun")
}

async fn end(notices: &impl NoticeStore, notice: &Notice, end: NoticeEnd) {
    notices.end_notice(notice.event_id, notice.channel, end, notice.at).await.expect("ended");
}

async fn tries_are_counted_until_an_end(notices: &impl NoticeStore) {
    let notice = notice("email");
    assert_eq!(begin(notices, &notice).await, NoticeState::Pending { attempt: 1 });
    assert_eq!(begin(notices, &notice).await, NoticeState::Pending { attempt: 2 }, "the first try may have died");
    end(notices, &notice, NoticeEnd::Sent).await;
    assert_eq!(begin(notices, &notice).await, NoticeState::Ended, "what was sent is not sent again");
}

async fn every_end_is_an_end(notices: &impl NoticeStore) {
    for how in [NoticeEnd::Sent, NoticeEnd::Refused, NoticeEnd::Suppressed] {
        let notice = notice("email");
        begin(notices, &notice).await;
        end(notices, &notice, how).await;
        assert_eq!(begin(notices, &notice).await, NoticeState::Ended, "{how:?}");
    }
}

async fn channels_are_apart(notices: &impl NoticeStore) {
    let mail = notice("email");
    let text = Notice { channel: "sms", ..mail.clone() };
    begin(notices, &mail).await;
    end(notices, &mail, NoticeEnd::Sent).await;
    assert_eq!(begin(notices, &text).await, NoticeState::Pending { attempt: 1 });
}

async fn tries_at_once_are_all_counted(notices: &impl NoticeStore) {
    let notice = notice("email");
    let mut attempts: Vec<u32> = Vec::new();
    for state in futures::future::join_all((0..8).map(|_| begin(notices, &notice))).await {
        match state {
            NoticeState::Pending { attempt } => attempts.push(attempt),
            NoticeState::Ended => panic!("nobody ended it"),
        }
    }
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 2, 3, 4, 5, 6, 7, 8]);
}
