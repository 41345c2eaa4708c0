//! What each role may do: exactly what its edges in the contract ask for.

use contract::address::Address;
use contract::role::{Access, Role};
use serde_json::{Value, json};

use crate::stacks::{export_of_arn, parameter_arn, secret_arn};
use crate::template::{Statement, sub};
use crate::{Environment, stacks};

/// The statements of a role's task.
pub fn statements(role: &Role, environment: &Environment) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut allow = |actions: &[&'static str], resources: Vec<Value>, because: String| {
        statements.push(Statement { actions: actions.to_vec(), resources, because });
    };
    let import = |address: Address| json!({ "Fn::ImportValue": export_of_arn(environment, address) });
    for queue in role.consumes {
        let actions =
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"];
        allow(&actions, vec![import(Address::Queue(queue))], format!("consumes {}", queue.slug));
        allow(&["sqs:SendMessage"], vec![import(Address::ParkingQueue(queue))], format!("parks from {}", queue.slug));
    }
    for queue in role.sends {
        allow(&["sqs:SendMessage"], vec![import(Address::Queue(queue))], format!("sends to {}", queue.slug));
    }
    for topic in role.publishes {
        allow(&["sns:Publish"], vec![import(Address::Topic(topic))], format!("publishes to {}", topic.slug));
    }
    for bus in role.puts_events {
        allow(&["events:PutEvents"], vec![import(Address::Bus(bus))], format!("puts events on {}", bus.slug));
    }
    for (table, access) in role.tables {
        let mut actions = vec!["dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan"];
        if *access == Access::Write {
            actions.extend(["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:ConditionCheckItem"]);
        }
        let arn = export_of_arn(environment, Address::Table(table));
        let mut resources = vec![json!({ "Fn::ImportValue": arn })];
        for index in table.indexes {
            let index = format!("/index/{}", index.name);
            resources.push(json!({ "Fn::Join": ["", [{ "Fn::ImportValue": arn }, index]] }));
        }
        allow(&actions, resources, format!("{access:?} of {}", table.slug));
    }
    for table in role.streams {
        let actions = ["dynamodb:DescribeStream", "dynamodb:GetShardIterator", "dynamodb:GetRecords"];
        allow(&actions, vec![import(Address::Stream(table))], format!("reads the stream of {}", table.slug));
    }
    if !role.parameters.is_empty() {
        let resources = role.parameters.iter().map(|parameter| sub(&parameter_arn(environment, parameter.key)));
        allow(
            &["ssm:GetParametersByPath", "ssm:GetParameters"],
            resources.collect(),
            "reads its parameters".to_owned(),
        );
    }
    for secret in role.secrets {
        let resource = sub(&secret_arn(environment, secret.slug));
        allow(&["secretsmanager:GetSecretValue"], vec![resource], format!("reads the secret {}", secret.slug));
    }
    if role.mail {
        let identity = sub(&format!(
            "arn:${{AWS::Partition}}:ses:${{AWS::Region}}:${{AWS::AccountId}}:identity/{}",
            stacks::MAIL_DOMAIN
        ));
        allow(&["ses:SendEmail"], vec![identity], "sends e-mail".to_owned());
    }
    statements
}
