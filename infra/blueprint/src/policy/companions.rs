//! Rules about several resources of one template: resources that need a companion.

use std::collections::HashSet;

use serde_json::Value;

use crate::kind::{self, Kind};

use super::Finding;
use crate::references::{list, of_type, referred, resources};

/// The ids of the rules.
pub const RULES: &[&str] = &[
    "SQS-4", "SQS-6", "SQS-7", "SQS-8", "SNS-5", "EVENTS-3", "S3-4", "S3-6", "S3-9", "SECRET-2",
    "VPC-3", "VPC-6", "VPC-9", "ECS-15", "WAF-3", "WAF-4", "WAF-8",
];

/// A resource type that a resource of another type must refer to.
struct Companion {
    rule: &'static str,
    of: Kind,
    by: Kind,
    /// The property of the other resource with the reference.
    property: &'static str,
    message: &'static str,
}

const COMPANIONS: &[Companion] = &[
    Companion {
        rule: "SQS-8",
        of: kind::SQS_QUEUE,
        by: kind::SQS_QUEUE_POLICY,
        property: "Queues",
        message: "The queue has no policy, so it accepts messages over plain HTTP. Add a QueuePolicy that denies it.",
    },
    Companion {
        rule: "SNS-5",
        of: kind::SNS_TOPIC,
        by: kind::SNS_TOPIC_POLICY,
        property: "Topics",
        message: "The topic has no policy, so it accepts messages over plain HTTP. Add a TopicPolicy that denies it.",
    },
    Companion {
        rule: "EVENTS-3",
        of: kind::EVENTS_BUS,
        by: kind::EVENTS_ARCHIVE,
        property: "SourceArn",
        message: "Events cannot be replayed after a failure. Add an AWS::Events::Archive of the bus.",
    },
    Companion {
        rule: "S3-6",
        of: kind::S3_BUCKET,
        by: kind::S3_BUCKET_POLICY,
        property: "Bucket",
        message: "The bucket has no policy, so it accepts plain HTTP. Add a BucketPolicy that denies it.",
    },
    Companion {
        rule: "SECRET-2",
        of: kind::SECRET,
        by: kind::SECRET_ROTATION_SCHEDULE,
        property: "SecretId",
        message: "The secret is never rotated. Add a RotationSchedule.",
    },
    Companion {
        rule: "VPC-3",
        of: kind::EC2_VPC,
        by: kind::EC2_FLOW_LOG,
        property: "ResourceId",
        message: "Network traffic is not logged. Add a FlowLog of the VPC with TrafficType ALL.",
    },
    Companion {
        rule: "WAF-3",
        of: kind::WAF_WEB_ACL,
        by: kind::WAF_WEB_ACL_ASSOCIATION,
        property: "WebACLArn",
        message: "The firewall protects no resource. Add a WebACLAssociation.",
    },
    Companion {
        rule: "WAF-4",
        of: kind::WAF_WEB_ACL,
        by: kind::WAF_LOGGING_CONFIGURATION,
        property: "ResourceArn",
        message: "Blocked requests are not logged. Add a LoggingConfiguration.",
    },
];

/// Retention of a dead-letter queue in seconds: 14 days, the maximum of SQS.
const PARKING_RETENTION: u64 = 1_209_600;
/// Default retention of SQS in seconds: 4 days.
const DEFAULT_RETENTION: u64 = 345_600;

/// Checks a template against all rules of this module.
pub fn findings(stack: &str, template: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |rule: &str, resource: &str, property: &str, message: &str| {
        findings.push(Finding {
            rule: rule.to_owned(),
            stack: stack.to_owned(),
            resource: resource.to_owned(),
            path: format!("/Resources/{resource}/Properties{property}"),
            message: message.to_owned(),
            waived: None,
        });
    };
    for Companion {
        rule,
        of,
        by,
        property,
        message,
    } in COMPANIONS
    {
        let beside =
            of_type(template, *by).flat_map(|(_, other)| referred(&other["Properties"][property]));
        let beside: HashSet<&str> = beside.collect();
        for (id, _) in of_type(template, *of).filter(|(id, _)| !beside.contains(id)) {
            say(rule, id, "", message);
        }
    }
    parking(template, &mut say);
    buckets(template, &mut say);
    endpoints(template, &mut say);
    outward(template, &mut say);
    task_roles(template, &mut say);
    behind_the_firewall(template, &mut say);
    findings
}

/// Reports a finding: rule, resource, property, message.
type Say<'a> = &'a mut dyn FnMut(&str, &str, &str, &str);

/// Checks that each queue has a dead-letter queue or is one, and that retention and type of the two
/// match.
fn parking(template: &Value, say: Say) {
    let mut parking: HashSet<&str> = HashSet::new();
    for (_, resource) in resources(template) {
        let properties = &resource["Properties"];
        parking.extend(referred(
            &properties["RedrivePolicy"]["deadLetterTargetArn"],
        ));
        parking.extend(referred(&properties["DeadLetterConfig"]));
        parking.extend(
            list(&properties["Targets"])
                .iter()
                .flat_map(|target| referred(&target["DeadLetterConfig"])),
        );
    }
    for (id, queue) in of_type(template, kind::SQS_QUEUE) {
        let properties = &queue["Properties"];
        if properties["RedrivePolicy"].is_null() && !parking.contains(id) {
            say(
                "SQS-4",
                id,
                "",
                "Failed messages are retried until they expire. Add a RedrivePolicy to the queue.",
            );
        }
        let retention = |queue: &Value| {
            queue["MessageRetentionPeriod"]
                .as_u64()
                .unwrap_or(DEFAULT_RETENTION)
        };
        for parking in referred(&properties["RedrivePolicy"]["deadLetterTargetArn"]) {
            let parked = &template["Resources"][parking]["Properties"];
            // A message keeps its age when it moves to the dead-letter queue.
            if retention(parked) < PARKING_RETENTION || retention(parked) <= retention(properties) {
                let message = "Dead letters expire before an operator can redrive them. Set MessageRetentionPeriod to \
                               1209600 (14 days), and a lower value on the source queue.";
                say("SQS-6", parking, "/MessageRetentionPeriod", message);
            }
            if properties["FifoQueue"] != parked["FifoQueue"] {
                let message = "SQS requires the same type for a queue and its dead-letter queue. Set FifoQueue on both \
                               queues or on neither.";
                say("SQS-7", parking, "/FifoQueue", message);
            }
        }
    }
}

/// Checks that each bucket has access logs and a replica, unless the bucket holds the logs or is
/// the replica.
fn buckets(template: &Value, say: Say) {
    let mut holds_logs: HashSet<&str> = HashSet::new();
    let mut is_copy: HashSet<&str> = HashSet::new();
    for (_, bucket) in of_type(template, kind::S3_BUCKET) {
        let properties = &bucket["Properties"];
        holds_logs.extend(referred(
            &properties["LoggingConfiguration"]["DestinationBucketName"],
        ));
        let rules = list(&properties["ReplicationConfiguration"]["Rules"]);
        is_copy.extend(
            rules
                .iter()
                .flat_map(|rule| referred(&rule["Destination"]["Bucket"])),
        );
    }
    for (id, bucket) in of_type(template, kind::S3_BUCKET) {
        let properties = &bucket["Properties"];
        // A log bucket that logs into itself would grow without end.
        if properties["LoggingConfiguration"]["DestinationBucketName"].is_null()
            && !holds_logs.contains(id)
        {
            say(
                "S3-4",
                id,
                "",
                "Access to the bucket is not logged. Set LoggingConfiguration.",
            );
        }
        let rules = list(&properties["ReplicationConfiguration"]["Rules"]);
        if !rules.iter().any(|rule| rule["Status"] == "Enabled") && !is_copy.contains(id) {
            say(
                "S3-9",
                id,
                "",
                "The objects exist in one region only. Set ReplicationConfiguration with an enabled rule.",
            );
        }
    }
}

/// Checks that the traffic to the services that tasks call stays inside the VPC.
fn endpoints(template: &Value, say: Say) {
    const SERVICES: &[&str] = &[
        "sqs",
        "sns",
        "dynamodb",
        "kms",
        "secretsmanager",
        "logs",
        "ecr.api",
        "ecr.dkr",
        "s3",
    ];
    let text = |endpoint: &Value| endpoint["Properties"]["ServiceName"].to_string();
    let names: Vec<String> = of_type(template, kind::EC2_VPC_ENDPOINT)
        .map(|(_, endpoint)| text(endpoint))
        .collect();
    for (id, _) in of_type(template, kind::EC2_VPC) {
        // The service name is the end of the text, whether plain, in `Fn::Sub` or the last part of
        // `Fn::Join`.
        let there = |service: &&&str| {
            names
                .iter()
                .any(|name| name.contains(&format!(".{service}\"")))
        };
        let missing: Vec<&str> = SERVICES
            .iter()
            .filter(|service| !there(service))
            .copied()
            .collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            say(
                "VPC-9",
                id,
                "",
                &format!("Calls to {missing} leave the VPC. Add a VPCEndpoint for each service."),
            );
        }
    }
}

/// Checks that each security group restricts outgoing traffic. The default of AWS allows all of it.
fn outward(template: &Value, say: Say) {
    let apart = of_type(template, kind::EC2_SECURITY_GROUP_EGRESS);
    let apart: HashSet<&str> = apart
        .flat_map(|(_, rule)| referred(&rule["Properties"]["GroupId"]))
        .collect();
    for (id, group) in of_type(template, kind::EC2_SECURITY_GROUP) {
        if list(&group["Properties"]["SecurityGroupEgress"]).is_empty() && !apart.contains(id) {
            let message = "The group allows all outgoing traffic. List the required targets in SecurityGroupEgress.";
            say("VPC-6", id, "/SecurityGroupEgress", message);
        }
    }
}

/// Checks that no two tasks share a task role.
fn task_roles(template: &Value, say: Say) {
    let mut taken: Vec<&Value> = Vec::new();
    for (id, task) in of_type(template, kind::ECS_TASK_DEFINITION) {
        let (role, starter) = (
            &task["Properties"]["TaskRoleArn"],
            &task["Properties"]["ExecutionRoleArn"],
        );
        if role.is_null() {
            continue;
        }
        if taken.contains(&role) || role == starter {
            let message = "The task shares its role and has the permissions of other tasks. Set a separate TaskRoleArn for \
                           each task, different from its ExecutionRoleArn.";
            say("ECS-15", id, "/TaskRoleArn", message);
        }
        taken.push(role);
    }
}

/// Checks that every public endpoint is behind the firewall.
fn behind_the_firewall(template: &Value, say: Say) {
    let guarded = of_type(template, kind::WAF_WEB_ACL_ASSOCIATION);
    let guarded: HashSet<&str> = guarded
        .flat_map(|(_, association)| referred(&association["Properties"]["ResourceArn"]))
        .collect();
    let message =
        "The endpoint is reachable without the firewall. Add a WebACLAssociation with its ARN.";
    for (id, balancer) in of_type(template, kind::ELB_LOAD_BALANCER) {
        // WAF does not support network load balancers.
        let open = balancer["Properties"]["Scheme"] != "internal"
            && balancer["Properties"]["Type"] != "network";
        if open && !guarded.contains(id) {
            say("WAF-8", id, "", message);
        }
    }
    for (id, stage) in of_type(template, kind::API_STAGE) {
        let api = referred(&stage["Properties"]["RestApiId"]);
        if !guarded.contains(id) && api.is_disjoint(&guarded.iter().copied().collect()) {
            say("WAF-8", id, "", message);
        }
    }
}
