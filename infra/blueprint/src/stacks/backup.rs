//! Backups with AWS Backup.

use contract::address::Address;
use contract::table::TABLES;
use serde_json::{Value, json};

use crate::configuration::Engine;
use crate::environment::Environment;
use crate::kind;
use crate::names::{Shared, export_of_arn};
use crate::references::{list, text};
use crate::stacks::roles::aws_role;
use crate::template::{Keep, LogicalId, Template, get_att, reference, sub};

/// Days after which a monthly backup moves to cold storage. Tables support that; AWS Backup ignores
/// it for databases and buckets.
const COLD_AFTER_DAYS: u16 = 30;
/// Minimum days in cold storage (AWS Backup Developer Guide, "Lifecycle").
const COLD_DAYS_MIN: u16 = 90;

/// Returns the stack with the vault, the plan and the roles of AWS Backup.
pub fn backup(environment: &Environment) -> Template<'_> {
    let mut template = Template::new(environment, "Brew Haven: backups");
    let vault = vault(&mut template);
    let plan = plan(&mut template, &vault);
    let role = backup_role(&mut template);
    restore_role(&mut template);
    selection(
        &mut template,
        &plan,
        &role,
        "database",
        vec![database(environment)],
    );
    selection(&mut template, &plan, &role, "tables", tables(environment));
    selection(&mut template, &plan, &role, "buckets", buckets(environment));
    template
}

/// Adds the vault that keeps the backups.
///
/// In production the vault is locked in governance mode: a backup cannot be deleted early unless
/// the lock is removed first. Compliance mode could never be removed, and a shop that closes
/// its account would pay for another year.
fn vault(template: &mut Template<'_>) -> LogicalId {
    let environment = template.environment;
    let settings = &environment.settings.backup;
    let mut properties = json!({
        "BackupVaultName": vault_name(environment),
        "EncryptionKeyArn": Shared::OrdersKey.import(environment),
        "AccessPolicy": { "Version": "2012-10-17", "Statement": [{
            "Sid": "CopiesEndByAge", "Effect": "Deny", "Principal": "*",
            "Action": ["backup:DeleteRecoveryPoint", "backup:UpdateRecoveryPointLifecycle"],
            "Resource": "*",
        }] },
    });
    if environment.is_production() {
        properties["LockConfiguration"] = json!({
            "MinRetentionDays": settings.daily_days.min(settings.monthly_days),
            "MaxRetentionDays": settings.daily_days.max(settings.monthly_days),
        });
    }
    let vault = template.add_kept("vault", kind::BACKUP_VAULT, properties, Keep::Data);
    let reason = "A vault's policy covers its own recovery points, which have no names yet";
    template.note(&vault, "wildcard", reason);
    vault
}

/// Returns the name of the vault, which AWS requires. It contains a part of the stack's id, so that
/// a retained vault does not block the next one.
fn vault_name(environment: &Environment) -> Value {
    let id = json!({ "Fn::Select": [2, { "Fn::Split": ["/", { "Ref": "AWS::StackId" }] }] });
    let beginning = json!({ "Fn::Select": [0, { "Fn::Split": ["-", id] }] });
    json!({ "Fn::Join": ["-", [environment.stack_name("backups"), beginning]] })
}

/// Returns the tags of backups, as the object that AWS Backup expects. Backups are not resources of
/// the stack and inherit no tags.
fn tags(environment: &Environment) -> Value {
    let tags = environment.tags();
    let pair = |tag: &Value| (text(&tag["Key"]), tag["Value"].clone());
    list(&tags).iter().map(pair).collect()
}

/// Adds the plan with daily and monthly backups.
///
/// The backups are not continuous. The database and the tables have their own point-in-time
/// recovery, which AWS Backup would take over; its settings would then drift from the template.
/// Buckets keep versions.
fn plan(template: &mut Template<'_>, vault: &LogicalId) -> LogicalId {
    let environment = template.environment;
    let settings = &environment.settings.backup;
    // UTC. Both begin more than an hour before the windows of the database, see `data`.
    let daily = rule(
        environment,
        vault,
        "daily",
        "cron(0 2 * * ? *)",
        json!({ "DeleteAfterDays": settings.daily_days }),
    );
    let mut lifecycle = json!({ "DeleteAfterDays": settings.monthly_days });
    if settings.monthly_days >= COLD_AFTER_DAYS + COLD_DAYS_MIN {
        lifecycle["MoveToColdStorageAfterDays"] = json!(COLD_AFTER_DAYS);
    }
    let monthly = rule(
        environment,
        vault,
        "monthly",
        "cron(0 4 1 * ? *)",
        lifecycle,
    );
    let properties = json!({
        "BackupPlan": { "BackupPlanName": environment.stack_name("backups"), "BackupPlanRule": [daily, monthly] },
    });
    template.add("plan", kind::BACKUP_PLAN, properties)
}

fn rule(
    environment: &Environment,
    vault: &LogicalId,
    name: &str,
    schedule: &str,
    lifecycle: Value,
) -> Value {
    let mut rule = json!({
        "RuleName": name,
        "TargetBackupVault": reference(vault),
        "ScheduleExpression": schedule,
        // 60 is the minimum of AWS Backup.
        "StartWindowMinutes": 60,
        "CompletionWindowMinutes": 720,
        "Lifecycle": lifecycle,
        "RecoveryPointTags": tags(environment),
    });
    if let Some(other) = other_vault(environment) {
        rule["CopyActions"] =
            json!([{ "DestinationBackupVaultArn": other, "Lifecycle": rule["Lifecycle"] }]);
    }
    rule
}

/// Returns the vault in the other region, if backups are copied there. A stack creates nothing
/// outside its region, so an operator must create this vault first: `aws backup create-backup-vault
/// --region R --backup-vault-name brew-haven-ENV-copies --encryption-key-arn K`, with a key of that
/// region. Without the vault the copies fail, but the backups succeed.
fn other_vault(environment: &Environment) -> Option<Value> {
    let region = &environment.settings.backup.copy_to_region;
    let name = environment.stack_name("copies");
    let arn =
        format!("arn:${{AWS::Partition}}:backup:{region}:${{AWS::AccountId}}:backup-vault:{name}");
    (!region.is_empty()).then(|| sub(&arn))
}

/// Adds the role that creates backups and cannot restore.
fn backup_role(template: &mut Template<'_>) -> LogicalId {
    let policies = [
        "service-role/AWSBackupServiceRolePolicyForBackup",
        "AWSBackupServiceRolePolicyForS3Backup",
    ];
    aws_role(template, "backup role", "backup.amazonaws.com", &policies)
}

/// Adds the role that restores and cannot create or delete backups. It exists before it is needed.
fn restore_role(template: &mut Template<'_>) {
    let policies = [
        "service-role/AWSBackupServiceRolePolicyForRestores",
        "AWSBackupServiceRolePolicyForS3Restore",
    ];
    aws_role(template, "restore role", "backup.amazonaws.com", &policies);
}

fn selection(
    template: &mut Template<'_>,
    plan: &LogicalId,
    role: &LogicalId,
    name: &str,
    resources: Vec<Value>,
) {
    let words = format!("{name} selection");
    let properties = json!({
        "BackupPlanId": reference(plan),
        "BackupSelection": { "SelectionName": name, "IamRoleArn": get_att(role, "Arn"), "Resources": resources },
    });
    template.add(&words, kind::BACKUP_SELECTION, properties);
}

fn database(environment: &Environment) -> Value {
    let kind = match environment.settings.database.engine {
        Engine::Postgres => "db",
        Engine::Aurora => "cluster",
    };
    let arn = format!(
        "arn:${{AWS::Partition}}:rds:${{AWS::Region}}:${{AWS::AccountId}}:{kind}:${{Name}}"
    );
    json!({ "Fn::Sub": [arn, { "Name": Shared::DatabaseIdentifier.import(environment) }] })
}

/// Returns the ARNs of all tables of the contract.
fn tables(environment: &Environment) -> Vec<Value> {
    let arns = TABLES
        .iter()
        .map(|table| export_of_arn(environment, Address::Table(table)));
    arns.map(|arn| json!({ "Fn::ImportValue": arn })).collect()
}

/// Returns the ARNs of the buckets to back up. Logs are left out, because nothing is restored from
/// them.
fn buckets(environment: &Environment) -> Vec<Value> {
    let arn = |bucket: Shared| json!({ "Fn::Sub": ["arn:${AWS::Partition}:s3:::${Name}", { "Name": bucket.import(environment) }] });
    vec![arn(Shared::AuditBucket), arn(Shared::LakeBucket)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Environment {
        Environment::named(name).expect("known")
    }

    fn resources(environment: &Environment, kind: &str) -> Vec<Value> {
        let template = backup(environment).into_json();
        let resources = template["Resources"]
            .as_object()
            .expect("resources")
            .values();
        resources
            .filter(|resource| resource["Type"] == kind)
            .cloned()
            .collect()
    }

    fn rules(environment: &Environment) -> Vec<Value> {
        let plans = resources(environment, "AWS::Backup::BackupPlan");
        plans[0]["Properties"]["BackupPlan"]["BackupPlanRule"]
            .as_array()
            .expect("rules")
            .clone()
    }

    fn selected(environment: &Environment) -> String {
        let selections = resources(environment, "AWS::Backup::BackupSelection");
        let selected =
            |selection: &Value| selection["Properties"]["BackupSelection"]["Resources"].to_string();
        selections.iter().map(selected).collect()
    }

    #[test]
    fn stateful_resources_are_backed_up_and_logs_are_not() {
        for name in ["dev", "staging", "prod"] {
            let environment = named(name);
            let selected = selected(&environment);
            for table in TABLES {
                let arn = export_of_arn(&environment, Address::Table(table));
                assert!(
                    selected.contains(&format!("\"{arn}\"")),
                    "{name}: {}",
                    table.slug
                );
            }
            for shared in [
                Shared::DatabaseIdentifier,
                Shared::AuditBucket,
                Shared::LakeBucket,
            ] {
                assert!(
                    selected.contains(&shared.import(&environment).to_string()),
                    "{name}: {shared:?}"
                );
            }
            assert!(!selected.contains(&Shared::LogsBucket.import(&environment).to_string()));
        }
    }

    #[test]
    fn backups_select_the_database_by_its_engine() {
        let mut environment = named("prod");
        assert!(selected(&environment).contains(":db:${Name}"));
        environment.settings.database.engine = Engine::Aurora;
        assert!(selected(&environment).contains(":cluster:${Name}"));
    }

    #[test]
    fn only_production_locks_its_vault_and_every_rule_is_within_the_lock() {
        for name in ["dev", "staging", "prod"] {
            let environment = named(name);
            let vault = &resources(&environment, "AWS::Backup::BackupVault")[0];
            let lock = &vault["Properties"]["LockConfiguration"];
            assert_eq!(lock.is_object(), environment.is_production(), "{name}");
            // With this property the lock could never be removed.
            assert!(lock.get("ChangeableForDays").is_none());
            for rule in rules(&environment).iter().filter(|_| lock.is_object()) {
                let days = rule["Lifecycle"]["DeleteAfterDays"].as_u64();
                assert!(
                    lock["MinRetentionDays"].as_u64() <= days
                        && days <= lock["MaxRetentionDays"].as_u64(),
                    "{rule}"
                );
            }
        }
    }

    #[test]
    fn the_vault_denies_deletion_of_recovery_points() {
        let vault = &resources(&named("prod"), "AWS::Backup::BackupVault")[0];
        let statement = &vault["Properties"]["AccessPolicy"]["Statement"][0];
        assert_eq!(
            (&statement["Effect"], &statement["Principal"]),
            (&json!("Deny"), &json!("*"))
        );
        assert!(
            statement["Action"]
                .as_array()
                .is_some_and(|actions| actions.contains(&json!("backup:DeleteRecoveryPoint")))
        );
        assert!(
            vault["Metadata"]["wildcard"].is_string(),
            "`*` has a reason"
        );
    }

    #[test]
    fn backups_are_copied_to_the_region_of_the_settings() {
        for name in ["dev", "staging", "prod"] {
            let environment = named(name);
            for rule in rules(&environment) {
                let region = &environment.settings.backup.copy_to_region;
                let to = rule["CopyActions"][0]["DestinationBackupVaultArn"]["Fn::Sub"].as_str();
                assert_eq!(to.is_some(), !region.is_empty(), "{name}");
                assert!(
                    to.is_none_or(|arn| arn.contains(&format!(":backup:{region}:"))),
                    "{to:?}"
                );
            }
        }
        assert_ne!(
            named("prod").settings.backup.copy_to_region,
            named("prod").settings.account.region
        );
    }

    #[test]
    fn backups_stay_in_cold_storage_for_the_minimum_or_never_enter_it() {
        let mut environment = named("prod");
        for days in [31, 100, 119, 120, 365] {
            environment.settings.backup.monthly_days = days;
            for rule in rules(&environment) {
                let Some(cold) = rule["Lifecycle"]["MoveToColdStorageAfterDays"].as_u64() else {
                    continue;
                };
                let end = rule["Lifecycle"]["DeleteAfterDays"]
                    .as_u64()
                    .expect("an end");
                assert!(end >= cold + u64::from(COLD_DAYS_MIN), "{rule}");
            }
            let cold = rules(&environment)[1]["Lifecycle"]
                .get("MoveToColdStorageAfterDays")
                .is_some();
            assert_eq!(cold, days >= 120, "{days}");
        }
    }

    #[test]
    fn a_role_either_makes_backups_or_restores_them() {
        for role in resources(&named("prod"), "AWS::IAM::Role") {
            let policies = role["Properties"]["ManagedPolicyArns"].to_string();
            assert_ne!(
                policies.contains("ForBackup"),
                policies.contains("Restore"),
                "{policies}"
            );
        }
    }
}
