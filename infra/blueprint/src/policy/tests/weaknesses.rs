//! One weakness for everything that the policy rules forbid.

use serde_json::{Value, json};

use super::weakness::{Weakness, away, beside, in_template, set, take};

const ALARM: &str = "AWS::CloudWatch::Alarm";
const CLUSTER: &str = "AWS::RDS::DBCluster";
const DATABASE: &str = "AWS::RDS::DBInstance";
const CACHE: &str = "AWS::ElastiCache::ReplicationGroup";
const TABLE: &str = "AWS::DynamoDB::Table";
const QUEUE: &str = "AWS::SQS::Queue";
const QUEUE_POLICY: &str = "AWS::SQS::QueuePolicy";
const TOPIC: &str = "AWS::SNS::Topic";
const TOPIC_POLICY: &str = "AWS::SNS::TopicPolicy";
const SUBSCRIPTION: &str = "AWS::SNS::Subscription ToNotifications";
const BUS: &str = "AWS::Events::EventBus";
const STREAM: &str = "AWS::Kinesis::Stream";
const DELIVERY: &str = "AWS::KinesisFirehose::DeliveryStream";
const BUCKET: &str = "AWS::S3::Bucket Lake";
const BUCKET_POLICY: &str = "AWS::S3::BucketPolicy Lake";
const LOG_GROUP: &str = "AWS::Logs::LogGroup";
const TRAIL: &str = "AWS::CloudTrail::Trail";
const GROUP: &str = "AWS::EC2::SecurityGroup";
const INGRESS: &str = "AWS::EC2::SecurityGroupIngress";
const TASK: &str = "AWS::ECS::TaskDefinition";
const SERVICE: &str = "AWS::ECS::Service";
const IMAGES: &str = "AWS::ECR::Repository";
const BALANCER: &str = "AWS::ElasticLoadBalancingV2::LoadBalancer";
const HTTPS: &str = "AWS::ElasticLoadBalancingV2::Listener StorefrontListener";
const HTTP: &str = "AWS::ElasticLoadBalancingV2::Listener Redirect";
const TARGETS: &str = "AWS::ElasticLoadBalancingV2::TargetGroup";
const FIREWALL: &str = "AWS::WAFv2::WebACL";
const STAGE: &str = "AWS::ApiGateway::Stage";
const PLAN: &str = "AWS::ApiGateway::UsagePlan";
/// A role and a policy without rights of the contract, so that only the rule under test reports
/// them.
const ROLE: &str = "AWS::IAM::Role BackupRole";
const POLICY: &str = "AWS::IAM::ManagedPolicy FlowLog";
/// The only key that AWS services use in their own name.
const KEY: &str = "AWS::KMS::Key Messages";
const SECRET: &str = "AWS::SecretsManager::Secret";

/// Returns the weaknesses to plant into the production templates.
pub fn all() -> Vec<Weakness> {
    let parts = [
        databases(),
        caches(),
        tables(),
        queues(),
        topics(),
        events(),
        buckets(),
        logs(),
        network(),
        containers(),
        balancers(),
        firewalls(),
        apis(),
        identities(),
        keys(),
        secrets(),
        alarms(),
        kept(),
        waivers(),
        between_stacks(),
    ];
    parts.into_iter().flatten().collect()
}

/// Returns the weaknesses to plant into the templates with Aurora.
pub fn of_aurora() -> Vec<Weakness> {
    vec![
        set("RDS-1", CLUSTER, "StorageEncrypted", false),
        take("RDS-1", CLUSTER, "KmsKeyId"),
        set("RDS-3", CLUSTER, "DeletionProtection", false),
        set("RDS-4", CLUSTER, "BackupRetentionPeriod", 1),
        set("RDS-5", CLUSTER, "EnableIAMDatabaseAuthentication", false),
        set("RDS-6", DATABASE, "PubliclyAccessible", true),
        take("RDS-7", CLUSTER, "EnableCloudwatchLogsExports"),
        set("RDS-8", DATABASE, "MonitoringInterval", 0),
        set(
            "RDS-11",
            "AWS::RDS::DBClusterParameterGroup",
            "Parameters/rds.force_ssl",
            "0",
        ),
        set("RDS-12", CLUSTER, "CopyTagsToSnapshot", false),
        set(
            "RDS-13",
            CLUSTER,
            "MasterUserPassword",
            "{{resolve:ssm:password}}",
        ),
        take("RDS-14", CLUSTER, "DBClusterParameterGroupName"),
        set("KEEP-1", CLUSTER, "/DeletionPolicy", "Delete"),
        take("KEEP-2", CLUSTER, "/UpdateReplacePolicy"),
    ]
}

fn databases() -> Vec<Weakness> {
    vec![
        set("RDS-1", DATABASE, "StorageEncrypted", false),
        take("RDS-1", DATABASE, "KmsKeyId"),
        set("RDS-2", DATABASE, "MultiAZ", false),
        set("RDS-3", DATABASE, "DeletionProtection", false),
        set("RDS-4", DATABASE, "BackupRetentionPeriod", 6),
        take("RDS-4", DATABASE, "BackupRetentionPeriod"),
        set("RDS-5", DATABASE, "EnableIAMDatabaseAuthentication", false),
        set("RDS-6", DATABASE, "PubliclyAccessible", true),
        take("RDS-6", DATABASE, "PubliclyAccessible"),
        take("RDS-7", DATABASE, "EnableCloudwatchLogsExports"),
        set("RDS-8", DATABASE, "MonitoringInterval", 0),
        take("RDS-8", DATABASE, "MonitoringRoleArn"),
        set("RDS-9", DATABASE, "EnablePerformanceInsights", false),
        take("RDS-9", DATABASE, "PerformanceInsightsKMSKeyId"),
        set("RDS-10", DATABASE, "AutoMinorVersionUpgrade", false),
        set(
            "RDS-11",
            "AWS::RDS::DBParameterGroup",
            "Parameters/rds.force_ssl",
            "0",
        ),
        take(
            "RDS-11",
            "AWS::RDS::DBParameterGroup",
            "Parameters/rds.force_ssl",
        ),
        set("RDS-12", DATABASE, "CopyTagsToSnapshot", false),
        set("RDS-13", DATABASE, "ManageMasterUserPassword", false),
        set("RDS-13", DATABASE, "MasterUserPassword", "espresso"),
        take("RDS-14", DATABASE, "DBParameterGroupName"),
        take("RDS-14", DATABASE, "VPCSecurityGroups"),
    ]
}

fn caches() -> Vec<Weakness> {
    vec![
        set("CACHE-1", CACHE, "TransitEncryptionEnabled", false),
        set("CACHE-1", CACHE, "TransitEncryptionMode", "preferred"),
        set("CACHE-2", CACHE, "AtRestEncryptionEnabled", false),
        take("CACHE-2", CACHE, "KmsKeyId"),
        take("CACHE-3", CACHE, "AuthToken"),
        set("CACHE-4", CACHE, "AuthToken", "espresso-macchiato"),
        set(
            "CACHE-4",
            CACHE,
            "AuthToken",
            json!({ "Fn::Sub": "espresso-${AWS::AccountId}" }),
        ),
        set("CACHE-5", CACHE, "AutomaticFailoverEnabled", false),
        set("CACHE-6", CACHE, "MultiAZEnabled", false),
        set("CACHE-7", CACHE, "SnapshotRetentionLimit", 0),
        set("CACHE-8", CACHE, "AutoMinorVersionUpgrade", false),
        take("CACHE-9", CACHE, "SecurityGroupIds"),
    ]
}

fn tables() -> Vec<Weakness> {
    vec![
        set(
            "DYNAMODB-1",
            TABLE,
            "PointInTimeRecoverySpecification/PointInTimeRecoveryEnabled",
            false,
        ),
        take("DYNAMODB-1", TABLE, "PointInTimeRecoverySpecification"),
        take("DYNAMODB-2", TABLE, "SSESpecification"),
        take("DYNAMODB-2", TABLE, "SSESpecification/KMSMasterKeyId"),
        set("DYNAMODB-3", TABLE, "DeletionProtectionEnabled", false),
        set("DYNAMODB-4", TABLE, "BillingMode", "PROVISIONED"),
    ]
}

fn queues() -> Vec<Weakness> {
    let anybody = |principal: Value| json!({ "Effect": "Allow", "Principal": principal, "Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:::any" });
    vec![
        take("SQS-1", QUEUE, "KmsMasterKeyId"),
        set("SQS-1", QUEUE, "KmsMasterKeyId", "alias/aws/sqs"),
        take(
            "SQS-2",
            QUEUE_POLICY,
            "PolicyDocument/Statement/Sid=EncryptedTransportOnly",
        ),
        set(
            "SQS-2",
            QUEUE_POLICY,
            "PolicyDocument/Statement/Sid=EncryptedTransportOnly/Condition/Bool/aws:SecureTransport",
            "false",
        ),
        set(
            "SQS-3",
            QUEUE_POLICY,
            "PolicyDocument/Statement/-",
            anybody(json!("*")),
        ),
        set(
            "SQS-3",
            QUEUE_POLICY,
            "PolicyDocument/Statement/-",
            anybody(json!({ "AWS": "*" })),
        ),
        take("SQS-4", "AWS::SQS::Queue OrdersQueue", "RedrivePolicy"),
        set("SQS-5", QUEUE, "RedrivePolicy/maxReceiveCount", 1),
        set(
            "SQS-6",
            "AWS::SQS::Queue OrdersParking",
            "MessageRetentionPeriod",
            345_600,
        ),
        take("SQS-7", "AWS::SQS::Queue OrdersParking", "FifoQueue"),
        away("SQS-8", "AWS::SQS::QueuePolicy OrdersParking"),
        set(
            "SQS-9",
            "AWS::SQS::Queue OrdersQueue",
            "VisibilityTimeout",
            30,
        ),
        take(
            "SQS-10",
            QUEUE_POLICY,
            "PolicyDocument/Statement/Sid=FanOut/Condition",
        ),
    ]
}

fn topics() -> Vec<Weakness> {
    vec![
        take("SNS-1", TOPIC, "KmsMasterKeyId"),
        set("SNS-1", TOPIC, "KmsMasterKeyId", "alias/aws/sns"),
        take(
            "SNS-2",
            TOPIC_POLICY,
            "PolicyDocument/Statement/Sid=EncryptedTransportOnly",
        ),
        set(
            "SNS-2",
            TOPIC_POLICY,
            "PolicyDocument/Statement/Sid=EncryptedTransportOnly/Condition/Bool/aws:SecureTransport",
            "false",
        ),
        set(
            "SNS-3",
            TOPIC_POLICY,
            "PolicyDocument/Statement/Sid=OwnAccount/Principal",
            "*",
        ),
        set(
            "SNS-3",
            TOPIC_POLICY,
            "PolicyDocument/Statement/Sid=OwnAccount/Principal",
            json!({ "AWS": "*" }),
        ),
        take("SNS-4", SUBSCRIPTION, "RedrivePolicy"),
        away("SNS-5", TOPIC_POLICY),
        set("SNS-6", SUBSCRIPTION, "Protocol", "http"),
        take(
            "SNS-7",
            TOPIC_POLICY,
            "PolicyDocument/Statement/Sid=Alarms/Condition",
        ),
    ]
}

fn events() -> Vec<Weakness> {
    vec![
        take("EVENTS-1", BUS, "KmsKeyIdentifier"),
        take(
            "EVENTS-2",
            "AWS::Events::Rule",
            "Targets/0/DeadLetterConfig",
        ),
        away("EVENTS-3", "AWS::Events::Archive"),
        set(
            "EVENTS-4",
            "AWS::Events::EventBusPolicy",
            "Statement/Principal",
            "*",
        ),
        set(
            "EVENTS-4",
            "AWS::Events::EventBusPolicy",
            "Statement/Principal",
            json!({ "AWS": "*" }),
        ),
        take("KINESIS-1", STREAM, "StreamEncryption"),
        set(
            "KINESIS-1",
            STREAM,
            "StreamEncryption/KeyId",
            "alias/aws/kinesis",
        ),
        take(
            "KINESIS-2",
            DELIVERY,
            "DeliveryStreamEncryptionConfigurationInput",
        ),
        set(
            "KINESIS-2",
            DELIVERY,
            "DeliveryStreamEncryptionConfigurationInput/KeyType",
            "AWS_OWNED_CMK",
        ),
    ]
}

fn buckets() -> Vec<Weakness> {
    let block = "PublicAccessBlockConfiguration";
    let transport = "PolicyDocument/Statement/Sid=EncryptedTransportOnly";
    vec![
        take("S3-1", BUCKET, block),
        set(
            "S3-1",
            BUCKET,
            "PublicAccessBlockConfiguration/BlockPublicAcls",
            false,
        ),
        set(
            "S3-1",
            BUCKET,
            "PublicAccessBlockConfiguration/BlockPublicPolicy",
            false,
        ),
        set(
            "S3-1",
            BUCKET,
            "PublicAccessBlockConfiguration/IgnorePublicAcls",
            false,
        ),
        take(
            "S3-1",
            BUCKET,
            "PublicAccessBlockConfiguration/RestrictPublicBuckets",
        ),
        take("S3-2", BUCKET, "BucketEncryption"),
        set(
            "S3-2",
            BUCKET,
            "BucketEncryption/ServerSideEncryptionConfiguration/0/BucketKeyEnabled",
            false,
        ),
        set(
            "S3-3",
            BUCKET,
            "VersioningConfiguration/Status",
            "Suspended",
        ),
        take("S3-4", BUCKET, "LoggingConfiguration"),
        take("S3-5", BUCKET_POLICY, transport),
        set(
            "S3-5",
            BUCKET_POLICY,
            "PolicyDocument/Statement/Sid=EncryptedTransportOnly/Condition/Bool/aws:SecureTransport",
            "false",
        ),
        away("S3-6", BUCKET_POLICY),
        take("S3-7", BUCKET, "LifecycleConfiguration"),
        set("S3-8", "AWS::S3::Bucket Audit", "ObjectLockEnabled", false),
        take(
            "S3-8",
            "AWS::S3::Bucket Audit",
            "ObjectLockConfiguration/Rule",
        ),
        set(
            "S3-9",
            "AWS::S3::Bucket FixtureBucket",
            "ReplicationConfiguration/Rules/0/Status",
            "Disabled",
        ),
        set(
            "S3-10",
            BUCKET,
            "OwnershipControls/Rules/0/ObjectOwnership",
            "ObjectWriter",
        ),
        set("S3-10", BUCKET, "AccessControl", "PublicRead"),
        set(
            "S3-11",
            "AWS::S3::BucketPolicy LogsBucket",
            "PolicyDocument/Statement/Sid=AccessLogs/Principal",
            "*",
        ),
        set(
            "S3-12",
            BUCKET_POLICY,
            "PolicyDocument/Statement/-",
            json!({
                "Effect": "Allow", "Principal": { "Service": "logging.s3.amazonaws.com" }, "Action": "s3:PutObject",
                "Resource": "arn:aws:s3:::lake/*",
            }),
        ),
    ]
}

fn logs() -> Vec<Weakness> {
    vec![
        take("LOGS-1", LOG_GROUP, "RetentionInDays"),
        take("LOGS-2", LOG_GROUP, "KmsKeyId"),
        set("TRAIL-1", TRAIL, "IsMultiRegionTrail", false),
        set("TRAIL-2", TRAIL, "EnableLogFileValidation", false),
        take("TRAIL-3", TRAIL, "CloudWatchLogsLogGroupArn"),
        take("TRAIL-4", TRAIL, "KMSKeyId"),
        set("TRAIL-5", TRAIL, "IsLogging", false),
    ]
}

fn network() -> Vec<Weakness> {
    let open = json!({
        "CidrIp": "0.0.0.0/0", "IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "Description": "For a moment",
    });
    let everything = json!([{ "CidrIp": "0.0.0.0/0", "IpProtocol": "-1", "Description": "Out" }]);
    vec![
        set("VPC-1", "AWS::EC2::FlowLog", "TrafficType", "ACCEPT"),
        set("VPC-2", "AWS::EC2::Subnet", "MapPublicIpOnLaunch", true),
        take("VPC-2", "AWS::EC2::Subnet", "MapPublicIpOnLaunch"),
        away("VPC-3", "AWS::EC2::FlowLog"),
        set(
            "VPC-4",
            "AWS::EC2::SecurityGroup Database",
            "SecurityGroupIngress",
            json!([open]),
        ),
        set(
            "VPC-4",
            "AWS::EC2::SecurityGroupIngress World",
            "FromPort",
            22,
        )
        .and_set("ToPort", 22),
        set(
            "VPC-4",
            "AWS::EC2::SecurityGroupIngress World",
            "ToPort",
            65_535,
        ),
        take(
            "VPC-4",
            "AWS::EC2::SecurityGroupIngress DatabaseIn",
            "SourceSecurityGroupId",
        )
        .and_set("CidrIpv6", "::/0"),
        take("VPC-5", INGRESS, "Description"),
        take(
            "VPC-6",
            "AWS::EC2::SecurityGroup Endpoints",
            "SecurityGroupEgress",
        ),
        set("VPC-7", GROUP, "SecurityGroupEgress", everything),
        set(
            "VPC-8",
            "AWS::EC2::VPCEndpoint Kms",
            "PrivateDnsEnabled",
            false,
        ),
        away("VPC-9", "AWS::EC2::VPCEndpoint Kms"),
        away("VPC-9", "AWS::EC2::VPCEndpoint S3"),
    ]
}

fn containers() -> Vec<Weakness> {
    vec![
        set(
            "ECS-1",
            TASK,
            "ContainerDefinitions/0/ReadonlyRootFilesystem",
            false,
        ),
        take(
            "ECS-1",
            TASK,
            "ContainerDefinitions/0/ReadonlyRootFilesystem",
        ),
        set("ECS-2", TASK, "ContainerDefinitions/0/User", "0:0"),
        take("ECS-2", TASK, "ContainerDefinitions/0/User"),
        take(
            "ECS-3",
            TASK,
            "ContainerDefinitions/0/LinuxParameters/Capabilities",
        ),
        set(
            "ECS-3",
            TASK,
            "ContainerDefinitions/0/LinuxParameters/Capabilities/Drop",
            json!(["NET_RAW"]),
        ),
        set("ECS-4", TASK, "ContainerDefinitions/0/Privileged", true),
        set(
            "ECS-5",
            TASK,
            "ContainerDefinitions/0/Environment/0/Name",
            "PAYMENT_API_KEY",
        ),
        set(
            "ECS-5",
            TASK,
            "ContainerDefinitions/0/Environment/0/Value",
            "postgres://shop:espresso@database/shop",
        ),
        take("ECS-6", TASK, "ContainerDefinitions/0/LogConfiguration"),
        take("ECS-7", TASK, "ContainerDefinitions/0/StopTimeout"),
        set(
            "ECS-8",
            SERVICE,
            "DeploymentConfiguration/DeploymentCircuitBreaker/Enable",
            false,
        ),
        set(
            "ECS-8",
            SERVICE,
            "DeploymentConfiguration/DeploymentCircuitBreaker/Rollback",
            false,
        ),
        take(
            "ECS-8",
            SERVICE,
            "DeploymentConfiguration/DeploymentCircuitBreaker",
        ),
        set(
            "ECS-9",
            SERVICE,
            "NetworkConfiguration/AwsvpcConfiguration/AssignPublicIp",
            "ENABLED",
        ),
        take("ECS-10", TASK, "TaskRoleArn"),
        take(
            "ECS-10",
            "AWS::ECS::TaskDefinition Fixture",
            "ExecutionRoleArn",
        ),
        set(
            "ECS-11",
            "AWS::ECS::TaskDefinition Fixture",
            "ContainerDefinitions/0/Image",
            "images/shop:latest",
        ),
        set(
            "ECS-11",
            TASK,
            "ContainerDefinitions/0/Image",
            json!({ "Fn::Join": [":", [{ "Fn::GetAtt": ["Images", "RepositoryUri"] }, "latest"]] }),
        ),
        set(
            "ECS-11",
            TASK,
            "ContainerDefinitions/0/Image",
            json!({ "Fn::Sub": "${Images.RepositoryUri}:latest" }),
        ),
        set("ECS-12", TASK, "NetworkMode", "bridge"),
        set("ECS-13", SERVICE, "EnableExecuteCommand", true),
        set(
            "ECS-14",
            "AWS::ECS::Cluster",
            "ClusterSettings/Name=containerInsights/Value",
            "disabled",
        ),
        set(
            "ECS-15",
            "AWS::ECS::TaskDefinition Fixture",
            "TaskRoleArn",
            "arn:aws:iam::111122223333:role/start",
        ),
        set(
            "ECS-15",
            "AWS::ECS::TaskDefinition FixtureOther",
            "TaskRoleArn",
            "arn:aws:iam::111122223333:role/one",
        ),
        set("ECR-1", IMAGES, "ImageTagMutability", "MUTABLE"),
        set(
            "ECR-2",
            IMAGES,
            "ImageScanningConfiguration/ScanOnPush",
            false,
        ),
        set(
            "ECR-3",
            IMAGES,
            "EncryptionConfiguration/EncryptionType",
            "AES256",
        ),
    ]
}

fn balancers() -> Vec<Weakness> {
    vec![
        set("ALB-1", HTTPS, "SslPolicy", "ELBSecurityPolicy-2016-08"),
        take("ALB-1", HTTPS, "SslPolicy"),
        set("ALB-2", HTTP, "DefaultActions/0/Type", "forward"),
        set(
            "ALB-2",
            HTTP,
            "DefaultActions/0/RedirectConfig/Protocol",
            "HTTP",
        ),
        set(
            "ALB-3",
            BALANCER,
            "LoadBalancerAttributes/Key=routing.http.drop_invalid_header_fields.enabled/Value",
            "false",
        ),
        take(
            "ALB-4",
            BALANCER,
            "LoadBalancerAttributes/Key=routing.http.desync_mitigation_mode",
        ),
        set(
            "ALB-5",
            BALANCER,
            "LoadBalancerAttributes/Key=access_logs.s3.enabled/Value",
            "false",
        ),
        set(
            "ALB-6",
            BALANCER,
            "LoadBalancerAttributes/Key=deletion_protection.enabled/Value",
            "false",
        ),
        set(
            "ALB-6",
            BALANCER,
            "LoadBalancerAttributes/Key=deletion_protection.enabled/Value",
            false,
        ),
        take("ALB-7", HTTPS, "Certificates"),
        set("ALB-8", TARGETS, "HealthCheckEnabled", false),
    ]
}

fn firewalls() -> Vec<Weakness> {
    vec![
        take("WAF-1", FIREWALL, "Rules/Name=known-bad"),
        take("WAF-2", "AWS::WAFv2::WebACL Fixture", "Rules/Name=rate"),
        take(
            "WAF-2",
            "AWS::WAFv2::WebACL Fixture",
            "Rules/Name=rate/Action",
        )
        .and_set("Rules/Name=rate/Action", json!({ "Count": {} })),
        away("WAF-3", "AWS::WAFv2::WebACLAssociation Fixture"),
        away("WAF-4", "AWS::WAFv2::LoggingConfiguration"),
        set(
            "WAF-5",
            FIREWALL,
            "VisibilityConfig/SampledRequestsEnabled",
            false,
        ),
        take("WAF-6", FIREWALL, "Rules/Name=common"),
        set(
            "WAF-7",
            FIREWALL,
            "Rules/Name=common/OverrideAction",
            json!({ "Count": {} }),
        ),
        away("WAF-8", "AWS::WAFv2::WebACLAssociation Balancer"),
        away("WAF-8", "AWS::WAFv2::WebACLAssociation Api"),
    ]
}

fn apis() -> Vec<Weakness> {
    vec![
        take("API-1", STAGE, "AccessLogSetting"),
        take("API-2", PLAN, "Throttle"),
        take("API-2", PLAN, "Quota"),
        set("API-3", STAGE, "CacheClusterEnabled", true)
            .and_set("MethodSettings/0/CachingEnabled", true),
        set(
            "API-4",
            "AWS::ApiGateway::DomainName",
            "SecurityPolicy",
            "TLS_1_0",
        ),
        set("API-5", STAGE, "TracingEnabled", false),
    ]
}

fn identities() -> Vec<Weakness> {
    let document = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:aws:s3:::brew-haven/*",
    }] });
    let reader = json!({ "PolicyName": "reader", "PolicyDocument": document });
    vec![
        set(
            "IAM-1",
            POLICY,
            "PolicyDocument/Statement/0/Action",
            json!(["logs:*"]),
        ),
        set("IAM-1", POLICY, "PolicyDocument/Statement/0/Action", "*"),
        set("IAM-2", POLICY, "PolicyDocument/Statement/0/Resource", "*"),
        set(
            "IAM-2",
            POLICY,
            "PolicyDocument/Statement/0/Resource",
            json!(["arn:aws:logs:::one", "*"]),
        ),
        take(
            "IAM-3",
            ROLE,
            "AssumeRolePolicyDocument/Statement/0/Condition",
        ),
        take("IAM-4", ROLE, "PermissionsBoundary"),
        set(
            "IAM-5",
            "AWS::IAM::Role FlowLog",
            "Policies",
            json!([{
                "PolicyName": "writer",
                "PolicyDocument": { "Statement": [{ "Effect": "Allow", "Action": ["logs:PutLogEvents"], "Resource": "arn:aws:logs:::one" }] },
            }]),
        ),
        beside("IAM-6", POLICY, "AWS::IAM::Policy", reader),
        set(
            "IAM-7",
            ROLE,
            "ManagedPolicyArns/0",
            "arn:aws:iam::aws:policy/AdministratorAccess",
        ),
        set(
            "IAM-7",
            ROLE,
            "ManagedPolicyArns/0",
            json!({ "Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/AmazonS3FullAccess" }),
        ),
        beside("IAM-8", POLICY, "AWS::IAM::User", json!({})),
        take("IAM-9", POLICY, "PolicyDocument/Statement/0/Action")
            .and_set("PolicyDocument/Statement/0/NotAction", "iam:DeleteRole"),
        take(
            "IAM-10",
            "AWS::IAM::ManagedPolicy Deploy",
            "PolicyDocument/Statement/Sid=HandRolesOver/Condition",
        ),
        set(
            "IAM-11",
            ROLE,
            "AssumeRolePolicyDocument/Statement/0/Principal",
            "*",
        ),
        set(
            "IAM-11",
            ROLE,
            "AssumeRolePolicyDocument/Statement/0/Principal",
            json!({ "AWS": "*" }),
        ),
    ]
}

fn keys() -> Vec<Weakness> {
    vec![
        set("KMS-1", KEY, "EnableKeyRotation", false),
        set(
            "KMS-2",
            KEY,
            "KeyPolicy/Statement/Sid=IamDecides/Principal",
            "*",
        ),
        set(
            "KMS-2",
            KEY,
            "KeyPolicy/Statement/Sid=IamDecides/Principal",
            json!({ "AWS": "*" }),
        ),
        take("KMS-3", KEY, "KeyPolicy/Statement/Sid=Senders/Condition"),
        set(
            "KMS-4",
            "AWS::KMS::Key Logs",
            "KeyPolicy/Statement/Sid=LogGroups/Action",
            json!(["kms:*"]),
        ),
    ]
}

fn secrets() -> Vec<Weakness> {
    vec![
        take("SECRET-1", SECRET, "KmsKeyId"),
        away("SECRET-2", "AWS::SecretsManager::RotationSchedule"),
        take("SECRET-3", SECRET, "GenerateSecretString").and_set("SecretString", "espresso"),
        in_template(
            "SECRET-4",
            SECRET,
            "Parameters",
            json!({ "DatabasePassword": { "Type": "String" } }),
        ),
        in_template(
            "SECRET-5",
            SECRET,
            "Parameters",
            json!({ "DatabasePassword": { "Type": "String", "NoEcho": true, "Default": "espresso" } }),
        ),
    ]
}

fn alarms() -> Vec<Weakness> {
    vec![
        take("ALARM-1", ALARM, "AlarmActions"),
        set("ALARM-1", ALARM, "AlarmActions", json!([])),
        set("ALARM-1", ALARM, "ActionsEnabled", false),
        take("ALARM-1", "AWS::CloudWatch::CompositeAlarm", "AlarmActions"),
        take("ALARM-2", ALARM, "OKActions"),
        take("ALARM-3", ALARM, "TreatMissingData"),
        set("ALARM-4", ALARM, "AlarmDescription", "CPU is high"),
    ]
}

fn kept() -> Vec<Weakness> {
    vec![
        set("KEEP-1", DATABASE, "/DeletionPolicy", "Delete"),
        take("KEEP-1", CACHE, "/DeletionPolicy"),
        take("KEEP-1", TABLE, "/DeletionPolicy"),
        take("KEEP-1", BUCKET, "/DeletionPolicy"),
        set("KEEP-1", SECRET, "/DeletionPolicy", "Delete"),
        take("KEEP-2", DATABASE, "/UpdateReplacePolicy"),
        take("KEEP-2", CACHE, "/UpdateReplacePolicy"),
        take("KEEP-2", STREAM, "/UpdateReplacePolicy"),
        take("KEEP-2", KEY, "/UpdateReplacePolicy"),
        take("KEEP-3", QUEUE, "/DeletionPolicy"),
        take("KEEP-3", LOG_GROUP, "/UpdateReplacePolicy"),
        set("NAME-1", TABLE, "TableName", "products"),
        set("NAME-1", QUEUE, "QueueName", "orders"),
        take("TAG-1", TABLE, "Tags"),
        take("TAG-1", KEY, "Tags/Key=Owner"),
        take("TAG-1", ROLE, "Tags/Key=CostCenter"),
        take("TAG-1", QUEUE, "Tags/Key=ManagedBy"),
        take("BACKUP-1", "AWS::Backup::BackupVault", "EncryptionKeyArn"),
        set(
            "BACKUP-2",
            "AWS::Backup::BackupPlan",
            "BackupPlan/BackupPlanRule/0/Lifecycle/DeleteAfterDays",
            1,
        ),
    ]
}

fn waivers() -> Vec<Weakness> {
    let waive = |rule: &str, reason: &str| json!({ "haven": { "waive": [{ "rule": rule, "reason": reason }] } });
    vec![
        set("WAIVE-1", "AWS::EC2::VPC", "/Metadata", waive("VPC-9", "")),
        set(
            "WAIVE-2",
            "AWS::EC2::VPC",
            "/Metadata",
            waive("VPC-9", "All calls stay inside already"),
        ),
    ]
}

fn between_stacks() -> Vec<Weakness> {
    let edge = "AWS::IAM::ManagedPolicy OrderWorkerTaskPolicy";
    vec![
        set(
            "IMPORT-1",
            SERVICE,
            "Cluster",
            json!({ "Fn::ImportValue": "brew-haven-prod-no-such-export" }),
        ),
        take("KEY-1", KEY, "KeyPolicy/Statement/Sid=Senders"),
        take(
            "CHAIN-1",
            "AWS::SQS::QueuePolicy Notifications",
            "PolicyDocument/Statement/Sid=FanOut",
        ),
        set("REACH-1", TARGETS, "HealthCheckPort", "9999"),
        away("REACH-1", "AWS::EC2::SecurityGroupEgress BalancerOut"),
        away("REACH-1", "AWS::EC2::SecurityGroupIngress TasksHealthIn"),
        set(
            "BOUND-1",
            POLICY,
            "PolicyDocument/Statement/0/Action",
            json!(["logs:DeleteLogGroup"]),
        ),
        away("WATCH-1", "AWS::CloudWatch::Alarm OrdersAge"),
        away("WATCH-2", "AWS::CloudWatch::Alarm OrdersParked"),
        away("WATCH-3", "AWS::CloudWatch::Alarm DatabaseStorage"),
        away("WATCH-4", "AWS::CloudWatch::Alarm DatabaseConnections"),
        away("WATCH-5", "AWS::CloudWatch::Alarm CacheMemory"),
        away("WATCH-6", "AWS::CloudWatch::Alarm TableThrottles"),
        away("WATCH-7", "AWS::CloudWatch::Alarm ShopErrors").everywhere(),
        away("WATCH-8", "AWS::CloudWatch::Alarm ShopLatency"),
        away("WATCH-9", "AWS::CloudWatch::Alarm StreamLag"),
        away("WATCH-10", "AWS::CloudWatch::Alarm OutboxLag"),
        away("WATCH-11", "AWS::CloudWatch::Alarm TopicFailures"),
        take(
            "EDGE-1",
            edge,
            "PolicyDocument/Statement/Sid=ConsumesOrders",
        ),
        set(
            "EDGE-2",
            edge,
            "PolicyDocument/Statement/Sid=ParksFromOrders/Action",
            json!(["sqs:SendMessage", "sqs:ReceiveMessage"]),
        ),
        take(
            "EDGE-1",
            edge,
            "PolicyDocument/Statement/Sid=OpensTheMessagesKey",
        ),
        take(
            "EDGE-1",
            "AWS::IAM::ManagedPolicy NotificationWorkerTaskPolicy",
            "PolicyDocument/Statement/Sid=PublishesToNoTopic",
        ),
    ]
}
