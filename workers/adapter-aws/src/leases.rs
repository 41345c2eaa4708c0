//! Leases and checkpoints of stream shards, in a DynamoDB table.

use app::ports::{Backend, StoreError};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use chassis::stream::{BoxError, Lease, LeaseStore};

use crate::Clients;
use crate::items::{Item, corrupt, get_number, get_text, number, text};
use crate::tables::{Readable as _, WriteTable};

/// The leases table.
#[derive(Clone)]
pub struct DynamoLeases {
    client: Client,
    table: WriteTable,
}

impl DynamoLeases {
    /// Creates the store of leases in `table`.
    pub fn new(clients: &Clients, table: WriteTable) -> DynamoLeases {
        DynamoLeases {
            client: clients.dynamodb(),
            table,
        }
    }
}

impl LeaseStore for DynamoLeases {
    async fn leases(&self) -> Result<Vec<Lease>, BoxError> {
        let table = self.table.as_read();
        let items = table.scan(&self.client, Backend::Leases).await?;
        Ok(items.iter().map(lease).collect::<Result<_, _>>()?)
    }

    async fn write(&self, lease: &Lease, expected_counter: Option<i64>) -> Result<bool, BoxError> {
        let mut put = self
            .table
            .put_item(&self.client)
            .item("lease_id", text(&lease.shard))
            .item("owner", text(&lease.owner))
            .item("counter", number(lease.counter))
            .item("finished", AttributeValue::Bool(lease.finished));
        if let Some(checkpoint) = &lease.checkpoint {
            put = put.item("checkpoint", text(checkpoint));
        }
        put = match expected_counter {
            None => put.condition_expression("attribute_not_exists(lease_id)"),
            Some(counter) => put
                .condition_expression("#counter = :counter")
                // `counter` is a reserved word of DynamoDB.
                .expression_attribute_names("#counter", "counter")
                .expression_attribute_values(":counter", number(counter)),
        };
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|e| e.is_conditional_check_failed_exception()) =>
            {
                Ok(false)
            }
            Err(error) => Err(StoreError::new(Backend::Leases, crate::cause(error)).into()),
        }
    }
}

fn lease(item: &Item) -> Result<Lease, StoreError> {
    Ok(Lease {
        shard: get_text(item, "lease_id").ok_or_else(|| corrupt("lease_id"))?,
        owner: get_text(item, "owner").unwrap_or_default(),
        counter: get_number(item, "counter").ok_or_else(|| corrupt("counter"))?,
        checkpoint: get_text(item, "checkpoint"),
        finished: matches!(item.get("finished"), Some(AttributeValue::Bool(true))),
    })
}
