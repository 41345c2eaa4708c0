//! Notifications in the running shop, by e-mail and by text.

use std::time::{Duration, Instant};

use contract::parameter::SMS_ENABLED;
use contract::parameter_root;
use e2e::{SETTLED_WITHIN, World, order};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// Places an order of a customer who wants texts, and returns its id.
async fn wants_texts(world: &World) -> String {
    let mut body = order("flat-white", 1, "tok_ok");
    body["notify"] = json!({ "sms": true });
    let key = Uuid::now_v7().to_string();
    // A recipient gets at most 40 messages a day, so each order has its own address.
    body["customer"]["email"] = json!(format!("ana-{key}@example.com"));
    let accepted = world
        .ask(
            Method::POST,
            "/api/v1/orders",
            &[("Idempotency-Key", &key)],
            Some(&body),
        )
        .await;
    world.until(&accepted, &["confirmed"]).await["order_id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

/// Returns channel and state of each notification about an order, once one of them was sent.
async fn told(world: &World, order_id: &str) -> Vec<(String, String)> {
    let begun = Instant::now();
    loop {
        let output = world.haven(&["notify", "list", "--order", order_id, "--json"]);
        assert!(output.status.success(), "{output:?}");
        let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rows = list["notices"].as_array().expect("notices").iter();
        let rows: Vec<_> = rows
            .map(|row| (text(&row["channel"]), text(&row["state"])))
            .collect();
        if rows.iter().any(|(_, state)| state == "sent") {
            return rows;
        }
        assert!(
            begun.elapsed() < SETTLED_WITHIN,
            "nobody was told: {rows:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Returns the texts that were sent.
async fn texts(world: &World) -> Vec<String> {
    let texts = world
        .aws()
        .kept_texts()
        .await
        .expect("the texts that were sent");
    texts.into_iter().map(|text| text.text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn text_messages_are_sent_when_enabled_and_emails_otherwise() {
    let world = World::open(&[]).await;
    let first = wants_texts(&world).await;
    let row = |channel: &str, state: &str| (channel.to_owned(), state.to_owned());
    assert_eq!(
        told(&world, &first).await,
        [row("email", "sent"), row("sms", "suppressed")],
        "texts are off"
    );
    assert!(texts(&world).await.is_empty());

    let name = format!("{}/{}", parameter_root("local"), SMS_ENABLED.key);
    world
        .aws()
        .ssm()
        .put_parameter()
        .name(name)
        .value("true")
        .overwrite(true)
        .send()
        .await
        .expect("set");
    // The setting is read every 30 seconds. Each customer is notified by exactly one channel before
    // and after.
    let begun = Instant::now();
    let (mut orders, mut mails) = (1, 1);
    loop {
        let id = wants_texts(&world).await;
        orders += 1;
        let rows = told(&world, &id).await;
        if rows == [row("sms", "sent")] {
            break;
        }
        mails += 1;
        assert_eq!(rows, [row("email", "sent"), row("sms", "suppressed")]);
        assert!(begun.elapsed() < SETTLED_WITHIN, "the switch was not read");
    }
    let texts = texts(&world).await;
    assert_eq!((texts.len(), orders - mails), (1, 1), "{texts:?}");
    assert!(
        texts[0].starts_with("Brew Haven: order ") && texts[0].contains("is confirmed"),
        "{texts:?}"
    );
    let mailed = world
        .mails()
        .await
        .into_iter()
        .filter(|(to, _)| to.starts_with("ana-"))
        .count();
    assert_eq!(mailed, mails, "nobody was told twice");
    let failed = world.haven(&["notify", "list", "--failed"]);
    assert!(
        String::from_utf8_lossy(&failed.stdout).contains("No notification failed."),
        "{failed:?}"
    );
}
