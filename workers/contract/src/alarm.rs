//! The alarms of the platform: metric, threshold, severity and runbook of each.

use std::time::Duration;

use crate::metric::Metric;
use crate::queue::{FULFILMENT, NOTIFICATIONS, ORDERS, PAYMENTS, PROJECTIONS, Queue};
use crate::role::{
    FULFILMENT_WORKER, INVENTORY_WORKER, NOTIFICATION_WORKER, ORDER_WORKER, OUTBOX_RELAY,
    PAYMENT_WORKER, PROJECTION_WORKER, Role, STOREFRONT, SWEEPER,
};

mod signal;

pub use signal::{Platform, Signal, Statistic};

/// How soon a person must react to an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Immediately.
    Page,
    /// On the same day.
    Ticket,
    /// Never. The alarm is only information.
    Notice,
}

/// The meaning of missing data points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Missing data is healthy: the metric is reported only for failures.
    NotBreaching,
    /// Missing data is the fault: the process that reports the metric does not run.
    Breaching,
}

/// A CloudWatch alarm.
#[derive(Debug)]
pub struct Alarm {
    /// The name of the alarm in templates and runbooks.
    pub slug: &'static str,
    /// The effect on customers, staff or operators, in one sentence.
    pub impact: &'static str,
    pub signal: Signal,
    /// The alarm fires above this value, or below it if [`Platform::is_a_floor`] returns true.
    pub threshold: u64,
    pub period: Duration,
    /// The number of data points, out of `evaluation_periods`, that must be beyond the threshold.
    pub datapoints: u32,
    pub evaluation_periods: u32,
    pub missing: Missing,
    pub severity: Severity,
    /// The name of the file in `runbooks/`, without `.md`.
    pub runbook: &'static str,
}

const MINUTE: Duration = Duration::from_secs(60);

/// An alarm that fires after one minute, as a base for the others.
const ALARM: Alarm = Alarm {
    slug: "",
    impact: "",
    // A placeholder. Every alarm sets its own signal.
    signal: Signal::Parked(&ORDERS),
    threshold: 0,
    period: MINUTE,
    datapoints: 1,
    evaluation_periods: 1,
    missing: Missing::NotBreaching,
    severity: Severity::Page,
    runbook: "",
};

const fn queue_age(queue: &'static Queue) -> Alarm {
    Alarm {
        signal: Signal::QueueAge(queue),
        threshold: queue.age_alarm.as_secs(),
        datapoints: 3,
        evaluation_periods: 5,
        runbook: "queue-age",
        ..ALARM
    }
}

const fn parked(queue: &'static Queue) -> Alarm {
    Alarm {
        signal: Signal::Parked(queue),
        runbook: "dead-letters",
        ..ALARM
    }
}

/// Returns an alarm that fires beyond `threshold` in `datapoints.0` of `datapoints.1` minutes. Its
/// runbook has the name of the alarm.
const fn ours(
    metric: Metric,
    service: &'static str,
    statistic: Statistic,
    threshold: u64,
    datapoints: (u32, u32),
) -> Alarm {
    Alarm {
        signal: Signal::Ours {
            metric,
            service,
            statistic,
        },
        threshold,
        datapoints: datapoints.0,
        evaluation_periods: datapoints.1,
        ..ALARM
    }
}

/// Returns an alarm for an open circuit breaker in a role.
const fn breaker(role: &Role) -> Alarm {
    Alarm {
        runbook: "dependencies",
        ..ours(
            Metric::BreakerOpen,
            role.slug,
            Statistic::Maximum,
            0,
            (3, 5),
        )
    }
}

/// Returns an alarm that fires beyond `threshold` in `datapoints.0` of `datapoints.1` minutes.
const fn platform(
    watched: Platform,
    threshold: u64,
    datapoints: (u32, u32),
    runbook: &'static str,
) -> Alarm {
    Alarm {
        signal: Signal::Platform(watched),
        threshold,
        datapoints: datapoints.0,
        evaluation_periods: datapoints.1,
        runbook,
        ..ALARM
    }
}

/// Returns an alarm that also fires without data.
const fn breaching(alarm: Alarm) -> Alarm {
    Alarm {
        missing: Missing::Breaching,
        ..alarm
    }
}

/// The roles that process an order until it is fulfilled. CloudWatch metric math accepts ten
/// metrics, and each role needs two.
const ORDER_ROLES: &[&Role] = &[
    &STOREFRONT,
    &OUTBOX_RELAY,
    &ORDER_WORKER,
    &PAYMENT_WORKER,
    &FULFILMENT_WORKER,
];
/// The roles without which an order is still fulfilled.
const OTHER_ROLES: &[&Role] = &[
    &INVENTORY_WORKER,
    &NOTIFICATION_WORKER,
    &PROJECTION_WORKER,
    &SWEEPER,
];

/// Returns an alarm for roles with missing tasks. Five minutes are longer than a new task needs to
/// start when a service scales out.
const fn tasks_missing(roles: &'static [&'static Role]) -> Alarm {
    assert!(roles.len() * 2 <= 10, "more metrics than metric math takes");
    // A service without any running task reports nothing.
    breaching(platform(Platform::TasksMissing(roles), 0, (5, 5), "tasks"))
}

/// Writes an alarm as a row: its severity, its slug, what it watches, and its impact. An alarm
/// without a runbook has the one of its own name.
macro_rules! alarms {
    ($($severity:ident $slug:literal $watches:expr => $impact:literal;)*) => {
        &[$(row($slug, $impact, Severity::$severity, $watches),)*]
    };
}

const fn row(
    slug: &'static str,
    impact: &'static str,
    severity: Severity,
    watches: Alarm,
) -> Alarm {
    Alarm {
        slug,
        impact,
        severity,
        runbook: if watches.runbook.is_empty() {
            slug
        } else {
            watches.runbook
        },
        ..watches
    }
}

/// Every alarm.
pub const ALARMS: &[Alarm] = alarms! {
    Page "orders-age" queue_age(&ORDERS)
        => "Customers wait for their order to be confirmed.";
    Page "payments-age" queue_age(&PAYMENTS)
        => "Customers wait for their payments to complete.";
    Ticket "notifications-age" queue_age(&NOTIFICATIONS)
        => "Notifications to customers are late.";
    Page "fulfilment-age" queue_age(&FULFILMENT)
        => "Confirmed orders have no ticket, and parcels are not sent.";
    Ticket "projections-age" queue_age(&PROJECTIONS)
        => "Customers' lists of orders are out of date.";
    Page "orders-parked" parked(&ORDERS)
        => "At least one order makes no progress until its dead letter is handled.";
    Page "payments-parked" parked(&PAYMENTS)
        => "At least one charge or refund makes no progress until its dead letter is handled.";
    Page "fulfilment-parked" parked(&FULFILMENT)
        => "At least one paid order has no ticket or parcel.";
    Ticket "projections-parked" parked(&PROJECTIONS)
        => "A customer's list of orders shows an outdated state.";
    Ticket "notifications-parked" parked(&NOTIFICATIONS)
        => "At least one person did not receive a notification.";
    // The relay reports this metric every minute. Without a report the relay does not run, and
    // nothing leaves the outbox.
    Page "outbox-lag" breaching(ours(Metric::OutboxLag, "outbox-relay", Statistic::Maximum, 30, (3, 5)))
        => "Accepted orders are not processed.";
    Page "stream-lag" ours(Metric::StreamLag, "inventory-worker", Statistic::Maximum, 60, (3, 5))
        => "Staff learn late that a product runs low.";
    Page "stock-drift" ours(Metric::StockDrift, "sweeper", Statistic::Maximum, 0, (1, 1))
        => "The shop may sell products that are sold out, or hide products that are available.";
    Page "notification-failures" ours(Metric::NotificationsFailed, "notification-worker", Statistic::Sum, 5, (3, 5))
        => "Emails or text messages to customers are not sent.";
    Page "storefront-dependency" breaker(&STOREFRONT)
        => "The shop refuses new orders until the dependency recovers.";
    Page "orders-dependency" breaker(&ORDER_WORKER)
        => "Orders wait, and continue when the dependency recovers.";
    Page "payments-dependency" breaker(&PAYMENT_WORKER)
        => "Orders wait for their payments.";
    Page "fulfilment-dependency" breaker(&FULFILMENT_WORKER)
        => "Orders wait for their ticket or parcel.";
    Ticket "projections-dependency" breaker(&PROJECTION_WORKER)
        => "Customers' lists of orders are out of date.";
    Ticket "notifications-dependency" breaker(&NOTIFICATION_WORKER)
        => "Notifications to customers are late.";
    // Most thresholds are from "Recommended alarms" in the CloudWatch user guide. The thresholds of
    // error rates are multiples of the shop's error budget, which is 0.1 %. Ten times the budget is
    // a ticket, and fifty times the budget is a page.

    // A database that reports nothing is down.
    Page "database-cpu" breaching(platform(Platform::DatabaseCpu, 90, (5, 5), "database"))
        => "Orders and pages are slow, or the database is unavailable.";
    Ticket "database-memory" platform(Platform::DatabaseMemory, 10, (10, 15), "database")
        => "The database reads more from disk and slows down.";
    // RDS adds storage after less than 10 % has been free for five minutes. A database that is
    // still below 10 % after ten minutes has reached its maximum storage.
    Page "database-storage" platform(Platform::DatabaseStorage, 10, (10, 10), "database")
        => "The database rejects new orders when its storage is full.";
    Page "database-connections" platform(Platform::DatabaseConnections, 80, (3, 5), "database")
        => "New tasks may fail to connect to the database.";
    Page "cache-cpu" breaching(platform(Platform::CacheCpu, 90, (3, 5), "cache"))
        => "Carts are slow, or the cache is unavailable.";
    Ticket "cache-memory" platform(Platform::CacheMemory, 80, (3, 5), "cache")
        => "The cache evicts carts when its memory is full.";
    Ticket "cache-evictions" platform(Platform::CacheEvictions, 0, (3, 5), "cache")
        => "Customers lose their carts.";
    Ticket "cache-lag" platform(Platform::CacheLag, 10, (5, 5), "cache")
        => "A failover would lose the latest changes of carts.";
    Ticket "table-throttles" platform(Platform::TableThrottles, 0, (3, 5), "tables")
        => "Orders wait for their stock holds.";
    Page "table-errors" platform(Platform::TableErrors, 0, (3, 5), "tables")
        => "Stock cannot be reserved.";
    Ticket "tasks-cpu" platform(Platform::TasksCpu, 90, (15, 15), "tasks")
        => "A role is short of CPU and does not scale out.";
    Ticket "tasks-memory" platform(Platform::TasksMemory, 90, (5, 5), "tasks")
        => "A role is close to its memory limit, where ECS stops its tasks.";
    Page "tasks-missing" tasks_missing(ORDER_ROLES)
        => "The shop refuses orders, or accepted orders make no progress.";
    Ticket "tasks-missing-slow" tasks_missing(OTHER_ROLES)
        => "Notifications to customers or staff are late.";
    Page "shop-errors" platform(Platform::ShopErrors, 5, (3, 5), "shop")
        => "More than 5 % of the shop's responses are errors.";
    Ticket "shop-errors-slow" platform(Platform::ShopErrors, 1, (10, 15), "shop")
        => "More than 1 % of the shop's responses are errors.";
    Page "shop-latency" platform(Platform::ShopLatency, 2, (3, 5), "shop")
        => "Pages respond slowly.";
    Ticket "shop-unhealthy" platform(Platform::ShopUnhealthy, 0, (3, 5), "shop")
        => "Fewer storefront tasks than configured serve customers.";
    Ticket "shop-connections" platform(Platform::ShopConnections, 5, (3, 5), "shop")
        => "Some customers see an error page.";
    Page "api-errors" platform(Platform::ApiErrors, 5, (3, 5), "shop")
        => "API clients receive errors.";
    Ticket "topic-failures" platform(Platform::TopicFailures, 0, (1, 5), "topics")
        => "At least one message did not reach a subscriber of its topic.";
    Ticket "undelivered" platform(Platform::Undelivered, 0, (1, 1), "topics")
        => "At least one message did not reach its target, and waits to be published again.";
    Notice "deploying" platform(Platform::Deployments, 1, (1, 1), "deployments")
        => "A deployment is in progress, so page alarms about the platform are suppressed.";
    // 45 minutes are longer than any deployment of this platform. The alarm for running deployments
    // suppresses pages only until then.
    Page "deployment-stuck" platform(Platform::Deployments, 1, (45, 45), "deployments")
        => "A deployment neither completes nor rolls back.";
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::ROLES;

    #[test]
    fn one_alarm_fires_for_missing_tasks_of_each_role() {
        for role in ROLES {
            let misses = |alarm: &&Alarm| {
                matches!(alarm.signal, Signal::Platform(Platform::TasksMissing(roles))
                    if roles.iter().any(|missed| missed.id == role.id))
            };
            assert_eq!(ALARMS.iter().filter(misses).count(), 1, "{}", role.slug);
        }
    }
}
