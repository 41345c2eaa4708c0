//! The cost of a resource without any traffic.

use serde_json::Value;

use super::capacity::{length, tasks};
use super::{Bill, HOURS_A_MONTH};
use crate::graph::{Graph, Resource};
use crate::kind::{self, Kind};
use crate::references::{list, number};

/// Types that cost only by usage: see `usage.rs`.
pub(super) const BY_USE: &[Kind] = &[
    kind::API_REST_API,
    kind::BACKUP_PLAN,
    kind::CLOUDTRAIL_TRAIL,
    kind::ECR_REPOSITORY,
    kind::EVENTS_ARCHIVE,
    kind::EVENTS_BUS,
    kind::LOG_GROUP,
    kind::S3_BUCKET,
    kind::SES_EMAIL_IDENTITY,
    kind::SNS_TOPIC,
    kind::SQS_QUEUE,
];

/// Numbers of metrics that Container Insights writes for a cluster, for each service and for each
/// task definition (Amazon CloudWatch Pricing, the example of Container Insights for ECS).
const INSIGHTS_CLUSTER: f64 = 8.0;
const INSIGHTS_SERVICE: f64 = 11.0;
const INSIGHTS_TASK: f64 = 6.0;
/// Operations of a table with separate metrics in CloudWatch: a query that groups by table reads
/// each of them (DynamoDB metrics).
const TABLE_OPERATIONS: f64 = 6.0;
/// Metrics of an anomaly detection alarm: the metric and the two edges of its band.
const ANOMALY_METRICS: f64 = 3.0;

/// Adds the fixed cost of a resource to the bill.
pub(super) fn resource(bill: &mut Bill<'_>, it: &Resource<'_>) {
    let hours = |count: f64| count * HOURS_A_MONTH;
    match Kind::named(it.kind) {
        Some(kind::EC2_NAT_GATEWAY) => bill.fixed(it, "nat_gateway_hour", "", hours(1.0)),
        Some(kind::EC2_EIP) => bill.fixed(it, "public_ipv4_hour", "", hours(1.0)),
        Some(kind::EC2_VPC_ENDPOINT) => endpoint(bill, it),
        Some(kind::ELB_LOAD_BALANCER) => balancer(bill, it),
        Some(kind::API_STAGE) => stage(bill, it),
        Some(kind::WAF_WEB_ACL) => {
            bill.fixed(it, "firewall_month", "", 1.0);
            let rules = length(bill.graph, &it.properties["Rules"]).unwrap_or_default();
            bill.fixed(it, "firewall_rule_month", "", rules);
        }
        Some(kind::ROUTE53_HOSTED_ZONE | kind::PRIVATE_DNS_NAMESPACE) => {
            bill.fixed(it, "hosted_zone_month", "", 1.0);
        }
        Some(kind::ECS_CLUSTER) => cluster(bill, it),
        Some(kind::ECS_SERVICE) => service(bill, it),
        Some(kind::RDS_INSTANCE) => instance(bill, it),
        Some(kind::RDS_CLUSTER) => master_secret(bill, it),
        Some(kind::ELASTICACHE_REPLICATION_GROUP) => cache(bill, it),
        Some(kind::DYNAMODB_TABLE) => {
            if it.text("BillingMode") != "PAY_PER_REQUEST" {
                bill.unpriced(it, "only tables on demand have prices");
            }
        }
        Some(kind::KINESIS_STREAM) => {
            let shards = hours(it.number("ShardCount").unwrap_or(1.0));
            match it.properties["StreamModeDetails"]["StreamMode"].as_str() {
                Some("ON_DEMAND") => bill.fixed(it, "stream_hour", "", hours(1.0)),
                _ => bill.fixed(it, "stream_shard_hour", "", shards),
            }
        }
        Some(kind::KMS_KEY) => bill.fixed(it, "key_month", "", 1.0),
        Some(kind::SECRET) => bill.fixed(it, "secret_month", "", 1.0),
        Some(kind::CLOUDWATCH_ALARM) => alarm(bill, it),
        Some(kind::CLOUDWATCH_COMPOSITE_ALARM) => bill.fixed(it, "alarm_composite_month", "", 1.0),
        Some(kind::CLOUDWATCH_DASHBOARD) => bill.fixed(it, "dashboard_month", "", 1.0),
        Some(kind) if BY_USE.contains(&kind) => {}
        _ if bill.prices.free.contains_key(it.kind) => {}
        _ => bill.unpriced(it, format!("the price table has no price for {}", it.kind)),
    }
}

/// Adds an interface endpoint, which is charged per availability zone. Gateway endpoints are free.
fn endpoint(bill: &mut Bill<'_>, it: &Resource<'_>) {
    // `Gateway` is the default of CloudFormation.
    if it.text("VpcEndpointType") != "Interface" {
        return;
    }
    match length(bill.graph, &it.properties["SubnetIds"]) {
        Some(zones) => bill.fixed(it, "endpoint_hour", "", zones * HOURS_A_MONTH),
        None => bill.unpriced(it, "the number of its zones is unknown"),
    }
}

/// Adds a load balancer. An internet-facing one has a public address in every zone.
fn balancer(bill: &mut Bill<'_>, it: &Resource<'_>) {
    if !matches!(it.text("Type"), "" | "application") {
        return bill.unpriced(it, "only application load balancers have prices");
    }
    bill.fixed(it, "balancer_hour", "", HOURS_A_MONTH);
    if it.text("Scheme") == "internal" {
        return;
    }
    match length(bill.graph, &it.properties["Subnets"]) {
        Some(zones) => bill.fixed(it, "public_ipv4_hour", "", zones * HOURS_A_MONTH),
        None => bill.unpriced(it, "the number of its addresses is unknown"),
    }
}

fn stage(bill: &mut Bill<'_>, it: &Resource<'_>) {
    if it.is("CacheClusterEnabled") {
        let size = number(&it.properties["CacheClusterSize"])
            .map_or_else(|| "0.5".to_owned(), |size| size.to_string());
        bill.fixed(it, "api_cache_hour", &size, HOURS_A_MONTH);
    }
}

/// Adds the cluster's metrics: those of Container Insights, and those that the roles write.
fn cluster(bill: &mut Bill<'_>, it: &Resource<'_>) {
    let running = bill
        .graph
        .of_type(kind::ECS_SERVICE)
        .filter(|service| tasks(bill.graph, service) > 0.0)
        .count() as f64;
    let insights = list(&it.properties["ClusterSettings"])
        .iter()
        .find(|setting| setting["Name"] == "containerInsights")
        .and_then(|setting| setting["Value"].as_str());
    match insights {
        Some("enabled") => {
            let metrics = INSIGHTS_CLUSTER + running * (INSIGHTS_SERVICE + INSIGHTS_TASK);
            bill.fixed(it, "insights_metric_month", "", metrics);
        }
        None | Some("disabled") => {}
        Some(other) => bill.unpriced(it, format!("no price for Container Insights {other}")),
    }
    if running > 0.0 {
        bill.fixed(it, "metric_month", "", super::usage::series());
    }
}

/// Adds the minimum number of tasks.
fn service(bill: &mut Bill<'_>, it: &Resource<'_>) {
    let tasks = tasks(bill.graph, it);
    let id = it.properties["TaskDefinition"]["Ref"]
        .as_str()
        .unwrap_or_default();
    let task = bill
        .graph
        .of_type(kind::ECS_TASK_DEFINITION)
        .find(|task| task.place == (it.place.0, id));
    let size = task.and_then(|task| Some((task, task.number("Cpu")?, task.number("Memory")?)));
    let Some((task, cpu, memory_mib)) = size else {
        return bill.unpriced(it, "the size of its tasks is unknown");
    };
    let architecture = task.properties["RuntimePlatform"]["CpuArchitecture"]
        .as_str()
        .unwrap_or("X86_64");
    let spot = list(&it.properties["CapacityProviderStrategy"])
        .iter()
        .any(|provider| provider["CapacityProvider"] == "FARGATE_SPOT");
    let (vcpu, gib) = match spot {
        true => ("fargate_spot_vcpu_hour", "fargate_spot_gib_hour"),
        false => ("fargate_vcpu_hour", "fargate_gib_hour"),
    };
    let hours = tasks * HOURS_A_MONTH;
    bill.fixed(it, vcpu, architecture, hours * cpu / 1024.0);
    bill.fixed(it, gib, architecture, hours * memory_mib / 1024.0);
}

/// Adds a database instance. A Multi-AZ instance counts twice, with storage of its own.
fn instance(bill: &mut Bill<'_>, it: &Resource<'_>) {
    let class = it.text("DBInstanceClass");
    match it.text("Engine") {
        "aurora-postgresql" if class.starts_with("db.t") => {
            bill.fixed(it, "aurora_burstable_hour", class, HOURS_A_MONTH);
        }
        "aurora-postgresql" => bill.fixed(it, "aurora_hour", class, HOURS_A_MONTH),
        "postgres" => {
            let copies = if it.is("MultiAZ") { 2.0 } else { 1.0 };
            bill.fixed(it, "postgres_hour", class, copies * HOURS_A_MONTH);
            match (it.text("StorageType"), it.number("AllocatedStorage")) {
                ("gp3", Some(gib)) if it.properties["Iops"].is_null() => {
                    bill.fixed(it, "postgres_storage_gib_month", "", copies * gib);
                }
                _ => bill.unpriced(it, "only gp3 storage without additional IOPS has a price"),
            }
        }
        other => bill.unpriced(
            it,
            format!("no price for a database with the engine {other:?}"),
        ),
    }
    master_secret(bill, it);
}

/// Adds the secret that RDS creates, which is charged like any other.
fn master_secret(bill: &mut Bill<'_>, it: &Resource<'_>) {
    if it.is("ManageMasterUserPassword") {
        bill.fixed(it, "secret_month", "", 1.0);
    }
}

fn cache(bill: &mut Bill<'_>, it: &Resource<'_>) {
    let price = match it.text("Engine") {
        "valkey" => "valkey_hour",
        "redis" | "" => "redis_hour",
        other => return bill.unpriced(it, format!("no price for a cache with the engine {other}")),
    };
    let nodes = it.number("NumCacheClusters").unwrap_or_else(|| {
        it.number("NumNodeGroups").unwrap_or(1.0)
            * (1.0 + it.number("ReplicasPerNodeGroup").unwrap_or_default())
    });
    bill.fixed(it, price, it.text("CacheNodeType"), nodes * HOURS_A_MONTH);
}

/// Adds an alarm, which is charged per metric that it watches.
fn alarm(bill: &mut Bill<'_>, it: &Resource<'_>) {
    let metrics = list(&it.properties["Metrics"]);
    let periods = metrics
        .iter()
        .flat_map(|metric| [&metric["Period"], &metric["MetricStat"]["Period"]]);
    let fast = periods
        .chain([&it.properties["Period"]])
        .filter_map(number)
        .any(|seconds| seconds < 60.0);
    let price = if fast {
        "alarm_fast_month"
    } else {
        "alarm_month"
    };
    let watched: f64 = metrics
        .iter()
        .map(|metric| watched(bill.graph, metric))
        .sum();
    bill.fixed(it, price, "", watched.max(1.0));
}

/// Returns the number of metrics that one entry of an alarm's metric math stands for.
fn watched(graph: &Graph<'_>, metric: &Value) -> f64 {
    if !metric["MetricStat"].is_null() {
        return 1.0;
    }
    let expression = metric["Expression"].to_string();
    if expression.contains("ANOMALY_DETECTION_BAND") {
        return ANOMALY_METRICS - 1.0;
    }
    if !expression.contains("SELECT ") {
        return 0.0;
    }
    // A Metrics Insights query is charged per series that it reads: one for each resource in the
    // namespace.
    let series = [
        ("ECS", count(graph, kind::ECS_SERVICE)),
        (
            "AWS/DynamoDB",
            count(graph, kind::DYNAMODB_TABLE) * TABLE_OPERATIONS,
        ),
        ("AWS/SNS", count(graph, kind::SNS_TOPIC)),
        ("AWS/SQS", count(graph, kind::SQS_QUEUE)),
        ("AWS/ApplicationELB", count(graph, kind::ELB_TARGET_GROUP)),
    ];
    series
        .into_iter()
        .find(|(namespace, _)| expression.contains(namespace))
        .map_or(1.0, |(_, series)| series.max(1.0))
}

fn count(graph: &Graph<'_>, kind: Kind) -> f64 {
    graph.of_type(kind).count() as f64
}
