//! Staff tokens and sign-in links: issues and records them, and keeps the token of `haven.json`
//! fresh.

use std::time::Duration as Wait;

use adapter_sql::Login;
use anyhow::Context as _;
use app::ports::Source;
use app::ports::access::{StaffToken, StaffTokens as _};
use app::use_cases::journey::time_text;
use app::use_cases::staff_tokens::{LIFE, new_token};
use contract::parameter::SIGNING_KEY;
use domain::access::StaffRole;
use haven_console::BadUsage;
use serde_json::json;
use storefront::sign_in_link;
pub use storefront::sign_in_link::MAILBOX;
use time::Duration;
use uuid::Uuid;
use worker::stores::{Store, SystemSource};

use crate::audit::Act;
use crate::aws::Aws;
use crate::environment::ENVIRONMENT;
use crate::facts::Facts;

/// The actor in the audit log for tokens that `haven up` issues.
const UP: &str = "haven up";
/// The name in the token of `haven.json` and in sign-in links.
const LOCAL_STAFF: &str = "local staff";
/// The time before its expiry at which the token in `haven.json` is renewed.
const RENEW_BEFORE: Duration = Duration::hours(1);
/// The time between two checks of the wall clock and of the revocations. After a laptop has slept,
/// the wall clock shows that the token has expired.
const LOOK_EVERY: Wait = Wait::from_secs(2);

/// Makes and records a staff token. Returns its text and the record.
///
/// # Errors
/// When the name is not valid, or the database refuses the record. No token is returned then.
pub async fn issue(
    store: &Store,
    signing_key: &str,
    issued_by: &str,
    asked: (&str, StaffRole, Duration),
) -> anyhow::Result<(String, StaffToken)> {
    let token = record(store, issued_by, asked).await?;
    Ok((storefront::staff::issue(signing_key, &token), token))
}

/// Makes the address of a link that signs a browser in once, within a minute, with the name and the
/// role of the token in `haven.json`. With `page`, the link leads to that page. Returns the address
/// and the record of the link.
///
/// # Errors
/// When the signing key cannot be read, or the database cannot be reached or refuses the record.
pub async fn sign_in_link(
    facts: &Facts,
    issued_by: &str,
    page: Option<&str>,
) -> anyhow::Result<(String, StaffToken)> {
    let key = signing_key(facts).await?;
    let store = Store::connect(&facts.database_url, &Login::default())
        .await
        .context("open the database of staff tokens")?;
    let asked = (LOCAL_STAFF, StaffRole::Staff, sign_in_link::LIFE);
    let token = record(&store, issued_by, asked).await?;
    let address = sign_in_link::address(&facts.storefront, &key, &token, page);
    Ok((address, token))
}

/// Reads the signing key of a local platform.
///
/// # Errors
/// When the local AWS does not answer, or has no signing key.
pub async fn signing_key(facts: &Facts) -> anyhow::Result<String> {
    let secrets = Aws::local(&facts.aws_access()).secrets(ENVIRONMENT).await?;
    secrets
        .get(SIGNING_KEY.slug)
        .cloned()
        .context("the signing key was not deployed")
}

/// Makes a token, and records it in the database and in the audit log.
async fn record(
    store: &Store,
    issued_by: &str,
    (name, role, life): (&str, StaffRole, Duration),
) -> anyhow::Result<StaffToken> {
    let token = new_token(&SystemSource, name, role, life)
        .map_err(|error| BadUsage(format!("--{} {}", error.field, error.message)))?;
    store
        .record_token(&token)
        .await
        .context("record the staff token")?;
    let after = json!({ "name": token.name, "role": token.role.code(), "expires_at": time_text(token.expires_at) });
    let act = Act::new(issued_by, "staff_token.issue", subject(token.id)).after(&after);
    act.append(store).await?;
    Ok(token)
}

/// Issues the token for `haven.json`.
///
/// # Errors
/// As [`issue`].
pub async fn local_token(store: &Store, signing_key: &str) -> anyhow::Result<(String, StaffToken)> {
    let asked = (LOCAL_STAFF, StaffRole::Staff, LIFE);
    issue(store, signing_key, UP, asked).await
}

/// Returns the subject of audit entries about a token.
pub fn subject(id: Uuid) -> String {
    format!("staff-token/{id}")
}

/// Issues a new token an hour before the current one expires, or as soon as the current one is
/// revoked. Signing out with the token of `haven.json` revokes it, but programs still need a token.
///
/// The function returns when `publish` returns `false`. If a token cannot be issued, the next check
/// tries again.
pub(crate) async fn keep_fresh<I, R>(
    clock: impl Source,
    mut token: StaffToken,
    is_revoked: impl Fn(Uuid) -> R,
    issue: impl Fn() -> I,
    mut publish: impl FnMut(String) -> bool,
) where
    I: Future<Output = anyhow::Result<(String, StaffToken)>>,
    R: Future<Output = bool>,
{
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let ends_soon = clock.now() >= token.expires_at - RENEW_BEFORE;
        if !ends_soon && !is_revoked(token.id).await {
            continue;
        }
        match issue().await {
            Ok((text, next)) if publish(text.clone()) => token = next,
            // `publish` refused the token: its platform has ended.
            Ok(_) => return,
            Err(error) => eprintln!("  cannot renew the staff token: {error:#}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use domain::Timestamp;

    use super::*;

    /// A clock that follows tokio's paused clock.
    #[derive(Clone, Copy)]
    struct Clock(tokio::time::Instant);

    impl Source for Clock {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH + Duration::days(20_000) + self.0.elapsed()
        }

        fn uuid(&self) -> Uuid {
            Uuid::nil()
        }
    }

    fn token(clock: Clock) -> StaffToken {
        let made = new_token(&clock, "local staff", StaffRole::Staff, LIFE).expect("a token");
        StaffToken {
            id: Uuid::now_v7(),
            ..made
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_was_revoked_is_replaced_within_seconds() {
        let clock = Clock(tokio::time::Instant::now());
        let begun = clock.now();
        let first = token(clock);
        let revoked = first.id;
        let issued = AtomicU32::new(0);
        let issue = || async {
            issued.fetch_add(1, Ordering::Relaxed);
            Ok(("another".to_owned(), token(clock)))
        };
        let mut replaced_after = Vec::new();
        let publish = |_| {
            replaced_after.push(clock.now() - begun);
            replaced_after.len() < 2
        };
        keep_fresh(
            clock,
            first,
            |id| async move { id == revoked },
            issue,
            publish,
        )
        .await;
        assert!(
            replaced_after[0] <= Duration::seconds(5),
            "{replaced_after:?}"
        );
        assert!(
            replaced_after[1] > Duration::hours(10),
            "the new one is good until it ends: {replaced_after:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_token_is_renewed_before_it_expires_and_not_after_the_platform_stops() {
        let clock = Clock(tokio::time::Instant::now());
        let begun = clock.now();
        let issued: Mutex<Vec<Timestamp>> = Mutex::default();
        let failures = AtomicU32::new(3);
        let issue = || async {
            if failures.load(Ordering::Relaxed) > 0 {
                failures.fetch_sub(1, Ordering::Relaxed);
                anyhow::bail!("the database is away for a moment");
            }
            issued.lock().expect("not poisoned").push(clock.now());
            Ok(("token".to_owned(), token(clock)))
        };
        let mut published = 0;
        let publish = |_| {
            published += 1;
            published < 3
        };
        keep_fresh(clock, token(clock), |_| async { false }, issue, publish).await;
        let issued = issued.into_inner().expect("not poisoned");
        assert_eq!(issued.len(), 3, "the third found its shop gone");
        let first = issued[0] - begun;
        assert!(
            first >= LIFE - RENEW_BEFORE && first < LIFE - RENEW_BEFORE + Duration::minutes(5),
            "{first}"
        );
        for pair in issued.windows(2) {
            assert!(
                pair[1] - pair[0] < LIFE,
                "there is always one that is good: {issued:?}"
            );
        }
    }
}
