//! The alarms of the contract, as CloudWatch alarms and composite alarms.

use std::collections::BTreeSet;

use contract::address::Address;
use contract::alarm::{ALARMS, Alarm, Missing, Platform, Severity, Signal, Statistic};
use contract::metric::NAMESPACE;
use contract::role::Role;
use contract::topic::SYSTEM_ALERTS;
use serde_json::{Value, json};

use crate::configuration::Engine;
use crate::environment::Environment;
use crate::kind;
use crate::names::{Shared, export_of, export_of_name};
use crate::template::{LogicalId, Template, reference};

/// Returns the stack with the alarms on queues and on our own metrics.
pub fn alarms(environment: &Environment) -> Template<'_> {
    let mut template = Template::new(environment, "Brew Haven: alarms");
    let alarms = add_alarms(&mut template, is_ours);
    let (causes, rule) = (paging(&alarms), any_of(&alarms));
    let page = add_page(&mut template, &ORDERS_PAGE, &causes, &rule, None);
    Shared::OrdersPage.export(&mut template, reference(&page));
    template
}

/// Adds the alarms on metrics of AWS, and the composite alarms over them.
pub fn platform_alarms(template: &mut Template<'_>) {
    let environment = template.environment;
    let alarms = add_alarms(template, |signal| !is_ours(signal));
    let [(deploys, deploying), (_, stuck)] =
        ["deploying", "deployment-stuck"].map(|slug| find(&alarms, slug));
    let quiet = add_page(
        template,
        &QUIET,
        &[deploys],
        &json!({ "Fn::Sub": format!("{} AND NOT {}", in_alarm(&deploying), in_alarm(&stuck)) }),
        None,
    );
    let (seen, unseen): (Vec<_>, Vec<_>) = alarms
        .into_iter()
        .partition(|(alarm, _)| customers_notice(alarm));
    let orders = json!({ "Fn::Sub": [
        format!("ALARM(\"${{Orders}}\") OR {}", joined(&seen)),
        { "Orders": Shared::OrdersPage.import(environment) },
    ] });
    // The page for orders is one of the causes, so the runbooks of its alarms are listed too.
    let of_orders = ALARMS
        .iter()
        .filter(|alarm| is_ours(&alarm.signal) && alarm.severity == Severity::Page);
    let causes: Vec<&Alarm> = of_orders.chain(paging(&seen)).collect();
    add_page(template, &CUSTOMERS_PAGE, &causes, &orders, None);
    let (causes, rule) = (paging(&unseen), any_of(&unseen));
    add_page(template, &PLATFORM_PAGE, &causes, &rule, Some(&quiet));
}

/// Returns true for alarms on our queues or our own metrics, which also exist on a laptop.
fn is_ours(signal: &Signal) -> bool {
    !matches!(signal, Signal::Platform(_))
}

/// A composite alarm, which notifies once instead of once per symptom. A pager subscribes to
/// system-alerts with a filter on `AlarmName`.
struct Page {
    slug: &'static str,
    about: &'static str,
}

const ORDERS_PAGE: Page = Page {
    slug: "page-orders",
    about: "Orders are stalled or late.",
};
const CUSTOMERS_PAGE: Page = Page {
    slug: "page-customers",
    about: "Customers are affected, even during a deployment.",
};
const PLATFORM_PAGE: Page = Page {
    slug: "page-platform",
    about: "The platform is at risk. Suppressed during a deployment.",
};
const QUIET: Page = Page {
    slug: "quiet",
    about: "A deployment is in progress and not stuck. No action needed.",
};

/// Returns true for symptoms that customers notice. A deployment does not suppress them, because it
/// may be their cause.
fn customers_notice(alarm: &Alarm) -> bool {
    matches!(
        alarm.signal,
        Signal::Platform(
            Platform::ShopErrors
                | Platform::ShopLatency
                | Platform::ApiErrors
                | Platform::TableErrors
        )
    )
}

fn add_page(
    template: &mut Template<'_>,
    page: &Page,
    causes: &[&Alarm],
    rule: &Value,
    quiet: Option<&LogicalId>,
) -> LogicalId {
    let environment = template.environment;
    let alerts = alerts(environment);
    let runbooks: Vec<String> = causes
        .iter()
        .map(|alarm| runbook(alarm))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let mut properties = json!({
        "AlarmName": environment.stack_name(page.slug),
        "AlarmDescription": format!("{} Runbooks: {}", page.about, runbooks.join(", ")),
        "AlarmRule": rule,
        "AlarmActions": alerts,
        "OKActions": alerts,
    });
    if let Some(quiet) = quiet {
        properties["ActionsSuppressor"] = reference(quiet);
        // Container Insights reports once per minute: a deployment appears up to two minutes late,
        // and affects the metrics for some minutes after it.
        properties["ActionsSuppressorWaitPeriod"] = json!(120);
        properties["ActionsSuppressorExtensionPeriod"] = json!(300);
    }
    template.add(page.slug, kind::CLOUDWATCH_COMPOSITE_ALARM, properties)
}

fn any_of(alarms: &[(&Alarm, LogicalId)]) -> Value {
    json!({ "Fn::Sub": joined(alarms) })
}

/// Returns the rule "any of these alarms" for the alarms that page. A rule can contain at most one
/// hundred alarms.
fn joined(alarms: &[(&Alarm, LogicalId)]) -> String {
    let pages = alarms
        .iter()
        .filter(|(alarm, _)| alarm.severity == Severity::Page);
    pages
        .map(|(_, id)| in_alarm(id))
        .collect::<Vec<_>>()
        .join(" OR ")
}

fn paging<'a>(alarms: &[(&'a Alarm, LogicalId)]) -> Vec<&'a Alarm> {
    alarms
        .iter()
        .map(|(alarm, _)| *alarm)
        .filter(|alarm| alarm.severity == Severity::Page)
        .collect()
}

/// Returns the alarm with this slug.
///
/// # Panics
/// Panics when the contract has no such alarm. Any test that builds the template finds this defect.
fn find<'a>(alarms: &[(&'a Alarm, LogicalId)], slug: &str) -> (&'a Alarm, LogicalId) {
    let found = alarms.iter().find(|(alarm, _)| alarm.slug == slug);
    found.map_or_else(
        || panic!("the contract has no alarm {slug}"),
        |(alarm, id)| (*alarm, id.clone()),
    )
}

/// Returns the path of the alarm's runbook in the repository. `haven runbook show` takes the file's
/// name without `.md`.
fn runbook(alarm: &Alarm) -> String {
    format!("runbooks/{}.md", alarm.runbook)
}

fn in_alarm(id: &LogicalId) -> String {
    format!("ALARM(\"${{{}}}\")", id.as_str())
}

fn add_alarms(
    template: &mut Template<'_>,
    wanted: impl Fn(&Signal) -> bool,
) -> Vec<(&'static Alarm, LogicalId)> {
    let environment = template.environment;
    let alarms = ALARMS.iter().filter(|alarm| wanted(&alarm.signal));
    let add = |alarm: &'static Alarm| {
        let properties = alarm_properties(environment, alarm);
        let words = format!("{} alarm", alarm.slug);
        let id = template.add(&words, kind::CLOUDWATCH_ALARM, properties);
        (alarm, id)
    };
    alarms.map(add).collect()
}

fn alarm_properties(environment: &Environment, alarm: &Alarm) -> Value {
    let urgency = match alarm.severity {
        Severity::Page => "Respond now.",
        Severity::Ticket => "Respond today.",
        Severity::Notice => "No action needed.",
    };
    let missing = match alarm.missing {
        Missing::NotBreaching => "notBreaching",
        Missing::Breaching => "breaching",
    };
    let (threshold, floor) = match alarm.signal {
        Signal::Platform(watched) => (
            threshold(environment, watched, alarm.threshold),
            watched.is_a_floor(),
        ),
        Signal::QueueAge(_) | Signal::Parked(_) | Signal::Ours { .. } => (alarm.threshold, false),
    };
    let alerts = alerts(environment);
    let mut properties = json!({
        "AlarmName": environment.stack_name(alarm.slug),
        "AlarmDescription": format!("{} {urgency} Runbook: {}", alarm.impact, runbook(alarm)),
        "EvaluationPeriods": alarm.evaluation_periods,
        "DatapointsToAlarm": alarm.datapoints,
        "Threshold": threshold,
        "ComparisonOperator": if floor { "LessThanThreshold" } else { "GreaterThanThreshold" },
        "TreatMissingData": missing,
        "AlarmActions": alerts,
        "OKActions": alerts,
    });
    watch(environment, alarm).write(&mut properties, alarm.period.as_secs());
    properties
}

fn alerts(environment: &Environment) -> Value {
    json!([{ "Fn::ImportValue": export_of(environment, Address::Topic(&SYSTEM_ALERTS)) }])
}

/// The metrics of an alarm.
enum Watch {
    Metric(Metric),
    /// An expression over metrics with the ids `a`, `b`, `c`, ...
    Math(String, Vec<Metric>),
    /// A Metrics Insights query. Grouped by a dimension, it watches each series separately,
    /// including future ones (CloudWatch user guide, "Create an alarm based on a Multi Time Series
    /// Metrics Insights query").
    Query(Value),
}

struct Metric {
    namespace: &'static str,
    name: &'static str,
    dimensions: Vec<(&'static str, Value)>,
    statistic: &'static str,
}

impl Metric {
    fn new(
        namespace: &'static str,
        name: &'static str,
        statistic: &'static str,
        dimensions: impl Into<Vec<(&'static str, Value)>>,
    ) -> Metric {
        Metric {
            namespace,
            name,
            dimensions: dimensions.into(),
            statistic,
        }
    }

    fn dimensions(&self) -> Value {
        self.dimensions
            .iter()
            .map(|(name, value)| json!({ "Name": name, "Value": value }))
            .collect()
    }
}

impl Watch {
    fn write(self, properties: &mut Value, period: u64) {
        match self {
            Watch::Metric(metric) => {
                properties["Namespace"] = json!(metric.namespace);
                properties["MetricName"] = json!(metric.name);
                properties["Dimensions"] = metric.dimensions();
                properties["Period"] = json!(period);
                if metric.statistic.starts_with('p') {
                    properties["ExtendedStatistic"] = json!(metric.statistic);
                    // A single slow answer at night is too little for a percentile.
                    properties["EvaluateLowSampleCountPercentile"] = json!("ignore");
                } else {
                    properties["Statistic"] = json!(metric.statistic);
                }
            }
            Watch::Math(expression, metrics) => {
                let mut all = vec![json!({ "Id": "x", "Expression": expression })];
                for (id, metric) in ('a'..).zip(metrics) {
                    let watched = json!({
                        "Namespace": metric.namespace, "MetricName": metric.name, "Dimensions": metric.dimensions(),
                    });
                    let measured =
                        json!({ "Metric": watched, "Period": period, "Stat": metric.statistic });
                    all.push(json!({ "Id": id, "MetricStat": measured, "ReturnData": false }));
                }
                properties["Metrics"] = json!(all);
            }
            Watch::Query(query) => {
                properties["Metrics"] =
                    json!([{ "Id": "x", "Expression": query, "Period": period }]);
            }
        }
    }
}

fn watch(environment: &Environment, alarm: &Alarm) -> Watch {
    let queue = |name, address| {
        let queue = json!({ "Fn::ImportValue": export_of_name(environment, address) });
        metric_of_queue(queue, name)
    };
    match alarm.signal {
        Signal::QueueAge(watched) => {
            queue("ApproximateAgeOfOldestMessage", Address::Queue(watched))
        }
        Signal::Parked(watched) => queue(
            "ApproximateNumberOfMessagesVisible",
            Address::ParkingQueue(watched),
        ),
        Signal::Ours {
            metric,
            service,
            statistic,
        } => {
            let statistic = match statistic {
                Statistic::Maximum => "Maximum",
                Statistic::Sum => "Sum",
            };
            let dimensions = [
                ("Environment", json!(environment.name)),
                ("Service", json!(service)),
            ];
            Watch::Metric(Metric::new(NAMESPACE, metric.name(), statistic, dimensions))
        }
        Signal::Platform(watched) => watch_platform(environment, watched),
    }
}

fn metric_of_queue(queue: Value, metric: &'static str) -> Watch {
    let metric = Metric::new("AWS/SQS", metric, "Maximum", [("QueueName", queue)]);
    Watch::Metric(metric)
}

fn watch_platform(environment: &Environment, watched: Platform) -> Watch {
    match watched {
        Platform::DatabaseCpu => database(environment, "CPUUtilization", "Average"),
        Platform::DatabaseMemory => database(environment, "FreeableMemory", "Minimum"),
        Platform::DatabaseStorage => match environment.settings.database.engine {
            Engine::Postgres => database(environment, "FreeStorageSpace", "Minimum"),
            // The volume of Aurora grows automatically. An instance can run out of its local disk
            // for sorting and indexes.
            Engine::Aurora => database(environment, "FreeLocalStorage", "Minimum"),
        },
        Platform::DatabaseConnections => database(environment, "DatabaseConnections", "Maximum"),
        Platform::CacheCpu => cache(environment, "EngineCPUUtilization", "Average"),
        Platform::CacheMemory => cache(environment, "DatabaseMemoryUsagePercentage", "Maximum"),
        Platform::CacheEvictions => cache(environment, "Evictions", "Sum"),
        Platform::CacheLag => cache(environment, "ReplicationLag", "Maximum"),
        // Queries for every table of the account. Each operation is a series of its own, which
        // exceeds the ten metrics of metric math, and a query has no OR.
        Platform::TableThrottles => each_table("ThrottledRequests"),
        Platform::TableErrors => each_table("SystemErrors"),
        Platform::TasksCpu => each_service(environment, "MAX(CPUUtilization)"),
        Platform::TasksMemory => each_service(environment, "MAX(MemoryUtilization)"),
        Platform::TasksMissing(roles) => {
            let tasks = |metric, role: &Role| {
                let cluster = Shared::ClusterName.import(environment);
                let service = [("ClusterName", cluster), ("ServiceName", json!(role.slug))];
                Metric::new("ECS/ContainerInsights", metric, "Average", service)
            };
            let each = roles.iter().flat_map(|role| {
                [
                    tasks("DesiredTaskCount", role),
                    tasks("RunningTaskCount", role),
                ]
            });
            let ids = ('a'..='z').zip('b'..='z').step_by(2).take(roles.len());
            let missing: Vec<String> = ids
                .map(|(desired, running)| format!("{desired}-FILL({running},0)"))
                .collect();
            Watch::Math(format!("MAX([{}])", missing.join(",")), each.collect())
        }
        // With fewer than twenty answers per minute, a single error would already exceed the
        // threshold.
        Platform::ShopErrors => Watch::Math(
            "IF(FILL(a,0)+FILL(b,0)>=20,100*(FILL(b,0)+FILL(c,0))/(FILL(a,0)+FILL(b,0)),0)"
                .to_owned(),
            vec![
                balancer(environment, "RequestCount", "Sum"),
                // Errors of the balancer itself when it has no target. They are not part of the
                // request count.
                balancer(environment, "HTTPCode_ELB_5XX_Count", "Sum"),
                balancer(environment, "HTTPCode_Target_5XX_Count", "Sum"),
            ],
        ),
        Platform::ShopLatency => Watch::Metric(balancer(environment, "TargetResponseTime", "p99")),
        // Both target groups, because a blue/green deployment changes which of them receives the
        // traffic.
        Platform::ShopUnhealthy => query(
            "SELECT MAX(UnHealthyHostCount) FROM SCHEMA(\"AWS/ApplicationELB\",LoadBalancer,TargetGroup) \
             WHERE LoadBalancer='${It}' GROUP BY TargetGroup",
            Shared::BalancerName.import(environment),
        ),
        Platform::ShopConnections => {
            Watch::Metric(balancer(environment, "TargetConnectionErrorCount", "Sum"))
        }
        Platform::ApiErrors => {
            let name = || Shared::ApiName.import(environment);
            let api = |metric| Metric::new("AWS/ApiGateway", metric, "Sum", [("ApiName", name())]);
            Watch::Math(
                "IF(a>=20,100*FILL(b,0)/a,0)".to_owned(),
                vec![api("Count"), api("5XXError")],
            )
        }
        Platform::Undelivered => metric_of_queue(
            Shared::UndeliveredName.import(environment),
            "ApproximateNumberOfMessagesVisible",
        ),
        Platform::TopicFailures => each_of(
            "NumberOfNotificationsFailed",
            "\"AWS/SNS\",TopicName",
            "TopicName",
        ),
        Platform::Deployments => query(
            "SELECT MAX(DeploymentCount) FROM SCHEMA(\"ECS/ContainerInsights\",ClusterName,ServiceName) \
             WHERE ClusterName='${It}'",
            Shared::ClusterName.import(environment),
        ),
    }
}

fn database(environment: &Environment, metric: &'static str, statistic: &'static str) -> Watch {
    let dimension = match environment.settings.database.engine {
        Engine::Postgres => "DBInstanceIdentifier",
        Engine::Aurora => "DBClusterIdentifier",
    };
    let dimensions = [(dimension, Shared::DatabaseIdentifier.import(environment))];
    Watch::Metric(Metric::new("AWS/RDS", metric, statistic, dimensions))
}

/// Returns the maximum over all nodes. ElastiCache names nodes after their replication group:
/// `<group>-001` and so on.
fn cache(environment: &Environment, metric: &'static str, statistic: &'static str) -> Watch {
    let nodes = 1..=1 + environment.settings.cache.replicas;
    let nodes = nodes.map(|node| {
        let group = Shared::CacheIdentifier.import(environment);
        let name = json!({ "Fn::Join": ["-", [group, format!("{node:03}")]] });
        let dimensions = [("CacheClusterId", name)];
        Metric::new("AWS/ElastiCache", metric, statistic, dimensions)
    });
    Watch::Math("MAX(METRICS())".to_owned(), nodes.collect())
}

fn balancer(environment: &Environment, metric: &'static str, statistic: &'static str) -> Metric {
    let dimensions = [("LoadBalancer", Shared::BalancerName.import(environment))];
    Metric::new("AWS/ApplicationELB", metric, statistic, dimensions)
}

/// Queries each series of the account separately. An environment has its own account.
fn each_of(metric: &str, series: &str, by: &str) -> Watch {
    Watch::Query(json!(format!(
        "SELECT SUM({metric}) FROM SCHEMA({series}) GROUP BY {by}"
    )))
}

fn each_table(metric: &str) -> Watch {
    each_of(metric, "\"AWS/DynamoDB\",Operation,TableName", "TableName")
}

fn each_service(environment: &Environment, what: &str) -> Watch {
    query(
        &format!(
            "SELECT {what} FROM SCHEMA(\"AWS/ECS\",ClusterName,ServiceName) WHERE ClusterName='${{It}}' \
             GROUP BY ServiceName"
        ),
        Shared::ClusterName.import(environment),
    )
}

/// Returns a query in which `It` replaces `${It}`.
fn query(text: &str, it: Value) -> Watch {
    Watch::Query(json!({ "Fn::Sub": [text, { "It": it }] }))
}

/// Returns the threshold in the unit of the metric, for the size of the environment.
fn threshold(environment: &Environment, watched: Platform, percent: u64) -> u64 {
    let database = &environment.settings.database;
    let memory = memory_gib(&database.instance_class) * GIB;
    match watched {
        Platform::DatabaseMemory => memory * percent / 100,
        Platform::DatabaseStorage => match database.engine {
            Engine::Postgres => u64::from(database.storage_gib) * GIB * percent / 100,
            // The local disk of an Aurora instance has about twice the size of its memory.
            Engine::Aurora => 2 * memory * percent / 100,
        },
        // Maximum of connections: LEAST(DBInstanceClassMemory / 9531392, 5000) (RDS user guide,
        // "Quotas and constraints").
        Platform::DatabaseConnections => (memory / 9_531_392).min(5_000) * percent / 100,
        // These metrics have the unit of the contract.
        Platform::DatabaseCpu
        | Platform::CacheCpu
        | Platform::CacheMemory
        | Platform::CacheEvictions
        | Platform::CacheLag
        | Platform::TableThrottles
        | Platform::TableErrors
        | Platform::TasksCpu
        | Platform::TasksMemory
        | Platform::TasksMissing(_)
        | Platform::ShopErrors
        | Platform::ShopLatency
        | Platform::ShopUnhealthy
        | Platform::ShopConnections
        | Platform::ApiErrors
        | Platform::TopicFailures
        | Platform::Undelivered
        | Platform::Deployments => percent,
    }
}

const GIB: u64 = 1 << 30;

/// Returns the memory in GiB of an instance class such as `db.r7g.2xlarge`. Memory-optimized
/// families (`r`, `x`) have twice the memory of others of the same size.
fn memory_gib(class: &str) -> u64 {
    let mut parts = class.split('.').skip(1);
    let (family, size) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let general = match size {
        "micro" => 1,
        "small" => 2,
        "medium" => 4,
        "large" => 8,
        "xlarge" => 16,
        larger => 16 * larger.trim_end_matches("xlarge").parse().unwrap_or(1),
    };
    if family.starts_with(['r', 'x']) {
        2 * general
    } else {
        general
    }
}
