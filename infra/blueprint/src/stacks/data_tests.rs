//! The guarantees of the data stack for operators.

use std::collections::BTreeSet;

use super::database::database_parameters;
use super::*;
use crate::configuration::Engine;
use crate::template::sub;

/// Returns the environments on AWS, with each engine.
fn on_aws() -> Vec<Environment> {
    let named = ["dev", "staging", "prod"]
        .into_iter()
        .filter_map(Environment::named);
    let both = named.flat_map(|environment| {
        let mut aurora = environment.clone();
        aurora.settings.database.engine = Engine::Aurora;
        [environment, aurora]
    });
    both.collect()
}

fn template_of(environment: &Environment) -> Value {
    data(environment).into_json()
}

fn resources(template: &Value) -> Vec<(&String, &Value)> {
    template["Resources"]
        .as_object()
        .expect("resources")
        .iter()
        .collect()
}

fn of_kind<'a>(template: &'a Value, kind: &str) -> Vec<(&'a String, &'a Value)> {
    resources(template)
        .into_iter()
        .filter(|(_, resource)| resource["Type"] == kind)
        .collect()
}

/// Returns the only resource of a kind.
fn only<'a>(template: &'a Value, kind: &str) -> &'a Value {
    let found = of_kind(template, kind);
    assert_eq!(found.len(), 1, "{kind}");
    &found[0].1["Properties"]
}

#[test]
fn the_local_aws_gets_only_tables_without_imports() {
    let stacks = crate::stacks(&Environment::local());
    let template = stacks
        .into_iter()
        .find(|stack| stack.slug == "data")
        .expect("data")
        .template;
    assert_eq!(
        of_kind(&template, "AWS::DynamoDB::Table").len(),
        TABLES.len()
    );
    assert_eq!(resources(&template).len(), TABLES.len());
    let text = template.to_string();
    assert!(
        !text.contains("Fn::ImportValue") && !text.contains("SSESpecification"),
        "{text}"
    );
}

#[test]
fn the_database_has_the_orders_key_isolated_subnets_and_a_standby_by_the_settings() {
    for environment in on_aws() {
        let template = template_of(&environment);
        let kind = match environment.settings.database.engine {
            Engine::Postgres => "AWS::RDS::DBInstance",
            Engine::Aurora => "AWS::RDS::DBCluster",
        };
        let database = only(&template, kind);
        assert_eq!(database["KmsKeyId"], Shared::OrdersKey.import(&environment));
        let subnets = only(&template, "AWS::RDS::DBSubnetGroup");
        assert_eq!(
            subnets["SubnetIds"],
            Shared::IsolatedSubnets.list(&environment)
        );

        let machines = of_kind(&template, "AWS::RDS::DBInstance");
        let doubled = machines.len() == 2 || database["MultiAZ"] == true;
        assert_eq!(doubled, environment.settings.database.multi_az);
    }
}

#[test]
fn database_logs_contain_no_parameters() {
    let parameters = database_parameters();
    assert_eq!(parameters["log_parameter_max_length"], "0");
    assert_ne!(parameters["log_statement"], "all");
    assert!(
        parameters
            .as_object()
            .expect("parameters")
            .values()
            .all(Value::is_string),
        "as CloudFormation takes them"
    );
}

#[test]
fn the_cache_has_a_replica_and_the_token_of_its_own_secret() {
    for environment in on_aws() {
        let template = template_of(&environment);
        let cache = only(&template, "AWS::ElastiCache::ReplicationGroup");
        assert!(
            cache["NumCacheClusters"].as_u64() >= Some(2),
            "a primary and a replica"
        );
        // The token of the current version, by reference to the secret of this template.
        assert_eq!(
            cache["AuthToken"],
            sub("{{resolve:secretsmanager:${CacheToken}:SecretString:token}}")
        );
        assert!(
            of_kind(&template, "AWS::SecretsManager::Secret")
                .iter()
                .any(|(name, _)| *name == "CacheToken")
        );
    }
}

#[test]
fn tables_deny_plain_http_and_expire_items_by_the_contract() {
    for environment in on_aws() {
        let template = template_of(&environment);
        let tables = of_kind(&template, "AWS::DynamoDB::Table");
        assert_eq!(tables.len(), TABLES.len());
        for (name, table) in tables {
            let properties = &table["Properties"];
            let statement = &properties["ResourcePolicy"]["PolicyDocument"]["Statement"][0];
            assert_eq!(statement["Effect"], "Deny", "{name}");
            assert_eq!(
                statement["Condition"]["Bool"]["aws:SecureTransport"], false,
                "{name}"
            );
            assert!(
                table["Metadata"]["wildcard"].is_string(),
                "{name}: `*` has a reason"
            );
        }
        let expiring = TABLES
            .iter()
            .filter(|table| table.ttl_attribute.is_some())
            .count();
        assert_eq!(
            template
                .to_string()
                .matches("TimeToLiveSpecification")
                .count(),
            expiring
        );
    }
}

#[test]
fn bucket_policies_deny_plain_http_and_allow_only_log_delivery() {
    for environment in on_aws() {
        let template = template_of(&environment);
        for (bucket, _) in of_kind(&template, "AWS::S3::Bucket") {
            let policies = of_kind(&template, "AWS::S3::BucketPolicy").into_iter();
            let policies: Vec<_> = policies
                .filter(|(_, policy)| policy["Properties"]["Bucket"]["Ref"] == **bucket)
                .collect();
            assert_eq!(policies.len(), 1, "{bucket}: S3 takes one policy");
            let statements = policies[0].1["Properties"]["PolicyDocument"]["Statement"]
                .as_array()
                .expect("statements");
            let (denied, allowed): (Vec<_>, Vec<_>) = statements
                .iter()
                .partition(|statement| statement["Effect"] == "Deny");
            let clear = denied
                .iter()
                .find(|deny| deny["Condition"]["Bool"]["aws:SecureTransport"] == false);
            let clear = clear.unwrap_or_else(|| panic!("{bucket} takes clear transport"));
            assert_eq!(
                clear["Resource"].as_array().map(Vec::len),
                Some(2),
                "{bucket}: itself and its objects"
            );
            assert_eq!(allowed.is_empty(), bucket == "LakeBucket", "{bucket}");
            for allow in allowed {
                // CloudTrail first checks the owner of the bucket.
                assert!(
                    allow["Action"] == "s3:PutObject" || allow["Action"] == "s3:GetBucketAcl",
                    "{allow}"
                );
                assert!(allow["Principal"]["Service"].is_string(), "{allow}");
            }
        }
    }
}

#[test]
fn the_audit_bucket_denies_bypassing_its_object_lock() {
    for environment in on_aws() {
        let template = template_of(&environment);
        let lock = &template["Resources"]["AuditBucket"]["Properties"]["ObjectLockConfiguration"];
        let days = lock["Rule"]["DefaultRetention"]["Days"]
            .as_u64()
            .expect("days");
        assert!(days >= 365 || !environment.is_production(), "{days}");
        let policy = &template["Resources"]["AuditBucketPolicy"]["Properties"]["PolicyDocument"];
        let statements = policy["Statement"].as_array().expect("statements");
        let deny = statements
            .iter()
            .find(|statement| statement["Action"] == "s3:BypassGovernanceRetention");
        let deny = deny.expect("a denial of the bypass");
        assert_eq!(
            (&deny["Effect"], &deny["Principal"]),
            (&json!("Deny"), &json!("*"))
        );
    }
}

/// Only a real account would show a missing permission of CloudTrail.
#[test]
fn bucket_and_key_let_the_trail_and_no_other_write() {
    for environment in on_aws() {
        let template = template_of(&environment);
        let trail = only(&template, "AWS::CloudTrail::Trail");
        assert_eq!(trail["S3BucketName"], json!({ "Ref": "AuditBucket" }));
        assert_eq!(
            trail["EventSelectors"][0]["DataResources"][0]["Values"],
            json!(["arn:aws:s3:::"])
        );
        let waits = template["Resources"]["Trail"]["DependsOn"]
            .as_array()
            .expect("it waits");
        assert!(
            waits.contains(&json!("AuditBucketPolicy")) && waits.contains(&json!("TrailPolicy")),
            "{waits:?}"
        );

        let name = trail["TrailName"].as_str().expect("a name");
        let security = super::super::security::security(&environment).into_json();
        let alias = &security["Resources"]["LogsKeyAlias"]["Properties"]["AliasName"];
        assert_eq!(
            trail["KMSKeyId"], *alias,
            "the key's alias in the stack before"
        );
        let of_key = &security["Resources"]["LogsKey"]["Properties"]["KeyPolicy"];
        let of_bucket = &template["Resources"]["AuditBucketPolicy"]["Properties"]["PolicyDocument"];
        for (document, wanted) in [
            (
                of_key,
                vec!["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"],
            ),
            (of_bucket, vec!["s3:GetBucketAcl", "s3:PutObject"]),
        ] {
            let statements = document["Statement"].as_array().expect("statements").iter();
            let own: Vec<&Value> = statements
                .filter(|one| one["Principal"]["Service"] == "cloudtrail.amazonaws.com")
                .collect();
            for one in &own {
                let of = one["Condition"]["ArnEquals"]["aws:SourceArn"]["Fn::Sub"]
                    .as_str()
                    .expect("whose");
                assert!(of.ends_with(&format!(":trail/{name}")), "{of}");
            }
            let allowed: String = own.iter().map(|one| one["Action"].to_string()).collect();
            assert!(
                wanted
                    .iter()
                    .all(|action| allowed.contains(&format!("\"{action}\""))),
                "{allowed}"
            );
        }
    }
}

#[test]
fn stateful_resources_are_retained_or_snapshotted_and_have_no_fixed_name() {
    /// Types that hold data, and the name property that must stay unset.
    const HOLDERS: [(&str, &str); 7] = [
        ("AWS::RDS::DBInstance", "DBInstanceIdentifier"),
        ("AWS::RDS::DBCluster", "DBClusterIdentifier"),
        ("AWS::ElastiCache::ReplicationGroup", "ReplicationGroupId"),
        ("AWS::DynamoDB::Table", "TableName"),
        ("AWS::S3::Bucket", "BucketName"),
        ("AWS::SecretsManager::Secret", "Name"),
        ("AWS::Logs::LogGroup", "LogGroupName"),
    ];
    for environment in on_aws() {
        let template = template_of(&environment);
        for (kind, name_property) in HOLDERS {
            for (name, resource) in of_kind(&template, kind) {
                assert!(
                    resource["Properties"].get(name_property).is_none(),
                    "{name} has a fixed name"
                );
                // Instances of a cluster hold no data.
                if resource["Properties"].get("DBClusterIdentifier").is_some()
                    && !environment.is_production()
                {
                    continue;
                }
                let policies = (
                    &resource["DeletionPolicy"],
                    &resource["UpdateReplacePolicy"],
                );
                let (retained, snapshot) = (json!("RetainExceptOnCreate"), json!("Snapshot"));
                let allowed = policies == (&retained, &json!("Retain"))
                    || (policies == (&snapshot, &snapshot) && !environment.is_production());
                assert!(allowed, "{name}: {policies:?}");
            }
        }
    }
}

#[test]
fn both_engines_export_the_same_names() {
    let exports = |environment: &Environment| -> BTreeSet<String> {
        crate::references::exports(&template_of(environment))
            .map(|(name, _)| name.to_owned())
            .collect()
    };
    for pair in on_aws().chunks(2) {
        assert_eq!(exports(&pair[0]), exports(&pair[1]));
    }
}

#[test]
fn the_template_can_be_sent_inline_with_either_engine() {
    for environment in on_aws() {
        let bytes = template_of(&environment).to_string().len();
        assert!(bytes < 51_200, "{bytes}");
    }
}
