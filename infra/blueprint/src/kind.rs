//! The CloudFormation resource types that templates and rules name.
//!
//! A resource type is a constant of this module, so a misspelled type does not compile. Types that
//! come from elsewhere, such as a deployed template, stay text: see [`Kind::of`].

use std::fmt;

use serde_json::Value;

/// A resource type, such as `AWS::SQS::Queue`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(&'static str);

macro_rules! kinds {
    ($($name:ident = $text:literal,)*) => {
        $(#[doc = concat!("`", $text, "`")] pub const $name: Kind = Kind($text);)*

        const ALL: &[Kind] = &[$($name),*];
    };
}

kinds! {
    API_ACCOUNT = "AWS::ApiGateway::Account",
    API_API_KEY = "AWS::ApiGateway::ApiKey",
    API_BASE_PATH_MAPPING = "AWS::ApiGateway::BasePathMapping",
    API_DEPLOYMENT = "AWS::ApiGateway::Deployment",
    API_DOMAIN_NAME = "AWS::ApiGateway::DomainName",
    API_GATEWAY_RESPONSE = "AWS::ApiGateway::GatewayResponse",
    API_METHOD = "AWS::ApiGateway::Method",
    API_MODEL = "AWS::ApiGateway::Model",
    API_REQUEST_VALIDATOR = "AWS::ApiGateway::RequestValidator",
    API_RESOURCE = "AWS::ApiGateway::Resource",
    API_REST_API = "AWS::ApiGateway::RestApi",
    API_STAGE = "AWS::ApiGateway::Stage",
    API_USAGE_PLAN = "AWS::ApiGateway::UsagePlan",
    API_USAGE_PLAN_KEY = "AWS::ApiGateway::UsagePlanKey",
    API_V2_VPC_LINK = "AWS::ApiGatewayV2::VpcLink",
    SCALABLE_TARGET = "AWS::ApplicationAutoScaling::ScalableTarget",
    SCALING_POLICY = "AWS::ApplicationAutoScaling::ScalingPolicy",
    BACKUP_PLAN = "AWS::Backup::BackupPlan",
    BACKUP_SELECTION = "AWS::Backup::BackupSelection",
    BACKUP_VAULT = "AWS::Backup::BackupVault",
    BUDGET = "AWS::Budgets::Budget",
    ACM_CERTIFICATE = "AWS::CertificateManager::Certificate",
    CLOUDTRAIL_TRAIL = "AWS::CloudTrail::Trail",
    CLOUDWATCH_ALARM = "AWS::CloudWatch::Alarm",
    CLOUDWATCH_COMPOSITE_ALARM = "AWS::CloudWatch::CompositeAlarm",
    CLOUDWATCH_DASHBOARD = "AWS::CloudWatch::Dashboard",
    DYNAMODB_TABLE = "AWS::DynamoDB::Table",
    EC2_EIP = "AWS::EC2::EIP",
    EC2_FLOW_LOG = "AWS::EC2::FlowLog",
    EC2_INTERNET_GATEWAY = "AWS::EC2::InternetGateway",
    EC2_NAT_GATEWAY = "AWS::EC2::NatGateway",
    EC2_ROUTE = "AWS::EC2::Route",
    EC2_ROUTE_TABLE = "AWS::EC2::RouteTable",
    EC2_SECURITY_GROUP = "AWS::EC2::SecurityGroup",
    EC2_SECURITY_GROUP_EGRESS = "AWS::EC2::SecurityGroupEgress",
    EC2_SECURITY_GROUP_INGRESS = "AWS::EC2::SecurityGroupIngress",
    EC2_SUBNET = "AWS::EC2::Subnet",
    EC2_SUBNET_ROUTE_TABLE_ASSOCIATION = "AWS::EC2::SubnetRouteTableAssociation",
    EC2_VPC = "AWS::EC2::VPC",
    EC2_VPC_ENDPOINT = "AWS::EC2::VPCEndpoint",
    EC2_VPC_GATEWAY_ATTACHMENT = "AWS::EC2::VPCGatewayAttachment",
    ECR_REPOSITORY = "AWS::ECR::Repository",
    ECS_CLUSTER = "AWS::ECS::Cluster",
    ECS_SERVICE = "AWS::ECS::Service",
    ECS_TASK_DEFINITION = "AWS::ECS::TaskDefinition",
    ELASTICACHE_PARAMETER_GROUP = "AWS::ElastiCache::ParameterGroup",
    ELASTICACHE_REPLICATION_GROUP = "AWS::ElastiCache::ReplicationGroup",
    ELASTICACHE_SUBNET_GROUP = "AWS::ElastiCache::SubnetGroup",
    ELB_LISTENER = "AWS::ElasticLoadBalancingV2::Listener",
    ELB_LISTENER_RULE = "AWS::ElasticLoadBalancingV2::ListenerRule",
    ELB_LOAD_BALANCER = "AWS::ElasticLoadBalancingV2::LoadBalancer",
    ELB_TARGET_GROUP = "AWS::ElasticLoadBalancingV2::TargetGroup",
    EVENTS_ARCHIVE = "AWS::Events::Archive",
    EVENTS_BUS = "AWS::Events::EventBus",
    EVENTS_RULE = "AWS::Events::Rule",
    IAM_MANAGED_POLICY = "AWS::IAM::ManagedPolicy",
    IAM_POLICY = "AWS::IAM::Policy",
    IAM_ROLE = "AWS::IAM::Role",
    KMS_ALIAS = "AWS::KMS::Alias",
    KMS_KEY = "AWS::KMS::Key",
    KINESIS_STREAM = "AWS::Kinesis::Stream",
    LOG_GROUP = "AWS::Logs::LogGroup",
    LOGS_QUERY_DEFINITION = "AWS::Logs::QueryDefinition",
    RDS_CLUSTER = "AWS::RDS::DBCluster",
    RDS_CLUSTER_PARAMETER_GROUP = "AWS::RDS::DBClusterParameterGroup",
    RDS_INSTANCE = "AWS::RDS::DBInstance",
    RDS_PARAMETER_GROUP = "AWS::RDS::DBParameterGroup",
    RDS_SUBNET_GROUP = "AWS::RDS::DBSubnetGroup",
    ROUTE53_HOSTED_ZONE = "AWS::Route53::HostedZone",
    ROUTE53_RECORD_SET = "AWS::Route53::RecordSet",
    S3_BUCKET = "AWS::S3::Bucket",
    S3_BUCKET_POLICY = "AWS::S3::BucketPolicy",
    SES_EMAIL_IDENTITY = "AWS::SES::EmailIdentity",
    SNS_SUBSCRIPTION = "AWS::SNS::Subscription",
    SNS_TOPIC = "AWS::SNS::Topic",
    SNS_TOPIC_POLICY = "AWS::SNS::TopicPolicy",
    SQS_QUEUE = "AWS::SQS::Queue",
    SQS_QUEUE_POLICY = "AWS::SQS::QueuePolicy",
    SSM_PARAMETER = "AWS::SSM::Parameter",
    SECRET_ROTATION_SCHEDULE = "AWS::SecretsManager::RotationSchedule",
    SECRET = "AWS::SecretsManager::Secret",
    PRIVATE_DNS_NAMESPACE = "AWS::ServiceDiscovery::PrivateDnsNamespace",
    WAF_IP_SET = "AWS::WAFv2::IPSet",
    WAF_LOGGING_CONFIGURATION = "AWS::WAFv2::LoggingConfiguration",
    WAF_WEB_ACL = "AWS::WAFv2::WebACL",
    WAF_WEB_ACL_ASSOCIATION = "AWS::WAFv2::WebACLAssociation",
    XRAY_SAMPLING_RULE = "AWS::XRay::SamplingRule",
}

impl Kind {
    /// Returns the type of a resource, or `None` if this module does not list the type.
    pub fn of(resource: &Value) -> Option<Kind> {
        Kind::named(resource["Type"].as_str()?)
    }

    /// Returns the type with this name, or `None` if this module does not list the type.
    pub fn named(name: &str) -> Option<Kind> {
        ALL.iter().copied().find(|kind| kind.0 == name)
    }

    /// Returns the name, such as `AWS::SQS::Queue`.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl PartialEq<Kind> for Value {
    fn eq(&self, kind: &Kind) -> bool {
        self == kind.0
    }
}

impl PartialEq<Kind> for &str {
    fn eq(&self, kind: &Kind) -> bool {
        *self == kind.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn every_type_is_in_the_schema_table() {
        for kind in ALL {
            assert!(schema::of(kind.as_str()).is_some(), "{kind}");
        }
    }
}
