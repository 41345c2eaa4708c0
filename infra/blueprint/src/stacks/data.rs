//! Resources that hold data: the database, the cache, tables, buckets, and the CloudTrail trail
//! that writes into a bucket. Only tables have addresses of the contract; other values reach other
//! stacks through `Shared`.

mod buckets;
mod cache;
mod database;

use contract::address::Address;
use contract::table::{KeyType, TABLES, Table};
use serde_json::{Value, json};

use buckets::{buckets, trail};
use cache::{cache, cache_token};
use database::database;

use crate::environment::Environment;
use crate::kind;
use crate::names::{Shared, export_address, export_arn};
use crate::roles::document;
use crate::stacks::roles::encrypted_transport_only;
use crate::template::{Keep, Template, get_att, reference};

pub use buckets::of_the_trail;

/// Returns the stack with the tables and, on AWS, the other resources that hold data.
pub fn data(environment: &Environment) -> Template<'_> {
    let mut template = Template::new(
        environment,
        "Brew Haven: database, cache, tables and buckets",
    );
    tables(&mut template);
    if !environment.local {
        add_servers(&mut template);
    }
    template
}

/// Returns the resources other than tables as a separate stack for the local AWS. `haven up`
/// deploys the tables without the network and the keys that the others need.
pub fn servers(environment: &Environment) -> Template<'_> {
    let mut template = Template::new(environment, "Brew Haven: database, cache and buckets");
    add_servers(&mut template);
    template
}

fn add_servers(template: &mut Template<'_>) {
    database(template);
    let token = cache_token(template);
    cache(template, &token);
    let audit = buckets(template);
    trail(template, &audit);
}

/// Returns what happens to a removed database or cache: production retains it, other environments
/// keep a final snapshot.
fn keep(environment: &Environment) -> Keep {
    if environment.is_production() {
        Keep::Data
    } else {
        Keep::Snapshot
    }
}

/// Adds the tables of the contract.
fn tables(template: &mut Template<'_>) {
    let environment = template.environment;
    for table in TABLES {
        let id = template.add_kept(
            &format!("{} table", table.slug),
            kind::DYNAMODB_TABLE,
            table_properties(environment, table),
            Keep::Data,
        );
        if !environment.local {
            let reason = "A table's policy covers only the table itself";
            template.note(&id, "wildcard", reason);
        }
        let address = Address::Table(table);
        export_address(template, address, reference(&id));
        export_arn(template, address, get_att(&id, "Arn"));
        if table.stream {
            let arn = get_att(&id, "StreamArn");
            export_address(template, Address::Stream(table), arn);
        }
    }
}

fn table_properties(environment: &Environment, table: &Table) -> Value {
    let mut keys = vec![table.partition];
    keys.extend(table.sort);
    for index in table.indexes {
        keys.push(index.partition);
        keys.extend(index.sort);
    }
    let mut attributes: Vec<Value> = Vec::new();
    for key in keys {
        let kind = match key.kind {
            KeyType::Text => "S",
            KeyType::Number => "N",
        };
        let attribute = json!({ "AttributeName": key.attribute, "AttributeType": kind });
        if !attributes.contains(&attribute) {
            attributes.push(attribute);
        }
    }
    let schema = |partition: contract::table::Key, sort: Option<contract::table::Key>| {
        let mut schema = vec![json!({ "AttributeName": partition.attribute, "KeyType": "HASH" })];
        schema.extend(
            sort.map(|sort| json!({ "AttributeName": sort.attribute, "KeyType": "RANGE" })),
        );
        schema
    };
    let mut properties = json!({
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": attributes,
        "KeySchema": schema(table.partition, table.sort),
    });
    if !table.indexes.is_empty() {
        let indexes = table.indexes.iter().map(|index| {
            json!({
                "IndexName": index.name,
                "KeySchema": schema(index.partition, index.sort),
                "Projection": { "ProjectionType": "ALL" },
            })
        });
        properties["GlobalSecondaryIndexes"] = indexes.collect();
    }
    if table.stream {
        properties["StreamSpecification"] = json!({ "StreamViewType": "NEW_AND_OLD_IMAGES" });
    }
    properties["PointInTimeRecoverySpecification"] = json!({ "PointInTimeRecoveryEnabled": true });
    properties["DeletionProtectionEnabled"] = json!(true);
    properties["SSESpecification"] = json!({ "SSEEnabled": true, "SSEType": "KMS", "KMSMasterKeyId": Shared::StockKey.import(environment) });
    properties["ResourcePolicy"] = json!({ "PolicyDocument": encrypted_transport_to_table() });
    if let Some(attribute) = table.ttl_attribute {
        properties["TimeToLiveSpecification"] =
            json!({ "AttributeName": attribute, "Enabled": true });
    }
    properties
}

/// Returns a policy that denies plain HTTP. Its resource is `*`, because CloudFormation cannot
/// create a resource that refers to itself.
fn encrypted_transport_to_table() -> Value {
    document(vec![encrypted_transport_only("dynamodb:*", json!("*"))])
}

#[cfg(test)]
#[path = "data_tests.rs"]
mod tests;
