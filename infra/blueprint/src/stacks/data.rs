//! What holds data: the database, the cache, tables and buckets, and the trail that is written into
//! one of them. What people and processes find by address are tables alone; everything else is
//! handed on through `Shared`.

use contract::address::Address;
use contract::table::{KeyType, TABLES, Table};
use serde_json::{Value, json};

use super::{Shared, export_of, export_of_arn};
use crate::template::{Keep, LogicalId, Template, get_att, reference, sub};
use crate::{Engine, Environment};

pub fn data(environment: &Environment) -> Template {
    let mut template = Template::new("Brew Haven: database, cache, tables and buckets");
    tables(&mut template, environment);
    if !environment.local {
        add_servers(&mut template, environment);
    }
    template
}

/// What `data` holds beside the tables, as a stack of its own: on the local AWS, where `haven up`
/// has the tables without the network and the keys that the rest needs.
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

/// Of databases and caches: what leaves production stays as it is; elsewhere its last snapshot
/// does.
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
        "AWS::RDS::DBSubnetGroup",
        json!({
            "DBSubnetGroupDescription": "Subnets without a way out",
            "SubnetIds": Shared::IsolatedSubnets.list(environment),
        }),
        Keep::Nothing,
    )
}

/// Lets RDS write the measurements of the operating system below a database to CloudWatch Logs.
fn monitoring_role(template: &mut Template, environment: &Environment) -> LogicalId {
    template.add(
        "database monitoring role",
        "AWS::IAM::Role",
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

/// What PostgreSQL is told, on one machine and in a cluster. The names are its own.
fn database_parameters() -> Value {
    json!({
        // Nobody talks to it in clear: `sslmode=disable` is refused.
        "rds.force_ssl": "1",
        "password_encryption": "scram-sha-256",
        "log_connections": "1",
        "log_disconnections": "1",
        "log_lock_waits": "1",
        // Changes of the schema are rare, and who made them is asked for later.
        "log_statement": "ddl",
        // Milliseconds; the statement that made a customer wait.
        "log_min_duration_statement": "500",
        // Values are customers' names and addresses: the statement is logged without them.
        "log_parameter_max_length": "0",
        // Milliseconds. A forgotten transaction holds its locks and keeps old rows from being
        // cleared away.
        "idle_in_transaction_session_timeout": "60000",
    })
}

/// `16` of `16.9`: parameter groups belong to a major version.
fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

/// What an instance and a cluster have in common. Windows are in UTC, when the shop is closed, and
/// begin more than an hour after the plan of `backup` has: in the hour before either of them RDS
/// takes no copy of AWS Backup's.
fn database_properties(environment: &Environment, subnets: &LogicalId) -> Value {
    json!({
        "EngineVersion": environment.settings.database.engine_version,
        // Extended support is billed by the hour and processor, and on unless it is refused.
        "EngineLifecycleSupport": "open-source-rds-extended-support-disabled",
        "DBSubnetGroupName": reference(subnets),
        // PostgreSQL's own, said because policies ask for it.
        "Port": 5432,
        "MasterUsername": "brewhaven",
        // RDS makes the password, keeps it in Secrets Manager and changes it every seven days. It
        // takes no other schedule from a template (Amazon RDS User Guide, "Password management with
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
        // Backups outlive the database that production lost.
        "DeleteAutomatedBackups": !environment.is_production(),
        "DeletionProtection": true,
    })
}

/// What every machine of the database has, whether it stands alone or in a cluster.
fn machine_properties(environment: &Environment, monitoring: &LogicalId) -> Value {
    json!({
        "DBInstanceClass": environment.settings.database.instance_class,
        "PubliclyAccessible": false,
        "AutoMinorVersionUpgrade": true,
        "CACertificateIdentifier": "rds-ca-rsa2048-g1",
        // Seconds.
        "MonitoringInterval": 60,
        "MonitoringRoleArn": get_att(monitoring, "Arn"),
        "EnablePerformanceInsights": true,
        "PerformanceInsightsKMSKeyId": Shared::OrdersKey.import(environment),
        // The days that cost nothing.
        "PerformanceInsightsRetentionPeriod": 7,
    })
}

fn merged(mut properties: Value, more: Value) -> Value {
    if let (Some(properties), Value::Object(more)) = (properties.as_object_mut(), more) {
        properties.extend(more);
    }
    properties
}

/// RDS for PostgreSQL: one machine, and its double in another zone.
fn instance(
    template: &mut Template,
    environment: &Environment,
    subnets: &LogicalId,
    monitoring: &LogicalId,
) {
    let settings = &environment.settings.database;
    let parameters = template.add(
        "database parameters",
        "AWS::RDS::DBParameterGroup",
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
        "AWS::RDS::DBInstance",
        merged(properties, own),
        keep(environment),
    );
    export_database(template, environment, &database);
}

/// Aurora PostgreSQL: a writer, and a reader that takes over when there is to be one.
fn cluster(
    template: &mut Template,
    environment: &Environment,
    subnets: &LogicalId,
    monitoring: &LogicalId,
) {
    let settings = &environment.settings.database;
    let parameters = template.add(
        "database parameters",
        "AWS::RDS::DBClusterParameterGroup",
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
    let database = template.add(
        "database",
        "AWS::RDS::DBCluster",
        properties,
        keep(environment),
    );
    // Machines hold nothing: the cluster's storage does. They go and stay with it.
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
            "AWS::RDS::DBInstance",
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

/// What clients of the cache show. Its name is not given, so that it can be replaced.
fn cache_token(template: &mut Template, environment: &Environment) -> LogicalId {
    let token = template.add(
        "cache token",
        "AWS::SecretsManager::Secret",
        json!({
            "Description": "What clients of the cache show",
            "KmsKeyId": Shared::SecretsKey.import(environment),
            // 16 to 128 characters, and few signs are allowed (ElastiCache User Guide,
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

/// Carts. Valkey, since it speaks Redis's language to the letter that the scripts of carts need, is
/// free software, and costs a fifth less a node on ElastiCache than Redis OSS (Amazon ElastiCache
/// pricing). Not sharded: carts are small, and the client of `adapter-redis` knows one primary.
fn cache(template: &mut Template, environment: &Environment, token: &LogicalId) {
    let settings = &environment.settings.cache;
    let subnets = template.add(
        "cache subnets",
        "AWS::ElastiCache::SubnetGroup",
        json!({
            "Description": "Subnets without a way out",
            "SubnetIds": Shared::IsolatedSubnets.list(environment),
        }),
        Keep::Nothing,
    );
    let parameters = template.add(
        "cache parameters",
        "AWS::ElastiCache::ParameterGroup",
        json!({
            "CacheParameterGroupFamily": "valkey8",
            "Description": "Full, it forgets the cart that was left alone longest",
            // A cart's time begins anew with each change, so the least time left is the longest
            // left alone.
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
    // Without a version: the one that is current when the stack is changed.
    let shown = format!(
        "{{{{resolve:secretsmanager:${{{}}}:SecretString:token}}}}",
        token.as_str()
    );
    let cache = template.add(
        "cache",
        "AWS::ElastiCache::ReplicationGroup",
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

/// It outlives the stack, so CloudFormation names it: a name of ours would stand in the way of the
/// next one.
fn log_group(template: &mut Template, environment: &Environment, words: &str) -> LogicalId {
    template.add(
        words,
        "AWS::Logs::LogGroup",
        json!({
            "LogGroupClass": "STANDARD",
            "RetentionInDays": environment.settings.observability.log_days,
            "KmsKeyId": Shared::LogsKey.import(environment),
        }),
        Keep::Data,
    )
}

/// The slug of the trail.
const TRAIL: &str = "trail";

/// Under these the bucket of logs is written to, by the load balancer and by S3 itself.
const BALANCER_LOGS: &str = "balancer";
const ACCESS_LOGS: &str = "access";

/// Days after which an access log has been read or never will be.
const ACCESS_LOG_DAYS: u16 = 90;
/// Days that what was overwritten or deleted can be had back.
const UNDO_DAYS: u16 = 30;
/// Days until what is seldom read is stored where storing costs less and reading more.
const SELDOM_READ_DAYS: u16 = 90;

/// The bucket of what was done, and its policy.
struct Audit {
    bucket: LogicalId,
    policy: LogicalId,
}

fn buckets(template: &mut Template, environment: &Environment) -> Audit {
    let logs = template.add(
        "logs bucket",
        "AWS::S3::Bucket",
        logs_bucket(environment),
        Keep::Data,
    );
    let audit = template.add(
        "audit bucket",
        "AWS::S3::Bucket",
        audit_bucket(environment, &logs),
        Keep::Data,
    );
    let lake = template.add(
        "lake bucket",
        "AWS::S3::Bucket",
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

/// Who called AWS for what, in every region, and who read or wrote an object of a bucket: with a
/// seal on every file, beyond change in the audit bucket, and in CloudWatch Logs for questions of
/// today.
///
/// In an account that has a trail already its management events are charged once more (AWS
/// CloudTrail Pricing): then an environment of its own account is the better place.
fn trail(template: &mut Template, environment: &Environment, audit: &Audit) {
    let log = log_group(template, environment, "trail log");
    let role = template.add(
        "trail role",
        "AWS::IAM::Role",
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
        "AWS::IAM::ManagedPolicy",
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
        "AWS::CloudTrail::Trail",
        json!({
            // Policies of the bucket and of the key must know it before it is there.
            "TrailName": environment.stack_name(TRAIL),
            "IsLogging": true,
            "IsMultiRegionTrail": true,
            "IncludeGlobalServiceEvents": true,
            "EnableLogFileValidation": true,
            "S3BucketName": reference(&audit.bucket),
            // By its alias: the public rules of Guard take text alone.
            "KMSKeyId": format!("alias/{}", environment.stack_name("logs")),
            "CloudWatchLogsLogGroupArn": get_att(&log, "Arn"),
            "CloudWatchLogsRoleArn": get_att(&role, "Arn"),
            "EventSelectors": [{
                "ReadWriteType": "All",
                "IncludeManagementEvents": true,
                // Of every bucket.
                "DataResources": [{ "Type": "AWS::S3::Object", "Values": ["arn:aws:s3:::"] }],
            }],
        }),
        // What it wrote stays in the bucket; itself it holds nothing, and its name would be in the
        // way of the next one.
        Keep::Gone,
    );
    // It tries both when it is made.
    template.after(&trail, &[&audit.policy, &policy]);
}

/// What CloudTrail must be let do with its bucket (AWS CloudTrail User Guide, "Amazon S3 bucket
/// policy for CloudTrail").
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

/// That CloudTrail asks for this trail, and not for somebody else's.
pub fn of_the_trail(environment: &Environment) -> Value {
    let arn = "arn:${AWS::Partition}:cloudtrail:${AWS::Region}:${AWS::AccountId}:trail";
    json!({ "ArnEquals": { "aws:SourceArn": sub(&format!("{arn}/{}", environment.stack_name(TRAIL))) } })
}

/// What every bucket is: private, versioned, owned by this account whoever writes to it.
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

/// The load balancer and S3 deliver only where S3 keeps the key (Elastic Load Balancing User Guide,
/// "Access logs"; Amazon S3 User Guide, "Enabling server access logging").
fn logs_bucket(environment: &Environment) -> Value {
    let encryption = json!({ "ServerSideEncryptionByDefault": { "SSEAlgorithm": "AES256" } });
    // Without a destination it logs to itself. Each delivery makes an entry in the next one; S3
    // gathers them, and they expire, so that it stays small, and whoever reads logs is seen too.
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

/// What was done, for whoever asks later. Nothing in it expires.
///
/// Governance rather than compliance: in compliance mode nobody, AWS included, can take out what
/// should never have been written (a customer's data that the law wants erased), nor stop paying
/// for it. The bucket's policy denies everyone the way around the lock, so that taking it is two
/// acts, both recorded.
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
    // Without a rule it locks nothing by itself: it lets single events be put under a legal hold.
    properties["ObjectLockEnabled"] = json!(true);
    properties
}

fn access_logs(logs: &LogicalId, of: &str) -> Value {
    json!({ "DestinationBucketName": reference(logs), "LogFilePrefix": format!("{ACCESS_LOGS}/{of}/") })
}

/// The bucket's ARN and what follows it.
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
        "AWS::S3::BucketPolicy",
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
        // The path carries the account: a load balancer of another one cannot write here.
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

/// Tables of the contract, found by address.
fn tables(template: &mut Template, environment: &Environment) {
    for table in TABLES {
        let id = template.add(
            &format!("{} table", table.slug),
            "AWS::DynamoDB::Table",
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

/// A resource that refers to itself is none that CloudFormation makes, so the policy says `*` for
/// the table it is of.
fn encrypted_transport_to_table() -> Value {
    json!({ "Version": "2012-10-17", "Statement": [{
        "Sid": "EncryptedTransportOnly", "Effect": "Deny", "Principal": "*", "Action": "dynamodb:*", "Resource": "*",
        "Condition": { "Bool": { "aws:SecureTransport": false } },
    }] })
}

#[cfg(test)]
#[path = "data_tests.rs"]
mod tests;
