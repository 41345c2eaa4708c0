//! The cart store.

use serde_json::{Value, json};

use super::keep;
use crate::kind;
use crate::names::Shared;
use crate::stacks::logs::log_group;
use crate::template::{Keep, LogicalId, Template, get_att, reference, sub};

/// Adds the secret with the cache's AUTH token. It has no fixed name, so that it can be replaced.
pub(super) fn cache_token(template: &mut Template<'_>) -> LogicalId {
    let properties = json!({
        "Description": "The token of the cache's clients",
        "KmsKeyId": Shared::SecretsKey.import(template.environment),
        // 16 to 128 characters, with few special characters (ElastiCache User Guide,
        // "Authenticating with AUTH").
        "GenerateSecretString": {
            "SecretStringTemplate": "{}", "GenerateStringKey": "token",
            "PasswordLength": 64, "ExcludePunctuation": true,
        },
    });
    let token = template.add_kept("cache token", kind::SECRET, properties, Keep::Data);
    let why = "ElastiCache cannot rotate the token; an update of this stack sets a new one";
    template.waive_public(&token, &["SECRETSMANAGER_ROTATION_ENABLED_CHECK"], why);
    template.waive(&token, &["SECRET-2"], why);
    Shared::CacheSecret.export(template, reference(&token));
    token
}

/// Adds the cart store. Valkey supports the Redis commands that the cart scripts use, is open
/// source, and costs a fifth less per node than Redis OSS (Amazon ElastiCache pricing). The store
/// is not sharded, because carts are small and `adapter-redis` connects to one primary.
pub(super) fn cache(template: &mut Template<'_>, token: &LogicalId) {
    let environment = template.environment;
    let settings = &environment.settings.cache;
    let properties = json!({
        "Description": "Subnets without internet access",
        "SubnetIds": Shared::IsolatedSubnets.list(environment),
    });
    let subnets = template.add("cache subnets", kind::ELASTICACHE_SUBNET_GROUP, properties);
    let parameters = template.add(
        "cache parameters",
        kind::ELASTICACHE_PARAMETER_GROUP,
        json!({
            "CacheParameterGroupFamily": "valkey8",
            "Description": "Evicts the cart that was unused for longest when memory is full",
            // A change of a cart renews its expiry, so the shortest remaining time belongs to the
            // cart that was unused longest.
            "Properties": { "maxmemory-policy": "volatile-ttl" },
        }),
    );
    let logs: Vec<Value> = ["slow-log", "engine-log"]
        .into_iter()
        .map(|kind| {
            let group = log_group(template, &format!("cache {kind}"), None);
            json!({
                "LogType": kind, "LogFormat": "json", "DestinationType": "cloudwatch-logs",
                "DestinationDetails": { "CloudWatchLogsDetails": { "LogGroup": reference(&group) } },
            })
        })
        .collect();
    // The reference has no version id: each stack update resolves the current version.
    let shown = format!(
        "{{{{resolve:secretsmanager:${{{}}}:SecretString:token}}}}",
        token.as_str()
    );
    let cache = template.add_kept(
        "cache",
        kind::ELASTICACHE_REPLICATION_GROUP,
        json!({
            "ReplicationGroupDescription": "Carts",
            "Engine": "valkey",
            "EngineVersion": "8.0",
            "ClusterMode": "disabled",
            "CacheNodeType": settings.node_type,
            "NumCacheClusters": 1 + u16::from(settings.replicas),
            "AutomaticFailoverEnabled": true,
            "MultiAZEnabled": true,
            "Port": 6379,
            "CacheSubnetGroupName": reference(&subnets),
            "CacheParameterGroupName": reference(&parameters),
            "SecurityGroupIds": [Shared::CacheGroup.import(environment)],
            "TransitEncryptionEnabled": true,
            "TransitEncryptionMode": "required",
            "AuthToken": sub(&shown),
            "AtRestEncryptionEnabled": true,
            "KmsKeyId": Shared::OrdersKey.import(environment),
            "SnapshotRetentionLimit": settings.snapshot_days,
            "SnapshotWindow": "05:00-06:00",
            "PreferredMaintenanceWindow": "sun:09:30-sun:10:30",
            "AutoMinorVersionUpgrade": true,
            "LogDeliveryConfigurations": logs,
        }),
        keep(environment),
    );
    Shared::CacheHost.export(template, get_att(&cache, "PrimaryEndPoint.Address"));
    Shared::CacheIdentifier.export(template, reference(&cache));
}
