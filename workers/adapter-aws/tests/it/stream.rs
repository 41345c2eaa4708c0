use adapter_aws::{DynamoLeases, DynamoStockStream, WriteTable};
use app::laws;
use app::ports::stock::{Adjustment, AdjustmentKind, Stock, StockChange, StockedProduct};
use chassis::stream::{ChangeStream, Lease, LeaseStore, Position, Record, StreamError};
use contract::table::LEASES;
use domain::Timestamp;
use time::Duration;

const NOW: Timestamp = time::macros::datetime!(2026-03-01 08:00 UTC);

#[tokio::test]
async fn changes_of_products_arrive_in_order_with_the_previous_values() {
    let aws = servers::local_aws().await;
    let clients = super::clients(&aws.access);
    let (stock, _, arn) = super::stock(&clients).await;
    let stream = DynamoStockStream::new(&clients, arn);
    let product = laws::stock::product("streamed");
    stock.add_product(&product, 5, 2, NOW).await.expect("added");
    for number in 1..=3 {
        let adjustment = Adjustment {
            movement_id: number.to_string(),
            product_id: product.product_id.clone(),
            change: AdjustmentKind::Restock(1),
            actor: "ada".to_owned(),
            reason: "delivered".to_owned(),
            at: NOW + Duration::HOUR,
        };
        stock.adjust(&adjustment).await.expect("restocked");
    }

    let shards = stream.shards().await.expect("shards");
    let [shard] = shards.as_slice() else {
        panic!("one shard: {shards:?}")
    };
    let all = read(&stream, &shard.id, &Position::Oldest)
        .await
        .expect("read");
    let available = |stocked: &Option<StockedProduct>| {
        stocked.as_ref().map(|stocked| stocked.counters.available)
    };
    let seen: Vec<_> = all
        .iter()
        .map(|record| {
            (
                available(&record.change.before),
                available(&record.change.after),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (None, Some(5)),
            (Some(5), Some(6)),
            (Some(6), Some(7)),
            (Some(7), Some(8))
        ]
    );
    assert!(all.iter().all(|record| record.at.is_some()));

    let rest = read(
        &stream,
        &shard.id,
        &Position::After(all[1].sequence.clone()),
    )
    .await
    .expect("read");
    assert_eq!(rest, all[2..]);
    // A checkpoint of a stream that no longer exists.
    let lost = read(
        &stream,
        &shard.id,
        &Position::After("000000000000000000000001".to_owned()),
    )
    .await;
    assert!(matches!(lost, Err(StreamError::Trimmed)), "{lost:?}");
    let gone = stream
        .open("shardId-00000000000000000000-99999999", &Position::Oldest)
        .await;
    assert!(matches!(gone, Err(StreamError::Trimmed)), "{gone:?}");
}

/// Reads until a page is empty.
async fn read(
    stream: &DynamoStockStream,
    shard: &str,
    position: &Position,
) -> Result<Vec<Record<StockChange>>, StreamError> {
    let mut records = Vec::new();
    let mut next = Some(stream.open(shard, position).await?);
    while let Some(iterator) = next {
        let page = stream.read(&iterator, 2).await?;
        if page.records.is_empty() {
            break;
        }
        records.extend(page.records);
        next = page.next;
    }
    Ok(records)
}

#[tokio::test]
async fn a_lease_is_written_only_with_its_current_counter() {
    let aws = servers::local_aws().await;
    let clients = super::clients(&aws.access);
    let (table, _) = super::table(&clients, &LEASES).await;
    let leases = DynamoLeases::new(&clients, WriteTable::named(table));
    let first = Lease {
        shard: "a".to_owned(),
        owner: "one".to_owned(),
        counter: 1,
        checkpoint: None,
        finished: false,
    };
    assert!(leases.write(&first, None).await.expect("answered"));
    assert!(
        !leases.write(&first, None).await.expect("answered"),
        "another owner has the lease"
    );
    let second = Lease {
        owner: "two".to_owned(),
        counter: 2,
        checkpoint: Some("7".to_owned()),
        ..first.clone()
    };
    assert!(!leases.write(&second, Some(9)).await.expect("answered"));
    assert!(leases.write(&second, Some(1)).await.expect("answered"));
    let ended = Lease {
        counter: 3,
        finished: true,
        ..second.clone()
    };
    assert!(leases.write(&ended, Some(2)).await.expect("answered"));
    assert_eq!(leases.leases().await.expect("read"), [ended]);
}
