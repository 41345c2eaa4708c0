//! Tests of the adapters with a local AWS; each test starts its own.

mod hot_product;
mod inbox;
mod lossy;
mod others;
mod parking;
mod publisher;
mod stock;
mod stream;
mod views;

use std::sync::Arc;

use adapter_aws::{Clients, DynamoStock, LocalAccess, StockTables, WriteTable};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType as Place,
    Projection, ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType,
};
use contract::table::{Key, KeyType, MOVEMENTS, PRODUCTS, RESERVATIONS, Table};
use uuid::Uuid;

fn clients(access: &LocalAccess) -> Clients {
    Clients::local(access, Arc::new(|_| {}))
}

fn unique(name: &str) -> String {
    format!("{name}-{}", Uuid::now_v7().simple())
}

/// Creates a table of the contract and returns its name and the ARN of its stream.
async fn table(clients: &Clients, table: &Table) -> (String, Option<String>) {
    let name = unique(table.slug);
    let mut keys = vec![table.partition];
    keys.extend(table.sort);
    let mut call = clients
        .dynamodb()
        .create_table()
        .table_name(&name)
        .billing_mode(BillingMode::PayPerRequest);
    for element in schema(table.partition, table.sort) {
        call = call.key_schema(element);
    }
    for index in table.indexes {
        let more = [Some(index.partition), index.sort].into_iter().flatten();
        // A key of the table can also be a key of its index.
        keys.extend(more.filter(|key| !keys.contains(key)).collect::<Vec<_>>());
        let projection = Projection::builder()
            .projection_type(ProjectionType::All)
            .build();
        let index = GlobalSecondaryIndex::builder()
            .index_name(index.name)
            .set_key_schema(Some(schema(index.partition, index.sort)))
            .projection(projection);
        call = call.global_secondary_indexes(index.build().expect("an index"));
    }
    for key in keys {
        let kind = match key.kind {
            KeyType::Text => ScalarAttributeType::S,
            KeyType::Number => ScalarAttributeType::N,
        };
        let definition = AttributeDefinition::builder()
            .attribute_name(key.attribute)
            .attribute_type(kind);
        call = call.attribute_definitions(definition.build().expect("a definition"));
    }
    if table.stream {
        let both = StreamSpecification::builder()
            .stream_enabled(true)
            .stream_view_type(StreamViewType::NewAndOldImages);
        call = call.stream_specification(both.build().expect("a stream"));
    }
    let made = call.send().await.expect("the table is made");
    (
        name,
        made.table_description
            .and_then(|table| table.latest_stream_arn),
    )
}

fn schema(partition: Key, sort: Option<Key>) -> Vec<KeySchemaElement> {
    let element = |key: Key, place: Place| {
        KeySchemaElement::builder()
            .attribute_name(key.attribute)
            .key_type(place)
            .build()
            .expect("a key")
    };
    let sort = sort.map(|key| element(key, Place::Range));
    std::iter::once(element(partition, Place::Hash))
        .chain(sort)
        .collect()
}

/// The names of the stock tables, for tests that read them without the adapter.
struct StockNames {
    products: String,
    reservations: String,
    movements: String,
}

impl StockNames {
    /// Returns the tables with this right to the reservations.
    fn tables<R>(&self, reservations: R) -> StockTables<R> {
        StockTables {
            products: WriteTable::named(&self.products),
            reservations,
            movements: WriteTable::named(&self.movements),
        }
    }

    /// Returns the stock with all rights, using `clients`.
    fn stock(&self, clients: &Clients) -> DynamoStock {
        DynamoStock::new(
            clients,
            self.tables(WriteTable::named(&self.reservations)),
            "test",
        )
    }
}

/// Creates three tables of stock. Returns the stock, the names, and the ARN of the products'
/// stream.
async fn stock(clients: &Clients) -> (DynamoStock, StockNames, String) {
    let (products, stream) = table(clients, &PRODUCTS).await;
    let names = StockNames {
        products,
        reservations: table(clients, &RESERVATIONS).await.0,
        movements: table(clients, &MOVEMENTS).await.0,
    };
    (
        names.stock(clients),
        names,
        stream.expect("products have a stream"),
    )
}
