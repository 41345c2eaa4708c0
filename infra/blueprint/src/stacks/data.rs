//! What holds data: tables of stock.

use contract::address::Address;
use contract::table::{KeyType, TABLES, Table};
use serde_json::{Value, json};

use super::{export_of, export_of_arn};
use crate::Environment;
use crate::template::{Keep, Template, get_att, reference};

pub fn data(environment: &Environment) -> Template {
    let mut template = Template::new("Brew Haven: tables of stock");
    for table in TABLES {
        let id = template.add(
            &format!("{} table", table.slug),
            "AWS::DynamoDB::Table",
            table_properties(environment, table),
            Keep::Data,
        );
        let address = Address::Table(table);
        template.export(&address.parameter(), &export_of(environment, address), table.about, reference(&id));
        let arn = export_of_arn(environment, address);
        template.export(&format!("{} arn", address.parameter()), &arn, table.about, get_att(&id, "Arn"));
        if table.stream {
            let address = Address::Stream(table);
            template.export(
                &address.parameter(),
                &export_of(environment, address),
                table.about,
                get_att(&id, "StreamArn"),
            );
        }
    }
    template
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
        schema.extend(sort.map(|sort| json!({ "AttributeName": sort.attribute, "KeyType": "RANGE" })));
        schema
    };
    let mut properties = json!({
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": attributes,
        "KeySchema": schema(table.partition, table.sort),
        "Tags": environment.tags(),
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
    if !environment.local {
        properties["PointInTimeRecoverySpecification"] = json!({ "PointInTimeRecoveryEnabled": true });
        properties["DeletionProtectionEnabled"] = json!(true);
        properties["SSESpecification"] = json!({ "SSEEnabled": true });
        if let Some(attribute) = table.ttl_attribute {
            properties["TimeToLiveSpecification"] = json!({ "AttributeName": attribute, "Enabled": true });
        }
    }
    properties
}
