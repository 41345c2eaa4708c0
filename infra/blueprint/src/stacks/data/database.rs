//! The orders database: an RDS instance or an Aurora cluster.

use serde_json::{Value, json};

use super::keep;
use crate::configuration::Engine;
use crate::environment::Environment;
use crate::kind::{self, Kind};
use crate::names::Shared;
use crate::stacks::roles::aws_role;
use crate::template::{Keep, LogicalId, Template, get_att, reference};

/// Adds the database with the engine of the settings.
pub fn database(template: &mut Template<'_>) {
    let subnets = database_subnets(template);
    // RDS writes enhanced monitoring to CloudWatch Logs with this role.
    let monitoring = aws_role(
        template,
        "database monitoring role",
        "monitoring.rds.amazonaws.com",
        &["service-role/AmazonRDSEnhancedMonitoringRole"],
    );
    match template.environment.settings.database.engine {
        Engine::Postgres => instance(template, &subnets, &monitoring),
        Engine::Aurora => cluster(template, &subnets, &monitoring),
    }
}

fn database_subnets(template: &mut Template<'_>) -> LogicalId {
    let properties = json!({
        "DBSubnetGroupDescription": "Subnets without internet access",
        "SubnetIds": Shared::IsolatedSubnets.list(template.environment),
    });
    template.add("database subnets", kind::RDS_SUBNET_GROUP, properties)
}

/// Returns the PostgreSQL parameters for an instance or a cluster.
pub(super) fn database_parameters() -> Value {
    json!({
        // Requires TLS: `sslmode=disable` is refused.
        "rds.force_ssl": "1",
        "password_encryption": "scram-sha-256",
        "log_connections": "1",
        "log_disconnections": "1",
        "log_lock_waits": "1",
        // Schema changes are rare, and their author matters later.
        "log_statement": "ddl",
        // Milliseconds: statements that slow down a request.
        "log_min_duration_statement": "500",
        // Parameter values are personal data, so statements are logged without them.
        "log_parameter_max_length": "0",
        // Milliseconds. A forgotten transaction holds its locks and delays vacuum.
        "idle_in_transaction_session_timeout": "60000",
    })
}

/// Returns the major version, `16` for `16.9`: parameter groups belong to one.
fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

/// Returns the common properties of an instance and a cluster. The windows are in UTC, when the
/// shop is closed. They begin more than an hour after the plan of `backup`, because RDS refuses
/// backups of AWS Backup in the hour before a window.
fn database_properties(environment: &Environment, subnets: &LogicalId) -> Value {
    json!({
        "EngineVersion": environment.settings.database.engine_version,
        // Extended support is charged per vCPU and hour, and is on by default.
        "EngineLifecycleSupport": "open-source-rds-extended-support-disabled",
        "DBSubnetGroupName": reference(subnets),
        // The default port, stated because policy rules check it.
        "Port": 5432,
        "MasterUsername": "brewhaven",
        // RDS creates the password, stores it in Secrets Manager and rotates it every seven days. A
        // template cannot set another schedule (Amazon RDS User Guide, "Password management with
        // Secrets Manager").
        "ManageMasterUserPassword": true,
        "MasterUserSecret": { "KmsKeyId": Shared::SecretsKey.import(environment) },
        "EnableIAMDatabaseAuthentication": true,
        "StorageEncrypted": true,
        "KmsKeyId": Shared::OrdersKey.import(environment),
        "BackupRetentionPeriod": environment.settings.database.backup_days,
        "PreferredBackupWindow": "06:00-06:30",
        "PreferredMaintenanceWindow": "sun:08:00-sun:09:00",
        "CopyTagsToSnapshot": true,
        // In production, backups outlive a deleted database.
        "DeleteAutomatedBackups": !environment.is_production(),
        "DeletionProtection": true,
    })
}

/// Returns the common properties of all database instances, alone or in a cluster.
fn machine_properties(environment: &Environment, monitoring: &LogicalId) -> Value {
    json!({
        "DBInstanceClass": environment.settings.database.instance_class,
        "PubliclyAccessible": false,
        "AutoMinorVersionUpgrade": true,
        "CACertificateIdentifier": "rds-ca-rsa2048-g1",
        // In seconds.
        "MonitoringInterval": 60,
        "MonitoringRoleArn": get_att(monitoring, "Arn"),
        "EnablePerformanceInsights": true,
        "PerformanceInsightsKMSKeyId": Shared::OrdersKey.import(environment),
        // The retention, in days, that is free.
        "PerformanceInsightsRetentionPeriod": 7,
    })
}

fn merged(mut properties: Value, more: Value) -> Value {
    if let (Some(properties), Value::Object(more)) = (properties.as_object_mut(), more) {
        properties.extend(more);
    }
    properties
}

/// Adds the parameter group of a database. `family` is the engine's name without its version.
fn parameter_group(template: &mut Template<'_>, kind: Kind, family: &str) -> LogicalId {
    let version = major(&template.environment.settings.database.engine_version);
    template.add(
        "database parameters",
        kind,
        json!({
            "Description": "Encrypted connections only",
            "Family": format!("{family}{version}"),
            "Parameters": database_parameters(),
        }),
    )
}

/// Adds RDS for PostgreSQL: one instance, and a standby in another zone if configured.
fn instance(template: &mut Template<'_>, subnets: &LogicalId, monitoring: &LogicalId) {
    let environment = template.environment;
    let settings = &environment.settings.database;
    let parameters = parameter_group(template, kind::RDS_PARAMETER_GROUP, "postgres");
    let own = json!({
        "Engine": "postgres",
        "DBName": "brewhaven",
        "DBParameterGroupName": reference(&parameters),
        "VPCSecurityGroups": [Shared::DatabaseGroup.import(environment)],
        "MultiAZ": settings.multi_az,
        "StorageType": "gp3",
        "AllocatedStorage": settings.storage_gib.to_string(),
        "MaxAllocatedStorage": settings.storage_max_gib,
        "AllowMajorVersionUpgrade": false,
        "EnableCloudwatchLogsExports": ["postgresql", "upgrade"],
    });
    let properties = merged(
        database_properties(environment, subnets),
        machine_properties(environment, monitoring),
    );
    let (properties, keep) = (merged(properties, own), keep(environment));
    let database = template.add_kept("database", kind::RDS_INSTANCE, properties, keep);
    export_database(template, &database);
}

/// Adds Aurora PostgreSQL: a writer, and a reader as failover target if configured.
fn cluster(template: &mut Template<'_>, subnets: &LogicalId, monitoring: &LogicalId) {
    let environment = template.environment;
    let settings = &environment.settings.database;
    let parameters = parameter_group(
        template,
        kind::RDS_CLUSTER_PARAMETER_GROUP,
        "aurora-postgresql",
    );
    let own = json!({
        "Engine": "aurora-postgresql",
        "DatabaseName": "brewhaven",
        "DBClusterParameterGroupName": reference(&parameters),
        "VpcSecurityGroupIds": [Shared::DatabaseGroup.import(environment)],
        "EnableCloudwatchLogsExports": ["postgresql"],
    });
    let properties = merged(database_properties(environment, subnets), own);
    let database = template.add_kept("database", kind::RDS_CLUSTER, properties, keep(environment));
    // Instances of a cluster hold no data; the cluster's volume does. They are kept together with
    // it.
    let kept = if environment.is_production() {
        Keep::Data
    } else {
        Keep::Nothing
    };
    let machines: &[&str] = if settings.multi_az {
        &["writer", "reader"]
    } else {
        &["writer"]
    };
    for machine in machines {
        let own =
            json!({ "Engine": "aurora-postgresql", "DBClusterIdentifier": reference(&database) });
        let properties = merged(machine_properties(environment, monitoring), own);
        let words = format!("database {machine}");
        template.add_kept(&words, kind::RDS_INSTANCE, properties, kept);
    }
    export_database(template, &database);
}

fn export_database(template: &mut Template<'_>, database: &LogicalId) {
    let mut export = |shared: Shared, value: Value| shared.export(template, value);
    export(Shared::DatabaseHost, get_att(database, "Endpoint.Address"));
    export(Shared::DatabasePort, get_att(database, "Endpoint.Port"));
    export(
        Shared::DatabaseSecret,
        get_att(database, "MasterUserSecret.SecretArn"),
    );
    export(Shared::DatabaseIdentifier, reference(database));
}
