//! How bad the change of one property is: interruptions, lost redundancy, wider exposure and wider
//! permissions.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Rung;
use crate::kind::{self, Kind};
use crate::references::{list, number};

/// Returns true for database properties that the schemas list as possible replacements, although
/// the documentation (page "AWS::RDS::DBInstance") says "some interruptions". A change set that
/// reports a replacement takes precedence.
pub(super) fn interrupts_only(kind: &str, path: &str) -> bool {
    const PROPERTIES: [&str; 6] = [
        "AutoMinorVersionUpgrade",
        "BackupRetentionPeriod",
        "DBParameterGroupName",
        "MultiAZ",
        "PerformanceInsightsKMSKeyId",
        "PreferredMaintenanceWindow",
    ];
    kind == kind::RDS_INSTANCE && PROPERTIES.contains(&path)
}

/// Returns the consequence of in-place changes that users notice. Sources: "Modifying an Amazon RDS
/// DB instance" (its table of downtime), and "Scaling up node types" and "Version management" of
/// the ElastiCache user guide.
pub(super) fn interruption(kind: &str, path: &str) -> Option<Rung> {
    let first = path.split('.').next().unwrap_or_default();
    match Kind::named(kind)? {
        kind::RDS_INSTANCE | kind::RDS_CLUSTER => {
            let felt = [
                "DBInstanceClass",
                "EngineVersion",
                "DBParameterGroupName",
                "DBClusterParameterGroupName",
                "Port",
                "CACertificateIdentifier",
                "StorageType",
                "AllowMajorVersionUpgrade",
            ];
            felt.contains(&first).then_some(Rung::Interruption)
        }
        // Static parameters take effect after a restart.
        kind::RDS_PARAMETER_GROUP | kind::RDS_CLUSTER_PARAMETER_GROUP => {
            (first == "Parameters").then_some(Rung::Interruption)
        }
        kind::ELASTICACHE_REPLICATION_GROUP => [
            "CacheNodeType",
            "EngineVersion",
            "Engine",
            "CacheParameterGroupName",
            "AuthToken",
        ]
        .contains(&first)
        .then_some(Rung::Interruption),
        kind::ECS_SERVICE => [
            "TaskDefinition",
            "NetworkConfiguration",
            "LoadBalancers",
            "PlatformVersion",
            "CapacityProviderStrategy",
        ]
        .contains(&first)
        .then_some(Rung::RollingReplacement),
        kind::ELB_LISTENER => ["Port", "Protocol", "Certificates"]
            .contains(&first)
            .then_some(Rung::Interruption),
        _ => None,
    }
}

/// Returns `ZoneLoss` for fewer zones, replicas or tasks than before.
pub(super) fn zone_loss(kind: &str, path: &str, before: &Value, after: &Value) -> Option<Rung> {
    let last = path.rsplit('.').next().unwrap_or_default();
    let switched_off = before == &Value::Bool(true) && after != &Value::Bool(true);
    let fewer = match (number(before), number(after)) {
        (Some(before), Some(after)) => after < before,
        (Some(_), None) => true,
        _ => before.as_array().is_some_and(|before| {
            after
                .as_array()
                .is_none_or(|after| after.len() < before.len())
        }),
    };
    let lost = match last {
        "MultiAZ" | "MultiAZEnabled" | "AutomaticFailoverEnabled" => switched_off,
        "NumCacheClusters" | "ReplicasPerNodeGroup" => {
            kind == kind::ELASTICACHE_REPLICATION_GROUP && fewer
        }
        "Subnets" | "SubnetIds" | "VPCZoneIdentifier" | "AvailabilityZones" => fewer,
        "DesiredCount" | "MinCapacity" => fewer && number(after).is_none_or(|tasks| tasks < 2.0),
        "AvailabilityZoneRebalancing" => after.as_str() == Some("DISABLED"),
        _ => false,
    };
    lost.then_some(Rung::ZoneLoss)
}

/// Returns the consequence of wider permissions or exposure.
pub(super) fn exposure(kind: &str, path: &str, before: &Value, after: &Value) -> Option<Rung> {
    let last = path.rsplit('.').next().unwrap_or_default();
    match last {
        "SecurityGroupIngress" => {
            let old = list(before);
            let mut new = list(after).iter().filter(|rule| !old.contains(rule));
            new.any(is_from_everywhere).then_some(Rung::NetworkExposure)
        }
        "CidrIp" | "CidrIpv6" if kind == kind::EC2_SECURITY_GROUP_INGRESS => {
            is_everywhere(after).then_some(Rung::NetworkExposure)
        }
        "PubliclyAccessible" | "MapPublicIpOnLaunch" => {
            is_true(after).then_some(Rung::NetworkExposure)
        }
        "AssignPublicIp" => (after == "ENABLED").then_some(Rung::NetworkExposure),
        "Scheme" => (after == "internet-facing").then_some(Rung::NetworkExposure),
        "BlockPublicAcls" | "BlockPublicPolicy" | "IgnorePublicAcls" | "RestrictPublicBuckets" => {
            (is_true(before) && !is_true(after)).then_some(Rung::NetworkExposure)
        }
        // Encryption in transit.
        "TransitEncryptionEnabled" => {
            (is_true(before) && !is_true(after)).then_some(Rung::NetworkExposure)
        }
        "Statement" => {
            let (old, new) = (grants(before), grants(after));
            let allowed_more = new.allows.difference(&old.allows).next().is_some();
            let denied_less = old.denies.difference(&new.denies).next().is_some();
            // A new resource brings its own permissions. Only growth of existing permissions is
            // reported.
            (!before.is_null() && (allowed_more || denied_less)).then_some(Rung::IamBroadening)
        }
        "ManagedPolicyArns" => {
            let texts = |value: &Value| -> BTreeSet<String> {
                list(value).iter().map(ToString::to_string).collect()
            };
            let grown = texts(after).difference(&texts(before)).next().is_some();
            (!before.is_null() && grown).then_some(Rung::IamBroadening)
        }
        "PermissionsBoundary" => {
            (!before.is_null() && before != after).then_some(Rung::IamBroadening)
        }
        _ => None,
    }
}

fn is_true(value: &Value) -> bool {
    value == &Value::Bool(true) || value == "true"
}

fn is_everywhere(value: &Value) -> bool {
    matches!(value.as_str(), Some("0.0.0.0/0" | "::/0"))
}

fn is_from_everywhere(rule: &Value) -> bool {
    is_everywhere(&rule["CidrIp"]) || is_everywhere(&rule["CidrIpv6"])
}

/// Permissions one by one, so that order and grouping of statements do not matter.
#[derive(Default)]
struct Grants {
    allows: BTreeSet<String>,
    denies: BTreeSet<String>,
}

fn grants(statements: &Value) -> Grants {
    let mut grants = Grants::default();
    let each = |value: &Value| -> Vec<String> {
        match value {
            Value::Array(values) => values.iter().map(ToString::to_string).collect(),
            Value::Null => vec![String::new()],
            value => vec![value.to_string()],
        }
    };
    for statement in statements.as_array().into_iter().flatten() {
        let who = &statement["Principal"];
        let whom = format!("{who} {}", statement["Condition"]);
        for action in each(&statement["Action"]) {
            for resource in each(&statement["Resource"]) {
                let grant = format!("{action} {resource} {whom}");
                if statement["Effect"] == "Deny" {
                    &mut grants.denies
                } else {
                    &mut grants.allows
                }
                .insert(grant);
            }
        }
    }
    grants
}
