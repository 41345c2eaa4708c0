use std::path::Path;

use super::samples::SAMPLES;
use super::*;
use crate::cause::chain;

fn schemas() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

/// Returns the validator of a published file. Generated schemas would not do, because no code
/// generates older versions.
fn published(kind: EventKind, schema: u16) -> jsonschema::Validator {
    let path = schemas().join(format!("{}.v{schema}.json", kind.name()));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    jsonschema::validator_for(&json(&text)).expect("a legal schema")
}

#[test]
fn every_version_that_is_read_has_a_sample_that_fits_its_published_schema() {
    for kind in EventKind::ALL {
        let known: Vec<u16> = SAMPLES
            .iter()
            .filter(|(of, ..)| *of == kind)
            .map(|(_, schema, _)| *schema)
            .collect();
        let read = [kind.schema() - 1, kind.schema()].map(|schema| (schema > 0).then_some(schema));
        let read: Vec<u16> = read.into_iter().flatten().collect();
        assert!(
            read.iter().all(|schema| known.contains(schema)),
            "{kind:?} lacks a sample: {known:?} of {read:?}"
        );
    }
    for (kind, schema, text) in SAMPLES {
        let (sample, validator) = (json(text), published(*kind, *schema));
        let wrong: Vec<_> = validator
            .iter_errors(&sample)
            .map(|error| error.to_string())
            .collect();
        assert!(wrong.is_empty(), "{kind:?} version {schema}: {wrong:?}");
        let read = Envelope::decode(text).expect("read");
        assert_eq!(
            (read.message.kind(), read.schema),
            (*kind, kind.schema()),
            "lifted to today's"
        );
    }
}

#[test]
fn a_written_message_is_read_back_and_fits_the_published_schema() {
    for kind in EventKind::ALL {
        let sent = Envelope::decode(samples::of(kind)).expect("read");
        let body = sent.encode();
        assert_eq!(Envelope::decode(&body).as_ref(), Ok(&sent));
        let written = json(&body);
        assert!(published(kind, kind.schema()).is_valid(&written), "{body}");
        assert_eq!(written["type"], kind.name());
        assert_eq!(written["schema"], kind.schema());
    }
}

#[test]
fn a_schema_rejects_invalid_messages() {
    let validator = published(EventKind::PaymentCompleted, 1);
    let good = json(samples::of(EventKind::PaymentCompleted));
    for (field, wrong) in [
        ("/data/amount_minor", "450".into()),
        ("/type", "ChargeCard".into()),
        ("/schema", 2.into()),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(field).expect("a field") = wrong;
        assert!(!validator.is_valid(&bad), "{field} is not looked at");
    }
}

#[test]
fn both_versions_of_a_failed_payment_are_read() {
    let cause = |schema: u16| {
        let sample = SAMPLES
            .iter()
            .find(|(kind, known, _)| *kind == EventKind::PaymentFailed && *known == schema);
        match Envelope::decode(sample.expect("a sample").2)
            .expect("read")
            .message
        {
            Message::PaymentFailed { reason, cause } => (reason, cause),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        cause(1),
        ("insufficient funds".to_owned(), PaymentFailure::Declined)
    );
    assert_eq!(cause(1), cause(2));
}

/// Version 1 as it was released. Never edit a line: consumers must always be able to read it.
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
        assert_eq!(
            Envelope::decode(body).map(|envelope| envelope.message.kind()),
            Ok(kind)
        );
    }
}

#[test]
fn an_unreadable_body_is_reported_with_the_reason() {
    let said = |body: &str| chain(&Envelope::decode(body).expect_err("refused"));
    assert_eq!(
        said(r#"{"schema":1,"type":"Teapot"}"#),
        "no message of type \"Teapot\" is known here"
    );
    let next = "schema version 2 of ChargeCard is not known here: only 1 is";
    assert_eq!(said(r#"{"schema":2,"type":"ChargeCard"}"#), next);
    for schema in [0, 3, u16::MAX] {
        let said = said(&format!(r#"{{"schema":{schema},"type":"PaymentFailed"}}"#));
        assert_eq!(
            said,
            format!("schema version {schema} of PaymentFailed is not known here: 1 and 2 are")
        );
    }
    for (body, part) in [
        ("not json", "expected"),
        (r#"{"schema":999}"#, "`type`"),
        (r#"{"type":"ChargeCard"}"#, "`schema`"),
        (r#"{"schema":70000,"type":"ChargeCard"}"#, "70000"),
        (
            r#"{"schema":1,"type":"PaymentFailed","data":5}"#,
            "not an envelope",
        ),
        // Serde also accepts a JSON array for a struct.
        (r#"["PaymentFailed",1]"#, "not an envelope"),
        (r#"["PaymentFailed",2]"#, "not an envelope"),
    ] {
        let said = said(body);
        assert!(
            said.starts_with("not an envelope: ") && said.contains(part),
            "{said}"
        );
    }
    for (kind, field) in [
        (EventKind::OrderOverdue, "tell"),
        (EventKind::StockLevelReached, "level"),
    ] {
        for unknown in ["gone", ""] {
            let mut body = json(samples::of(kind));
            body["data"][field] = unknown.into();
            let said = said(&body.to_string());
            assert!(said.contains("unknown variant"), "{kind:?}: {said}");
        }
    }
    let mut without = json(samples::of(EventKind::ChargeCard));
    without["data"]
        .as_object_mut()
        .expect("an object")
        .remove("amount_minor");
    assert!(said(&without.to_string()).contains("missing field `amount_minor`"));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "HAVEN_BLESS renews the files")]
fn the_published_schemas_are_up_to_date() {
    for (name, schema) in Envelope::schemas() {
        let path = schemas().join(&name);
        let fresh = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
        if std::env::var_os("HAVEN_BLESS").is_some() {
            std::fs::write(&path, &fresh).expect("the schemas directory can be written");
        }
        let published = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            published == fresh,
            "schemas/{name} is stale: run HAVEN_BLESS=1 cargo test -p contract"
        );
    }
}

/// The derives of serde and strum define the names of the domain's closed sets independently.
#[test]
fn names_in_json_are_the_codes() {
    macro_rules! check {
        ($($enum:ty),+) => {$(
            for variant in <$enum>::ALL {
                assert_eq!(serde_json::to_value(variant).expect("JSON"), variant.code());
                assert_eq!(<$enum>::from_code(variant.code()), Some(variant));
            }
        )+};
    }
    check!(
        domain::channel::Channel,
        domain::menu::ProductType,
        domain::money::Currency,
        domain::order::OrderType,
        domain::order::Status,
        domain::order::Step,
        domain::saga::State,
        domain::stock::Availability
    );
}
