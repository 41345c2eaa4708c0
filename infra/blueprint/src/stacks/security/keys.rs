//! The KMS keys, one per class of data.

use serde_json::{Value, json};

use crate::environment::Environment;
use crate::kind;
use crate::names::Shared;
use crate::stacks::data::of_the_trail;
use crate::stacks::roles::own_account;
use crate::template::{Keep, Template, get_att, reference, sub};

/// A key for one class of data, with the services that use it in their own name.
///
/// Most services are not listed: RDS, ElastiCache, DynamoDB, Kinesis, Secrets Manager and Backup
/// use the caller's permissions or a grant, and IAM controls those. A listed service needs neither.
pub(super) struct Key {
    shared: Shared,
    about: &'static str,
    services: fn(&Environment) -> Vec<Value>,
}

pub(super) const KEYS: &[Key] = &[
    Key {
        shared: Shared::OrdersKey,
        about: "Orders and carts",
        services: no_service,
    },
    Key {
        shared: Shared::StockKey,
        about: "Stock and the stream of events",
        services: no_service,
    },
    Key {
        shared: Shared::MessagesKey,
        about: "Messages in queues and topics",
        services: senders,
    },
    Key {
        shared: Shared::SecretsKey,
        about: "Secrets",
        services: no_service,
    },
    Key {
        shared: Shared::LogsKey,
        about: "Logs",
        services: loggers,
    },
    Key {
        shared: Shared::StorageKey,
        about: "Buckets",
        services: log_delivery,
    },
];

fn no_service(_: &Environment) -> Vec<Value> {
    Vec::new()
}

/// Returns statements for the services that encrypt or decrypt messages. Queues and topics call KMS
/// on behalf of the sender.
fn senders(_: &Environment) -> Vec<Value> {
    let services = [
        // SNS sends to subscribed queues.
        "sns.amazonaws.com",
        // CloudWatch sends alarms to the operators' topic. With an AWS managed key, alarms would be
        // lost without an error.
        "cloudwatch.amazonaws.com",
        // Notifications about the database, backups, the budget, mails and buckets go to a topic or
        // a queue.
        "events.rds.amazonaws.com",
        "backup.amazonaws.com",
        "budgets.amazonaws.com",
        "ses.amazonaws.com",
        "s3.amazonaws.com",
    ];
    let context = |key: &str, arn: &str| json!({ "ArnLike": { format!("kms:EncryptionContext:{key}"): sub(arn) } });
    let topics = "arn:${AWS::Partition}:sns:${AWS::Region}:${AWS::AccountId}:*";
    let buses = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/*";
    vec![
        statement(
            "Senders",
            json!(services),
            &["kms:Decrypt", "kms:GenerateDataKey"],
            own_account(),
        ),
        // Rules send to queues, and to the dead-letter queue after a failure. The bus checks the
        // key before it uses it (EventBridge user guide, "Authorizing EventBridge to use a customer
        // managed key").
        statement(
            "Rules",
            json!("events.amazonaws.com"),
            &["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"],
            own_account(),
        ),
        // Rules send to topics without `aws:SourceAccount`: with that condition, every message
        // would be lost without an error. The topic's ARN restricts the statement to the account
        // instead (SNS developer guide, "Enable compatibility between event sources from AWS
        // services and encrypted topics").
        statement(
            "RulesToTopics",
            json!("events.amazonaws.com"),
            &["kms:Decrypt", "kms:GenerateDataKey"],
            context("aws:sns:topicArn", topics),
        ),
        // Events on the bus and in its archive (EventBridge user guide, "Encrypting EventBridge
        // archives").
        statement(
            "Bus",
            json!("events.amazonaws.com"),
            &[
                "kms:Decrypt",
                "kms:GenerateDataKey",
                "kms:ReEncryptFrom",
                "kms:ReEncryptTo",
            ],
            context("aws:events:event-bus:arn", buses),
        ),
    ]
}

/// Returns statements for CloudWatch Logs and CloudTrail. CloudWatch Logs sends the log group but
/// not the account (CloudWatch Logs user guide, "Encrypt log data using AWS KMS").
fn loggers(environment: &Environment) -> Vec<Value> {
    let groups = sub("arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:*");
    let groups = statement(
        "LogGroups",
        sub("logs.${AWS::Region}.amazonaws.com"),
        &[
            "kms:Decrypt",
            "kms:DescribeKey",
            "kms:Encrypt",
            "kms:GenerateDataKey",
            "kms:GenerateDataKeyWithoutPlaintext",
            "kms:ReEncryptFrom",
            "kms:ReEncryptTo",
        ],
        json!({ "ArnLike": { "kms:EncryptionContext:aws:logs:arn": groups } }),
    );
    // CloudTrail describes the key when a trail is created, and encrypts each file with it (AWS
    // CloudTrail User Guide, "Configure AWS KMS key policies for CloudTrail").
    let trail = statement(
        "Trail",
        json!("cloudtrail.amazonaws.com"),
        &[
            "kms:Decrypt",
            "kms:DescribeKey",
            "kms:GenerateDataKey",
            "kms:GenerateDataKeyWithoutPlaintext",
        ],
        of_the_trail(environment),
    );
    vec![groups, trail]
}

/// Returns a statement for logs that AWS services deliver to buckets.
fn log_delivery(_: &Environment) -> Vec<Value> {
    let actions = ["kms:Decrypt", "kms:GenerateDataKey"];
    vec![statement(
        "LogDelivery",
        json!("delivery.logs.amazonaws.com"),
        &actions,
        own_account(),
    )]
}

fn statement(sid: &str, service: Value, actions: &[&str], condition: Value) -> Value {
    json!({
        "Sid": sid,
        "Effect": "Allow",
        "Principal": { "Service": service },
        "Action": actions,
        // In a key policy, `*` is the key itself.
        "Resource": "*",
        "Condition": condition,
    })
}

pub(super) fn add_key(template: &mut Template<'_>, key: &Key) {
    let (environment, slug) = (template.environment, key.shared.data_class());
    // Without this statement no principal could change the policy again, and IAM policies would have
    // no effect (KMS developer guide, "Default key policy"). It grants nothing by itself.
    let mut statements = vec![json!({
        "Sid": "IamDecides",
        "Effect": "Allow",
        "Principal": { "AWS": sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:root") },
        "Action": "kms:*",
        "Resource": "*",
    })];
    statements.extend((key.services)(environment));
    let words = format!("{slug} key");
    let properties = json!({
        "Description": format!("Brew Haven {}: {}", environment.name, key.about),
        "Enabled": true,
        "EnableKeyRotation": true,
        "RotationPeriodInDays": 365,
        "KeySpec": "SYMMETRIC_DEFAULT",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "MultiRegion": false,
        // The maximum, because data is lost with its key.
        "PendingWindowInDays": 30,
        "KeyPolicy": { "Version": "2012-10-17", "Statement": statements },
    });
    let id = template.add_kept(&words, kind::KMS_KEY, properties, Keep::Data);
    let reason = "In a key policy, * is the key itself; kms:* delegates to IAM";
    template.note(&id, "wildcard", reason);
    let words = format!("{slug} key alias");
    let properties = json!({
        "AliasName": format!("alias/{}", environment.stack_name(slug)),
        "TargetKeyId": reference(&id),
    });
    template.add(&words, kind::KMS_ALIAS, properties);
    key.shared.export(template, get_att(&id, "Arn"));
}
