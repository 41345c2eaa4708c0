//! Rules between stacks: every import has an export, every queue and server has an alarm, and each
//! role has exactly the rights of the contract.

mod rights;

use std::collections::BTreeSet;

use contract::metric::Metric;
use serde_json::Value;

use super::{Finding, waivers};
use crate::environment::Environment;
use crate::graph::{Graph, Place, Resource};
use crate::kind::{self, Kind};
use crate::references::{imports, list};
use crate::stack::Stack;

/// The ids of the rules.
pub const RULES: &[&str] = &[
    "IMPORT-1", "KEY-1", "CHAIN-1", "REACH-1", "BOUND-1", "WATCH-1", "WATCH-2", "WATCH-3",
    "WATCH-4", "WATCH-5", "WATCH-6", "WATCH-7", "WATCH-8", "WATCH-9", "WATCH-10", "WATCH-11",
    "EDGE-1", "EDGE-2", "TAG-2",
];

/// Checks all stacks of an environment together.
pub fn closure(environment: &Environment, stacks: &[Stack]) -> Vec<Finding> {
    let rules = Rules::new(stacks);
    let mut findings = rules.imports();
    findings.extend(rules.chains());
    findings.extend(rules.unreachable());
    findings.extend(rules.beyond_the_boundary());
    findings.extend(rules.queues_without_alarms());
    findings.extend(rules.unwatched());
    findings.extend(rules.edges(environment));
    findings.extend(missing_tag(environment));
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
fn missing_tag(environment: &Environment) -> Option<Finding> {
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
            "The stacks have no tag {missing}, so their owner and cost center are unknown. Set it under `account` in the \
             environment file."
        ),
        waived: None,
    })
}

/// All stacks with their alarms.
struct Rules<'a> {
    graph: Graph<'a>,
    alarms: Vec<Resource<'a>>,
}

impl<'a> Rules<'a> {
    fn new(stacks: &'a [Stack]) -> Rules<'a> {
        let graph = Graph::new(stacks);
        let alarms = graph.of_type(kind::CLOUDWATCH_ALARM).collect();
        Rules { graph, alarms }
    }

    fn find(&self, rule: &str, (at, resource): Place<'_>, message: String) -> Finding {
        Finding {
            rule: rule.to_owned(),
            stack: self.graph.stack(at).name.clone(),
            resource: resource.to_owned(),
            path: format!("/Resources/{resource}"),
            message,
            waived: None,
        }
    }

    fn imports(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for it in self.graph.resources() {
            for import in imports(it.body)
                .into_iter()
                .filter(|import| self.graph.export(import).is_none())
            {
                let message =
                    format!("No stack exports {import}. Add the export, or correct the name.");
                findings.push(self.find("IMPORT-1", it.place, message));
            }
        }
        findings
    }

    /// Returns pairs of an AWS service and the resource to which it writes.
    fn writers(&self) -> BTreeSet<(&'static str, Place<'a>)> {
        let mut writers = BTreeSet::new();
        let mut add = |service: &'static str, it: Resource<'a>, to: &'a Value| {
            writers.extend(self.places(it, to).into_iter().map(|to| (service, to)));
        };
        for it in self.graph.of_type(kind::SNS_SUBSCRIPTION) {
            let redrive = &it.properties["RedrivePolicy"];
            add("sns.amazonaws.com", it, &it.properties["Endpoint"]);
            add("sns.amazonaws.com", it, &redrive["deadLetterTargetArn"]);
        }
        for it in self.graph.of_type(kind::EVENTS_RULE) {
            for target in list(&it.properties["Targets"]) {
                add("events.amazonaws.com", it, &target["Arn"]);
                add("events.amazonaws.com", it, &target["DeadLetterConfig"]);
            }
        }
        for alarm in &self.alarms {
            for actions in ["AlarmActions", "OKActions"] {
                let actions = &alarm.properties[actions];
                add("cloudwatch.amazonaws.com", *alarm, actions);
            }
        }
        for it in self.graph.of_type(kind::S3_BUCKET) {
            let configuration = &it.properties["NotificationConfiguration"];
            add("s3.amazonaws.com", it, configuration);
        }
        for it in self.graph.of_type(kind::EVENTS_BUS) {
            if !it.properties["KmsKeyIdentifier"].is_null() {
                writers.insert(("events.amazonaws.com", it.place));
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
            let properties = &self.graph.body(to)["Properties"];
            let key = [
                &properties["KmsMasterKeyId"],
                &properties["KmsKeyIdentifier"],
            ]
            .into_iter()
            .find(|key| !key.is_null());
            for key in key.into_iter().flat_map(|key| self.graph.places(to.0, key)) {
                let resource = self.graph.body(key);
                let policy = &resource["Properties"]["KeyPolicy"];
                let may = |action: &str| lets(policy, service, action);
                if resource["Type"] == kind::KMS_KEY
                    && !(may("kms:Decrypt") && may("kms:GenerateDataKey"))
                {
                    let message = format!(
                        "{service} writes to {}, which is encrypted with this key, but cannot use the key, so messages are lost. \
                         Allow kms:Decrypt and kms:GenerateDataKey in KeyPolicy, with a Condition on aws:SourceAccount.",
                        to.1
                    );
                    findings.push(self.find("KEY-1", key, message));
                }
            }
            let (kind, property, action) = match Kind::of(self.graph.body(to)) {
                Some(kind::SQS_QUEUE) => (kind::SQS_QUEUE_POLICY, "Queues", "sqs:SendMessage"),
                Some(kind::SNS_TOPIC) => (kind::SNS_TOPIC_POLICY, "Topics", "sns:Publish"),
                _ => continue,
            };
            let policies: Vec<&Value> = self
                .graph
                .of_type(kind)
                .filter(|it| self.places(*it, &it.properties[property]).contains(&to))
                .map(|it| &it.properties["PolicyDocument"])
                .collect();
            // SQS-8 and SNS-5 check that there is a policy.
            if !policies.is_empty() && !policies.iter().any(|policy| lets(policy, service, action))
            {
                let message = format!(
                    "{service} sends messages here but has no permission. Allow {action} in the {kind}."
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
        let balancers: BTreeSet<Place<'a>> = self
            .graph
            .of_type(kind::ELB_LOAD_BALANCER)
            .flat_map(|it| self.places(it, &it.properties["SecurityGroups"]))
            .collect();
        for targets in self.graph.of_type(kind::ELB_TARGET_GROUP) {
            let services = self.graph.of_type(kind::ECS_SERVICE).filter(|service| {
                self.places(*service, &service.properties["LoadBalancers"])
                    .contains(&targets.place)
            });
            let tasks: BTreeSet<Place<'a>> = services
                .flat_map(|service| {
                    let network = &service.properties["NetworkConfiguration"];
                    self.places(service, &network["AwsvpcConfiguration"]["SecurityGroups"])
                })
                .collect();
            if tasks.is_empty() {
                continue;
            }
            for property in ["Port", "HealthCheckPort"] {
                // Missing or `traffic-port`: the health check uses the traffic port.
                let Some(port) = targets.number(property) else {
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
                        "The load balancer cannot reach port {port} of its targets ({property}), because no security group rule \
                         allows it. Allow it from the load balancer's group to the tasks' group, or use another port."
                    );
                    findings.push(self.find("REACH-1", targets.place, message));
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
        port: f64,
    ) -> bool {
        self.graph.of_type(direction).any(|rule| {
            let ports = rule.number("FromPort").zip(rule.number("ToPort"));
            ports.is_some_and(|(from, to)| (from..=to).contains(&port))
                && !self
                    .places(rule, &rule.properties["GroupId"])
                    .is_disjoint(groups)
                && !self
                    .places(rule, &rule.properties[other])
                    .is_disjoint(others)
        })
    }

    /// Returns the resources to which a part of a resource refers.
    fn places(&self, it: Resource<'a>, part: &'a Value) -> BTreeSet<Place<'a>> {
        self.graph.places(it.place.0, part)
    }

    /// Checks that an alarm watches the oldest message of each queue and the messages in each
    /// dead-letter queue.
    fn queues_without_alarms(&self) -> Vec<Finding> {
        let watched = |metric: &str, queue: Place<'_>| {
            self.alarms.iter().any(|alarm| {
                metrics(alarm.properties).any(|watched| {
                    let queues = list(&watched["Dimensions"])
                        .iter()
                        .filter(|dimension| dimension["Name"] == "QueueName");
                    watched["MetricName"] == metric
                        && queues
                            .flat_map(|named| self.places(*alarm, &named["Value"]))
                            .any(|place| place == queue)
                })
            })
        };
        let parking = self.graph.resources().flat_map(|it| {
            let properties = it.properties;
            let targets = list(&properties["Targets"])
                .iter()
                .map(|target| &target["DeadLetterConfig"]["Arn"]);
            let lost =
                std::iter::once(&properties["RedrivePolicy"]["deadLetterTargetArn"]).chain(targets);
            lost.flat_map(|lost| self.places(it, lost))
                .collect::<Vec<_>>()
        });
        let parking: BTreeSet<Place<'_>> = parking.collect();
        let mut findings = Vec::new();
        for queue in self.graph.of_type(kind::SQS_QUEUE) {
            let (rule, metric, what) = if parking.contains(&queue.place) {
                (
                    "WATCH-2",
                    "ApproximateNumberOfMessagesVisible",
                    "No alarm reports dead letters.",
                )
            } else if !queue.properties["RedrivePolicy"].is_null() {
                (
                    "WATCH-1",
                    "ApproximateAgeOfOldestMessage",
                    "No alarm reports waiting messages.",
                )
            } else {
                // SQS-4 reports a queue that is neither.
                continue;
            };
            if !watched(metric, queue.place) {
                let message = format!("{what} Add an alarm on {metric} of this queue.");
                findings.push(self.find(rule, queue.place, message));
            }
        }
        findings
    }

    /// Checks that the most common failures have an alarm, for each kind of resource that exists.
    fn unwatched(&self) -> Vec<Finding> {
        let has = |metric: &str| {
            let queried = format!("({metric})");
            self.alarms.iter().any(|alarm| {
                metrics(alarm.properties).any(|it| it["MetricName"] == metric)
                    // A Metrics Insights query: `SELECT MAX(Metric) FROM ...`.
                    || list(&alarm.properties["Metrics"]).iter().any(|it| it["Expression"].to_string().contains(&queried))
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
        let first = |kind: Kind| self.graph.of_type(kind).next();
        let mut findings = Vec::new();
        let mut need = |rule: &str, first: Option<Resource<'a>>, is_met: bool, message: String| {
            if let (Some(first), false) = (first, is_met) {
                findings.push(self.find(rule, first.place, message));
            }
        };
        for (rule, kind, names) in needs {
            let alarms = names.join(" or ");
            let message = format!("No alarm watches the resource. Add an alarm on {alarms}.");
            let is_met = names.iter().any(|name| has(name));
            need(rule, first(*kind), is_met, message);
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
        let is_met = self.alarms.iter().any(|alarm| slow(alarm.properties));
        let message = "No alarm reports slow responses. Add an alarm on TargetResponseTime with the statistic p95 or p99.";
        let balancer = first(kind::ELB_LOAD_BALANCER);
        need("WATCH-8", balancer, is_met, message.to_owned());
        let mut tables = self.graph.of_type(kind::DYNAMODB_TABLE);
        let streamed = tables.find(|table| !table.properties["StreamSpecification"].is_null());
        let metric = Metric::StreamLag.name();
        let message =
            format!("No alarm reports a delayed stream consumer. Add an alarm on {metric}.");
        need("WATCH-9", streamed, has(metric), message);
        // The outbox is a table of the database, and its age is our own metric.
        let (database, metric) = (first(kind::RDS_INSTANCE), Metric::OutboxLag.name());
        let message = format!("No alarm reports a stalled outbox. Add an alarm on {metric}.");
        need("WATCH-10", database, has(metric), message);
        let is_met =
            has("NumberOfNotificationsFailed") || has("NumberOfNotificationsFailedToRedriveToDlq");
        let message = "No alarm reports failed deliveries of topics. Add an alarm on NumberOfNotificationsFailed.";
        let subscription = first(kind::SNS_SUBSCRIPTION);
        need("WATCH-11", subscription, is_met, message.to_owned());
        findings
    }
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
