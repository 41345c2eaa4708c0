//! Tables by what their holder may do with them.
//!
//! An adapter takes a [`ReadTable`] or a [`WriteTable`] for each table that it uses. The name of a
//! table is private to this module, so an adapter with a `ReadTable` cannot write: the code does
//! not compile. The types in an adapter's constructor are thus the rights that the adapter needs,
//! and its creator can compare them with a `Role`.
//!
//! The policy of a role allows these operations for its `Access` to a table (`blueprint`,
//! `roles.rs`). Another operation here needs its action there.

use app::ports::{Backend, StoreError};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::get_item::builders::GetItemFluentBuilder;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::builders::{PutBuilder, UpdateBuilder};
use aws_sdk_dynamodb::types::{Put, Update};

use crate::items::Item;

/// A table, with its indexes, that the holder may read.
#[derive(Debug, Clone)]
pub struct ReadTable(String);

/// A table that the holder may read and write.
#[derive(Debug, Clone)]
pub struct WriteTable(ReadTable);

/// A table of either kind.
pub trait Readable: Clone + Send + Sync + 'static {
    /// Returns the table for reading.
    fn as_read(&self) -> &ReadTable;
}

impl Readable for ReadTable {
    fn as_read(&self) -> &ReadTable {
        self
    }
}

impl Readable for WriteTable {
    fn as_read(&self) -> &ReadTable {
        &self.0
    }
}

impl ReadTable {
    /// Names a table that may be read.
    pub fn named(name: impl Into<String>) -> ReadTable {
        ReadTable(name.into())
    }

    pub(crate) fn get_item(&self, client: &Client) -> GetItemFluentBuilder {
        client.get_item().table_name(&self.0)
    }

    pub(crate) fn query(&self, client: &Client) -> QueryFluentBuilder {
        client.query().table_name(&self.0)
    }

    /// Reads all items, consistently.
    pub(crate) async fn scan(
        &self,
        client: &Client,
        backend: Backend,
    ) -> Result<Vec<Item>, StoreError> {
        let call = client.scan().table_name(&self.0).consistent_read(true);
        let items = call.into_paginator().items().send().try_collect().await;
        items.map_err(|error| StoreError::new(backend, crate::cause(error)))
    }
}

impl WriteTable {
    /// Names a table that may be read and written.
    pub fn named(name: impl Into<String>) -> WriteTable {
        WriteTable(ReadTable::named(name))
    }

    pub(crate) fn put_item(&self, client: &Client) -> PutItemFluentBuilder {
        client.put_item().table_name(&self.0.0)
    }

    /// Starts a put within a transaction.
    pub(crate) fn put(&self) -> PutBuilder {
        Put::builder().table_name(&self.0.0)
    }

    /// Starts an update within a transaction.
    pub(crate) fn update(&self) -> UpdateBuilder {
        Update::builder().table_name(&self.0.0)
    }
}
