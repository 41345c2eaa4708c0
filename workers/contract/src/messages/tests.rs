use std::path::Path;

use domain::ids::{EventId, OrderId};
use time::macros::datetime;
use uuid::Uuid;

use super::*;

fn envelope(message: Message) -> Envelope {
    Envelope {
        event_id: EventId(Uuid::from_u128(1)),
        message,
        schema: SCHEMA,
        occurred_at: datetime!(2026-11-21 08:30:00 UTC),
        order_id: Some(OrderId(Uuid::from_u128(2))),
        metadata: Metadata { source: "order-worker".to_owned(), version: "0.0.0".to_owned(), traceparent: None },
    }
}

fn one_of_each() -> Vec<Envelope> {
    let text = str::to_owned;
    let usd = || "USD".to_owned();
    [
        Message::ReserveStock {},
        Message::ReleaseStock {},
        Message::ChargeCard { amount_minor: 450, currency: usd() },
        Message::RefundCard { amount_minor: 450, currency: usd() },
        Message::OrderCreated {
            order_number: text("A-001"),
            tenant_id: text("brew-haven"),
            location_id: text("main-street"),
            order_type: text("pickup"),
            items: vec![PricedItem { product_id: text("espresso"), quantity: 1, unit_price_minor: 450 }],
            total_minor: 450,
            currency: usd(),
        },
        Message::InventoryReserved {
            reservation_id: text("r"),
            items: vec![ReservedItem { product_id: text("espresso"), quantity: 1 }],
            expires_at: datetime!(2026-11-21 08:40:00 UTC),
        },
        Message::PaymentCompleted {
            payment_id: text("ch"),
            amount_minor: 450,
            currency: usd(),
            status: text("captured"),
        },
        Message::PaymentFailed { reason: text("declined") },
        Message::PaymentRefunded { payment_id: text("ch"), amount_minor: 450, currency: usd() },
        Message::OrderStatusChanged {
            order_number: text("A-001"),
            from: Some(text("pending")),
            to: text("confirmed"),
            step: text("fulfilment"),
            reason: None,
        },
        Message::OrderShipped {
            order_number: text("A-001"),
            tracking_number: text("BH0000000000000001"),
            location_id: text("main-street"),
        },
        Message::OrderOverdue {
            order_number: text("A-001"),
            status: text("ready"),
            tell: text("customer"),
            since: datetime!(2026-11-21 08:40:00 UTC),
        },
        Message::StockLevelReached {
            product_id: text("espresso"),
            name: text("Espresso"),
            level: text("low"),
            available: 3,
            low_stock_threshold: 5,
        },
    ]
    .map(envelope)
    .into()
}

#[test]
fn every_kind_is_read_back_and_fits_the_published_schema() {
    let schema = &Envelope::schemas()[0].1;
    let validator = jsonschema::validator_for(schema).expect("a legal schema");
    let all = one_of_each();
    assert_eq!(all.len(), EventKind::ALL.len());
    for (sent, kind) in all.iter().zip(EventKind::ALL) {
        let body = sent.encode();
        assert_eq!(sent.message.kind(), kind);
        assert_eq!(Envelope::decode(&body).as_ref(), Ok(sent));
        let json = serde_json::from_str(&body).expect("JSON");
        assert!(
            validator.is_valid(&json),
            "{body}: {:?}",
            validator.iter_errors(&json).map(|e| e.to_string()).collect::<Vec<_>>()
        );
        assert_eq!(json["type"], kind.name());
    }
}

/// What version 1 looked like when it was published. Never edit a line: a consumer must read it for ever.
#[test]
fn version_one_is_read_as_it_was_first_written() {
    for (body, kind) in [
        (
            r#"{"event_id":"00000000-0000-0000-0000-000000000001","type":"ChargeCard","data":{"amount_minor":450,"currency":"USD"},"schema":1,"occurred_at":"2026-11-21T08:30:00Z","order_id":"00000000-0000-0000-0000-000000000002","metadata":{"source":"order-worker","version":"0.0.0"}}"#,
            EventKind::ChargeCard,
        ),
        (
            r#"{"event_id":"00000000-0000-0000-0000-000000000001","type":"ReserveStock","data":{},"schema":1,"occurred_at":"2026-11-21T08:30:00Z","order_id":"00000000-0000-0000-0000-000000000002","metadata":{"source":"storefront","version":"0.0.0","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}"#,
            EventKind::ReserveStock,
        ),
    ] {
        assert_eq!(Envelope::decode(body).map(|envelope| envelope.message.kind()), Ok(kind));
    }
}

#[test]
fn a_body_that_cannot_be_read_says_why() {
    assert!(matches!(Envelope::decode("not json"), Err(Undecodable::NotAnEnvelope(_))));
    assert!(matches!(Envelope::decode(r#"{"schema":1,"type":"Teapot"}"#), Err(Undecodable::NotAnEnvelope(_))));
    assert_eq!(Envelope::decode(r#"{"schema":999}"#), Err(Undecodable::UnknownSchema(999)));
}

#[test]
fn the_published_schemas_are_fresh() {
    for (name, schema) in Envelope::schemas() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(&name);
        let fresh = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
        if std::env::var_os("HAVEN_BLESS").is_some() {
            std::fs::write(&path, &fresh).expect("the schemas folder can be written");
        }
        let published = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(published == fresh, "schemas/{name} is stale: run HAVEN_BLESS=1 cargo test -p contract");
    }
}
