//! Buckets, and the CloudTrail trail that writes into one of them.

use serde_json::{Value, json};

use crate::environment::Environment;
use crate::kind;
use crate::names::Shared;
use crate::roles::document;
use crate::stacks::logs::log_group;
use crate::stacks::roles::{encrypted_transport_only, role_with_rights, trust_if};
use crate::template::{Keep, LogicalId, Template, get_att, reference, sub};

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
pub(super) struct Audit {
    bucket: LogicalId,
    policy: LogicalId,
}

pub(super) fn buckets(template: &mut Template<'_>) -> Audit {
    let environment = template.environment;
    let mut add = |words: &str, properties: Value| {
        template.add_kept(words, kind::S3_BUCKET, properties, Keep::Data)
    };
    let logs = add("logs bucket", logs_bucket(environment));
    let audit = add("audit bucket", audit_bucket(environment, &logs));
    // Without a default rule nothing is locked, but single objects can be put under legal hold.
    let lake = locked_bucket(environment, &logs, "lake", "STANDARD_IA");
    let lake = add("lake bucket", lake);
    let copied = "Backed up daily; where it matters the plan of the backup stack copies it to another region";
    for bucket in [&audit, &lake] {
        template.waive_public(bucket, &["S3_BUCKET_REPLICATION_ENABLED"], copied);
        template.waive(bucket, &["S3-9"], copied);
    }
    // S3 delivers no access logs to a bucket with Object Lock (Amazon S3 User Guide, "Object Lock
    // considerations").
    let lost = "Logs restore no data, and S3 delivers no access logs to a bucket with Object Lock";
    template.waive_public(
        &logs,
        &[
            "S3_BUCKET_REPLICATION_ENABLED",
            "S3_BUCKET_DEFAULT_LOCK_ENABLED",
        ],
        lost,
    );
    let why = "Load balancers and S3 deliver logs only to buckets with S3 managed keys";
    template.waive(&logs, &["S3-2"], why);
    template.waive(&logs, &["S3-9"], lost);
    let delivery = log_delivery(&logs, &[&logs, &audit, &lake]);
    let policy = bucket_policy(template, &logs, delivery);
    let why = "The path contains the account, so load balancers of others cannot write here";
    template.waive(&policy, &["S3-12"], why);
    let mut statements = trail_delivery(environment, &audit);
    statements.push(no_bypass(&audit));
    let policy = bucket_policy(template, &audit, statements);
    bucket_policy(template, &lake, Vec::new());
    Shared::LogsBucket.export(template, reference(&logs));
    Shared::AuditBucket.export(template, reference(&audit));
    Shared::LakeBucket.export(template, reference(&lake));
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
pub(super) fn trail(template: &mut Template<'_>, audit: &Audit) {
    let environment = template.environment;
    let log = log_group(template, "trail log", None);
    let trust = trust_if("cloudtrail.amazonaws.com", of_the_trail(environment));
    let rights = json!([{
        "Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": get_att(&log, "Arn"),
    }]);
    let (role, policy) = role_with_rights(template, "trail", trust, rights);
    let trail = template.add_kept(
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

/// Returns the common properties of buckets: private and versioned. This account owns every object,
/// also those that other accounts write.
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

/// Returns a bucket with our key, access logs and Object Lock, whose objects move to the storage
/// class when they are seldom read.
fn locked_bucket(environment: &Environment, logs: &LogicalId, of: &str, class: &str) -> Value {
    let encryption = json!({
        "BucketKeyEnabled": true,
        "ServerSideEncryptionByDefault": {
            "SSEAlgorithm": "aws:kms", "KMSMasterKeyID": Shared::StorageKey.import(environment),
        },
    });
    let logging = json!({ "DestinationBucketName": reference(logs), "LogFilePrefix": format!("{ACCESS_LOGS}/{of}/") });
    let cool = json!({
        "Id": "seldom-read", "Status": "Enabled",
        "Transitions": [{ "StorageClass": class, "TransitionInDays": SELDOM_READ_DAYS }],
    });
    let mut properties = bucket(encryption, logging, vec![cool]);
    properties["ObjectLockEnabled"] = json!(true);
    properties
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
/// The lock is in governance mode. In compliance mode, not even AWS could delete objects early, such
/// as a customer's data after an erasure request, and their storage would have to be paid to the
/// end. The bucket policy denies every principal the right to bypass the lock, so lifting the lock
/// takes two recorded steps.
fn audit_bucket(environment: &Environment, logs: &LogicalId) -> Value {
    let mut properties = locked_bucket(environment, logs, "audit", "GLACIER_IR");
    let days = if environment.is_production() { 365 } else { 1 };
    properties["ObjectLockConfiguration"] = json!({
        "ObjectLockEnabled": "Enabled",
        "Rule": { "DefaultRetention": { "Mode": "GOVERNANCE", "Days": days } },
    });
    properties
}

/// Returns the bucket's ARN followed by a path.
fn within(bucket: &LogicalId, path: &str) -> Value {
    sub(&format!("${{{}.Arn}}/{path}", bucket.as_str()))
}

fn bucket_policy(
    template: &mut Template<'_>,
    bucket: &LogicalId,
    mut statements: Vec<Value>,
) -> LogicalId {
    let whole = json!([get_att(bucket, "Arn"), within(bucket, "*")]);
    statements.push(encrypted_transport_only("s3:*", whole));
    let properties = json!({ "Bucket": reference(bucket), "PolicyDocument": document(statements) });
    let words = format!("{} policy", bucket.as_str());
    template.add(&words, kind::S3_BUCKET_POLICY, properties)
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
