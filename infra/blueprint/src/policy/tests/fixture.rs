//! A stack without findings, of resources that the platform lacks or has only with a waiver. It
//! shows that the rules about them work before the platform uses such a resource.

use serde_json::{Value, json};

use crate::{Environment, Stack};

pub fn stack() -> Stack {
    let data = |kind: &str, properties: Value| {
        json!({
            "Type": kind, "Properties": properties, "DeletionPolicy": "RetainExceptOnCreate", "UpdateReplacePolicy": "Retain",
        })
    };
    let plain = |kind: &str, properties: Value| json!({ "Type": kind, "Properties": properties });
    let template = json!({ "Resources": {
        "FixtureDelivery": plain("AWS::KinesisFirehose::DeliveryStream", delivery()),
        "FixtureBusPolicy": plain("AWS::Events::EventBusPolicy", bus_policy()),
        "FixtureBus": plain("AWS::Events::EventBus", json!({ "Name": "fixture", "KmsKeyIdentifier": KEY })),
        "FixtureArchive": plain("AWS::Events::Archive", json!({ "SourceArn": { "Fn::GetAtt": ["FixtureBus", "Arn"] } })),
        "FixtureSecret": data("AWS::SecretsManager::Secret", secret()),
        "FixtureRotation": plain("AWS::SecretsManager::RotationSchedule", rotation()),
        "FixtureBucket": data("AWS::S3::Bucket", bucket(replication())),
        "FixtureBucketPolicy": plain("AWS::S3::BucketPolicy", bucket_policy("FixtureBucket")),
        "FixtureCopy": data("AWS::S3::Bucket", bucket(Value::Null)),
        "FixtureCopyPolicy": plain("AWS::S3::BucketPolicy", bucket_policy("FixtureCopy")),
        "FixtureTask": plain("AWS::ECS::TaskDefinition", task("one")),
        "FixtureOtherTask": plain("AWS::ECS::TaskDefinition", task("other")),
        "FixtureFirewall": plain("AWS::WAFv2::WebACL", firewall()),
        "FixtureGuard": plain("AWS::WAFv2::WebACLAssociation", json!({ "WebACLArn": firewall_arn(), "ResourceArn": "arn:shop" })),
        "FixtureFirewallLog": plain("AWS::WAFv2::LoggingConfiguration", json!({ "ResourceArn": firewall_arn() })),
    } });
    Stack {
        slug: "fixture",
        name: "fixture".to_owned(),
        about: "What the platform has none of",
        template,
        stateful: true,
        depends_on: Vec::new(),
    }
}

const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn tags() -> Value {
    Environment::named("prod")
        .map(|environment| environment.tags())
        .unwrap_or_default()
}

fn delivery() -> Value {
    json!({
        "DeliveryStreamType": "DirectPut",
        "DeliveryStreamEncryptionConfigurationInput": { "KeyType": "CUSTOMER_MANAGED_CMK", "KeyARN": KEY },
    })
}

fn bus_policy() -> Value {
    json!({
        "StatementId": "OwnOrganization",
        "Statement": {
            "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:root" }, "Action": "events:PutEvents",
            "Resource": { "Fn::GetAtt": ["FixtureBus", "Arn"] },
        },
    })
}

fn secret() -> Value {
    json!({ "KmsKeyId": KEY, "GenerateSecretString": { "PasswordLength": 48 }, "Tags": tags() })
}

fn rotation() -> Value {
    json!({ "SecretId": { "Ref": "FixtureSecret" }, "RotationRules": { "ScheduleExpression": "rate(30 days)" } })
}

fn bucket(replication: Value) -> Value {
    let mut bucket = json!({
        "PublicAccessBlockConfiguration": {
            "BlockPublicAcls": true, "BlockPublicPolicy": true, "IgnorePublicAcls": true, "RestrictPublicBuckets": true,
        },
        "OwnershipControls": { "Rules": [{ "ObjectOwnership": "BucketOwnerEnforced" }] },
        "BucketEncryption": { "ServerSideEncryptionConfiguration": [{
            "BucketKeyEnabled": true,
            "ServerSideEncryptionByDefault": { "SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY },
        }] },
        "VersioningConfiguration": { "Status": "Enabled" },
        "LoggingConfiguration": { "DestinationBucketName": { "Fn::ImportValue": "brew-haven-prod-logs-bucket" } },
        "LifecycleConfiguration": { "Rules": [{ "Status": "Enabled", "NoncurrentVersionExpiration": { "NoncurrentDays": 30 } }] },
        "Tags": tags(),
    });
    if !replication.is_null() {
        bucket["ReplicationConfiguration"] = replication;
    }
    bucket
}

fn replication() -> Value {
    json!({
        "Role": "arn:aws:iam::111122223333:role/replication",
        "Rules": [{ "Status": "Enabled", "Destination": { "Bucket": { "Fn::GetAtt": ["FixtureCopy", "Arn"] } } }],
    })
}

fn bucket_policy(bucket: &str) -> Value {
    json!({
        "Bucket": { "Ref": bucket },
        "PolicyDocument": { "Version": "2012-10-17", "Statement": [{
            "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": { "Fn::GetAtt": [bucket, "Arn"] },
            "Condition": { "Bool": { "aws:SecureTransport": false } },
        }] },
    })
}

fn task(name: &str) -> Value {
    json!({
        "RequiresCompatibilities": ["FARGATE"],
        "NetworkMode": "awsvpc",
        "TaskRoleArn": format!("arn:aws:iam::111122223333:role/{name}"),
        "ExecutionRoleArn": "arn:aws:iam::111122223333:role/start",
        "ContainerDefinitions": [{
            "Name": name,
            "Image": format!("images/{name}@sha256:{}", "0".repeat(64)),
            "User": "10001:10001",
            "Privileged": false,
            "ReadonlyRootFilesystem": true,
            "LinuxParameters": { "Capabilities": { "Drop": ["ALL"] } },
            "StopTimeout": 60,
            "LogConfiguration": { "LogDriver": "awslogs" },
        }],
        "Tags": tags(),
    })
}

fn firewall_arn() -> Value {
    json!({ "Fn::GetAtt": ["FixtureFirewall", "Arn"] })
}

fn firewall() -> Value {
    let managed = |name: &str| json!({ "Name": name, "OverrideAction": { "None": {} }, "Statement": { "ManagedRuleGroupStatement": { "VendorName": "AWS", "Name": name } } });
    json!({
        "VisibilityConfig": { "CloudWatchMetricsEnabled": true, "SampledRequestsEnabled": true, "MetricName": "fixture" },
        "Rules": [
            managed("AWSManagedRulesKnownBadInputsRuleSet"),
            managed("AWSManagedRulesCommonRuleSet"),
            { "Name": "rate", "Action": { "Block": {} }, "Statement": { "RateBasedStatement": { "Limit": 2000, "AggregateKeyType": "IP" } } },
        ],
        "Tags": tags(),
    })
}
