//! What a `StaffTokens` and an `AuditLog` must do.

use domain::access::StaffRole;
use time::Duration;
use uuid::Uuid;

use super::orders::NOON;
use crate::ports::access::{AuditEntry, AuditLog, StaffToken, StaffTokens};

/// All laws, on tokens and subjects of their own.
pub async fn all(store: &(impl StaffTokens + AuditLog)) {
    a_token_is_recorded_listed_and_revoked_once(store).await;
    revoked_tokens_are_told_until_they_expire(store).await;
    entries_are_read_newest_first(store).await;
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
    let (first, second) = (token(), StaffToken { issued_at: NOON + Duration::minutes(1), ..token() });
    for token in [&first, &second] {
        store.record_token(token).await.expect("recorded");
    }
    let listed = store.staff_tokens().await.expect("read");
    let place = |wanted: &StaffToken| listed.iter().position(|token| token == wanted).expect("listed");
    assert!(place(&second) < place(&first), "newest first");

    assert_eq!(store.revoke_token(Uuid::now_v7(), NOON).await.expect("asked"), None, "an unknown id");
    let before = store.revoke_token(first.id, NOON + Duration::hours(1)).await.expect("revoked");
    assert_eq!(before, Some(first.clone()));
    store.revoke_token(first.id, NOON + Duration::hours(2)).await.expect("again");
    let listed = store.staff_tokens().await.expect("read");
    let now = listed.iter().find(|token| token.id == first.id).expect("listed");
    assert_eq!(now.revoked_at, Some(NOON + Duration::hours(1)), "the first revocation counts");
    let other = listed.iter().find(|token| token.id == second.id).expect("listed");
    assert_eq!(other.revoked_at, None);
}

async fn revoked_tokens_are_told_until_they_expire(store: &impl StaffTokens) {
    let (revoked, good) = (token(), token());
    for token in [&revoked, &good] {
        store.record_token(token).await.expect("recorded");
    }
    store.revoke_token(revoked.id, NOON).await.expect("revoked");
    let told = store.revoked_tokens(NOON + Duration::hours(11)).await.expect("read");
    assert!(told.contains(&revoked.id) && !told.contains(&good.id), "{told:?}");
    let told = store.revoked_tokens(NOON + Duration::hours(12)).await.expect("read");
    assert!(!told.contains(&revoked.id), "it has expired: {told:?}");
}

async fn entries_are_read_newest_first(store: &impl AuditLog) {
    let entry = |subject: String, before: Option<&str>| AuditEntry {
        at: NOON,
        actor: "Ana".to_owned(),
        action: "order.move".to_owned(),
        subject,
        before: before.map(str::to_owned),
        after: Some(r#"{"status":"ready"}"#.to_owned()),
    };
    let subjects = [0, 1, 2].map(|_| format!("order/{}", Uuid::now_v7()));
    let entries = subjects.map(|subject| entry(subject, None));
    for entry in &entries {
        store.append_audit(entry).await.expect("appended");
    }
    let last = entry(format!("order/{}", Uuid::now_v7()), Some(r#"{"status":"preparing"}"#));
    store.append_audit(&last).await.expect("appended");
    let read = store.audit_entries(2).await.expect("read");
    assert_eq!(read, [last, entries[2].clone()]);
}
