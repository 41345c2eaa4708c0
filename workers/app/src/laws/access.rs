//! Laws of `StaffTokens` and `AuditLog`.

use domain::access::StaffRole;
use domain::saga::State;
use time::Duration;
use uuid::Uuid;

use super::orders::{NOON, new_order, step};
use crate::ports::access::{AuditEntry, AuditLog, StaffToken, StaffTokens};
use crate::ports::orders::{Applied, Change, OrderStore, Placement};

/// Runs all laws, each on its own tokens and subjects.
pub async fn all(store: &(impl StaffTokens + AuditLog + OrderStore)) {
    a_token_is_recorded_listed_and_revoked_once(store).await;
    revoked_tokens_are_listed_until_they_expire(store).await;
    entries_are_read_newest_first(store).await;
    a_repeated_act_has_one_row(store).await;
    an_order_and_its_audit_row_change_together(store).await;
}

fn token() -> StaffToken {
    StaffToken {
        id: Uuid::now_v7(),
        name: "Ana".to_owned(),
        role: StaffRole::Barista,
        issued_at: NOON,
        expires_at: NOON + Duration::hours(12),
        revoked_at: None,
    }
}

async fn a_token_is_recorded_listed_and_revoked_once(store: &impl StaffTokens) {
    let (first, second) = (
        token(),
        StaffToken {
            issued_at: NOON + Duration::minutes(1),
            ..token()
        },
    );
    for token in [&first, &second] {
        store.record_token(token).await.expect("recorded");
    }
    let listed = store.staff_tokens().await.expect("read");
    let place = |wanted: &StaffToken| {
        listed
            .iter()
            .position(|token| token == wanted)
            .expect("listed")
    };
    assert!(place(&second) < place(&first), "newest first");

    assert_eq!(
        store
            .revoke_token(Uuid::now_v7(), NOON)
            .await
            .expect("asked"),
        None,
        "an unknown id"
    );
    let before = store
        .revoke_token(first.id, NOON + Duration::hours(1))
        .await
        .expect("revoked");
    assert_eq!(before, Some(first.clone()));
    store
        .revoke_token(first.id, NOON + Duration::hours(2))
        .await
        .expect("again");
    let listed = store.staff_tokens().await.expect("read");
    let now = listed
        .iter()
        .find(|token| token.id == first.id)
        .expect("listed");
    assert_eq!(
        now.revoked_at,
        Some(NOON + Duration::hours(1)),
        "the first revocation counts"
    );
    let other = listed
        .iter()
        .find(|token| token.id == second.id)
        .expect("listed");
    assert_eq!(other.revoked_at, None);
}

async fn revoked_tokens_are_listed_until_they_expire(store: &impl StaffTokens) {
    let (revoked, good) = (token(), token());
    for token in [&revoked, &good] {
        store.record_token(token).await.expect("recorded");
    }
    store.revoke_token(revoked.id, NOON).await.expect("revoked");
    let told = store
        .revoked_tokens(NOON + Duration::hours(11))
        .await
        .expect("read");
    assert!(
        told.contains(&revoked.id) && !told.contains(&good.id),
        "{told:?}"
    );
    let told = store
        .revoked_tokens(NOON + Duration::hours(12))
        .await
        .expect("read");
    assert!(!told.contains(&revoked.id), "it has expired: {told:?}");
}

fn entry(subject: String, before: Option<&str>) -> AuditEntry {
    AuditEntry {
        at: NOON,
        actor: "Ana".to_owned(),
        action: "order.move".to_owned(),
        subject,
        before: before.map(str::to_owned),
        after: Some(r#"{"status":"ready"}"#.to_owned()),
        act_id: None,
    }
}

async fn a_repeated_act_has_one_row(store: &impl AuditLog) {
    let id = Uuid::now_v7();
    let act = |subject: &str| AuditEntry {
        act_id: Some(id.to_string()),
        ..entry(subject.to_owned(), None)
    };
    store
        .append_audit(&act("product/espresso"))
        .await
        .expect("appended");
    store
        .append_audit(&act("product/tea"))
        .await
        .expect("appended once");
    assert_eq!(
        store.audit_entries(1).await.expect("read"),
        [act("product/espresso")]
    );
}

async fn an_order_and_its_audit_row_change_together(store: &(impl AuditLog + OrderStore)) {
    let new = new_order();
    assert_eq!(
        store.place(std::slice::from_ref(&new)).await,
        [Ok(Placement::Placed)]
    );
    let by_staff = |version| {
        let subject = format!("order/{}", new.order.order_id);
        let mut change = step(&new, version, State::Validated);
        if let Some(order) = &mut change.order {
            order.audit = Some(entry(subject, Some(&format!(r#"{{"version":{version}}}"#))));
        }
        change
    };
    let (first, stale, second) = (by_staff(1), by_staff(7), by_staff(2));
    let row = |change: &Change| {
        change
            .order
            .as_ref()
            .and_then(|order| order.audit.clone())
            .expect("an act")
    };
    let applied = store.apply(&[first.clone(), stale, second.clone()]).await;
    assert_eq!(
        applied,
        [
            Ok(Applied::Applied),
            Ok(Applied::Conflict),
            Ok(Applied::Applied)
        ]
    );
    assert_eq!(
        store.apply(std::slice::from_ref(&first)).await,
        [Ok(Applied::Duplicate)]
    );
    assert_eq!(
        store.audit_entries(2).await.expect("read"),
        [row(&second), row(&first)],
        "only the entries of the subject"
    );
}

async fn entries_are_read_newest_first(store: &impl AuditLog) {
    let subjects = [0, 1, 2].map(|_| format!("order/{}", Uuid::now_v7()));
    let entries = subjects.map(|subject| entry(subject, None));
    for entry in &entries {
        store.append_audit(entry).await.expect("appended");
    }
    let last = entry(
        format!("order/{}", Uuid::now_v7()),
        Some(r#"{"status":"preparing"}"#),
    );
    store.append_audit(&last).await.expect("appended");
    let read = store.audit_entries(2).await.expect("read");
    assert_eq!(read, [last, entries[2].clone()]);
}
