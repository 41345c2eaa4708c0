use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use adapter_aws::call::{Call, FILTER_LOG_EVENTS, LOGS, Operation, SES};
use adapter_aws::{
    Called, Clients, Datum, Kind, LocalAccess, MetricSink, MetricSource, ParameterReader, Service,
    SesMailer, SnsTexter, addresses, secret, secret_versions,
};
use app::ports::notices::{Mail, Mailer, SendError, Text, Texter};
use aws_sdk_ssm::error::ProvideErrorMetadata as _;
use aws_sdk_ssm::types::ParameterType;
use contract::address::Address;
use contract::metric::Metric;
use contract::parameter::{MAX_QUEUE_SIZE, PAYMENT_WEBHOOK, SMS_ENABLED};
use contract::parameter_root;
use serde_json::json;

/// Clients of an endpoint on which nothing listens.
fn nowhere() -> Clients {
    super::clients(&LocalAccess::unverified("http://127.0.0.1:9", "us-east-1"))
}

async fn set(clients: &Clients, name: &str, value: &str) {
    let call = clients
        .ssm()
        .put_parameter()
        .name(name)
        .value(value)
        .r#type(ParameterType::String)
        .overwrite(true);
    call.send().await.expect("set");
}

#[tokio::test]
async fn parameters_are_read_by_path_and_cached() {
    let aws = servers::local_aws().await;
    let clients = super::clients(&aws.access);
    let environment = super::unique("env");
    let root = parameter_root(&environment);
    assert!(
        addresses(&clients, &environment).await.is_err(),
        "nothing is deployed"
    );
    // More than the ten parameters of one page.
    for address in Address::all() {
        set(
            &clients,
            &format!("{root}/{}", address.parameter()),
            &format!("value of {}", address.variable()),
        )
        .await;
    }
    let found = addresses(&clients, &environment)
        .await
        .expect("every address exists");
    assert_eq!(found.len(), Address::all().count());
    assert!(
        found
            .iter()
            .all(|(variable, value)| *value == format!("value of {variable}"))
    );

    set(&clients, &format!("{root}/{}", MAX_QUEUE_SIZE.key), "7").await;
    let reader = ParameterReader::new(&clients, &environment);
    assert_eq!(reader.get(&MAX_QUEUE_SIZE).await, "7");
    assert_eq!(
        reader.get(&SMS_ENABLED).await,
        SMS_ENABLED.default,
        "not set: the default"
    );
    set(&clients, &format!("{root}/{}", MAX_QUEUE_SIZE.key), "8").await;
    assert_eq!(
        reader.get(&MAX_QUEUE_SIZE).await,
        "7",
        "not read by every message"
    );
    assert_eq!(
        ParameterReader::new(&nowhere(), &environment)
            .get(&MAX_QUEUE_SIZE)
            .await,
        "1000"
    );

    let id = format!("{root}/{}", PAYMENT_WEBHOOK.slug);
    assert!(
        secret(&clients, &environment, &PAYMENT_WEBHOOK)
            .await
            .is_err()
    );
    clients
        .secrets()
        .create_secret()
        .name(&id)
        .secret_string("s3cret")
        .send()
        .await
        .expect("made");
    assert_eq!(
        secret(&clients, &environment, &PAYMENT_WEBHOOK)
            .await
            .as_deref(),
        Ok("s3cret")
    );
    let versions = async || {
        secret_versions(&clients, &environment, &PAYMENT_WEBHOOK)
            .await
            .expect("read")
    };
    assert_eq!(versions().await, ["s3cret"]);
    clients
        .secrets()
        .put_secret_value()
        .secret_id(&id)
        .secret_string("of-today")
        .send()
        .await
        .expect("changed");
    assert_eq!(
        versions().await,
        ["of-today", "s3cret"],
        "the previous version is still accepted"
    );
}

#[tokio::test]
async fn a_changed_parameter_takes_effect_and_stays_while_parameter_store_is_unavailable() {
    let aws = servers::local_aws().await;
    let clients = super::clients(&aws.access);
    let environment = super::unique("env");
    let name = format!("{}/{}", parameter_root(&environment), MAX_QUEUE_SIZE.key);
    set(&clients, &name, "7").await;
    let reader = ParameterReader::new(&clients, &environment).refreshed_every(Duration::ZERO);
    assert_eq!(reader.get(&MAX_QUEUE_SIZE).await, "7");
    set(&clients, &name, "8").await;
    let changed = async {
        while reader.get(&MAX_QUEUE_SIZE).await != "8" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), changed)
        .await
        .expect("the change takes effect");
    drop(aws);
    let begun = Instant::now();
    // Long enough for several reads to fail.
    while begun.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        assert_eq!(reader.get(&MAX_QUEUE_SIZE).await, "8");
        assert!(
            asked.elapsed() < Duration::from_millis(500),
            "the call waited for a read: {:?}",
            asked.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_mail_is_sent_or_fails_with_an_error_that_allows_a_retry() {
    let aws = servers::local_aws().await;
    let mail = Mail {
        to: "ana@example.com".to_owned(),
        subject: "Order A-001 is ready \u{2615}".to_owned(),
        text: "Come and get it.".to_owned(),
        html: "<p>Come and get it.</p>".to_owned(),
        dedup_id: "order/ready: 1".to_owned(),
    };
    let clients = super::clients(&aws.access);
    let from = "Brew Haven <orders@brew-haven.example>";
    const CREATE_EMAIL_IDENTITY: Operation =
        Operation::rest(&SES, "CreateEmailIdentity", "POST", "/v2/email/identities");
    let verified = Call::new(clients.config(), &CREATE_EMAIL_IDENTITY)
        .send(json!({ "EmailIdentity": "orders@brew-haven.example" }))
        .await;
    println!("identity: {}", verified.is_ok());
    let id = SesMailer::new(&clients, from)
        .send(&mail)
        .await
        .expect("sent");
    assert!(!id.is_empty(), "the provider's id of the mail");
    let unreachable = SesMailer::new(&nowhere(), from).send(&mail).await;
    assert!(
        matches!(unreachable, Err(SendError::Unavailable(_))),
        "{unreachable:?}"
    );
}

#[tokio::test]
async fn log_events_are_found_by_group_time_and_phrase() {
    const CREATE_GROUP: Operation = Operation::new(&LOGS, "CreateLogGroup");
    const CREATE_STREAM: Operation = Operation::new(&LOGS, "CreateLogStream");
    const PUT_EVENTS: Operation = Operation::new(&LOGS, "PutLogEvents");
    let aws = servers::local_aws().await;
    let clients = super::clients(&aws.access);
    let call = async |operation: &'static Operation, input: serde_json::Value| {
        Call::new(clients.config(), operation).send(input).await
    };
    let group = format!("{}/storefront", parameter_root(&super::unique("env")));
    let missing = call(&FILTER_LOG_EVENTS, json!({ "logGroupName": group }))
        .await
        .expect_err("there is no group");
    let code = missing.as_service_error().and_then(|error| error.code());
    assert_eq!(code, Some("ResourceNotFoundException"));

    let stream = json!({ "logGroupName": group, "logStreamName": "task" });
    let created = call(&CREATE_GROUP, json!({ "logGroupName": group })).await;
    created.expect("a group");
    call(&CREATE_STREAM, stream).await.expect("a stream");
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.expect("after 1970").as_millis() as i64;
    let order = "01934d3c-2a00-7000-8000-000000000002";
    let of_order = format!("{{\"message\":\"two\",\"order\":\"{order}\"}}");
    let events = json!([
        { "timestamp": now_ms - 60_000, "message": "one" },
        { "timestamp": now_ms - 2, "message": of_order },
        { "timestamp": now_ms - 1, "message": "three" },
    ]);
    let put = json!({ "logGroupName": group, "logStreamName": "task", "logEvents": events });
    call(&PUT_EVENTS, put).await.expect("put");
    let input = json!({ "logGroupName": group, "startTime": now_ms - 1_000 });
    let found = call(&FILTER_LOG_EVENTS, input.clone()).await.expect("read");
    let found = found["events"].as_array().expect("events");
    let messages: Vec<_> = found.iter().map(|event| &event["message"]).collect();
    assert_eq!(messages, [of_order.as_str(), "three"]);
    for event in found {
        assert!(event["eventId"].is_string() && event["timestamp"].is_i64());
    }
    let mut with_phrase = input;
    with_phrase["filterPattern"] = format!("\"{order}\"").into();
    let found = call(&FILTER_LOG_EVENTS, with_phrase).await.expect("read");
    assert_eq!(found["events"].as_array().map(Vec::len), Some(1));
    assert_eq!(found["events"][0]["message"], of_order);
}

#[tokio::test]
async fn a_text_message_reaches_its_number_with_its_deduplication_id() {
    let aws = servers::local_aws().await;
    let text = |to: &str| Text {
        to: to.to_owned(),
        body: "Brew Haven: order A-001 is ready at the counter.".to_owned(),
        dedup_id: "0195-event".to_owned(),
    };
    let ana = text("+15550100123");
    let clients = super::clients(&aws.access);
    let texter = SnsTexter::new(&clients);
    let first = texter.send_text(&ana).await.expect("sent");
    let again = texter.send_text(&ana).await.expect("sent");
    assert!(
        !first.is_empty() && first != again,
        "SNS does not deduplicate: {first} {again}"
    );

    let inbox: serde_json::Value = clients
        .inspect("/_ministack/sns/sms-messages")
        .await
        .expect("the texts");
    let sent = inbox["sms_messages"]["+15550100123"]
        .as_array()
        .unwrap_or_else(|| panic!("none: {inbox}"));
    assert_eq!(sent.len(), 2);
    for message in sent {
        assert_eq!(message["Message"], ana.body);
        let attributes = message["MessageAttributes"].to_string();
        assert!(
            attributes.contains("0195-event") && attributes.contains("Transactional"),
            "{attributes}"
        );
    }
    let unreachable = SnsTexter::new(&nowhere())
        .send_text(&text("+15550100124"))
        .await;
    assert!(
        matches!(unreachable, Err(SendError::Unavailable(_))),
        "{unreachable:?}"
    );
}

#[tokio::test]
async fn metrics_are_sent_in_batches_and_every_call_is_counted() {
    let aws = servers::local_aws().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let on_call = Arc::new(move |called| {
        match called {
            Called::Sent(Service::CloudWatch) => counted.fetch_add(1, Ordering::Relaxed),
            Called::Answered(Service::CloudWatch) => 0,
            other => panic!("{other:?}"),
        };
    });
    let clients = Clients::local(&aws.access, on_call);
    let source = MetricSource {
        environment: super::unique("env"),
        service: "test".to_owned(),
    };
    let datum = |number: usize| Datum {
        metric: Metric::OrdersAccepted,
        dimensions: vec![("number", format!("{number}"))],
        kind: if number.is_multiple_of(2) {
            Kind::Sum(1.0)
        } else {
            Kind::Distribution {
                count: 2,
                sum: 3.0,
                min: 1.0,
                max: 2.0,
                values: vec![(1.0, 1), (2.0, 1)],
            }
        },
    };
    let data: Vec<Datum> = (0..1_001).map(datum).collect();
    MetricSink::new(&clients)
        .put(&data, &source)
        .await
        .expect("put");
    assert_eq!(
        calls.load(Ordering::Relaxed),
        2,
        "1,000 series for each call"
    );
    MetricSink::new(&clients)
        .put(&[], &source)
        .await
        .expect("nothing to put");
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}
