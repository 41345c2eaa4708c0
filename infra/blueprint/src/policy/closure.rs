//! Rules between stacks: every import has an export, every queue and server has an alarm, and each
//! role has exactly the rights of the contract.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use contract::metric::Metric;
use contract::role::{ROLES, Role};
use serde_json::Value;

use super::{Finding, list, of_type, referred, resources, waivers};
use crate::kind::{self, Kind};
use crate::roles::{self, Actor};
use crate::{Environment, Stack};

/// The ids of the rules.
pub const RULES: &[&str] = &[
    "IMPORT-1", "KEY-1", "CHAIN-1", "REACH-1", "BOUND-1", "WATCH-1", "WATCH-2", "WATCH-3",
    "WATCH-4", "WATCH-5", "WATCH-6", "WATCH-7", "WATCH-8", "WATCH-9", "WATCH-10", "WATCH-11",
    "EDGE-1", "EDGE-2", "TAG-2",
];

/// Checks all stacks of an environment together.
pub fn closure(environment: &Environment, stacks: &[Stack]) -> Vec<Finding> {
    let platform = Platform::new(stacks);
    let mut findings = platform.imports();
    findings.extend(platform.chains());
    findings.extend(platform.unreachable());
    findings.extend(platform.beyond_the_boundary());
    findings.extend(platform.queues_without_alarms());
    findings.extend(platform.unwatched());
    findings.extend(platform.edges(environment));
    findings.extend(nobodys(environment));
    for finding in &mut findings {
        let stack = stacks.iter().find(|stack| stack.name == finding.stack);
        let mut waived = stack
            .into_iter()
            .flat_map(|stack| waivers(&stack.template, &finding.resource));
        finding.waived = waived
            .find(|(rule, reason)| *rule == finding.rule && !reason.trim().is_empty())
            .map(|(_, reason)| reason.to_owned());
    }
    findings
}

/// Checks that the tags of every stack, which its resources inherit, have all keys of TAG-1.
fn nobodys(environment: &Environment) -> Option<Finding> {
    let tags = environment.tags();
    let said = |key: &str| {
        list(&tags)
            .iter()
            .any(|tag| tag["Key"] == key && tag["Value"] != "")
    };
    let missing = ["Service", "Environment", "Owner", "CostCenter", "ManagedBy"]
        .into_iter()
        .find(|key| !said(key))?;
    Some(Finding {
        rule: "TAG-2".to_owned(),
        stack: environment.stack_name("*"),
        resource: String::new(),
        path: format!("/Tags/{missing}"),
        message: format!(
            "The bill and whoever asks cannot tell whose the stacks are: they have no {missing}. Set it in the \
             environment's file, under `account`."
        ),
        waived: None,
    })
}

/// A resource: index of its stack and logical id.
type Place<'a> = (usize, &'a str);

struct Platform<'a> {
    stacks: &'a [Stack],
    /// The value of each export, and its stack.
    exports: HashMap<&'a str, (usize, &'a Value)>,
    /// The alarms of all stacks, each with the index of its stack.
    alarms: Vec<(usize, &'a Value)>,
}

impl<'a> Platform<'a> {
    fn new(stacks: &'a [Stack]) -> Platform<'a> {
        let mut exports = HashMap::new();
        let mut alarms = Vec::new();
        for (at, stack) in stacks.iter().enumerate() {
            for output in stack.template["Outputs"]
                .as_object()
                .into_iter()
                .flat_map(|outputs| outputs.values())
            {
                if let Some(name) = output["Export"]["Name"].as_str() {
                    exports.insert(name, (at, &output["Value"]));
                }
            }
            alarms.extend(
                of_type(&stack.template, kind::CLOUDWATCH_ALARM)
                    .map(|(_, alarm)| (at, &alarm["Properties"])),
            );
        }
        Platform {
            stacks,
            exports,
            alarms,
        }
    }

    fn find(&self, rule: &str, (at, resource): Place<'_>, message: String) -> Finding {
        Finding {
            rule: rule.to_owned(),
            stack: self.stacks[at].name.clone(),
            resource: resource.to_owned(),
            path: if resource.is_empty() {
                String::new()
            } else {
                format!("/Resources/{resource}")
            },
            message,
            waived: None,
        }
    }

    fn everything(&self) -> impl Iterator<Item = (usize, &'a str, &'a Value)> {
        let stacks = self.stacks;
        let own = |(at, stack): (usize, &'a Stack)| {
            resources(&stack.template).map(move |(id, it)| (at, id, it))
        };
        stacks.iter().enumerate().flat_map(own)
    }

    fn all(&self, kind: Kind) -> impl Iterator<Item = (usize, &'a str, &'a Value)> {
        self.everything()
            .filter(move |(_, _, resource)| resource["Type"] == kind)
            .map(|(at, id, it)| (at, id, &it["Properties"]))
    }

    /// Returns the resources that a value refers to, in any stack.
    fn places(&self, at: usize, value: &'a Value) -> BTreeSet<Place<'a>> {
        let own = &self.stacks[at].template["Resources"];
        let mut places: BTreeSet<Place<'a>> = referred(value)
            .into_iter()
            .filter(|id| own.get(id).is_some())
            .map(|id| (at, id))
            .collect();
        for import in imports(value) {
            if let Some((maker, value)) = self.exports.get(import) {
                let own = &self.stacks[*maker].template["Resources"];
                places.extend(
                    referred(value)
                        .into_iter()
                        .filter(|id| own.get(id).is_some())
                        .map(|id| (*maker, id)),
                );
            }
        }
        places
    }

    fn resource(&self, (at, id): Place<'_>) -> &'a Value {
        &self.stacks[at].template["Resources"][id]
    }

    fn imports(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (at, id, resource) in self.everything() {
            for import in imports(resource)
                .into_iter()
                .filter(|import| !self.exports.contains_key(import))
            {
                let message =
                    format!("Nobody exports {import}. Export it, or import what is there.");
                findings.push(self.find("IMPORT-1", (at, id), message));
            }
        }
        findings
    }

    /// Returns pairs of an AWS service and the resource to which it writes.
    fn writers(&self) -> BTreeSet<(&'static str, Place<'a>)> {
        let mut writers = BTreeSet::new();
        for (at, _, subscription) in self.all(kind::SNS_SUBSCRIPTION) {
            let to = self.places(at, &subscription["Endpoint"]);
            let lost = self.places(at, &subscription["RedrivePolicy"]["deadLetterTargetArn"]);
            writers.extend(
                to.into_iter()
                    .chain(lost)
                    .map(|to| ("sns.amazonaws.com", to)),
            );
        }
        for (at, _, rule) in self.all(kind::EVENTS_RULE) {
            for target in list(&rule["Targets"]) {
                let to = self.places(at, &target["Arn"]);
                let lost = self.places(at, &target["DeadLetterConfig"]["Arn"]);
                writers.extend(
                    to.into_iter()
                        .chain(lost)
                        .map(|to| ("events.amazonaws.com", to)),
                );
            }
        }
        for (at, alarm) in &self.alarms {
            let told = list(&alarm["AlarmActions"])
                .iter()
                .chain(list(&alarm["OKActions"]));
            writers.extend(
                told.flat_map(|told| self.places(*at, told))
                    .map(|to| ("cloudwatch.amazonaws.com", to)),
            );
        }
        for (at, _, bucket) in self.all(kind::S3_BUCKET) {
            let told = self.places(at, &bucket["NotificationConfiguration"]);
            writers.extend(told.into_iter().map(|to| ("s3.amazonaws.com", to)));
        }
        for (at, id, bus) in self.all(kind::EVENTS_BUS) {
            if !bus["KmsKeyIdentifier"].is_null() {
                writers.insert(("events.amazonaws.com", (at, id)));
            }
        }
        writers
    }

    /// Checks that a service may send to its target and use the target's key. Otherwise the service
    /// loses messages without an error, and no static tool reports it (SQS Developer Guide,
    /// "Configure KMS permissions for AWS services").
    fn chains(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (service, to) in self.writers() {
            let properties = &self.resource(to)["Properties"];
            let key = [
                &properties["KmsMasterKeyId"],
                &properties["KmsKeyIdentifier"],
            ]
            .into_iter()
            .find(|key| !key.is_null());
            for key in key.into_iter().flat_map(|key| self.places(to.0, key)) {
                let resource = self.resource(key);
                let policy = &resource["Properties"]["KeyPolicy"];
                let may = |action: &str| lets(policy, service, action);
                if resource["Type"] == kind::KMS_KEY
                    && !(may("kms:Decrypt") && may("kms:GenerateDataKey"))
                {
                    let message = format!(
                        "{service} writes to {}, which is encrypted with this key, and may not use it: messages are lost. \
                         Allow it kms:Decrypt and kms:GenerateDataKey in KeyPolicy, with a Condition on aws:SourceAccount.",
                        to.1
                    );
                    findings.push(self.find("KEY-1", key, message));
                }
            }
            let (kind, property, action) = match Kind::of(self.resource(to)) {
                Some(kind::SQS_QUEUE) => (kind::SQS_QUEUE_POLICY, "Queues", "sqs:SendMessage"),
                Some(kind::SNS_TOPIC) => (kind::SNS_TOPIC_POLICY, "Topics", "sns:Publish"),
                _ => continue,
            };
            let of_it = self
                .all(kind)
                .filter(|(at, _, policy)| self.places(*at, &policy[property]).contains(&to));
            let policies: Vec<&Value> = of_it
                .map(|(_, _, policy)| &policy["PolicyDocument"])
                .collect();
            // SQS-8 and SNS-5 check that there is a policy.
            if !policies.is_empty() && !policies.iter().any(|policy| lets(policy, service, action))
            {
                let message = format!(
                    "{service} is to write here and may not. Allow it {action} in the {kind}."
                );
                findings.push(self.find("CHAIN-1", to, message));
            }
        }
        findings
    }

    /// Checks that security groups on both sides allow a load balancer to reach its targets on the
    /// traffic port and the health check port.
    fn unreachable(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let balancers = self.all(kind::ELB_LOAD_BALANCER);
        let balancers: BTreeSet<Place<'a>> = balancers
            .flat_map(|(at, _, balancer)| self.places(at, &balancer["SecurityGroups"]))
            .collect();
        for (at, id, targets) in self.all(kind::ELB_TARGET_GROUP) {
            let services = self
                .all(kind::ECS_SERVICE)
                .filter(|(at_service, _, service)| {
                    self.places(*at_service, &service["LoadBalancers"])
                        .contains(&(at, id))
                });
            let tasks: BTreeSet<Place<'a>> = services
                .flat_map(|(at, _, service)| {
                    self.places(
                        at,
                        &service["NetworkConfiguration"]["AwsvpcConfiguration"]["SecurityGroups"],
                    )
                })
                .collect();
            if tasks.is_empty() {
                continue;
            }
            for property in ["Port", "HealthCheckPort"] {
                // Missing or `traffic-port`: the health check uses the traffic port.
                let Some(port) = number(&targets[property]) else {
                    continue;
                };
                let lets_in = self.opens(
                    kind::EC2_SECURITY_GROUP_INGRESS,
                    &tasks,
                    "SourceSecurityGroupId",
                    &balancers,
                    port,
                );
                let lets_out = self.opens(
                    kind::EC2_SECURITY_GROUP_EGRESS,
                    &balancers,
                    "DestinationSecurityGroupId",
                    &tasks,
                    port,
                );
                if !(lets_in && lets_out) {
                    let message = format!(
                        "The load balancer is to reach port {port} of its targets ({property}), and no security group opens \
                         it. Allow it from the balancer's group to that of the tasks, or take a port that is open."
                    );
                    findings.push(self.find("REACH-1", (at, id), message));
                }
            }
        }
        findings
    }

    /// Returns true if a separate rule of one of `groups` opens the port for one of `others`.
    fn opens(
        &self,
        direction: Kind,
        groups: &BTreeSet<Place<'a>>,
        other: &str,
        others: &BTreeSet<Place<'a>>,
        port: u64,
    ) -> bool {
        self.all(direction).any(|(at, _, rule)| {
            let ports = number(&rule["FromPort"]).zip(number(&rule["ToPort"]));
            ports.is_some_and(|(from, to)| (from..=to).contains(&port))
                && !self.places(at, &rule["GroupId"]).is_disjoint(groups)
                && !self.places(at, &rule[other]).is_disjoint(others)
        })
    }

    /// Checks that the boundary of a role allows all actions of its policies. An action outside the
    /// boundary would be denied only when it is used.
    fn beyond_the_boundary(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (at, id, role) in self.all(kind::IAM_ROLE) {
            for boundary in self.places(at, &role["PermissionsBoundary"]) {
                let document = &self.resource(boundary)["Properties"]["PolicyDocument"];
                let inside: BTreeSet<&str> = list(&document["Statement"])
                    .iter()
                    .filter(|statement| statement["Effect"] == "Allow")
                    .flat_map(|statement| {
                        list(&statement["Action"]).iter().filter_map(Value::as_str)
                    })
                    .collect();
                let allowed = self.allowed((at, id));
                let actions: BTreeSet<&str> =
                    allowed.keys().map(|right| right.action.as_str()).collect();
                // IAM-1 reports wildcards.
                let outside = actions
                    .into_iter()
                    .filter(|action| !action.contains('*') && !inside.contains(action));
                let outside: Vec<&str> = outside.collect();
                if !outside.is_empty() {
                    let message = format!(
                        "Its policies allow {}, and its boundary does not: the calls are refused. Add them to the boundary, \
                         or take them away.",
                        outside.join(", ")
                    );
                    findings.push(self.find("BOUND-1", (at, id), message));
                }
            }
        }
        findings
    }

    /// Checks that an alarm watches the oldest message of each queue and the messages in each
    /// dead-letter queue.
    fn queues_without_alarms(&self) -> Vec<Finding> {
        let watched = |metric: &str, queue: Place<'_>| {
            self.alarms.iter().any(|(at, alarm)| {
                metrics(alarm).any(|watched| {
                    let queues = list(&watched["Dimensions"])
                        .iter()
                        .filter(|dimension| dimension["Name"] == "QueueName");
                    watched["MetricName"] == metric
                        && queues
                            .flat_map(|named| self.places(*at, &named["Value"]))
                            .any(|place| place == queue)
                })
            })
        };
        let parking = self.everything().flat_map(|(at, _, resource)| {
            let properties = &resource["Properties"];
            let targets = list(&properties["Targets"])
                .iter()
                .map(|target| &target["DeadLetterConfig"]["Arn"]);
            let lost =
                std::iter::once(&properties["RedrivePolicy"]["deadLetterTargetArn"]).chain(targets);
            lost.flat_map(|lost| self.places(at, lost))
                .collect::<Vec<_>>()
        });
        let parking: BTreeSet<Place<'_>> = parking.collect();
        let mut findings = Vec::new();
        for (at, id, queue) in self.all(kind::SQS_QUEUE) {
            let (rule, metric, what) = if parking.contains(&(at, id)) {
                (
                    "WATCH-2",
                    "ApproximateNumberOfMessagesVisible",
                    "Messages may be given up and nobody hears of it.",
                )
            } else if !queue["RedrivePolicy"].is_null() {
                (
                    "WATCH-1",
                    "ApproximateAgeOfOldestMessage",
                    "Messages may wait and nobody hears of it.",
                )
            } else {
                // SQS-4 reports a queue that is neither.
                continue;
            };
            if !watched(metric, (at, id)) {
                findings.push(self.find(
                    rule,
                    (at, id),
                    format!("{what} Add an alarm on {metric} of this queue."),
                ));
            }
        }
        findings
    }

    /// Checks that the most common failures have an alarm, for each kind of resource that exists.
    fn unwatched(&self) -> Vec<Finding> {
        let has = |metric: &str| {
            let queried = format!("({metric})");
            self.alarms.iter().any(|(_, alarm)| {
                metrics(alarm).any(|it| it["MetricName"] == metric)
                    // A Metrics Insights query: `SELECT MAX(Metric) FROM ...`.
                    || list(&alarm["Metrics"]).iter().any(|it| it["Expression"].to_string().contains(&queried))
            })
        };
        // At least one alarm on one of the metrics, reported for the first resource of the type.
        let needs: &[(&str, Kind, &[&str])] = &[
            (
                "WATCH-3",
                kind::RDS_INSTANCE,
                &["FreeStorageSpace", "FreeLocalStorage"],
            ),
            ("WATCH-4", kind::RDS_INSTANCE, &["DatabaseConnections"]),
            (
                "WATCH-5",
                kind::ELASTICACHE_REPLICATION_GROUP,
                &["DatabaseMemoryUsagePercentage"],
            ),
            (
                "WATCH-6",
                kind::DYNAMODB_TABLE,
                &[
                    "ThrottledRequests",
                    "ReadThrottleEvents",
                    "WriteThrottleEvents",
                    "ReadThrottledRequests",
                ],
            ),
            (
                "WATCH-7",
                kind::ELB_LOAD_BALANCER,
                &["HTTPCode_Target_5XX_Count", "HTTPCode_ELB_5XX_Count"],
            ),
        ];
        let mut findings = Vec::new();
        for (rule, kind, names) in needs {
            if let Some((at, id, _)) = self.all(*kind).next()
                && !names.iter().any(|name| has(name))
            {
                findings.push(self.find(
                    rule,
                    (at, id),
                    format!(
                        "Nothing watches it. Add an alarm on {}.",
                        names.join(" or ")
                    ),
                ));
            }
        }
        // A mean hides slow requests, so the alarm must use a percentile.
        let slow = |alarm: &Value| {
            let of = |watched: &Value, statistic: &Value| {
                watched["MetricName"] == "TargetResponseTime"
                    && statistic.as_str().is_some_and(|stat| stat.starts_with('p'))
            };
            of(alarm, &alarm["ExtendedStatistic"])
                || list(&alarm["Metrics"])
                    .iter()
                    .any(|it| of(&it["MetricStat"]["Metric"], &it["MetricStat"]["Stat"]))
        };
        if let Some((at, id, _)) = self.all(kind::ELB_LOAD_BALANCER).next()
            && !self.alarms.iter().any(|(_, alarm)| slow(alarm))
        {
            let message = "The shop may be slow and nobody hears of it. Add an alarm on TargetResponseTime, p95 or p99.";
            findings.push(self.find("WATCH-8", (at, id), message.to_owned()));
        }
        let streams = self
            .all(kind::DYNAMODB_TABLE)
            .find(|(_, _, table)| !table["StreamSpecification"].is_null());
        if let Some((at, id, _)) = streams
            && !has(Metric::StreamLag.name())
        {
            let message = format!(
                "Nobody hears when its stream is read late. Add an alarm on {}.",
                Metric::StreamLag.name()
            );
            findings.push(self.find("WATCH-9", (at, id), message));
        }
        // The outbox is a table of the database, and its age is our own metric.
        if let Some((at, id, _)) = self.all(kind::RDS_INSTANCE).next()
            && !has(Metric::OutboxLag.name())
        {
            let message = format!(
                "Nobody hears when the outbox stands still. Add an alarm on {}.",
                Metric::OutboxLag.name()
            );
            findings.push(self.find("WATCH-10", (at, id), message));
        }
        if let Some((at, id, _)) = self.all(kind::SNS_SUBSCRIPTION).next()
            && !has("NumberOfNotificationsFailed")
            && !has("NumberOfNotificationsFailedToRedriveToDlq")
        {
            let message = "Nobody hears of what a topic cannot deliver. Add an alarm on NumberOfNotificationsFailed.";
            findings.push(self.find("WATCH-11", (at, id), message.to_owned()));
        }
        findings
    }

    /// Checks that the two IAM roles of each role allow exactly the rights of the contract.
    fn edges(&self, environment: &Environment) -> Vec<Finding> {
        let mut findings = Vec::new();
        for role in ROLES {
            let runs = |task: &Value| {
                list(&task["ContainerDefinitions"])
                    .iter()
                    .any(|it| it["Name"] == role.slug)
            };
            let task = self
                .all(kind::ECS_TASK_DEFINITION)
                .find(|(_, _, task)| runs(task));
            // A role without a task has no IAM roles, as on the local AWS.
            let Some((at, id, task)) = task else { continue };
            for (actor, property) in [
                (Actor::Process, "TaskRoleArn"),
                (Actor::Starter, "ExecutionRoleArn"),
            ] {
                let own = self.places(at, &task[property]).into_iter().next();
                findings.extend(
                    own.into_iter()
                        .flat_map(|own| self.edges_of(environment, role, actor, (at, id), own)),
                );
            }
        }
        // Roles can share an execution role and then have the same finding.
        findings.dedup_by(|later, first| {
            later.resource == first.resource && later.message == first.message
        });
        findings
    }

    fn edges_of(
        &self,
        environment: &Environment,
        role: &Role,
        actor: Actor,
        task: Place<'a>,
        own: Place<'a>,
    ) -> Vec<Finding> {
        let allowed = self.allowed(own);
        let document = roles::policy(role, environment, actor, Vec::new());
        let wanted = |effect: &str| -> BTreeSet<Right> {
            let statements = list(&document["Statement"])
                .iter()
                .filter(|statement| statement["Effect"] == effect);
            statements.flat_map(rights).collect()
        };
        let (denied, wanted_denied, wanted) =
            (self.rights(own, "Deny"), wanted("Deny"), wanted("Allow"));
        let mut findings = Vec::new();
        for right in wanted_denied
            .iter()
            .filter(|right| !denied.contains_key(right))
        {
            let message = format!(
                "{} must not be able to {right}, and {} does not deny it. Deny it.",
                role.slug, own.1
            );
            findings.push(self.find("EDGE-1", task, message));
        }
        for right in wanted.iter().filter(|right| !allowed.contains_key(right)) {
            let message = format!(
                "An edge of {} asks for {right}, and {} does not allow it. Allow it.",
                role.slug, own.1
            );
            findings.push(self.find("EDGE-1", task, message));
        }
        for (right, place) in allowed.iter().filter(|(right, _)| !wanted.contains(right)) {
            // Starting a task needs actions that are not in the contract.
            if actor == Actor::Starter && STARTING.contains(&right.action.as_str()) {
                continue;
            }
            let message = format!(
                "{} allows {right}, and no edge of the contract asks for it. Take it away, or add the edge.",
                own.1
            );
            findings.push(self.find("EDGE-2", *place, message));
        }
        findings
    }

    /// Returns all rights of a role, each with the policy that allows it.
    fn allowed(&self, role: Place<'a>) -> BTreeMap<Right, Place<'a>> {
        self.rights(role, "Allow")
    }

    /// Returns the rights of a role's policies with this effect, each with its policy.
    fn rights(&self, role: Place<'a>, effect: &str) -> BTreeMap<Right, Place<'a>> {
        let properties = &self.resource(role)["Properties"];
        let mut documents: Vec<(Place<'a>, &'a Value)> = Vec::new();
        documents.extend(
            list(&properties["Policies"])
                .iter()
                .map(|policy| (role, &policy["PolicyDocument"])),
        );
        let attached: BTreeSet<Place<'a>> = list(&properties["ManagedPolicyArns"])
            .iter()
            .flat_map(|arn| self.places(role.0, arn))
            .collect();
        for (at, id, resource) in self.everything() {
            if matches!(
                Kind::of(resource),
                Some(kind::IAM_MANAGED_POLICY | kind::IAM_POLICY)
            ) {
                let properties = &resource["Properties"];
                let roles = list(&properties["Roles"])
                    .iter()
                    .flat_map(|named| self.places(at, named));
                if attached.contains(&(at, id)) || roles.into_iter().any(|named| named == role) {
                    documents.push(((at, id), &properties["PolicyDocument"]));
                }
            }
        }
        let mut found = BTreeMap::new();
        for (place, document) in documents {
            for statement in list(&document["Statement"])
                .iter()
                .filter(|statement| statement["Effect"] == effect)
            {
                found.extend(rights(statement).into_iter().map(|right| (right, place)));
            }
        }
        found
    }
}

/// One action on one resource under one condition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    action: String,
    resource: String,
    condition: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.action, self.resource)?;
        if self.condition.is_empty() {
            Ok(())
        } else {
            write!(f, " where {}", self.condition)
        }
    }
}

/// Returns each combination of action and resource in a statement.
fn rights(statement: &Value) -> Vec<Right> {
    let plain = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let condition = match &statement["Condition"] {
        Value::Null => String::new(),
        condition => condition.to_string(),
    };
    let of = |action: &Value| {
        let (action, condition) = (plain(action), condition.clone());
        let right = move |resource: &Value| Right {
            action: action.clone(),
            resource: plain(resource),
            condition: condition.clone(),
        };
        list(&statement["Resource"]).iter().map(right)
    };
    list(&statement["Action"]).iter().flat_map(of).collect()
}

/// The actions with which ECS starts a task: fetching the image and writing the log.
const STARTING: &[&str] = &[
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
];

/// Returns a port, which may be a number or text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// Returns the metrics that an alarm watches, directly or in metric math.
fn metrics(alarm: &Value) -> impl Iterator<Item = &Value> {
    std::iter::once(alarm).chain(
        list(&alarm["Metrics"])
            .iter()
            .map(|part| &part["MetricStat"]["Metric"]),
    )
}

/// Returns true if a policy allows a service an action.
fn lets(policy: &Value, service: &str, wanted: &str) -> bool {
    let may = |action: &str| {
        action == wanted
            || action
                .strip_suffix('*')
                .is_some_and(|beginning| wanted.starts_with(beginning))
    };
    list(&policy["Statement"]).iter().any(|statement| {
        statement["Effect"] == "Allow"
            && list(&statement["Principal"]["Service"])
                .iter()
                .any(|named| named == service)
            && list(&statement["Action"])
                .iter()
                .filter_map(Value::as_str)
                .any(may)
    })
}

fn imports(value: &Value) -> BTreeSet<&str> {
    match value {
        Value::Object(object) => {
            let own = object.get("Fn::ImportValue").and_then(Value::as_str);
            own.into_iter()
                .chain(object.values().flat_map(imports))
                .collect()
        }
        Value::Array(values) => values.iter().flat_map(imports).collect(),
        _ => BTreeSet::new(),
    }
}
