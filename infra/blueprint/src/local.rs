//! The parts of the platform that the local AWS cannot hold, with the reasons. All other modules
//! write templates for AWS.
//!
//! The list comes from deploying the templates of every environment to MiniStack 1.5.33.
//! `localstack/README.md` describes other differences.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use crate::kind::{self, Kind};
use crate::references::{exports, imports, referred, resources};
use crate::stack::Stack;

/// A resource or property that a stack omits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Slug of the stack.
    pub stack: &'static str,
    /// Type of the resources.
    pub kind: String,
    /// How much is missing.
    pub how: How,
    /// Logical ids of the resources.
    pub resources: Vec<String>,
    /// The reason.
    pub why: String,
}

/// How much of a resource is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// The resources are not created.
    LeftOut,
    /// The resources are created without this property, statement or attribute.
    Without(&'static str),
    /// The resources are created, but have no function.
    Idle,
}

/// A difference between AWS and the local AWS, and how the templates handle it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// Removes all resources of this type.
    Type(Kind),
    /// Removes resources of this type that have the property.
    With(Kind, &'static str),
    /// Removes the property, a path with `/` between its steps.
    Property(Kind, &'static str),
    /// Replaces `Fn::GetAtt` of this attribute by `Fn::Sub` of a text, in which `{}` is the logical
    /// id.
    Attribute(Kind, &'static str, &'static str),
    /// Changes nothing: resources of this type are created but have no function.
    Idle(Kind),
    /// Changes nothing: the template of this type reads `Environment::local` and omits the item
    /// itself.
    Unwritten(Kind, &'static str),
}

/// All gaps by their reason.
const GAPS: &[(&str, &[Gap])] = &[
    (
        "the local AWS has no VPC links of API Gateway v2",
        &[Gap::Type(kind::API_V2_VPC_LINK)],
    ),
    (
        "the property names the VPC link, which is left out",
        &[Gap::Property(kind::API_METHOD, "Integration/ConnectionId")],
    ),
    (
        "the local AWS has no Application Auto Scaling",
        &[
            Gap::Type(kind::SCALABLE_TARGET),
            Gap::Type(kind::SCALING_POLICY),
        ],
    ),
    (
        "the local AWS creates no backups",
        &[Gap::Type(kind::BACKUP_SELECTION)],
    ),
    ("the local AWS costs nothing", &[Gap::Type(kind::BUDGET)]),
    (
        "the local AWS has no metric math",
        &[Gap::With(kind::CLOUDWATCH_ALARM, "Metrics")],
    ),
    (
        "the local AWS does not record API calls",
        &[Gap::Type(kind::CLOUDTRAIL_TRAIL)],
    ),
    (
        "the local AWS has no composite alarms",
        &[Gap::Type(kind::CLOUDWATCH_COMPOSITE_ALARM)],
    ),
    (
        "all local data is in one directory, which can be deleted",
        &[
            Gap::Property(kind::DYNAMODB_TABLE, "DeletionProtectionEnabled"),
            Gap::Property(kind::DYNAMODB_TABLE, "PointInTimeRecoverySpecification"),
        ],
    ),
    (
        "the local AWS is reached over plain HTTP on loopback",
        &[
            Gap::Property(kind::DYNAMODB_TABLE, "ResourcePolicy"),
            Gap::Unwritten(kind::SNS_TOPIC_POLICY, "EncryptedTransportOnly"),
            Gap::Unwritten(kind::SQS_QUEUE_POLICY, "EncryptedTransportOnly"),
        ],
    ),
    (
        "`haven up` deploys no keys, and the local AWS encrypts nothing",
        &[
            Gap::Property(kind::DYNAMODB_TABLE, "SSESpecification"),
            Gap::Property(kind::EVENTS_BUS, "KmsKeyIdentifier"),
            Gap::Property(kind::SECRET, "KmsKeyId"),
            Gap::Property(kind::SNS_TOPIC, "KmsMasterKeyId"),
            Gap::Property(kind::SQS_QUEUE, "KmsMasterKeyId"),
        ],
    ),
    (
        "the local AWS ignores the property; `haven up` sets it with an API call",
        &[Gap::Property(
            kind::DYNAMODB_TABLE,
            "TimeToLiveSpecification",
        )],
    ),
    (
        "no packet flows through the local network",
        &[
            Gap::Type(kind::EC2_EIP),
            Gap::Type(kind::EC2_FLOW_LOG),
            Gap::Type(kind::EC2_NAT_GATEWAY),
            Gap::Type(kind::EC2_SECURITY_GROUP_EGRESS),
            Gap::Type(kind::EC2_SECURITY_GROUP_INGRESS),
        ],
    ),
    (
        "the local AWS runs no tasks: `haven up` runs the roles as processes",
        &[Gap::Idle(kind::ECS_SERVICE)],
    ),
    (
        "the local AWS runs no cache server: `haven up --redis` starts one",
        &[Gap::Idle(kind::ELASTICACHE_REPLICATION_GROUP)],
    ),
    (
        "the local AWS runs no tasks behind the load balancer",
        &[Gap::Idle(kind::ELB_LOAD_BALANCER)],
    ),
    (
        "the local AWS has no archives of event buses",
        &[Gap::Type(kind::EVENTS_ARCHIVE)],
    ),
    (
        "no local process reads the stream, and `haven up` deploys neither its key nor the boundary",
        &[Gap::Type(kind::KINESIS_STREAM)],
    ),
    (
        "the local AWS has no Logs Insights",
        &[Gap::Type(kind::LOGS_QUERY_DEFINITION)],
    ),
    (
        "the local AWS runs no database server: `haven up` uses SQLite, `haven up --postgres` PostgreSQL",
        &[Gap::Idle(kind::RDS_CLUSTER), Gap::Idle(kind::RDS_INSTANCE)],
    ),
    (
        "the local AWS creates no password, so the ARN of the secret is a placeholder",
        &[
            Gap::Attribute(kind::RDS_CLUSTER, DATABASE_SECRET, SECRET_ARN),
            Gap::Attribute(kind::RDS_INSTANCE, DATABASE_SECRET, SECRET_ARN),
        ],
    ),
    (
        "the hosted zone of the shop's domain is not on the local AWS",
        &[Gap::Type(kind::ROUTE53_RECORD_SET)],
    ),
    (
        "the local AWS accepts the property and ignores it",
        &[
            Gap::Property(kind::API_STAGE, "AccessLogSetting"),
            Gap::Property(kind::S3_BUCKET, "LifecycleConfiguration"),
            Gap::Property(kind::S3_BUCKET, "LoggingConfiguration"),
            Gap::Property(kind::S3_BUCKET, "ObjectLockConfiguration"),
        ],
    ),
    (
        "the local AWS creates a web ACL, but cannot associate it with a resource",
        &[
            Gap::Type(kind::WAF_IP_SET),
            Gap::Type(kind::WAF_LOGGING_CONFIGURATION),
            Gap::Type(kind::WAF_WEB_ACL_ASSOCIATION),
        ],
    ),
    (
        "the local AWS has no X-Ray",
        &[Gap::Type(kind::XRAY_SAMPLING_RULE)],
    ),
];

const DATABASE_SECRET: &str = "MasterUserSecret.SecretArn";
const SECRET_ARN: &str =
    "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:rds!{}";

/// Returns every gap with its reason.
fn gaps() -> impl Iterator<Item = (Gap, &'static str)> {
    GAPS.iter()
        .flat_map(|(why, gaps)| gaps.iter().map(move |gap| (*gap, *why)))
}

/// Returns the stacks that the local AWS can hold, and what they omit. `stacks` must be in order of
/// dependency.
pub fn localize(mut stacks: Vec<Stack>) -> (Vec<Stack>, Vec<LeftOut>) {
    let (mut all, mut missing) = (Vec::new(), BTreeSet::new());
    for stack in &mut stacks {
        let mut left_out = Found::default();
        let before = names(&stack.template);
        cut_within(&mut stack.template, &mut left_out);
        for (id, why) in doomed(&stack.template, &missing) {
            remove(&mut stack.template, &id, why, &mut left_out);
        }
        missing.extend(before.difference(&names(&stack.template)).cloned());
        all.extend(left_out.into_list(stack.slug));
    }
    stacks.retain(|stack| resources(&stack.template).next().is_some());
    (stacks, all)
}

fn names(template: &Value) -> BTreeSet<String> {
    exports(template).map(|(name, _)| name.to_owned()).collect()
}

/// The omissions of one stack: logical ids by their common type and reason.
#[derive(Default)]
struct Found(BTreeMap<(How, String, String), Vec<String>>);

impl Found {
    fn add(&mut self, id: &str, resource: &Value, how: How, why: String) {
        let kind = resource["Type"].as_str().unwrap_or_default().to_owned();
        self.0
            .entry((how, kind, why))
            .or_default()
            .push(id.to_owned());
    }

    fn into_list(self, stack: &'static str) -> impl Iterator<Item = LeftOut> {
        let entry = move |((how, kind, why), resources)| LeftOut {
            stack,
            kind,
            how,
            resources,
            why,
        };
        self.0.into_iter().map(entry)
    }
}

fn cut_within(template: &mut Value, left_out: &mut Found) {
    let resources: Vec<(String, Value)> = resources(template)
        .map(|(id, resource)| (id.to_owned(), resource.clone()))
        .collect();
    for (id, resource) in resources {
        for (gap, why) in gaps().filter(|(gap, _)| resource["Type"] == gap.kind()) {
            let found = match gap {
                Gap::Type(_) | Gap::With(..) => None,
                Gap::Idle(_) => Some(How::Idle),
                Gap::Unwritten(_, what) => Some(How::Without(what)),
                Gap::Property(_, path) => {
                    let properties = &mut template["Resources"][&id]["Properties"];
                    cut(properties, path).then_some(How::Without(path))
                }
                Gap::Attribute(_, name, text) => {
                    let stand_in = json!({ "Fn::Sub": text.replace("{}", &id) });
                    replace(template, &json!({ "Fn::GetAtt": [id, name] }), &stand_in)
                        .then_some(How::Without(name))
                }
            };
            if let Some(how) = found {
                left_out.add(&id, &resource, how, why.to_owned());
            }
        }
    }
}

/// Replaces a value everywhere in `value`. Returns true if the value was found.
fn replace(value: &mut Value, wanted: &Value, stand_in: &Value) -> bool {
    if value == wanted {
        *value = stand_in.clone();
        return true;
    }
    let inner: Vec<&mut Value> = match value {
        Value::Object(object) => object.values_mut().collect(),
        Value::Array(values) => values.iter_mut().collect(),
        _ => Vec::new(),
    };
    let mut any = false;
    for value in inner {
        any |= replace(value, wanted, stand_in);
    }
    any
}

/// Removes the property at `path`. Returns true if the property was there.
fn cut(properties: &mut Value, path: &str) -> bool {
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut parent = Some(properties);
    for step in parents.split('/').filter(|step| !step.is_empty()) {
        parent = parent.and_then(|value| value.get_mut(step));
    }
    parent
        .and_then(Value::as_object_mut)
        .is_some_and(|parent| parent.remove(name).is_some())
}

/// Returns every resource that must be removed, with the reason. The reason is a gap, a missing
/// import, or a reference to a removed resource.
fn doomed(template: &Value, missing: &BTreeSet<String>) -> BTreeMap<String, String> {
    let depends = |on: &str| format!("it depends on {on}, which is left out");
    let mut doomed: BTreeMap<String, String> = BTreeMap::new();
    // In the first round no resource is doomed yet, so references count from the second one on.
    loop {
        let why = |resource: &Value| {
            let mut gaps = gaps().filter(|(gap, _)| gap.takes(resource));
            let mut imports = imports(resource).into_iter();
            let mut referred = referred(&resource["Properties"]).into_iter();
            let gap = gaps.next().map(|(_, why)| why.to_owned());
            gap.or_else(|| imports.find(|it| missing.contains(*it)).map(depends))
                .or_else(|| referred.find(|it| doomed.contains_key(*it)).map(depends))
        };
        let more: Vec<(String, String)> = resources(template)
            .filter(|(id, _)| !doomed.contains_key(*id))
            .filter_map(|(id, resource)| Some((id.to_owned(), why(resource)?)))
            .collect();
        if more.is_empty() {
            return doomed;
        }
        doomed.extend(more);
    }
}

/// Removes a resource, and every output and `DependsOn` that refers to it.
fn remove(template: &mut Value, id: &str, why: String, left_out: &mut Found) {
    let Some(resources) = template["Resources"].as_object_mut() else {
        return;
    };
    let Some(resource) = resources.remove(id) else {
        return;
    };
    left_out.add(id, &resource, How::LeftOut, why);
    for resource in resources.values_mut() {
        let Some(waits) = resource.get_mut("DependsOn").and_then(Value::as_array_mut) else {
            continue;
        };
        waits.retain(|other| other != id);
        if waits.is_empty() {
            resource
                .as_object_mut()
                .map(|resource| resource.remove("DependsOn"));
        }
    }
    if let Some(outputs) = template.get_mut("Outputs").and_then(Value::as_object_mut) {
        outputs.retain(|_, output| !referred(output).contains(id));
        if outputs.is_empty() {
            template
                .as_object_mut()
                .map(|template| template.remove("Outputs"));
        }
    }
}

impl Gap {
    /// Returns true if the gap removes the resource.
    fn takes(&self, resource: &Value) -> bool {
        match self {
            Gap::Type(kind) => resource["Type"] == *kind,
            Gap::With(kind, property) => {
                resource["Type"] == *kind && resource["Properties"].get(property).is_some()
            }
            Gap::Property(..) | Gap::Attribute(..) | Gap::Idle(_) | Gap::Unwritten(..) => false,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Gap::Type(kind)
            | Gap::With(kind, _)
            | Gap::Property(kind, _)
            | Gap::Attribute(kind, ..)
            | Gap::Idle(kind)
            | Gap::Unwritten(kind, _) => *kind,
        }
    }
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
