//! The products table, for roles that only read stock.

use app::ports::stock::{Catalogue, StockedProduct};
use app::ports::{Backend, StoreError};
use aws_sdk_dynamodb::Client;
use domain::ids::ProductId;

use crate::Clients;
use crate::items::{stocked_product, text};
use crate::tables::ReadTable;

/// The products table for a role that only reads stock.
#[derive(Clone)]
pub struct DynamoProducts {
    pub(super) client: Client,
    pub(super) table: ReadTable,
}

impl DynamoProducts {
    /// Creates a reader of the products table.
    pub fn new(clients: &Clients, table: ReadTable) -> DynamoProducts {
        DynamoProducts {
            client: clients.dynamodb(),
            table,
        }
    }
}

impl Catalogue for DynamoProducts {
    async fn products(&self) -> Result<Vec<StockedProduct>, StoreError> {
        let mut products = Vec::new();
        for item in self.table.scan(&self.client, Backend::Stock).await? {
            match stocked_product(&item) {
                Ok(product) => products.push(product),
                // An item that was written by hand may be invalid. The shop continues to sell the
                // others.
                Err(error) => {
                    tracing::error!(error = %contract::cause::chain(&error), "A product cannot be read")
                }
            }
        }
        products.sort_by(|a, b| {
            (a.product.kind, &a.product.name).cmp(&(b.product.kind, &b.product.name))
        });
        Ok(products)
    }

    async fn product(&self, id: &ProductId) -> Result<Option<StockedProduct>, StoreError> {
        let got = self
            .table
            .get_item(&self.client)
            .key("product_id", text(id.as_str()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| StoreError::new(Backend::Stock, crate::cause(error)))?;
        got.item.as_ref().map(stocked_product).transpose()
    }
}
