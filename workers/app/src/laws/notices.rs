//! Laws of `NoticeStore`.

use domain::channel::Channel;
use domain::ids::{EventId, OrderId};
use time::macros::datetime;
use uuid::Uuid;

use crate::ports::notices::{
    CLAIM, MESSAGES_PER_DAY, NOTICES_MAX, Notice, NoticeEnd, NoticeFilter, NoticeKind, NoticeRow,
    NoticeState, NoticeStatus, NoticeStore, TOO_MANY,
};

/// Runs all laws, each on its own notifications.
pub async fn all(notices: &impl NoticeStore) {
    attempts_are_counted_until_the_end(notices).await;
    every_final_state_is_final(notices).await;
    the_first_final_state_is_kept(notices).await;
    channels_are_independent(notices).await;
    one_of_many_concurrent_callers_may_send(notices).await;
    an_interrupted_attempt_is_retried(notices).await;
    the_state_of_each_notification_is_listed(notices).await;
    a_list_is_limited_and_newest_first(notices).await;
    a_recipient_has_a_daily_limit(notices).await;
}

fn notice(channel: Channel) -> Notice {
    let at = datetime!(2026-03-01 08:00 UTC);
    Notice {
        event_id: EventId(Uuid::now_v7()),
        order_id: None,
        kind: NoticeKind::StockLow,
        channel,
        recipient: None,
        at,
    }
}

fn sent() -> NoticeEnd {
    NoticeEnd::Sent {
        message_id: "0100-abc".to_owned(),
    }
}

fn failed() -> NoticeEnd {
    NoticeEnd::Failed {
        reason: "MessageRejected".to_owned(),
    }
}

fn suppressed() -> NoticeEnd {
    NoticeEnd::Suppressed {
        reason: "notification/email_enabled is false".to_owned(),
    }
}

async fn begin(notices: &impl NoticeStore, notice: &Notice) -> NoticeState {
    notices.begin_notice(notice).await.expect("begun")
}

async fn end(notices: &impl NoticeStore, notice: &Notice, end: &NoticeEnd) -> bool {
    notices
        .end_notice(notice.event_id, notice.channel, end, notice.at)
        .await
        .expect("ended")
}

async fn give_back(notices: &impl NoticeStore, notice: &Notice, why: &str) {
    notices
        .give_back_notice(notice.event_id, notice.channel, why)
        .await
        .expect("given back");
}

async fn of_order(notices: &impl NoticeStore, order_id: OrderId, failed: bool) -> Vec<NoticeRow> {
    notices
        .notices(&NoticeFilter {
            order_id: Some(order_id),
            failed,
        })
        .await
        .expect("listed")
}

async fn attempts_are_counted_until_the_end(notices: &impl NoticeStore) {
    let notice = notice(Channel::Email);
    assert_eq!(
        begin(notices, &notice).await,
        NoticeState::Pending { attempt: 1 }
    );
    give_back(notices, &notice, "Throttling").await;
    assert_eq!(
        begin(notices, &notice).await,
        NoticeState::Pending { attempt: 2 },
        "the first attempt failed"
    );
    assert!(end(notices, &notice, &sent()).await);
    assert_eq!(
        begin(notices, &notice).await,
        NoticeState::Sent,
        "a sent notification is not sent again"
    );
}

async fn every_final_state_is_final(notices: &impl NoticeStore) {
    for (how, then) in [
        (sent(), NoticeState::Sent),
        (failed(), NoticeState::NotSent),
        (suppressed(), NoticeState::NotSent),
    ] {
        let notice = notice(Channel::Email);
        begin(notices, &notice).await;
        assert!(end(notices, &notice, &how).await);
        assert_eq!(begin(notices, &notice).await, then, "{how:?}");
    }
}

async fn the_first_final_state_is_kept(notices: &impl NoticeStore) {
    let slow = notice(Channel::Sms);
    begin(notices, &slow).await;
    let other = Notice {
        at: slow.at + CLAIM,
        ..slow.clone()
    };
    begin(notices, &other).await;
    assert!(end(notices, &other, &sent()).await);
    assert!(!end(notices, &slow, &failed()).await, "it was sent");
    give_back(notices, &slow, "no answer").await;
    assert_eq!(begin(notices, &other).await, NoticeState::Sent);
}

async fn channels_are_independent(notices: &impl NoticeStore) {
    let mail = notice(Channel::Email);
    let text = Notice {
        channel: Channel::Sms,
        ..mail.clone()
    };
    begin(notices, &mail).await;
    end(notices, &mail, &sent()).await;
    assert_eq!(
        begin(notices, &text).await,
        NoticeState::Pending { attempt: 1 }
    );
}

async fn one_of_many_concurrent_callers_may_send(notices: &impl NoticeStore) {
    let notice = notice(Channel::Email);
    let states = futures::future::join_all((0..8).map(|_| begin(notices, &notice))).await;
    let may = states
        .iter()
        .filter(|state| **state == NoticeState::Pending { attempt: 1 })
        .count();
    let told_to_wait = states
        .iter()
        .filter(|state| **state == NoticeState::InHand)
        .count();
    assert_eq!((may, told_to_wait), (1, 7), "{states:?}");
}

async fn an_interrupted_attempt_is_retried(notices: &impl NoticeStore) {
    let first = notice(Channel::Email);
    begin(notices, &first).await;
    let soon = Notice {
        at: first.at + CLAIM / 2,
        ..first.clone()
    };
    assert_eq!(begin(notices, &soon).await, NoticeState::InHand);
    let later = Notice {
        at: first.at + CLAIM,
        ..first.clone()
    };
    assert_eq!(
        begin(notices, &later).await,
        NoticeState::Pending { attempt: 2 }
    );
    assert_eq!(
        begin(notices, &later).await,
        NoticeState::InHand,
        "only one caller gets the second attempt"
    );
}

async fn the_state_of_each_notification_is_listed(notices: &impl NoticeStore) {
    let order_id = OrderId(Uuid::now_v7());
    let of = |kind, channel| Notice {
        order_id: Some(order_id),
        kind,
        ..notice(channel)
    };
    let refused = of(NoticeKind::OrderConfirmed, Channel::Sms);
    let instead = Notice {
        channel: Channel::Email,
        ..refused.clone()
    };
    let waiting = of(NoticeKind::OrderReady, Channel::Email);
    for notice in [&refused, &instead, &waiting] {
        begin(notices, notice).await;
    }
    end(notices, &refused, &failed()).await;
    end(notices, &instead, &sent()).await;
    give_back(notices, &waiting, "Throttling").await;

    let all = of_order(notices, order_id, false).await;
    let row = |notice: &Notice,
               state: NoticeStatus,
               reason: Option<&str>,
               message_id: Option<&str>| NoticeRow {
        event_id: notice.event_id,
        order_id: notice.order_id,
        kind: notice.kind.code().to_owned(),
        channel: notice.channel,
        state,
        attempts: 1,
        reason: reason.map(str::to_owned),
        message_id: message_id.map(str::to_owned),
        created_at: notice.at,
        sent_at: (state == NoticeStatus::Sent).then_some(notice.at),
    };
    let expected = [
        row(&waiting, NoticeStatus::Pending, Some("Throttling"), None),
        row(&instead, NoticeStatus::Sent, None, Some("0100-abc")),
        row(
            &refused,
            NoticeStatus::Failed,
            Some("MessageRejected"),
            None,
        ),
    ];
    assert_eq!(all, expected);
    let failing = of_order(notices, order_id, true).await;
    assert_eq!(failing, [expected[0].clone(), expected[2].clone()]);

    begin(notices, &waiting).await;
    end(notices, &waiting, &sent()).await;
    assert_eq!(
        of_order(notices, order_id, false).await[0].reason,
        None,
        "a sent notification has no reason"
    );
}

async fn a_list_is_limited_and_newest_first(notices: &impl NoticeStore) {
    let order_id = OrderId(Uuid::now_v7());
    for age in 0..=NOTICES_MAX {
        // Notifications with greater ids are older.
        let notice = Notice {
            order_id: Some(order_id),
            ..notice(Channel::Email)
        };
        begin(
            notices,
            &Notice {
                at: notice.at - time::Duration::seconds(age.into()),
                ..notice
            },
        )
        .await;
    }
    let rows = of_order(notices, order_id, false).await;
    assert_eq!(rows.len() as u32, NOTICES_MAX);
    assert!(rows.is_sorted_by(|one, next| one.created_at > next.created_at));
}

async fn a_recipient_has_a_daily_limit(notices: &impl NoticeStore) {
    let order_id = OrderId(Uuid::now_v7());
    let recipient = format!("email:{}@example.com", Uuid::now_v7());
    let to = |recipient: &str| Notice {
        order_id: Some(order_id),
        recipient: Some(recipient.to_owned()),
        ..notice(Channel::Email)
    };
    // All at the same time, as workers claim them.
    let many: Vec<Notice> = (0..MESSAGES_PER_DAY + 8).map(|_| to(&recipient)).collect();
    let states = futures::future::join_all(many.iter().map(|notice| begin(notices, notice))).await;
    let may = states
        .iter()
        .filter(|state| **state == NoticeState::Pending { attempt: 1 })
        .count();
    let suppressed = states
        .iter()
        .filter(|state| **state == NoticeState::NotSent)
        .count();
    assert_eq!(
        (may, suppressed),
        (MESSAGES_PER_DAY as usize, 8),
        "{states:?}"
    );

    // Another attempt is not a new message, and suppressed notifications stay suppressed.
    for (notice, state) in many.iter().zip(&states) {
        give_back(notices, notice, "Throttling").await;
        let again = begin(notices, notice).await;
        match state {
            NoticeState::Pending { .. } => assert_eq!(again, NoticeState::Pending { attempt: 2 }),
            _ => assert_eq!(again, NoticeState::NotSent),
        }
    }
    let rows = of_order(notices, order_id, false).await;
    let reasons: Vec<_> = rows
        .iter()
        .filter(|row| row.state == NoticeStatus::Suppressed)
        .map(|row| row.reason.as_deref())
        .collect();
    assert_eq!(reasons, [Some(TOO_MANY); 8]);

    assert_eq!(
        begin(notices, &to("email:another@example.com")).await,
        NoticeState::Pending { attempt: 1 }
    );
    let tomorrow = Notice {
        at: many[0].at + time::Duration::DAY,
        ..to(&recipient)
    };
    assert_eq!(
        begin(notices, &tomorrow).await,
        NoticeState::Pending { attempt: 1 }
    );
}
