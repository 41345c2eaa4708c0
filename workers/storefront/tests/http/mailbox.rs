//! The mailbox page: it exists with a local AWS only, is for staff only, and never runs content of
//! a mail.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use app::ports::mailbox::{Kept, KeptMail, KeptText, Mailbox};
use app::ports::{Backend, StoreError};
use axum::http::StatusCode;
use domain::Timestamp;
use domain::access::StaffRole;

use crate::pages::open;
use crate::{Client, NOON, token_as};

/// Text that a malicious customer could use as a name.
const EVIL: &str = "<script>alert(1)</script><img src=//evil.example/x onerror=alert(2)>\"'&";

struct Full;

impl Mailbox for Full {
    fn kept(&self) -> Pin<Box<dyn Future<Output = Result<Kept, StoreError>> + Send + '_>> {
        let mail = |id: &str, subject: &str, at: Timestamp| KeptMail {
            id: id.to_owned(),
            to: vec![format!("ana{EVIL}@example.com")],
            subject: subject.to_owned(),
            text: format!("Come and get it. {EVIL}"),
            html: Some(format!("<p>Come and get it. {EVIL}</p>")),
            at,
        };
        let mails = vec![
            mail("1@ses", "Order received", NOON),
            mail("2/ses", EVIL, NOON + time::Duration::MINUTE),
        ];
        let text = KeptText {
            id: "3".to_owned(),
            to: "+15550100123".to_owned(),
            text: EVIL.to_owned(),
        };
        Box::pin(std::future::ready(Ok(Kept {
            mails,
            texts: vec![text],
        })))
    }
}

struct Unavailable;

impl Mailbox for Unavailable {
    fn kept(&self) -> Pin<Box<dyn Future<Output = Result<Kept, StoreError>> + Send + '_>> {
        Box::pin(std::future::ready(Err(StoreError::new(
            Backend::Mailbox,
            "secret cause",
        ))))
    }
}

async fn with(mailbox: impl Mailbox + 'static) -> Client {
    Client::set(|settings| settings.mailbox = Some(Arc::new(mailbox))).await
}

/// Returns a shop whose mailbox has the mail `1@ses` and another mail.
pub async fn with_mails() -> Client {
    with(Full).await
}

#[tokio::test]
async fn mails_have_times_in_the_time_zone_of_the_shop() {
    let client = with_mails().await;
    for path in ["/staff/mailbox", "/staff/mailbox/1@ses"] {
        let page = client.as_staff("GET", path, &[], None).await.text;
        assert!(
            page.contains("7:00 am") && !page.contains("UTC"),
            "{path}: {page}"
        );
    }
    client.later(time::Duration::DAY);
    let staff = format!(
        "staff={}",
        token_as(StaffRole::Staff, "Ana", NOON + time::Duration::days(2))
    );
    let list = open(&client, &staff, "/staff/mailbox").await.text;
    assert_eq!(list.matches("Sun 1 Mar, 7:0").count(), 2, "{list}");
}

#[tokio::test]
async fn the_mailbox_is_newest_first_and_never_runs_content() {
    let client = with(Full).await;
    let list = client.as_staff("GET", "/staff/mailbox", &[], None).await;
    assert_eq!(list.status, StatusCode::OK, "{}", list.text);
    let (newer, older) = (list.text.find("2%2Fses"), list.text.find("Order received"));
    assert!(newer.is_some() && newer < older, "{}", list.text);
    assert!(list.text.contains("15550100123"), "{}", list.text);
    for path in ["/staff/mailbox/1@ses", "/staff/mailbox/2%2Fses"] {
        let mail = client.as_staff("GET", path, &[], None).await;
        assert_eq!(mail.status, StatusCode::OK, "{}", mail.text);
        assert!(
            mail.text.contains("Come and get it.") && mail.text.contains("&#60;p&#62;"),
            "{}",
            mail.text
        );
        for page in [&mail, &list] {
            assert!(
                !page.text.contains("<script>alert") && !page.text.contains("<img src=//evil"),
                "{}",
                page.text
            );
            assert!(
                page.header("content-security-policy")
                    .contains("default-src 'self'")
            );
        }
    }
    assert_eq!(
        client
            .as_staff("GET", "/staff/mailbox/3", &[], None)
            .await
            .status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_mailbox_needs_a_sign_in() {
    let client = with(Full).await;
    for path in ["/staff/mailbox", "/staff/mailbox/1@ses"] {
        let answer = client.get(path, &[]).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (StatusCode::SEE_OTHER, "/staff/sign-in")
        );
        assert!(!answer.text.contains("Come and get it"));
    }
}

#[tokio::test]
async fn on_aws_the_mailbox_answers_404() {
    const LINK: &str = "<a href=\"/staff/mailbox\">Mailbox</a>";
    assert!(
        with_mails()
            .await
            .as_staff("GET", "/staff", &[], None)
            .await
            .text
            .contains(LINK)
    );
    assert!(
        !Client::new()
            .await
            .as_staff("GET", "/staff", &[], None)
            .await
            .text
            .contains(LINK)
    );
    let client = Client::new().await;
    for path in ["/staff/mailbox", "/staff/mailbox/1@ses"] {
        assert_eq!(
            client.as_staff("GET", path, &[], None).await.status,
            StatusCode::NOT_FOUND
        );
        assert_eq!(
            client.get(path, &[]).await.status,
            StatusCode::SEE_OTHER,
            "a visitor is redirected"
        );
    }
}

#[tokio::test]
async fn an_outage_of_the_local_aws_is_reported_without_its_cause() {
    let answer = with(Unavailable)
        .await
        .as_staff("GET", "/staff/mailbox", &[], None)
        .await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.text.contains("secret cause"));
}
