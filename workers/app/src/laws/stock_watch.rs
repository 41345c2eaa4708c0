//! Laws of `StockWatch`.

use contract::messages::{Envelope, Message, Metadata};
use domain::Timestamp;
use domain::ids::{EventId, ProductId};
use domain::stock::Availability;
use time::macros::datetime;
use uuid::Uuid;

use crate::ports::orders::{OrderStore, Outgoing};
use crate::ports::stock_watch::{Seen, StockWatch};

const NOW: Timestamp = datetime!(2026-03-01 08:00 UTC);

/// Runs all laws, each on its own products. Nothing else may read the outbox of the store at the
/// same time.
pub async fn all(store: &(impl OrderStore + StockWatch)) {
    a_stored_level_is_read_back(store).await;
    a_late_write_changes_nothing_and_sends_no_alert(store).await;
    of_concurrent_writes_one_sends_the_alert(store).await;
}

fn product() -> ProductId {
    ProductId::parse(&format!(
        "watched-{}",
        &Uuid::now_v7().simple().to_string()[20..]
    ))
    .expect("a slug")
}

fn seen(version: i64, level: Availability) -> Seen {
    Seen {
        version,
        level,
        received: 10,
    }
}

fn alert(product_id: &ProductId) -> Envelope {
    let message = Message::StockLevelReached {
        product_id: product_id.to_string(),
        name: "Watched product".to_owned(),
        level: Availability::Low,
        available: 2,
        low_stock_threshold: 2,
    };
    Envelope {
        event_id: EventId(Uuid::now_v7()),
        schema: message.kind().schema(),
        message,
        occurred_at: NOW,
        order_id: None,
        metadata: Metadata {
            source: "test".to_owned(),
            version: "0".to_owned(),
            traceparent: None,
        },
    }
}

/// Returns the number of outbox rows about the product.
async fn alerts_sent(store: &impl OrderStore, product_id: &ProductId) -> usize {
    let rows = store
        .take_outbox(Outgoing::All, NOW + time::Duration::HOUR, 10_000)
        .await
        .expect("taken");
    let of_it = |row: &&crate::ports::orders::OutboxRow| {
        let message = row.letter.as_ref().map(|letter| &letter.envelope.message);
        matches!(message, Ok(Message::StockLevelReached { product_id: id, .. }) if *id == product_id.as_str())
    };
    rows.iter().filter(of_it).count()
}

/// Returns the number of outbox rows of one alert.
fn routes(product_id: &ProductId) -> usize {
    alert(product_id).message.kind().routes().len()
}

async fn a_stored_level_is_read_back(store: &(impl OrderStore + StockWatch)) {
    let product_id = product();
    assert_eq!(store.seen(&product_id).await, Ok(None));
    let mut before = None;
    for now in [
        seen(3, Availability::Low),
        seen(5, Availability::InStock),
        seen(2, Availability::Out),
    ] {
        assert_eq!(
            store.remember(&product_id, before, now, None, NOW).await,
            Ok(true)
        );
        assert_eq!(store.seen(&product_id).await, Ok(Some(now)));
        before = Some(now);
    }
    assert_eq!(alerts_sent(store, &product_id).await, 0);
}

async fn a_late_write_changes_nothing_and_sends_no_alert(store: &(impl OrderStore + StockWatch)) {
    let product_id = product();
    let (first, second) = (seen(3, Availability::Low), seen(4, Availability::Out));
    let sent = alert(&product_id);
    assert_eq!(
        store
            .remember(&product_id, None, first, Some(&sent), NOW)
            .await,
        Ok(true)
    );
    assert_eq!(
        store
            .remember(&product_id, None, second, Some(&alert(&product_id)), NOW)
            .await,
        Ok(false)
    );
    let never = Some(seen(3, Availability::InStock));
    assert_eq!(
        store
            .remember(&product_id, never, second, Some(&alert(&product_id)), NOW)
            .await,
        Ok(false)
    );
    assert_eq!(store.seen(&product_id).await, Ok(Some(first)));
    assert_eq!(alerts_sent(store, &product_id).await, routes(&product_id));
}

async fn of_concurrent_writes_one_sends_the_alert(store: &(impl OrderStore + StockWatch)) {
    for before in [None, Some(seen(1, Availability::InStock))] {
        let product_id = product();
        if let Some(before) = before {
            assert_eq!(
                store.remember(&product_id, None, before, None, NOW).await,
                Ok(true)
            );
        }
        let alerts: Vec<Envelope> = (0..8).map(|_| alert(&product_id)).collect();
        let now = seen(7, Availability::Low);
        let tries = alerts
            .iter()
            .map(|alert| store.remember(&product_id, before, now, Some(alert), NOW));
        let stored = futures::future::join_all(tries).await;
        assert_eq!(
            stored.iter().filter(|stored| **stored == Ok(true)).count(),
            1,
            "{stored:?}"
        );
        assert_eq!(alerts_sent(store, &product_id).await, routes(&product_id));
    }
}
