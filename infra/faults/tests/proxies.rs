//! Tests the proxies in front of real servers: the caller sees what the rule demands, and calls
//! that were executed have their effect.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adapter_redis::RedisCarts;
use adapter_sql::{Login, NUMBERS, Store};
use app::ports::StoreError;
use app::ports::carts::CartStore as _;
use app::ports::orders::OrderStore as _;
use axum::Router;
use axum::routing::post;
use domain::cart::{Line, Quantity};
use domain::ids::{LocationId, ProductId, TenantId};
use faults::{Dependency, Fault, Faults, Moment, Proxy, Rule, Verdict};
use time::macros::date;

/// Starts a payment gateway that counts the charges that it has executed.
async fn gateway() -> (String, Arc<AtomicU64>) {
    let executed = Arc::new(AtomicU64::default());
    let counted = executed.clone();
    let charge =
        move || async move { format!("{{\"n\":{}}}", counted.fetch_add(1, Ordering::SeqCst) + 1) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        axum::serve(listener, Router::new().route("/v1/charges", post(charge))).await
    });
    (address, executed)
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(2))
        .build()
        .expect("a client")
}

#[tokio::test]
async fn each_http_fault_reaches_the_caller() {
    let (upstream, executed) = gateway().await;
    let faults = Faults::new(1);
    let proxy = Proxy::start(&faults, "payment-worker", Dependency::Gateway, &upstream)
        .await
        .expect("a proxy");
    let charge = || async {
        client()
            .post(format!("http://{}/v1/charges", proxy.address()))
            .body("{}")
            .send()
            .await
    };
    let on = |fault| {
        faults.clear();
        faults.add(Rule::on(Dependency::Gateway, "POST /v1/charges", fault).times(1))
    };
    let done = || executed.load(Ordering::SeqCst);

    assert_eq!(
        charge()
            .await
            .expect("an answer")
            .text()
            .await
            .expect("a body"),
        "{\"n\":1}"
    );
    for (fault, executes) in [
        (Fault::Refuse, false),
        (Fault::Cut, false),
        (Fault::Hang, false),
        (Fault::DropReply, true),
    ] {
        let (before, hits) = (done(), on(fault.clone()));
        assert!(charge().await.is_err(), "{fault:?} gives no answer");
        assert_eq!(
            (hits.count(), done() - before),
            (1, u64::from(executes)),
            "{fault:?}"
        );
        assert!(charge().await.is_ok(), "{fault:?} strikes once");
    }
    let hits = on(Fault::Fail {
        status: 503,
        code: "down",
    });
    let answer = charge().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), hits.count()), (503, 1));
    on(Fault::Delay(Duration::from_millis(300)));
    let begun = Instant::now();
    charge().await.expect("an answer, later");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let names: Vec<_> = faults
        .take_record()
        .into_iter()
        .map(|entry| (entry.client.to_string(), entry.name))
        .collect();
    assert!(
        !names.is_empty()
            && names
                .iter()
                .all(|(client, name)| client == "payment-worker" && name == "POST /v1/charges")
    );
}

#[tokio::test]
async fn an_observer_can_stop_a_call_before_or_after_its_execution() {
    let (upstream, executed) = gateway().await;
    let faults = Faults::new(1);
    let proxy = Proxy::start(&faults, "payment-worker", Dependency::Gateway, &upstream)
        .await
        .expect("a proxy");
    let charge = || async {
        client()
            .post(format!("http://{}/v1/charges", proxy.address()))
            .body("{}")
            .send()
            .await
    };
    for after in [false, true] {
        let before = executed.load(Ordering::SeqCst);
        faults.watch(Arc::new(move |_, moment| {
            match matches!(moment, Moment::After { .. }) == after {
                true => Verdict::Cut,
                false => Verdict::Go,
            }
        }));
        assert!(charge().await.is_err());
        assert_eq!(
            executed.load(Ordering::SeqCst) - before,
            u64::from(after),
            "executed, if it was stopped after it"
        );
    }
    let (go, wait) = tokio::sync::oneshot::channel();
    let wait = Mutex::new(Some(wait));
    faults.watch(Arc::new(move |_, _| {
        wait.lock()
            .expect("nobody panics")
            .take()
            .map_or(Verdict::Go, Verdict::Pause)
    }));
    let paused = tokio::spawn({
        let request = client()
            .post(format!("http://{}/v1/charges", proxy.address()))
            .body("{}");
        async move { request.send().await }
    });
    let before = executed.load(Ordering::SeqCst);
    while faults.calls() < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(executed.load(Ordering::SeqCst), before, "it is held");
    go.send(()).expect("somebody waits");
    assert!(paused.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn partial_and_repeated_failures_have_the_format_of_aws() {
    let local = servers::local_aws().await;
    let faults = Faults::new(1);
    faults.sign_with(local.signer());
    let upstream = local.access.endpoint.trim_start_matches("http://");
    let proxy = Proxy::start(&faults, "relay", Dependency::Aws, upstream)
        .await
        .expect("a proxy");
    let access = adapter_aws::LocalAccess {
        endpoint: format!("http://{}", proxy.address()),
        ..local.access.clone()
    };
    let clients = adapter_aws::Clients::local(&access, Arc::new(|_| {}));
    let sqs = clients.sqs();
    let queue = sqs
        .create_queue()
        .queue_name("q")
        .send()
        .await
        .expect("a queue")
        .queue_url
        .expect("its URL");
    let send = || {
        sqs.send_message()
            .queue_url(&queue)
            .message_body("hello")
            .send()
    };

    // The SDK treats this code as throttling and retries, so the caller sees no error.
    let hits = faults.add(
        Rule::on(
            Dependency::Aws,
            "sqs.SendMessage",
            Fault::Fail {
                status: 400,
                code: "ThrottlingException",
            },
        )
        .times(1),
    );
    send().await.expect("sent");
    assert_eq!(hits.count(), 1);
    let hits = faults.add(
        Rule::on(
            Dependency::Aws,
            "sqs.SendMessage",
            Fault::Fail {
                status: 403,
                code: "AccessDeniedException",
            },
        )
        .times(1),
    );
    let refused = send().await.expect_err("refused").into_service_error();
    assert_eq!(
        (refused.meta().code(), hits.count()),
        (Some("AccessDeniedException"), 1)
    );

    let receive = || sqs.receive_message().queue_url(&queue).send();
    let first = receive()
        .await
        .expect("an answer")
        .messages
        .unwrap_or_default();
    assert_eq!(first.len(), 1, "throttled and sent once");
    let replay =
        faults.add(Rule::on(Dependency::Aws, "sqs.ReceiveMessage", Fault::Replay).times(1));
    let again = receive()
        .await
        .expect("an answer")
        .messages
        .unwrap_or_default();
    assert_eq!(
        (first[0].message_id(), replay.count()),
        (again[0].message_id(), 1)
    );

    let partial =
        faults.add(Rule::on(Dependency::Aws, "sqs.DeleteMessageBatch", Fault::Partial).times(1));
    let handle = first[0].receipt_handle().expect("a handle").to_owned();
    let entry = aws_sdk_sqs::types::DeleteMessageBatchRequestEntry::builder()
        .id("0")
        .receipt_handle(handle)
        .build();
    let entry = entry.expect("an entry");
    let delete = || {
        sqs.delete_message_batch()
            .queue_url(&queue)
            .entries(entry.clone())
            .send()
    };
    let said = delete().await.expect("an answer");
    assert_eq!(
        (
            said.failed().len(),
            said.successful().len(),
            partial.count()
        ),
        (1, 0, 1)
    );
    assert_eq!(delete().await.expect("an answer").successful().len(), 1);

    // A call whose reply was dropped has been executed.
    faults.clear();
    let lost = faults.add(Rule::on(Dependency::Aws, "sqs.SendMessage", Fault::DropReply).times(1));
    send().await.expect("sent at the second try");
    let mut there = 0;
    while let Some(messages) = receive()
        .await
        .expect("an answer")
        .messages
        .filter(|messages| !messages.is_empty())
    {
        there += messages.len();
    }
    assert_eq!((there, lost.count()), (2, 1));
}

#[tokio::test]
async fn each_statement_is_a_call_and_a_lost_commit_takes_effect() {
    let Some(server) = servers::postgres().await else {
        return;
    };
    let faults = Faults::new(1);
    let upstream = server
        .url
        .split('@')
        .nth(1)
        .expect("a host")
        .split('/')
        .next()
        .expect("a host");
    let proxy = Proxy::start(&faults, "order-worker", Dependency::Postgres, upstream)
        .await
        .expect("a proxy");
    let through = server.url.replace(upstream, &proxy.address().to_string());
    let migrating = server
        .logins
        .migrate
        .replace(upstream, &proxy.address().to_string());
    migrations::migrate(&migrating)
        .await
        .expect("through the proxy");
    let names: Vec<String> = faults
        .take_record()
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert!(
        names.iter().any(|name| name.starts_with("CREATE TABLE")),
        "{names:?}"
    );

    let store = Store::connect_with(&through, &Login::default(), 1)
        .await
        .expect("connected");
    let (tenant, location) = (
        TenantId::parse("t").expect("an id"),
        LocationId::parse("l").expect("an id"),
    );
    // Takes a whole block of order numbers; only the first of them executes a statement.
    let number = async || {
        let first = store
            .next_number(&tenant, &location, date!(2026 - 03 - 01))
            .await?;
        for _ in 1..NUMBERS {
            store
                .next_number(&tenant, &location, date!(2026 - 03 - 01))
                .await?;
        }
        Ok::<_, StoreError>(first)
    };
    let strike = |fault| {
        faults.add(Rule::on(Dependency::Postgres, "INSERT INTO order_number_days", fault).times(1))
    };
    let first = number().await.expect("a number");
    let refused = strike(Fault::Fail {
        status: 0,
        code: "40001",
    });
    assert!(number().await.is_err(), "not executed");
    let lost = strike(Fault::DropReply);
    assert!(number().await.is_err(), "executed, and nobody knows");
    let cut = strike(Fault::Cut);
    assert!(number().await.is_err(), "not executed");
    // The client that received an error keeps its connection; those whose connection was closed
    // have new ones.
    assert_eq!(
        number().await.expect("a number"),
        first + 2 * NUMBERS,
        "one block was taken and lost"
    );
    assert_eq!((refused.count(), lost.count(), cut.count()), (1, 1, 1));
    let refuse = faults.add(Rule::on(Dependency::Postgres, "", Fault::Refuse));
    assert!(
        Store::connect_with(&through, &Login::default(), 1)
            .await
            .is_err()
    );
    assert!(refuse.count() >= 1);
}

#[tokio::test]
async fn each_redis_command_is_a_call() {
    let Some(server) = servers::redis().await else {
        return;
    };
    let faults = Faults::new(1);
    let upstream = server.url.split('@').nth(1).expect("a host");
    let proxy = Proxy::start(&faults, "storefront", Dependency::Redis, upstream)
        .await
        .expect("a proxy");
    let carts = RedisCarts::connect(&server.url.replace(upstream, &proxy.address().to_string()))
        .await
        .expect("a URL");
    let line = Line {
        product_id: ProductId::parse("latte").expect("an id"),
        quantity: Quantity::new(2).expect("a quantity"),
    };
    carts.add("session", &line, 480).await.expect("added");
    let names: Vec<String> = faults
        .take_record()
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert!(
        names.iter().any(|name| name.starts_with("EVAL")),
        "{names:?}"
    );
    let loading = faults.add(
        Rule::on(
            Dependency::Redis,
            "EVAL",
            Fault::Fail {
                status: 0,
                code: "OOM",
            },
        )
        .times(1),
    );
    assert!(carts.get("session").await.is_err());
    assert_eq!(loading.count(), 1);
    let cart = carts.get("session").await.expect("a cart");
    assert_eq!(cart.lines.iter().count(), 1);
}
