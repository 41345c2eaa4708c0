//! The number of tasks of each role, and its scaling.

use contract::address::Address;
use contract::queue::Queue;
use contract::role::Role;
use serde_json::{Value, json};

use super::has_image;
use crate::environment::Environment;
use crate::kind;
use crate::names::{Shared, export_of_name};
use crate::template::{LogicalId, Template, get_att, reference, sub};

/// Target requests per minute of one storefront task: a hundred tasks answer 2,000 requests per
/// second.
const REQUESTS_PER_TASK: u32 = 1_200;

/// Target CPU use of storefront tasks in percent.
pub(super) const CPU_TARGET: u32 = 60;

/// Seconds between scaling steps. Tasks are added fast and removed slowly, because too many tasks
/// cost little and too few lose customers.
const SCALE_OUT_SECONDS: u32 = 60;

const SCALE_IN_SECONDS: u32 = 300;

/// The number of tasks of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tasks {
    Fixed(u16),
    Scaled { least: u16, most: u16 },
}

pub(super) fn tasks(environment: &Environment, role: &Role) -> Tasks {
    let compute = &environment.settings.compute;
    let scaled = |(least, most): (u16, u16)| Tasks::Scaled { least, most };
    if role.public {
        scaled(compute.storefront_tasks)
    } else if !role.consumes.is_empty() {
        scaled(compute.worker_tasks)
    } else if !role.streams.is_empty() || !role.sends.is_empty() {
        // All messages wait for the outbox relay, and stock alerts for the stream. A second task is
        // a standby in another zone, if the environment has at least two tasks per role. Rows and
        // shards are claimed, so two tasks do not repeat work.
        Tasks::Fixed(compute.worker_tasks.0.min(2))
    } else {
        // This role retries work that is already overdue, so a minute without it is harmless.
        Tasks::Fixed(1)
    }
}

pub(super) fn scaling(
    template: &mut Template<'_>,
    role: &Role,
    cluster: &LogicalId,
    service: &LogicalId,
) {
    let environment = template.environment;
    let Tasks::Scaled { least, most } = tasks(environment, role) else {
        return;
    };
    let (least, most) = if has_image(environment) {
        (least, most)
    } else {
        (0, 0)
    };
    let words = format!("{} scaling", role.slug);
    let properties = json!({
        "ServiceNamespace": "ecs",
        "ScalableDimension": "ecs:service:DesiredCount",
        "ResourceId": sub(&format!("service/${{{}}}/${{{}.Name}}", cluster.as_str(), service.as_str())),
        "MinCapacity": least,
        "MaxCapacity": most,
    });
    let target = template.add(&words, kind::SCALABLE_TARGET, properties);
    let mut follow = |what: &str, goal: u32, metric: (&str, Value)| {
        let words = format!("{} {what} scaling", role.slug);
        let properties = json!({
            "PolicyName": format!("{}-{what}", role.slug),
            "PolicyType": "TargetTrackingScaling",
            "ScalingTargetId": reference(&target),
            "TargetTrackingScalingPolicyConfiguration": {
                metric.0: metric.1,
                "TargetValue": goal,
                "ScaleOutCooldown": SCALE_OUT_SECONDS,
                "ScaleInCooldown": SCALE_IN_SECONDS,
            },
        });
        template.add(&words, kind::SCALING_POLICY, properties);
    };
    if role.public {
        let cpu = json!({ "PredefinedMetricType": "ECSServiceAverageCPUUtilization" });
        follow("cpu", CPU_TARGET, ("PredefinedMetricSpecification", cpu));
        follow(
            "requests",
            REQUESTS_PER_TASK,
            (
                "CustomizedMetricSpecification",
                requests_per_task(environment),
            ),
        );
    }
    for queue in role.consumes {
        let metric = backlog_per_task(environment, queue, cluster, service);
        let goal = u32::from(environment.settings.compute.backlog_per_task);
        follow("backlog", goal, ("CustomizedMetricSpecification", metric));
    }
}

/// Returns a metric over both target groups, because a deployment shifts traffic between them. The
/// predefined `ALBRequestCountPerTarget` covers only one (ECS Developer Guide, "Use a target metric
/// to scale Amazon ECS services").
fn requests_per_task(environment: &Environment) -> Value {
    // The dimension is `targetgroup/name/id`, the part of the ARN after the last colon.
    let name = |shared: Shared| json!({ "Fn::Select": [5, { "Fn::Split": [":", shared.import(environment)] }] });
    let requests = |id: &str, shared: Shared| {
        let dimensions = json!([{ "Name": "TargetGroup", "Value": name(shared) }]);
        metric(
            id,
            "AWS/ApplicationELB",
            "RequestCountPerTarget",
            "Sum",
            dimensions,
        )
    };
    json!({ "Metrics": [
        requests("one", Shared::StorefrontTargets),
        requests("other", Shared::StorefrontOtherTargets),
        { "Id": "requests", "Expression": "FILL(one, 0) + FILL(other, 0)", "ReturnData": true },
    ] })
}

/// Returns the waiting messages per running task (Application Auto Scaling User Guide, "Create a
/// target tracking scaling policy using metric math").
fn backlog_per_task(
    environment: &Environment,
    queue: &'static Queue,
    cluster: &LogicalId,
    service: &LogicalId,
) -> Value {
    let queue_name =
        json!({ "Fn::ImportValue": export_of_name(environment, Address::Queue(queue)) });
    let queue = json!([{ "Name": "QueueName", "Value": queue_name }]);
    let tasks = json!([
        { "Name": "ClusterName", "Value": reference(cluster) },
        { "Name": "ServiceName", "Value": get_att(service, "Name") },
    ]);
    json!({ "Metrics": [
        metric("waiting", "AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", queue),
        metric("running", "ECS/ContainerInsights", "RunningTaskCount", "Average", tasks),
        // Avoids a division by zero when no task runs.
        { "Id": "backlog", "Expression": "waiting / IF(running > 0, running, 1)", "ReturnData": true },
    ] })
}

fn metric(id: &str, namespace: &str, name: &str, statistic: &str, dimensions: Value) -> Value {
    let metric = json!({ "Namespace": namespace, "MetricName": name, "Dimensions": dimensions });
    json!({ "Id": id, "MetricStat": { "Metric": metric, "Stat": statistic }, "ReturnData": false })
}
