//! The cost of orders, pages and logs. Their numbers are settings under `usage`. The AWS calls of
//! one order are derived from the contract where possible, and are assumed here otherwise.

use contract::billed::Billed;
use contract::metric::Metric;
use contract::queue::{FULFILMENT, LONG_POLL, NOTIFICATIONS, ORDERS, PAYMENTS, QUEUES, Queue};
use contract::role::ROLES;
use contract::topic::SUBSCRIPTIONS;
use domain::order::Status;

use super::capacity;
use super::{Bill, HOURS_A_MONTH};
use crate::configuration::Usage;
use crate::graph::{Graph, Resource};
use crate::kind;
use crate::references::list;

/// Events of an order that completes: its acceptance and each status except the two failures.
const EVENTS_PER_ORDER: f64 = (Status::ALL.len() - 2) as f64;
const STATUSES: [&str; 4] = ["confirmed", "preparing", "ready", "completed"];
/// Messages per order to the order worker: reserve the stock, and the result of the payment.
const ORDERS_MESSAGES: f64 = 2.0;
/// Messages per order to the payment worker: charge the card.
const PAYMENTS_MESSAGES: f64 = 1.0;
/// Messages per order to the fulfillment worker: the order is confirmed.
const FULFILMENT_MESSAGES: f64 = 1.0;
/// SQS requests per message: send, receive and delete.
const REQUESTS_PER_MESSAGE: f64 = 3.0;
/// Different products in one order.
const LINES_PER_ORDER: f64 = 2.0;
/// Transactions per order: one to reserve stock and one to sell it. Each writes the reservation,
/// and for each product its counters and a ledger entry. DynamoDB charges a transactional write
/// twice.
const TRANSACTIONS_PER_ORDER: f64 = 2.0;
const UNITS_PER_TRANSACTED_WRITE: f64 = 2.0;
/// Index writes per order: the reservation enters and leaves its index.
const INDEX_WRITES_PER_ORDER: f64 = 2.0;
/// Writes of the order view and its index per event.
const VIEW_WRITES_PER_EVENT: f64 = 2.0;
/// Reads of a stream shard, once per second.
const STREAM_READS_PER_HOUR: f64 = 3600.0;
/// KMS requests per order. Callers cache data keys, so few requests remain.
const KEY_REQUESTS_PER_ORDER: f64 = 10.0;
/// Size of an order: its rows with indexes in the database, its items in tables, and an event in
/// the archive.
const DATABASE_KIB_PER_ORDER: f64 = 10.0;
const TABLE_KIB_PER_ORDER: f64 = 2.0;
const EVENT_KIB: f64 = 1.0;
/// Age of the data in the estimate of storage.
const MONTHS_KEPT: f64 = 12.0;
/// Size of the backups of a month relative to the data: one full backup, and changes.
const COPIES: f64 = 2.0;
/// Traffic through the NAT gateway per order: calls to the payment gateway, and to AWS services
/// without an endpoint.
const NAT_KIB_PER_ORDER: f64 = 50.0;
/// Size of an access log line, and months that buckets keep access logs.
const ACCESS_LOG_KIB: f64 = 1.0;
const ACCESS_LOG_MONTHS: f64 = 3.0;
/// Access log files per hour. Load balancers write a file per address every five minutes, and other
/// logs about as many again.
const LOG_FILES_PER_HOUR: f64 = 48.0;
/// Number and size of the image versions that are kept.
const IMAGES: f64 = 10.0;
const IMAGE_GIB: f64 = 0.1;
/// Size of stored logs relative to their original size (Amazon CloudWatch Pricing, the examples).
const LOGS_COMPRESSED: f64 = 0.15;
/// Limits of one load balancer capacity unit: new connections per second, and GiB per hour (Elastic
/// Load Balancing Pricing).
const CAPACITY_CONNECTIONS: f64 = 25.0;
const CAPACITY_GIB_PER_HOUR: f64 = 1.0;
/// Size of a cache snapshot. Carts are small, so each snapshot counts in full.
const CACHE_GIB: f64 = 0.5;

const KIB_PER_GIB: f64 = 1_048_576.0;
const DAYS_A_MONTH: f64 = 30.4;
const SECONDS_A_MONTH: f64 = HOURS_A_MONTH * 3600.0;

/// Adds the usage of a month to the bill, and returns the assumptions.
pub(super) fn month(bill: &mut Bill<'_>, usage: &Usage) -> Vec<String> {
    let orders = usage.orders_per_month as f64;
    let pages = orders * f64::from(usage.page_views_per_order);
    let requests = pages + orders;
    edge(bill, usage, orders, requests);
    messaging(bill, orders);
    data(bill, orders, requests);
    copies(bill, orders);
    observability(bill, usage, requests);
    vec![
        format!(
            "{orders:.0} orders a month, {} page views each",
            usage.page_views_per_order
        ),
        format!(
            "{} GiB a month to the internet, {} GiB of logs",
            usage.gib_out_per_month, usage.log_gib_per_month
        ),
        "all orders use the API, all pages the load balancer".to_owned(),
        format!(
            "{EVENTS_PER_ORDER} events and {} queue messages per order",
            messages_per_order()
        ),
        format!(
            "{MONTHS_KEPT} months of orders kept, {DATABASE_KIB_PER_ORDER} KiB each in the database"
        ),
        "idle consumers poll their queue every five seconds, with one request at a time per task"
            .to_owned(),
    ]
}

fn messages_per_order() -> f64 {
    QUEUES.iter().map(|queue| messages(queue)).sum()
}

/// Returns the number of messages that one completed order puts on a queue.
fn messages(queue: &Queue) -> f64 {
    if *queue == ORDERS {
        ORDERS_MESSAGES
    } else if *queue == PAYMENTS {
        PAYMENTS_MESSAGES
    } else if *queue == NOTIFICATIONS {
        notices_per_order()
    } else if *queue == FULFILMENT {
        FULFILMENT_MESSAGES
    } else {
        // A queue without an assumption counts as the busiest.
        EVENTS_PER_ORDER
    }
}

/// Returns the number of statuses that pass the filter of the notifications' subscription.
fn notices_per_order() -> f64 {
    let filters = SUBSCRIPTIONS
        .iter()
        .filter(|subscription| *subscription.queue == NOTIFICATIONS);
    let passing = filters
        .filter_map(|subscription| subscription.filter.as_ref())
        .map(|filter| {
            STATUSES
                .iter()
                .filter(|status| filter.values.contains(status))
                .count()
        });
    passing.sum::<usize>() as f64
}

fn edge(bill: &mut Bill<'_>, usage: &Usage, orders: f64, requests: f64) {
    let balancer = kind::ELB_LOAD_BALANCER;
    let out_gib = f64::from(usage.gib_out_per_month);
    bill.used(balancer, "internet_gib", out_gib);
    let connections = requests / SECONDS_A_MONTH / CAPACITY_CONNECTIONS;
    let bytes = out_gib / HOURS_A_MONTH / CAPACITY_GIB_PER_HOUR;
    let capacity_hours = connections.max(bytes) * HOURS_A_MONTH;
    bill.used(balancer, "balancer_capacity_hour", capacity_hours);
    bill.used(kind::WAF_WEB_ACL, "firewall_million", requests / 1e6);
    bill.used(kind::API_REST_API, "api_million", orders / 1e6);
    let nat_gib = orders * NAT_KIB_PER_ORDER / KIB_PER_GIB;
    bill.used(kind::EC2_NAT_GATEWAY, "nat_gateway_gib", nat_gib);
    let mut endpoints = bill.graph.of_type(kind::EC2_VPC_ENDPOINT);
    if endpoints.any(|endpoint| endpoint.text("VpcEndpointType") == "Interface") {
        // Nearly all traffic through the endpoints is logs.
        let log_gib = f64::from(usage.log_gib_per_month);
        bill.used(kind::EC2_VPC_ENDPOINT, "endpoint_gib", log_gib);
    }
}

fn messaging(bill: &mut Bill<'_>, orders: f64) {
    let (mut standard, mut fifo) = (0.0, 0.0);
    for queue in QUEUES {
        let requests =
            orders * messages(queue) * REQUESTS_PER_MESSAGE + idle_polls(bill.graph, queue);
        if queue.fifo {
            fifo += requests
        } else {
            standard += requests
        }
    }
    bill.used(kind::SQS_QUEUE, "queue_million", standard / 1e6);
    bill.used(kind::SQS_QUEUE, "queue_fifo_million", fifo / 1e6);
    let events = orders * EVENTS_PER_ORDER;
    bill.used(kind::SNS_TOPIC, "topic_million", events / 1e6);
    bill.used(kind::EVENTS_BUS, "event_million", events / 1e6);
    let (archive, gib) = (kind::EVENTS_ARCHIVE, events * EVENT_KIB / KIB_PER_GIB);
    bill.used(archive, "event_archive_gib", gib);
    bill.used(archive, "event_archive_gib_month", gib * MONTHS_KEPT);
    bill.used(kind::KINESIS_STREAM, "stream_gib", gib);
    let mails = orders * notices_per_order();
    bill.used(kind::SES_EMAIL_IDENTITY, "mail_thousand", mails / 1e3);
}

/// Returns the empty receives per month of all tasks that consume the queue.
fn idle_polls(graph: &Graph<'_>, queue: &Queue) -> f64 {
    let consumers = ROLES
        .iter()
        .filter(|role| role.consumes.contains(&queue))
        .map(|role| role.slug);
    let tasks: f64 = consumers
        .flat_map(|slug| {
            graph
                .of_type(kind::ECS_SERVICE)
                .filter(move |service| service.text("ServiceName") == slug)
        })
        .map(|service| capacity::tasks(graph, &service))
        .sum();
    tasks * SECONDS_A_MONTH / LONG_POLL.as_secs_f64()
}

fn data(bill: &mut Bill<'_>, orders: f64, requests: f64) {
    let table = kind::DYNAMODB_TABLE;
    let writes =
        TRANSACTIONS_PER_ORDER * (2.0 * LINES_PER_ORDER + 1.0) * UNITS_PER_TRANSACTED_WRITE
            + INDEX_WRITES_PER_ORDER
            + EVENTS_PER_ORDER * VIEW_WRITES_PER_EVENT;
    bill.used(table, "table_write_million", orders * writes / 1e6);
    // At most one read per page: the storefront caches the menu, and lists of orders are rare.
    bill.used(table, "table_read_million", requests / 1e6);
    let streams = bill
        .graph
        .of_type(table)
        .filter(|table| table.properties["StreamSpecification"].is_object())
        .count();
    let stream_reads = streams as f64 * STREAM_READS_PER_HOUR * HOURS_A_MONTH;
    bill.used(table, "table_stream_million", stream_reads / 1e6);
    let gib = table_gib(orders);
    bill.used(table, "table_gib_month", gib);
    let recovers = |table: Resource<'_>| {
        table.properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] == true
    };
    if bill.graph.of_type(table).any(recovers) {
        bill.used(table, "table_recovery_gib_month", gib);
    }
    let orders_gib = database_gib(orders);
    bill.used(kind::RDS_CLUSTER, "aurora_storage_gib_month", orders_gib);
    let cache = kind::ELASTICACHE_REPLICATION_GROUP;
    let snapshots = bill.graph.of_type(cache).next();
    let snapshots = snapshots
        .and_then(|cache| cache.number("SnapshotRetentionLimit"))
        .unwrap_or_default();
    // The newest snapshot is free.
    let snapshots_gib = (snapshots - 1.0).max(0.0) * CACHE_GIB;
    bill.used(cache, "cache_copy_gib_month", snapshots_gib);
    let access_logs = requests * ACCESS_LOG_KIB / KIB_PER_GIB * ACCESS_LOG_MONTHS;
    bill.used(kind::S3_BUCKET, "bucket_gib_month", access_logs);
    let files = LOG_FILES_PER_HOUR * HOURS_A_MONTH;
    bill.used(kind::S3_BUCKET, "bucket_put_thousand", files / 1e3);
    // Each file causes one event of the trail, and each file that the trail writes another one.
    let (trail, recorded) = (kind::CLOUDTRAIL_TRAIL, 2.0 * files);
    bill.used(trail, "trail_event_hundred_thousand", recorded / 1e5);
    bill.used(kind::ECR_REPOSITORY, "image_gib_month", IMAGES * IMAGE_GIB);
    let key_requests = orders * KEY_REQUESTS_PER_ORDER;
    bill.used(kind::KMS_KEY, "key_ten_thousand", key_requests / 1e4);
}

fn database_gib(orders: f64) -> f64 {
    orders * MONTHS_KEPT * DATABASE_KIB_PER_ORDER / KIB_PER_GIB
}

fn table_gib(orders: f64) -> f64 {
    orders * MONTHS_KEPT * TABLE_KIB_PER_ORDER / KIB_PER_GIB
}

/// Adds the backups, here and in the other region if the plan copies them.
fn copies(bill: &mut Bill<'_>, orders: f64) {
    let plan = kind::BACKUP_PLAN;
    let mut rules = bill
        .graph
        .of_type(plan)
        .flat_map(|plan| list(&plan.properties["BackupPlan"]["BackupPlanRule"]));
    let abroad = rules.any(|rule| !list(&rule["CopyActions"]).is_empty());
    let places = if abroad { 2.0 } else { 1.0 };
    let (database, tables) = (database_gib(orders) * COPIES, table_gib(orders) * COPIES);
    bill.used(plan, "database_copy_gib_month", database * places);
    bill.used(plan, "table_copy_gib_month", tables * places);
    if abroad {
        bill.used(plan, "other_region_gib", database + tables);
    }
}

fn observability(bill: &mut Bill<'_>, usage: &Usage, requests: f64) {
    let group = kind::LOG_GROUP;
    let gib = f64::from(usage.log_gib_per_month);
    bill.used(group, "log_gib", gib);
    // The longest retention, because application logs are the largest part.
    let days = bill
        .graph
        .of_type(group)
        .filter_map(|group| group.number("RetentionInDays"))
        .fold(0.0, f64::max);
    let stored_gib = gib * LOGS_COMPRESSED * days / DAYS_A_MONTH;
    bill.used(group, "log_gib_month", stored_gib);
    let rule = kind::XRAY_SAMPLING_RULE;
    let share = bill.graph.of_type(rule).next();
    let share = share
        .and_then(|rule| rule.properties["SamplingRule"]["FixedRate"].as_f64())
        .unwrap_or_default();
    bill.used(rule, "trace_million", requests * share / 1e6);
}

/// Returns the number of metric series if one role writes each metric: every value of a dimension
/// is a series.
pub(super) fn series() -> f64 {
    Metric::ALL
        .iter()
        .map(|metric| {
            metric
                .dimensions()
                .iter()
                .map(|name| values(name))
                .product::<f64>()
        })
        .sum()
}

/// Returns the number of values of a dimension.
fn values(dimension: &str) -> f64 {
    match dimension {
        "status" => Status::ALL.len() as f64,
        "queue" => QUEUES.len() as f64,
        // Values: done, retry, park.
        "outcome" => 3.0,
        // Values: 2xx to 5xx.
        "class" => 4.0,
        // The variants of `storefront::SecurityEvent`.
        "event" => 7.0,
        // Values: low, out.
        "level" => 2.0,
        // Values: mail, text message.
        "channel" => 2.0,
        // Values: SQS, SNS, text messages, EventBridge, DynamoDB, SES, Parameter Store.
        "service" => 7.0,
        "unit" => Billed::ALL.len() as f64,
        // Metrics should have few values per dimension.
        _ => 5.0,
    }
}
