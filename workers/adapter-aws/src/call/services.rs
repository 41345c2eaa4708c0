//! The services and operations that are called without their SDK crates.

/// An AWS service: its protocol, and the names of its endpoint, signature and settings.
#[derive(Debug)]
pub struct Service {
    /// The service id of AWS's models, for `AWS_ENDPOINT_URL_<ID>` and the user agent.
    pub(super) id: &'static str,
    /// The first part of the endpoint's host name.
    pub(super) host: &'static str,
    /// The name that is signed.
    pub(super) sign_as: &'static str,
    pub(super) protocol: Protocol,
}

/// How requests and responses are written.
#[derive(Debug)]
pub(super) enum Protocol {
    /// AWS JSON 1.1, with this prefix of `X-Amz-Target`.
    Json(&'static str),
    /// AWS Query with this API version; responses are XML.
    Query(&'static str),
    /// REST with JSON bodies.
    Rest,
}

/// The host of the global service.
pub(super) const GLOBAL_HOST: &str = "iam";

/// Declares the services. A service is one row: its id, host and signed name, and its protocol.
macro_rules! services {
    ($($(#[$doc:meta])* $name:ident $id:literal, $host:expr, $sign_as:literal,
        $protocol:ident$(($version:literal))?;)*) => {
        $($(#[$doc])*
        pub const $name: Service = Service {
            id: $id,
            host: $host,
            sign_as: $sign_as,
            protocol: Protocol::$protocol$(($version))?,
        };)*
    };
}

services! {
    /// Elastic Container Registry.
    ECR "ECR", "api.ecr", "ecr", Json("AmazonEC2ContainerRegistry_V20150921");
    /// Elastic Container Service.
    ECS "ECS", "ecs", "ecs", Json("AmazonEC2ContainerServiceV20141113");
    /// EventBridge.
    EVENT_BRIDGE "EventBridge", "events", "events", Json("AWSEvents");
    /// Identity and Access Management. It is the one service here with one endpoint for all regions.
    IAM "IAM", GLOBAL_HOST, "iam", Query("2010-05-08");
    /// Elastic Load Balancing, version 2.
    LOAD_BALANCERS "Elastic Load Balancing v2", "elasticloadbalancing", "elasticloadbalancing", Query("2015-12-01");
    /// CloudWatch Logs.
    LOGS "CloudWatch Logs", "logs", "logs", Json("Logs_20140328");
    /// Service Quotas.
    QUOTAS "Service Quotas", "servicequotas", "servicequotas", Json("ServiceQuotasV20190624");
    /// Simple Email Service, version 2.
    SES "SESv2", "email", "ses", Rest;
    /// Simple Notification Service.
    SNS "SNS", "sns", "sns", Query("2010-03-31");
}

/// An operation of a service.
#[derive(Debug)]
pub struct Operation {
    pub(super) service: &'static Service,
    pub(super) name: &'static str,
    pub(super) method: &'static str,
    /// The path, with `{Field}` where a field of the input goes.
    pub(super) path: &'static str,
}

impl Operation {
    /// Names an operation of a service with the JSON or Query protocol.
    pub const fn new(service: &'static Service, name: &'static str) -> Operation {
        Operation::rest(service, name, "POST", "/")
    }

    /// Names an operation of a REST service. `path` has `{Field}` where a field of the input goes.
    pub const fn rest(
        service: &'static Service,
        name: &'static str,
        method: &'static str,
        path: &'static str,
    ) -> Operation {
        Operation {
            service,
            name,
            method,
            path,
        }
    }
}

/// `ecr:DescribeImages`
pub const DESCRIBE_IMAGES: Operation = Operation::new(&ECR, "DescribeImages");
/// `ecs:ListTasks`
pub const LIST_TASKS: Operation = Operation::new(&ECS, "ListTasks");
/// `ecs:DescribeTasks`
pub const DESCRIBE_TASKS: Operation = Operation::new(&ECS, "DescribeTasks");
/// `ecs:DescribeTaskDefinition`
pub const DESCRIBE_TASK_DEFINITION: Operation = Operation::new(&ECS, "DescribeTaskDefinition");
/// `events:PutEvents`
pub const PUT_EVENTS: Operation = Operation::new(&EVENT_BRIDGE, "PutEvents");
/// `iam:SimulatePrincipalPolicy`
pub const SIMULATE_PRINCIPAL_POLICY: Operation = Operation::new(&IAM, "SimulatePrincipalPolicy");
/// `elasticloadbalancing:DescribeTargetHealth`
pub const DESCRIBE_TARGET_HEALTH: Operation =
    Operation::new(&LOAD_BALANCERS, "DescribeTargetHealth");
/// `logs:FilterLogEvents`
pub const FILTER_LOG_EVENTS: Operation = Operation::new(&LOGS, "FilterLogEvents");
/// `logs:GetLogEvents`
pub const GET_LOG_EVENTS: Operation = Operation::new(&LOGS, "GetLogEvents");
/// `servicequotas:GetServiceQuota`
pub const GET_SERVICE_QUOTA: Operation = Operation::new(&QUOTAS, "GetServiceQuota");
/// `servicequotas:GetAWSDefaultServiceQuota`
pub const GET_AWS_DEFAULT_SERVICE_QUOTA: Operation =
    Operation::new(&QUOTAS, "GetAWSDefaultServiceQuota");
/// `ses:SendEmail`
pub const SEND_EMAIL: Operation =
    Operation::rest(&SES, "SendEmail", "POST", "/v2/email/outbound-emails");
/// `ses:GetEmailIdentity`
pub const GET_EMAIL_IDENTITY: Operation = Operation::rest(
    &SES,
    "GetEmailIdentity",
    "GET",
    "/v2/email/identities/{EmailIdentity}",
);
/// `sns:GetTopicAttributes`
pub const GET_TOPIC_ATTRIBUTES: Operation = Operation::new(&SNS, "GetTopicAttributes");
/// `sns:Publish`
pub const PUBLISH: Operation = Operation::new(&SNS, "Publish");
/// `sns:PublishBatch`
pub const PUBLISH_BATCH: Operation = Operation::new(&SNS, "PublishBatch");
