//! Server-sent events: each line of the history once, from the reader's last event to the end.

use std::time::Duration;

use app::laws::orders::step;
use app::ports::orders::{NewOrder, OrderStore as _};
use axum::http::StatusCode;
use domain::saga::State;
use futures::StreamExt as _;

use crate::Client;

async fn placed(client: &Client) -> NewOrder {
    let new = app::laws::orders::new_order();
    client
        .world
        .0
        .orders
        .place(std::slice::from_ref(&new))
        .await
        .pop()
        .expect("an answer")
        .expect("placed");
    new
}

async fn moved(client: &Client, new: &NewOrder, version: i64, state: State) {
    let change = step(new, version, state);
    client
        .world
        .0
        .orders
        .apply(&[change])
        .await
        .pop()
        .expect("an answer")
        .expect("applied");
}

/// Reads until the stream ends, or until the text contains `enough`.
async fn read(client: &Client, new: &NewOrder, headers: &[(&str, &str)], enough: &str) -> String {
    let path = format!(
        "/api/v1/orders/{}/events?token={}",
        new.order.order_id, new.tracking_token
    );
    let response = client.response("GET", &path, headers, "").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    let mut text = String::new();
    let reading = async {
        while let Some(chunk) = body.next().await {
            text.push_str(&String::from_utf8_lossy(&chunk.expect("a chunk")));
            if !enough.is_empty() && text.contains(enough) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading)
        .await
        .expect("the stream goes on or ends");
    text
}

fn ids(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| {
            line.strip_prefix("id: ")
                .or_else(|| line.strip_prefix("id:"))
        })
        .collect()
}

#[tokio::test]
async fn a_reader_resumes_after_the_last_event_and_receives_the_end() {
    let client = Client::new().await;
    let new = placed(&client).await;
    moved(&client, &new, 1, State::Confirmed).await;
    let first = read(&client, &new, &[], "id: 2").await;
    assert_eq!(ids(&first), ["1", "2"]);
    moved(&client, &new, 2, State::Preparing).await;
    moved(&client, &new, 3, State::Completed).await;
    let rest = read(&client, &new, &[("last-event-id", "2")], "").await;
    assert_eq!(ids(&rest), ["3", "4"]);
    assert!(rest.contains("event: end"), "{rest}");
    let nothing = read(&client, &new, &[("last-event-id", "4")], "").await;
    assert!(
        ids(&nothing).is_empty() && nothing.contains("event: end"),
        "{nothing}"
    );
}

#[tokio::test]
async fn a_change_is_sent_to_an_open_stream() {
    let client = Client::new().await;
    let new = placed(&client).await;
    let reading = read(&client, &new, &[], "\"status\":\"confirmed\"");
    let moving = async {
        tokio::task::yield_now().await;
        moved(&client, &new, 1, State::Confirmed).await;
    };
    let (heard, ()) = futures::join!(reading, moving);
    assert_eq!(ids(&heard), ["1", "2"]);
}

#[tokio::test]
async fn a_shutdown_ends_the_stream_so_that_the_page_reconnects() {
    let client = Client::new().await;
    let new = placed(&client).await;
    client.shutdown.cancel();
    let heard = read(&client, &new, &[], "").await;
    assert_eq!(
        (ids(&heard), heard.contains("event: end")),
        (vec!["1"], false)
    );
}
