//! What a `NoticeStore` must do.

use domain::ids::EventId;
use time::macros::datetime;
use uuid::Uuid;

use crate::ports::notices::{CLAIM, Notice, NoticeEnd, NoticeState, NoticeStore};

/// All laws, on notices of their own.
pub async fn all(notices: &impl NoticeStore) {
    tries_are_counted_until_an_end(notices).await;
    every_end_is_an_end(notices).await;
    channels_are_apart(notices).await;
    one_of_many_at_once_may_send(notices).await;
    a_try_that_died_is_followed_by_another(notices).await;
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
    notices.give_back_notice(notice.event_id, notice.channel).await.expect("given back");
    assert_eq!(begin(notices, &notice).await, NoticeState::Pending { attempt: 2 }, "the first try came to nothing");
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

async fn one_of_many_at_once_may_send(notices: &impl NoticeStore) {
    let notice = notice("email");
    let states = futures::future::join_all((0..8).map(|_| begin(notices, &notice))).await;
    let may = states.iter().filter(|state| **state == NoticeState::Pending { attempt: 1 }).count();
    let told_to_wait = states.iter().filter(|state| **state == NoticeState::InHand).count();
    assert_eq!((may, told_to_wait), (1, 7), "{states:?}");
}

async fn a_try_that_died_is_followed_by_another(notices: &impl NoticeStore) {
    let first = notice("email");
    begin(notices, &first).await;
    let soon = Notice { at: first.at + CLAIM / 2, ..first.clone() };
    assert_eq!(begin(notices, &soon).await, NoticeState::InHand);
    let later = Notice { at: first.at + CLAIM, ..first.clone() };
    assert_eq!(begin(notices, &later).await, NoticeState::Pending { attempt: 2 });
    assert_eq!(begin(notices, &later).await, NoticeState::InHand, "the second try is one alone, too");
}
