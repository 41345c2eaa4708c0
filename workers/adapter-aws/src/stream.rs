//! The DynamoDB stream of the products table.

use std::collections::HashMap;

use app::ports::stock::{StockChange, StockedProduct};
use app::ports::{Backend, StoreError};
use aws_sdk_dynamodb::types::AttributeValue as Value;
use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodbstreams::types::{self, AttributeValue, ShardIteratorType};
use chassis::stream::{ChangeStream, Page, Position, Record, Shard, StreamError};
use contract::cause::{BoxError, chain};
use domain::Timestamp;

use crate::Clients;
use crate::items::stocked_product;

/// Reads the stream of the products table.
#[derive(Clone)]
pub struct DynamoStockStream {
    client: Client,
    arn: String,
}

impl DynamoStockStream {
    /// Creates a reader of the stream with this ARN.
    pub fn new(clients: &Clients, arn: String) -> DynamoStockStream {
        DynamoStockStream {
            client: clients.streams(),
            arn,
        }
    }
}

impl ChangeStream for DynamoStockStream {
    type Change = StockChange;

    async fn shards(&self) -> Result<Vec<Shard>, StreamError> {
        let mut shards = Vec::new();
        let mut from = None;
        loop {
            let call = self
                .client
                .describe_stream()
                .stream_arn(&self.arn)
                .set_exclusive_start_shard_id(from);
            let answer = call.send().await.map_err(failed)?;
            let Some(description) = answer.stream_description else {
                break;
            };
            for shard in description.shards.unwrap_or_default() {
                let Some(id) = shard.shard_id else { continue };
                shards.push(Shard {
                    id,
                    parent: shard.parent_shard_id,
                });
            }
            from = description.last_evaluated_shard_id;
            if from.is_none() {
                break;
            }
        }
        Ok(shards)
    }

    async fn open(&self, shard: &str, position: &Position) -> Result<String, StreamError> {
        let call = self
            .client
            .get_shard_iterator()
            .stream_arn(&self.arn)
            .shard_id(shard);
        let call = match position {
            Position::Oldest => call.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Position::After(sequence) => call
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .sequence_number(sequence),
        };
        let answer = call.send().await.map_err(failed)?;
        answer.shard_iterator.ok_or(StreamError::Trimmed)
    }

    async fn read(&self, iterator: &str, limit: u32) -> Result<Page<StockChange>, StreamError> {
        let call = self
            .client
            .get_records()
            .shard_iterator(iterator)
            .limit(i32::try_from(limit).unwrap_or(1000));
        let answer = call.send().await.map_err(failed)?;
        let records = answer
            .records
            .unwrap_or_default()
            .into_iter()
            .map(stock_record);
        Ok(Page {
            records: records.collect::<Result<_, _>>()?,
            next: answer.next_shard_iterator,
        })
    }
}

fn failed<E>(error: SdkError<E>) -> StreamError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    match error.code() {
        Some("ExpiredIteratorException") => StreamError::IteratorExpired,
        Some("TrimmedDataAccessException" | "ResourceNotFoundException") => StreamError::Trimmed,
        _ => unavailable(crate::cause(error)),
    }
}

fn unavailable(why: impl Into<BoxError>) -> StreamError {
    StreamError::Unavailable(StoreError::new(Backend::Stream, why).into())
}

fn stock_record(record: types::Record) -> Result<Record<StockChange>, StreamError> {
    let change = record
        .dynamodb
        .ok_or_else(|| unavailable("a record without a change"))?;
    let at = change.approximate_creation_date_time;
    let at = at.and_then(|at| Timestamp::from_unix_timestamp_nanos(at.as_nanos()).ok());
    Ok(Record {
        sequence: change
            .sequence_number
            .ok_or_else(|| unavailable("a record without a number"))?,
        at,
        change: StockChange {
            before: change.old_image.and_then(product),
            after: change.new_image.and_then(product),
        },
    })
}

fn product(image: HashMap<String, AttributeValue>) -> Option<StockedProduct> {
    // A missing image can be an empty map.
    if image.is_empty() {
        return None;
    }
    let item = image.into_iter().filter_map(|(name, value)| {
        let value = match value {
            AttributeValue::S(text) => Value::S(text),
            AttributeValue::N(number) => Value::N(number),
            // Products have no attributes of other types.
            _ => return None,
        };
        Some((name, value))
    });
    stocked_product(&item.collect())
        // An item that was written by hand may be invalid. A retry would not help, and the later
        // records must not wait.
        .inspect_err(
            |error| tracing::warn!(error = %chain(error), "An invalid record of the stream was skipped"),
        )
        .ok()
}
