//! Resources that hold data: the database, the cache, tables, buckets, and the CloudTrail trail
//! that writes into a bucket. Only tables have addresses of the contract; other values reach other
//! stacks through `Shared`.

use contract::address::Address;
use contract::table::{KeyType, TABLES, Table};
use serde_json::{Value, json};

use crate::environment::Environment;
use crate::kind;
use crate::names::{Shared, export_of, export_of_arn};
use crate::settings::Engine;
use crate::template::{Keep, LogicalId, Template, get_att, reference, sub};

/// Returns the stack with the tables and, on AWS, the other resources that hold data.
pub fn data(environment: &Environment) -> Template {
    let mut template = Template::new("Brew Haven: database, cache, tables and buckets");
    tables(&mut template, environment);
    if !environment.local {
        add_servers(&mut template, environment);
    }
    template
}

/// Returns the resources other than tables as a separate stack for the local AWS. `haven up`
/// deploys the tables without the network and the keys that the others need.
pub fn servers(environment: &Environment) -> Template {
    let mut template = Template::new("Brew Haven: database, cache and buckets");
    add_servers(&mut template, environment);
    template
}

fn add_servers(template: &mut Template, environment: &Environment) {
    let subnets = database_subnets(template, environment);
    let monitoring = monitoring_role(template, environment);
    match environment.settings.database.engine {
        Engine::Postgres => instance(template, environment, &subnets, &monitoring),
        Engine::Aurora => cluster(template, environment, &subnets, &monitoring),
    }
    let token = cache_token(template, environment);
    cache(template, environment, &token);
    let audit = buckets(template, environment);
    trail(template, environment, &audit);
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

fn database_subnets(template: &mut Template, environment: &Environment) -> LogicalId {
    template.add(
        "database subnets",
        kind::RDS_SUBNET_GROUP,
        json!({
            "DBSubnetGroupDescription": "Subnets without a way out",
            "SubnetIds": Shared::IsolatedSubnets.list(environment),
        }),
        Keep::Nothing,
    )
}

/// Adds the role with which RDS writes enhanced monitoring to CloudWatch Logs.
fn monitoring_role(template: &mut Template, environment: &Environment) -> LogicalId {
    template.add(
        "database monitoring role",
        kind::IAM_ROLE,
        json!({
            "AssumeRolePolicyDocument": { "Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Principal": { "Service": "monitoring.rds.amazonaws.com" }, "Action": "sts:AssumeRole",
                "Condition": { "StringEquals": { "aws:SourceAccount": { "Ref": "AWS::AccountId" } } },
            }] },
            "ManagedPolicyArns": [sub("arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole")],
            "PermissionsBoundary": Shared::RoleBoundary.import(environment),
        }),
        Keep::Nothing,
    )
}

/// Returns the PostgreSQL parameters for an instance or a cluster.
fn database_parameters() -> Value {
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

/// Adds RDS for PostgreSQL: one instance, and a standby in another zone if configured.
fn instance(
    template: &mut Template,
    environment: &Environment,
    subnets: &LogicalId,
    monitoring: &LogicalId,
) {
    let settings = &environment.settings.database;
    let parameters = template.add(
        "database parameters",
        kind::RDS_PARAMETER_GROUP,
        json!({
            "Description": "Encrypted connections only",
            "Family": format!("postgres{}", major(&settings.engine_version)),
            "Parameters": database_parameters(),
        }),
        Keep::Nothing,
    );
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
    let database = template.add(
        "database",
        kind::RDS_INSTANCE,
        merged(properties, own),
        keep(environment),
    );
    export_database(template, environment, &database);
}

/// Adds Aurora PostgreSQL: a writer, and a reader as failover target if configured.
fn cluster(
    template: &mut Template,
    environment: &Environment,
    subnets: &LogicalId,
    monitoring: &LogicalId,
) {
    let settings = &environment.settings.database;
    let parameters = template.add(
        "database parameters",
        kind::RDS_CLUSTER_PARAMETER_GROUP,
        json!({
            "Description": "Encrypted connections only",
            "Family": format!("aurora-postgresql{}", major(&settings.engine_version)),
            "Parameters": database_parameters(),
        }),
        Keep::Nothing,
    );
    let own = json!({
        "Engine": "aurora-postgresql",
        "DatabaseName": "brewhaven",
        "DBClusterParameterGroupName": reference(&parameters),
        "VpcSecurityGroupIds": [Shared::DatabaseGroup.import(environment)],
        "EnableCloudwatchLogsExports": ["postgresql"],
    });
    let properties = merged(database_properties(environment, subnets), own);
    let database = template.add("database", kind::RDS_CLUSTER, properties, keep(environment));
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
        template.add(
            &format!("database {machine}"),
            kind::RDS_INSTANCE,
            properties,
            kept,
        );
    }
    export_database(template, environment, &database);
}

fn export_database(template: &mut Template, environment: &Environment, database: &LogicalId) {
    let mut export = |shared: Shared, value: Value| shared.export(template, environment, value);
    export(Shared::DatabaseHost, get_att(database, "Endpoint.Address"));
    export(Shared::DatabasePort, get_att(database, "Endpoint.Port"));
    export(
        Shared::DatabaseSecret,
        get_att(database, "MasterUserSecret.SecretArn"),
    );
    export(Shared::DatabaseIdentifier, reference(database));
}

/// Adds the secret with the cache's AUTH token. It has no fixed name, so that it can be replaced.
fn cache_token(template: &mut Template, environment: &Environment) -> LogicalId {
    let token = template.add(
        "cache token",
        kind::SECRET,
        json!({
            "Description": "What clients of the cache show",
            "KmsKeyId": Shared::SecretsKey.import(environment),
            // 16 to 128 characters, with few special characters (ElastiCache User Guide,
            // "Authenticating with AUTH").
            "GenerateSecretString": {
                "SecretStringTemplate": "{}", "GenerateStringKey": "token",
                "PasswordLength": 64, "ExcludePunctuation": true,
            },
        }),
        Keep::Data,
    );
    let why =
        "ElastiCache has no rotation of its own; a new token is set by a change of this stack";
    template.waive_public(&token, &["SECRETSMANAGER_ROTATION_ENABLED_CHECK"], why);
    template.waive(&token, &["SECRET-2"], why);
    Shared::CacheSecret.export(template, environment, reference(&token));
    token
}

/// Adds the cart store. Valkey supports the Redis commands that the cart scripts use, is open
/// source, and costs a fifth less per node than Redis OSS (Amazon ElastiCache pricing). The store
/// is not sharded, because carts are small and `adapter-redis` connects to one primary.
fn cache(template: &mut Template, environment: &Environment, token: &LogicalId) {
    let settings = &environment.settings.cache;
    let subnets = template.add(
        "cache subnets",
        kind::ELASTICACHE_SUBNET_GROUP,
        json!({
            "Description": "Subnets without a way out",
            "SubnetIds": Shared::IsolatedSubnets.list(environment),
        }),
        Keep::Nothing,
    );
    let parameters = template.add(
        "cache parameters",
        kind::ELASTICACHE_PARAMETER_GROUP,
        json!({
            "CacheParameterGroupFamily": "valkey8",
            "Description": "Full, it forgets the cart that was left alone longest",
            // A change of a cart renews its expiry, so the shortest remaining time belongs to the
            // cart that was unused longest.
            "Properties": { "maxmemory-policy": "volatile-ttl" },
        }),
        Keep::Nothing,
    );
    let logs: Vec<Value> = ["slow-log", "engine-log"]
        .into_iter()
        .map(|kind| {
            let group = log_group(template, environment, &format!("cache {kind}"));
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
    let cache = template.add(
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
    Shared::CacheHost.export(
        template,
        environment,
        get_att(&cache, "PrimaryEndPoint.Address"),
    );
    Shared::CacheIdentifier.export(template, environment, reference(&cache));
}

/// Adds a log group. Its name comes from CloudFormation, because the group outlives the stack and a
/// fixed name would block the next one.
fn log_group(template: &mut Template, environment: &Environment, words: &str) -> LogicalId {
    template.add(
        words,
        kind::LOG_GROUP,
        json!({
            "LogGroupClass": "STANDARD",
            "RetentionInDays": environment.settings.observability.log_days,
            "KmsKeyId": Shared::LogsKey.import(environment),
        }),
        Keep::Data,
    )
}

/// Slug of the trail.
const TRAIL: &str = "trail";

/// Prefixes in the log bucket for the load balancer and for S3's access logs.
const BALANCER_LOGS: &str = "balancer";
const ACCESS_LOGS: &str = "access";

/// Days that access logs are kept.
const ACCESS_LOG_DAYS: u16 = 90;
/// Days in which an overwritten or deleted object can be restored.
const UNDO_DAYS: u16 = 30;
/// Days after which objects move to a storage class with cheaper storage and more expensive reads.
const SELDOM_READ_DAYS: u16 = 90;

/// The audit bucket and its policy.
struct Audit {
    bucket: LogicalId,
    policy: LogicalId,
}

fn buckets(template: &mut Template, environment: &Environment) -> Audit {
    let logs = template.add(
        "logs bucket",
        kind::S3_BUCKET,
        logs_bucket(environment),
        Keep::Data,
    );
    let audit = template.add(
        "audit bucket",
        kind::S3_BUCKET,
        audit_bucket(environment, &logs),
        Keep::Data,
    );
    let lake = template.add(
        "lake bucket",
        kind::S3_BUCKET,
        lake_bucket(environment, &logs),
        Keep::Data,
    );
    let copied = "Backed up daily; where it matters the plan of the backup stack copies it to another region";
    for bucket in [&audit, &lake] {
        template.waive_public(bucket, &["S3_BUCKET_REPLICATION_ENABLED"], copied);
        template.waive(bucket, &["S3-9"], copied);
    }
    // S3 delivers no access logs to a bucket with Object Lock (Amazon S3 User Guide, "Object Lock
    // considerations").
    let lost = "Logs of a lost region restore nothing; S3 delivers no access logs to a bucket with Object Lock";
    template.waive_public(
        &logs,
        &[
            "S3_BUCKET_REPLICATION_ENABLED",
            "S3_BUCKET_DEFAULT_LOCK_ENABLED",
        ],
        lost,
    );
    template.waive(
        &logs,
        &["S3-2"],
        "Load balancer and S3 deliver logs only where S3 keeps the key",
    );
    template.waive(&logs, &["S3-9"], lost);
    let policy = bucket_policy(
        template,
        &logs,
        log_delivery(&logs, &[&logs, &audit, &lake]),
    );
    template.waive(
        &policy,
        &["S3-12"],
        "The path carries the account: balancers of others cannot write here",
    );
    let mut statements = trail_delivery(environment, &audit);
    statements.push(no_bypass(&audit));
    let policy = bucket_policy(template, &audit, statements);
    bucket_policy(template, &lake, Vec::new());
    Shared::LogsBucket.export(template, environment, reference(&logs));
    Shared::AuditBucket.export(template, environment, reference(&audit));
    Shared::LakeBucket.export(template, environment, reference(&lake));
    Audit {
        bucket: audit,
        policy,
    }
}

/// Adds the trail, which records all AWS calls in every region, and reads and writes of bucket
/// objects. The files are signed and stored in the audit bucket, where they cannot be changed.
/// CloudWatch Logs has a copy for queries.
///
/// In an account that already has a trail, management events are charged a second time (AWS
/// CloudTrail Pricing). An environment should therefore have its own account.
fn trail(template: &mut Template, environment: &Environment, audit: &Audit) {
    let log = log_group(template, environment, "trail log");
    let role = template.add(
        "trail role",
        kind::IAM_ROLE,
        json!({
            "AssumeRolePolicyDocument": { "Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Principal": { "Service": "cloudtrail.amazonaws.com" }, "Action": "sts:AssumeRole",
                "Condition": of_the_trail(environment),
            }] },
            "PermissionsBoundary": Shared::RoleBoundary.import(environment),
        }),
        Keep::Nothing,
    );
    let policy = template.add(
        "trail policy",
        kind::IAM_MANAGED_POLICY,
        json!({
            "PolicyDocument": { "Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": get_att(&log, "Arn"),
            }] },
            "Roles": [reference(&role)],
        }),
        Keep::Nothing,
    );
    let trail = template.add(
        "trail",
        kind::CLOUDTRAIL_TRAIL,
        json!({
            // A fixed name, because the policies of the bucket and the key refer to the trail
            // before it exists.
            "TrailName": environment.stack_name(TRAIL),
            "IsLogging": true,
            "IsMultiRegionTrail": true,
            "IncludeGlobalServiceEvents": true,
            "EnableLogFileValidation": true,
            "S3BucketName": reference(&audit.bucket),
            // An alias, because the public Guard rules accept only text.
            "KMSKeyId": format!("alias/{}", environment.stack_name("logs")),
            "CloudWatchLogsLogGroupArn": get_att(&log, "Arn"),
            "CloudWatchLogsRoleArn": get_att(&role, "Arn"),
            "EventSelectors": [{
                "ReadWriteType": "All",
                "IncludeManagementEvents": true,
                // Objects of all buckets.
                "DataResources": [{ "Type": "AWS::S3::Object", "Values": ["arn:aws:s3:::"] }],
            }],
        }),
        // The log files stay in the bucket. The trail itself holds no data, and its fixed name
        // would block the next one.
        Keep::Gone,
    );
    // CloudTrail checks access to the bucket and the log group when the trail is created.
    template.after(&trail, &[&audit.policy, &policy]);
}

/// Returns the statements with which CloudTrail may write to the bucket (AWS CloudTrail User Guide,
/// "Amazon S3 bucket policy for CloudTrail").
fn trail_delivery(environment: &Environment, audit: &LogicalId) -> Vec<Value> {
    let service = json!({ "Service": "cloudtrail.amazonaws.com" });
    let mut deliver = of_the_trail(environment);
    deliver["StringEquals"] = json!({ "s3:x-amz-acl": "bucket-owner-full-control" });
    vec![
        json!({
            "Sid": "TrailLooks", "Effect": "Allow", "Principal": service, "Action": "s3:GetBucketAcl",
            "Resource": get_att(audit, "Arn"), "Condition": of_the_trail(environment),
        }),
        json!({
            "Sid": "TrailWrites", "Effect": "Allow", "Principal": service, "Action": "s3:PutObject",
            "Resource": within(audit, "AWSLogs/${AWS::AccountId}/*"), "Condition": deliver,
        }),
    ]
}

/// Returns the condition that CloudTrail acts for this trail and not for a foreign one.
pub fn of_the_trail(environment: &Environment) -> Value {
    let arn = "arn:${AWS::Partition}:cloudtrail:${AWS::Region}:${AWS::AccountId}:trail";
    json!({ "ArnEquals": { "aws:SourceArn": sub(&format!("{arn}/{}", environment.stack_name(TRAIL))) } })
}

/// Returns the common properties of buckets: private, versioned, and owned by this account whoever
/// writes.
fn bucket(encryption: Value, logging: Value, mut rules: Vec<Value>) -> Value {
    rules.push(json!({
        "Id": "clear-away", "Status": "Enabled",
        "NoncurrentVersionExpiration": { "NoncurrentDays": UNDO_DAYS },
        "AbortIncompleteMultipartUpload": { "DaysAfterInitiation": 7 },
    }));
    json!({
        "PublicAccessBlockConfiguration": {
            "BlockPublicAcls": true, "BlockPublicPolicy": true, "IgnorePublicAcls": true, "RestrictPublicBuckets": true,
        },
        "OwnershipControls": { "Rules": [{ "ObjectOwnership": "BucketOwnerEnforced" }] },
        "BucketEncryption": { "ServerSideEncryptionConfiguration": [encryption] },
        "VersioningConfiguration": { "Status": "Enabled" },
        "LoggingConfiguration": logging,
        "LifecycleConfiguration": { "Rules": rules },
    })
}

fn storage_key(environment: &Environment) -> Value {
    json!({
        "BucketKeyEnabled": true,
        "ServerSideEncryptionByDefault": {
            "SSEAlgorithm": "aws:kms", "KMSMasterKeyID": Shared::StorageKey.import(environment),
        },
    })
}

/// Returns the log bucket. Load balancer and S3 deliver only to buckets with S3-managed keys
/// (Elastic Load Balancing User Guide, "Access logs"; Amazon S3 User Guide, "Enabling server access
/// logging").
fn logs_bucket(environment: &Environment) -> Value {
    let encryption = json!({ "ServerSideEncryptionByDefault": { "SSEAlgorithm": "AES256" } });
    // Without a destination the bucket logs to itself, so reads of logs are recorded too. Each
    // delivery adds an entry to the next one; S3 batches them and they expire, so the bucket stays
    // small.
    let logging = json!({ "LogFilePrefix": format!("{ACCESS_LOGS}/logs/") });
    let expire = |id: &str, prefix: &str, days: u16| json!({ "Id": id, "Status": "Enabled", "Prefix": format!("{prefix}/"), "ExpirationInDays": days });
    let rules = vec![
        expire("access-logs", ACCESS_LOGS, ACCESS_LOG_DAYS),
        expire(
            "balancer-logs",
            BALANCER_LOGS,
            environment.settings.observability.log_days,
        ),
    ];
    bucket(encryption, logging, rules)
}

/// Returns the audit bucket, whose content does not expire.
///
/// The lock is in governance mode. In compliance mode nobody, not even AWS, could delete what must
/// not be stored, such as a customer's data after an erasure request, or stop paying for it. The
/// bucket policy denies everybody to bypass the lock, so lifting it takes two recorded steps.
fn audit_bucket(environment: &Environment, logs: &LogicalId) -> Value {
    let cool = json!({
        "Id": "seldom-read", "Status": "Enabled",
        "Transitions": [{ "StorageClass": "GLACIER_IR", "TransitionInDays": SELDOM_READ_DAYS }],
    });
    let mut properties = bucket(
        storage_key(environment),
        access_logs(logs, "audit"),
        vec![cool],
    );
    let days = if environment.is_production() { 365 } else { 1 };
    properties["ObjectLockEnabled"] = json!(true);
    properties["ObjectLockConfiguration"] = json!({
        "ObjectLockEnabled": "Enabled",
        "Rule": { "DefaultRetention": { "Mode": "GOVERNANCE", "Days": days } },
    });
    properties
}

fn lake_bucket(environment: &Environment, logs: &LogicalId) -> Value {
    let cool = json!({
        "Id": "seldom-read", "Status": "Enabled",
        "Transitions": [{ "StorageClass": "STANDARD_IA", "TransitionInDays": SELDOM_READ_DAYS }],
    });
    let mut properties = bucket(
        storage_key(environment),
        access_logs(logs, "lake"),
        vec![cool],
    );
    // Without a default rule nothing is locked, but single objects can be put under legal hold.
    properties["ObjectLockEnabled"] = json!(true);
    properties
}

fn access_logs(logs: &LogicalId, of: &str) -> Value {
    json!({ "DestinationBucketName": reference(logs), "LogFilePrefix": format!("{ACCESS_LOGS}/{of}/") })
}

/// Returns the bucket's ARN followed by a path.
fn within(bucket: &LogicalId, path: &str) -> Value {
    sub(&format!("${{{}.Arn}}/{path}", bucket.as_str()))
}

fn bucket_policy(
    template: &mut Template,
    bucket: &LogicalId,
    mut statements: Vec<Value>,
) -> LogicalId {
    statements.push(json!({
        "Sid": "EncryptedTransportOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
        "Resource": [get_att(bucket, "Arn"), within(bucket, "*")],
        "Condition": { "Bool": { "aws:SecureTransport": false } },
    }));
    let document = json!({ "Version": "2012-10-17", "Statement": statements });
    let properties = json!({ "Bucket": reference(bucket), "PolicyDocument": document });
    template.add(
        &format!("{} policy", bucket.as_str()),
        kind::S3_BUCKET_POLICY,
        properties,
        Keep::Nothing,
    )
}

fn log_delivery(logs: &LogicalId, sources: &[&LogicalId]) -> Vec<Value> {
    let sources: Vec<Value> = sources
        .iter()
        .map(|source| get_att(source, "Arn"))
        .collect();
    vec![
        // The path contains the account id, so a load balancer of another account cannot write
        // here.
        json!({
            "Sid": "BalancerLogs", "Effect": "Allow",
            "Principal": { "Service": "logdelivery.elasticloadbalancing.amazonaws.com" }, "Action": "s3:PutObject",
            "Resource": within(logs, &format!("{BALANCER_LOGS}/AWSLogs/${{AWS::AccountId}}/*")),
        }),
        json!({
            "Sid": "AccessLogs", "Effect": "Allow", "Principal": { "Service": "logging.s3.amazonaws.com" },
            "Action": "s3:PutObject", "Resource": within(logs, &format!("{ACCESS_LOGS}/*")),
            "Condition": {
                "ArnEquals": { "aws:SourceArn": sources },
                "StringEquals": { "aws:SourceAccount": { "Ref": "AWS::AccountId" } },
            },
        }),
    ]
}

fn no_bypass(audit: &LogicalId) -> Value {
    json!({
        "Sid": "NoWayAroundTheLock", "Effect": "Deny", "Principal": "*",
        "Action": "s3:BypassGovernanceRetention", "Resource": within(audit, "*"),
    })
}

/// Adds the tables of the contract.
fn tables(template: &mut Template, environment: &Environment) {
    for table in TABLES {
        let id = template.add(
            &format!("{} table", table.slug),
            kind::DYNAMODB_TABLE,
            table_properties(environment, table),
            Keep::Data,
        );
        if !environment.local {
            template.note(
                &id,
                "wildcard",
                json!("A table's policy is about that table and cannot name it"),
            );
        }
        let address = Address::Table(table);
        template.export(
            &address.parameter(),
            &export_of(environment, address),
            reference(&id),
        );
        let arn = export_of_arn(environment, address);
        template.export(
            &format!("{} arn", address.parameter()),
            &arn,
            get_att(&id, "Arn"),
        );
        if table.stream {
            let address = Address::Stream(table);
            template.export(
                &address.parameter(),
                &export_of(environment, address),
                get_att(&id, "StreamArn"),
            );
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
    json!({ "Version": "2012-10-17", "Statement": [{
        "Sid": "EncryptedTransportOnly", "Effect": "Deny", "Principal": "*", "Action": "dynamodb:*", "Resource": "*",
        "Condition": { "Bool": { "aws:SecureTransport": false } },
    }] })
}

#[cfg(test)]
#[path = "data_tests.rs"]
mod tests;
