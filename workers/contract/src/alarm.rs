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

const fn queue_age(
    slug: &'static str,
    queue: &'static Queue,
    impact: &'static str,
    severity: Severity,
) -> Alarm {
    Alarm {
        slug,
        impact,
        signal: Signal::QueueAge(queue),
        threshold: queue.age_alarm.as_secs(),
        period: MINUTE,
        datapoints: 3,
        evaluation_periods: 5,
        missing: Missing::NotBreaching,
        severity,
        runbook: "queue-age",
    }
}

const fn parked(
    slug: &'static str,
    queue: &'static Queue,
    impact: &'static str,
    severity: Severity,
) -> Alarm {
    Alarm {
        slug,
        impact,
        signal: Signal::Parked(queue),
        threshold: 0,
        period: MINUTE,
        datapoints: 1,
        evaluation_periods: 1,
        missing: Missing::NotBreaching,
        severity,
        runbook: "dead-letters",
    }
}

const fn ours(
    slug: &'static str,
    metric: Metric,
    service: &'static str,
    statistic: Statistic,
    threshold: u64,
    impact: &'static str,
) -> Alarm {
    Alarm {
        slug,
        impact,
        signal: Signal::Ours {
            metric,
            service,
            statistic,
        },
        threshold,
        period: MINUTE,
        datapoints: 3,
        evaluation_periods: 5,
        missing: Missing::NotBreaching,
        severity: Severity::Page,
        runbook: slug,
    }
}

/// Returns an alarm for an open circuit breaker in a role.
const fn breaker(
    slug: &'static str,
    role: &Role,
    impact: &'static str,
    severity: Severity,
) -> Alarm {
    Alarm {
        severity,
        runbook: "dependencies",
        ..ours(
            slug,
            Metric::BreakerOpen,
            role.slug,
            Statistic::Maximum,
            0,
            impact,
        )
    }
}

/// Returns an alarm that fires beyond `threshold` in `datapoints.0` of `datapoints.1` minutes.
const fn platform(
    slug: &'static str,
    watched: Platform,
    threshold: u64,
    datapoints: (u32, u32),
    severity: Severity,
    runbook: &'static str,
    impact: &'static str,
) -> Alarm {
    Alarm {
        slug,
        impact,
        signal: Signal::Platform(watched),
        threshold,
        period: MINUTE,
        datapoints: datapoints.0,
        evaluation_periods: datapoints.1,
        missing: Missing::NotBreaching,
        severity,
        runbook,
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
const fn tasks_missing(
    slug: &'static str,
    roles: &'static [&'static Role],
    severity: Severity,
    impact: &'static str,
) -> Alarm {
    assert!(roles.len() * 2 <= 10, "more metrics than metric math takes");
    Alarm {
        // A service without any running task reports nothing.
        missing: Missing::Breaching,
        ..platform(
            slug,
            Platform::TasksMissing(roles),
            0,
            (5, 5),
            severity,
            "tasks",
            impact,
        )
    }
}

/// Every alarm.
pub const ALARMS: &[Alarm] = &[
    queue_age(
        "orders-age",
        &ORDERS,
        "Customers wait for their order to be confirmed.",
        Severity::Page,
    ),
    queue_age(
        "payments-age",
        &PAYMENTS,
        "Customers wait for their payments to complete.",
        Severity::Page,
    ),
    queue_age(
        "notifications-age",
        &NOTIFICATIONS,
        "Notifications to customers are late.",
        Severity::Ticket,
    ),
    queue_age(
        "fulfilment-age",
        &FULFILMENT,
        "Confirmed orders have no ticket, and parcels are not sent.",
        Severity::Page,
    ),
    queue_age(
        "projections-age",
        &PROJECTIONS,
        "Customers' lists of orders are out of date.",
        Severity::Ticket,
    ),
    parked(
        "orders-parked",
        &ORDERS,
        "At least one order makes no progress until its dead letter is handled.",
        Severity::Page,
    ),
    parked(
        "payments-parked",
        &PAYMENTS,
        "At least one charge or refund makes no progress until its dead letter is handled.",
        Severity::Page,
    ),
    parked(
        "fulfilment-parked",
        &FULFILMENT,
        "At least one paid order has no ticket or parcel.",
        Severity::Page,
    ),
    parked(
        "projections-parked",
        &PROJECTIONS,
        "A customer's list of orders shows an outdated state.",
        Severity::Ticket,
    ),
    parked(
        "notifications-parked",
        &NOTIFICATIONS,
        "At least one person did not receive a notification.",
        Severity::Ticket,
    ),
    Alarm {
        // The relay reports this metric every minute. Without a report the relay does not run, and
        // nothing leaves the outbox.
        missing: Missing::Breaching,
        ..ours(
            "outbox-lag",
            Metric::OutboxLag,
            "outbox-relay",
            Statistic::Maximum,
            30,
            "Accepted orders are not processed.",
        )
    },
    ours(
        "stream-lag",
        Metric::StreamLag,
        "inventory-worker",
        Statistic::Maximum,
        60,
        "Staff learn late that a product runs low.",
    ),
    Alarm {
        datapoints: 1,
        evaluation_periods: 1,
        ..ours(
            "stock-drift",
            Metric::StockDrift,
            "sweeper",
            Statistic::Maximum,
            0,
            "The shop may sell products that are sold out, or hide products that are available.",
        )
    },
    ours(
        "notification-failures",
        Metric::NotificationsFailed,
        "notification-worker",
        Statistic::Sum,
        5,
        "Emails or text messages to customers are not sent.",
    ),
    breaker(
        "storefront-dependency",
        &STOREFRONT,
        "The shop refuses new orders until the dependency recovers.",
        Severity::Page,
    ),
    breaker(
        "orders-dependency",
        &ORDER_WORKER,
        "Orders wait, and continue when the dependency recovers.",
        Severity::Page,
    ),
    breaker(
        "payments-dependency",
        &PAYMENT_WORKER,
        "Orders wait for their payments.",
        Severity::Page,
    ),
    breaker(
        "fulfilment-dependency",
        &FULFILMENT_WORKER,
        "Orders wait for their ticket or parcel.",
        Severity::Page,
    ),
    breaker(
        "projections-dependency",
        &PROJECTION_WORKER,
        "Customers' lists of orders are out of date.",
        Severity::Ticket,
    ),
    breaker(
        "notifications-dependency",
        &NOTIFICATION_WORKER,
        "Notifications to customers are late.",
        Severity::Ticket,
    ),
    // Most thresholds are from "Recommended alarms" in the CloudWatch user guide. The thresholds of
    // error rates are multiples of the shop's error budget, which is 0.1 %. Ten times the budget is
    // a ticket, and fifty times the budget is a page.
    Alarm {
        // A database that reports nothing is down.
        missing: Missing::Breaching,
        ..platform(
            "database-cpu",
            Platform::DatabaseCpu,
            90,
            (5, 5),
            Severity::Page,
            "database",
            "Orders and pages are slow, or the database is unavailable.",
        )
    },
    platform(
        "database-memory",
        Platform::DatabaseMemory,
        10,
        (10, 15),
        Severity::Ticket,
        "database",
        "The database reads more from disk and slows down.",
    ),
    // RDS adds storage after less than 10 % has been free for five minutes. A database that is
    // still below 10 % after ten minutes has reached its maximum storage.
    platform(
        "database-storage",
        Platform::DatabaseStorage,
        10,
        (10, 10),
        Severity::Page,
        "database",
        "The database rejects new orders when its storage is full.",
    ),
    platform(
        "database-connections",
        Platform::DatabaseConnections,
        80,
        (3, 5),
        Severity::Page,
        "database",
        "New tasks may fail to connect to the database.",
    ),
    Alarm {
        missing: Missing::Breaching,
        ..platform(
            "cache-cpu",
            Platform::CacheCpu,
            90,
            (3, 5),
            Severity::Page,
            "cache",
            "Carts are slow, or the cache is unavailable.",
        )
    },
    platform(
        "cache-memory",
        Platform::CacheMemory,
        80,
        (3, 5),
        Severity::Ticket,
        "cache",
        "The cache evicts carts when its memory is full.",
    ),
    platform(
        "cache-evictions",
        Platform::CacheEvictions,
        0,
        (3, 5),
        Severity::Ticket,
        "cache",
        "Customers lose their carts.",
    ),
    platform(
        "cache-lag",
        Platform::CacheLag,
        10,
        (5, 5),
        Severity::Ticket,
        "cache",
        "A failover would lose the latest changes of carts.",
    ),
    platform(
        "table-throttles",
        Platform::TableThrottles,
        0,
        (3, 5),
        Severity::Ticket,
        "tables",
        "Orders wait for their stock holds.",
    ),
    platform(
        "table-errors",
        Platform::TableErrors,
        0,
        (3, 5),
        Severity::Page,
        "tables",
        "Stock cannot be reserved.",
    ),
    platform(
        "tasks-cpu",
        Platform::TasksCpu,
        90,
        (15, 15),
        Severity::Ticket,
        "tasks",
        "A role is short of CPU and does not scale out.",
    ),
    platform(
        "tasks-memory",
        Platform::TasksMemory,
        90,
        (5, 5),
        Severity::Ticket,
        "tasks",
        "A role is close to its memory limit, where ECS stops its tasks.",
    ),
    tasks_missing(
        "tasks-missing",
        ORDER_ROLES,
        Severity::Page,
        "The shop refuses orders, or accepted orders make no progress.",
    ),
    tasks_missing(
        "tasks-missing-slow",
        OTHER_ROLES,
        Severity::Ticket,
        "Notifications to customers or staff are late.",
    ),
    platform(
        "shop-errors",
        Platform::ShopErrors,
        5,
        (3, 5),
        Severity::Page,
        "shop",
        "More than 5 % of the shop's responses are errors.",
    ),
    platform(
        "shop-errors-slow",
        Platform::ShopErrors,
        1,
        (10, 15),
        Severity::Ticket,
        "shop",
        "More than 1 % of the shop's responses are errors.",
    ),
    platform(
        "shop-latency",
        Platform::ShopLatency,
        2,
        (3, 5),
        Severity::Page,
        "shop",
        "Pages respond slowly.",
    ),
    platform(
        "shop-unhealthy",
        Platform::ShopUnhealthy,
        0,
        (3, 5),
        Severity::Ticket,
        "shop",
        "Fewer storefront tasks than configured serve customers.",
    ),
    platform(
        "shop-connections",
        Platform::ShopConnections,
        5,
        (3, 5),
        Severity::Ticket,
        "shop",
        "Some customers see an error page.",
    ),
    platform(
        "api-errors",
        Platform::ApiErrors,
        5,
        (3, 5),
        Severity::Page,
        "shop",
        "API clients receive errors.",
    ),
    platform(
        "topic-failures",
        Platform::TopicFailures,
        0,
        (1, 5),
        Severity::Ticket,
        "topics",
        "At least one message did not reach a subscriber of its topic.",
    ),
    platform(
        "undelivered",
        Platform::Undelivered,
        0,
        (1, 1),
        Severity::Ticket,
        "topics",
        "At least one message did not reach its target, and waits to be published again.",
    ),
    platform(
        "deploying",
        Platform::Deployments,
        1,
        (1, 1),
        Severity::Notice,
        "deployments",
        "A deployment is in progress, so page alarms about the platform are suppressed.",
    ),
    // 45 minutes are longer than any deployment of this platform. The alarm for running deployments
    // suppresses pages only until then.
    platform(
        "deployment-stuck",
        Platform::Deployments,
        1,
        (45, 45),
        Severity::Page,
        "deployments",
        "A deployment neither completes nor rolls back.",
    ),
];

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
