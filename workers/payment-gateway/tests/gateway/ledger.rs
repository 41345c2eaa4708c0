use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{Gateway, LedgerFile};

/// Returns a ledger with three lines: two charges and the refund of the first.
async fn three_lines() -> (LedgerFile, Vec<Value>) {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    let charge_id = gateway.captured("c1").await;
    gateway.charge("c2", "tok_declined").await;
    gateway.refund("r1", &charge_id, 450).await;
    let entries = gateway.entries().await;
    gateway.stop().await;
    assert_eq!(file.text().lines().count(), 3);
    (file, entries)
}

#[tokio::test]
async fn the_ledger_can_be_read() {
    let (_file, entries) = three_lines().await;
    let charge_id = entries[0]["charge_id"].clone();
    for (entry, kind, status) in [
        (&entries[0], "charge", "captured"),
        (&entries[1], "charge", "declined"),
        (&entries[2], "refund", "refunded"),
    ] {
        let at = OffsetDateTime::parse(entry["at"].as_str().unwrap(), &Rfc3339).unwrap();
        assert!(at.offset().is_utc() && at <= OffsetDateTime::now_utc());
        let expected = json!({
            "kind": kind, "status": status, "charge_id": entry["charge_id"], "reference": "order-1",
            "amount_minor": 450, "currency": "EUR", "at": entry["at"],
        });
        assert_eq!(*entry, expected);
    }
    assert_eq!(entries[2]["charge_id"], charge_id);
}

#[tokio::test]
async fn a_restart_changes_nothing() {
    let (file, entries) = three_lines().await;
    let before = file.text();
    let gateway = Gateway::start(&file).await;
    assert_eq!(gateway.entries().await, entries);
    gateway.stop().await;
    assert_eq!(file.text(), before);
}

#[tokio::test]
async fn a_torn_last_line_is_dropped_and_the_ledger_continues() {
    let (file, entries) = three_lines().await;
    let whole = file.text();
    let start_of_last = whole.trim_end().rfind('\n').unwrap() + 1;
    // Cut after one byte, in the middle, and before the closing brace.
    for torn_at in [start_of_last + 1, start_of_last + 40, whole.len() - 2] {
        let file = LedgerFile::with(&whole[..torn_at]);
        let gateway = Gateway::start(&file).await;
        assert_eq!(gateway.entries().await, entries[..2], "torn at {torn_at}");
        // No client got an answer about the line, so the refund can be executed now.
        let charge_id = entries[0]["charge_id"].as_str().unwrap();
        assert_eq!(gateway.refund("r1", charge_id, 450).await.status, 200);
        gateway.stop().await;
        let gateway = Gateway::start(&file).await;
        assert_eq!(gateway.entries().await.len(), 3, "torn at {torn_at}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_whole_last_line_without_its_end_is_kept() {
    let (file, entries) = three_lines().await;
    let file = LedgerFile::with(file.text().trim_end());
    let gateway = Gateway::start(&file).await;
    assert_eq!(gateway.entries().await, entries);
    gateway.captured("c3").await;
    gateway.stop().await;
    assert_eq!(file.text().lines().count(), 4);
    let gateway = Gateway::start(&file).await;
    assert_eq!(gateway.entries().await.len(), 4);
    gateway.stop().await;
}

#[tokio::test]
async fn any_other_unreadable_line_refuses_to_start_and_is_named() {
    let (file, _) = three_lines().await;
    let text = file.text();
    let lines: Vec<&str> = text.lines().collect();
    let (charge, declined, refund) = (lines[0], lines[1], lines[2]);
    for (lines, number) in [
        (vec!["nonsense", declined], 1),
        (vec![charge, "", declined], 2),
        (vec![charge, &declined[..30], refund], 2),
        (vec![charge, declined, "{}"], 3),
        (vec![charge, &declined.replace("\"kind\"", "\"kinds\"")], 2),
        (
            vec![charge, &declined.replace("\"at\"", "\"extra\":1,\"at\"")],
            2,
        ),
        // Lines that can be parsed but contradict each other.
        (vec![charge, declined, charge], 3),
        (vec![declined, refund], 2),
        (vec![&charge.replace("450", "449"), refund], 2),
    ] {
        let damaged = lines.join("\n") + "\n";
        let file = LedgerFile::with(&damaged);
        let refusal = Gateway::start(&file).await.refusal().await;
        assert!(refusal.contains(&format!("line {number} ")), "{refusal}");
        assert_eq!(file.text(), damaged, "the evidence is left as it is");
    }
}

#[tokio::test]
async fn two_gateways_do_not_share_a_ledger() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    assert_eq!(gateway.get("/healthz").await.status, 200);
    let refusal = Gateway::start(&file).await.refusal().await;
    assert!(refusal.contains("another gateway"), "{refusal}");
    gateway.stop().await;
}

#[tokio::test]
async fn concurrent_charges_survive_a_restart() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    let charges: Vec<_> = (0..200)
        .map(|number| {
            let client = gateway.client.clone();
            tokio::spawn(async move { client.captured(&format!("k{number}")).await })
        })
        .collect();
    for charge in charges {
        charge.await.unwrap();
    }
    let entries = gateway.entries().await;
    assert_eq!(entries.len(), 200);
    gateway.stop().await;
    let gateway = Gateway::start(&file).await;
    assert_eq!(gateway.entries().await, entries);
    gateway.stop().await;
}
