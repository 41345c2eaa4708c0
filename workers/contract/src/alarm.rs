//! What calls for a human, when, and which runbook they open.

use std::time::Duration;

use crate::metric::Metric;
use crate::queue::{FULFILMENT, NOTIFICATIONS, ORDERS, PAYMENTS, PROJECTIONS, Queue};
use crate::role::{
    FULFILMENT_WORKER, INVENTORY_WORKER, NOTIFICATION_WORKER, ORDER_WORKER, OUTBOX_RELAY,
    PAYMENT_WORKER, PROJECTION_WORKER, Role, STOREFRONT, SWEEPER,
};

/// What an alarm watches.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    /// `ApproximateAgeOfOldestMessage` of a work queue, in seconds.
    QueueAge(&'static Queue),
    /// `ApproximateNumberOfMessagesVisible` of a parking queue. Not `NumberOfMessagesSent`: SQS
    /// does not count there what its redrive policy moves.
    Parked(&'static Queue),
    /// One of ours, of one service.
    Ours {
        metric: Metric,
        service: &'static str,
        statistic: Statistic,
    },
    /// What AWS measures of the machinery below us. A laptop has none of it.
    Platform(Platform),
}

/// One thing that AWS measures. Shares are in percent, so that a threshold holds for every size of
/// an environment.
#[derive(Debug, Clone, Copy)]
pub enum Platform {
    /// Percent of the database's CPU.
    DatabaseCpu,
    /// Percent of its memory that is free.
    DatabaseMemory,
    /// Percent of the storage it began with that is free.
    DatabaseStorage,
    /// Percent of the connections it takes that are open.
    DatabaseConnections,
    /// Percent of the cache engine's one thread, of the busiest node.
    CacheCpu,
    /// Percent of the cache's memory, of the fullest node.
    CacheMemory,
    /// Keys that a node threw away for want of memory, in one period.
    CacheEvictions,
    /// Seconds that a replica is behind.
    CacheLag,
    /// Reads and writes that DynamoDB refused for want of capacity, in one period.
    TableThrottles,
    /// Requests that DynamoDB itself failed, in one period.
    TableErrors,
    /// Percent of a service's CPU, each role's by itself.
    TasksCpu,
    /// Percent of a service's memory, each role's by itself.
    TasksMemory,
    /// Tasks that one of the roles should have and has not.
    TasksMissing(&'static [&'static Role]),
    /// Percent of the shop's answers that are 5xx.
    ShopErrors,
    /// Seconds that 99 of 100 of the shop's answers come within.
    ShopLatency,
    /// Storefront tasks that fail their health check.
    ShopUnhealthy,
    /// Connections to a storefront task that failed, in one period.
    ShopConnections,
    /// Percent of the API's answers that are 5xx.
    ApiErrors,
    /// Messages that a topic could not hand over, in one period.
    TopicFailures,
    /// Messages that no topic or rule could hand over, kept for a human.
    Undelivered,
    /// Deployments of one service that run beside each other; more than one while it is being
    /// deployed.
    Deployments,
}

impl Platform {
    /// Whether too little is the fault, where else too much is.
    pub const fn is_a_floor(self) -> bool {
        matches!(self, Platform::DatabaseMemory | Platform::DatabaseStorage)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    Maximum,
    Sum,
}

/// How soon somebody must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Now.
    Page,
    /// Today.
    Ticket,
    /// Never: it only says what is going on.
    Notice,
}

/// What no data means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Silence is health: nothing failed.
    NotBreaching,
    /// Silence is the fault: the one who reports is gone.
    Breaching,
}

#[derive(Debug)]
pub struct Alarm {
    pub slug: &'static str,
    /// One sentence: what the customer notices.
    pub impact: &'static str,
    pub signal: Signal,
    /// It fires above this value, or below it where the signal is a floor.
    pub threshold: u64,
    pub period: Duration,
    /// So many of `evaluation_periods` must be beyond it.
    pub datapoints: u32,
    pub evaluation_periods: u32,
    pub missing: Missing,
    pub severity: Severity,
    /// File name, without `.md`, in `runbooks/`.
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

/// A role holds back its calls to something that it needs.
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

/// Beyond `threshold` in `datapoints.0` of `datapoints.1` minutes.
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

/// The roles that an order passes through. Metric math takes ten metrics, two a role.
const ON_AN_ORDERS_WAY: &[&Role] = &[
    &STOREFRONT,
    &OUTBOX_RELAY,
    &ORDER_WORKER,
    &PAYMENT_WORKER,
    &FULFILMENT_WORKER,
];
const BESIDE_IT: &[&Role] = &[
    &INVENTORY_WORKER,
    &NOTIFICATION_WORKER,
    &PROJECTION_WORKER,
    &SWEEPER,
];

/// Five minutes: longer than a task takes to start when a service grows.
const fn tasks_missing(
    slug: &'static str,
    roles: &'static [&'static Role],
    severity: Severity,
    impact: &'static str,
) -> Alarm {
    assert!(roles.len() * 2 <= 10, "more metrics than metric math takes");
    Alarm {
        // A service without any task reports nothing.
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
        "Customers wait for their payment to go through.",
        Severity::Page,
    ),
    queue_age(
        "notifications-age",
        &NOTIFICATIONS,
        "Customers are told late.",
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
        "Customers' lists of orders are behind.",
        Severity::Ticket,
    ),
    parked(
        "orders-parked",
        &ORDERS,
        "At least one order stands still until its message is dealt with.",
        Severity::Page,
    ),
    parked(
        "payments-parked",
        &PAYMENTS,
        "At least one charge or refund stands still.",
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
        "A customer's list does not show an order as it is.",
        Severity::Ticket,
    ),
    parked(
        "notifications-parked",
        &NOTIFICATIONS,
        "Somebody was not told something.",
        Severity::Ticket,
    ),
    Alarm {
        // The relay reports every minute; if it is silent, nothing leaves the outbox either.
        missing: Missing::Breaching,
        ..ours(
            "outbox-lag",
            Metric::OutboxLag,
            "outbox-relay",
            Statistic::Maximum,
            30,
            "Accepted orders are not being worked on.",
        )
    },
    ours(
        "stream-lag",
        Metric::StreamLag,
        "inventory-worker",
        Statistic::Maximum,
        60,
        "Staff hear late that a product runs out.",
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
            "The shop may sell what it does not have, or hide what it has.",
        )
    },
    ours(
        "notification-failures",
        Metric::NotificationsFailed,
        "notification-worker",
        Statistic::Sum,
        5,
        "E-mails or texts to customers are not going out.",
    ),
    breaker(
        "storefront-dependency",
        &STOREFRONT,
        "New orders are refused for now.",
        Severity::Page,
    ),
    breaker(
        "orders-dependency",
        &ORDER_WORKER,
        "Orders wait, and go on by themselves later.",
        Severity::Page,
    ),
    breaker(
        "payments-dependency",
        &PAYMENT_WORKER,
        "Orders wait for their payment.",
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
        "Customers' lists of orders fall behind.",
        Severity::Ticket,
    ),
    breaker(
        "notifications-dependency",
        &NOTIFICATION_WORKER,
        "Customers are told late.",
        Severity::Ticket,
    ),
    // Thresholds: AWS's "Recommended alarms" (CloudWatch user guide) where it names one. The share
    // of errors is of the shop's objective, 0.1 %: ten times it is a ticket, fifty times it wakes
    // somebody.
    Alarm {
        // A database that reports nothing is gone.
        missing: Missing::Breaching,
        ..platform(
            "database-cpu",
            Platform::DatabaseCpu,
            90,
            (5, 5),
            Severity::Page,
            "database",
            "Orders and pages get slow, or the database is gone.",
        )
    },
    platform(
        "database-memory",
        Platform::DatabaseMemory,
        10,
        (10, 15),
        Severity::Ticket,
        "database",
        "The database will read from disk and slow down.",
    ),
    // Storage grows by itself once less than a tenth has been free for five minutes: whoever is
    // still below after ten has reached its limit.
    platform(
        "database-storage",
        Platform::DatabaseStorage,
        10,
        (10, 10),
        Severity::Page,
        "database",
        "The database stops taking orders when it is full.",
    ),
    platform(
        "database-connections",
        Platform::DatabaseConnections,
        80,
        (3, 5),
        Severity::Page,
        "database",
        "New tasks will not get a connection.",
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
            "Carts get slow, or the cache is gone.",
        )
    },
    platform(
        "cache-memory",
        Platform::CacheMemory,
        80,
        (3, 5),
        Severity::Ticket,
        "cache",
        "Carts will be thrown away when it is full.",
    ),
    platform(
        "cache-evictions",
        Platform::CacheEvictions,
        0,
        (3, 5),
        Severity::Ticket,
        "cache",
        "Carts are lost.",
    ),
    platform(
        "cache-lag",
        Platform::CacheLag,
        10,
        (5, 5),
        Severity::Ticket,
        "cache",
        "A failover would lose the last changes of carts.",
    ),
    platform(
        "table-throttles",
        Platform::TableThrottles,
        0,
        (3, 5),
        Severity::Ticket,
        "tables",
        "Orders wait for their stock.",
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
        "A role is too slow and does not grow.",
    ),
    platform(
        "tasks-memory",
        Platform::TasksMemory,
        90,
        (5, 5),
        Severity::Ticket,
        "tasks",
        "A role is about to be killed.",
    ),
    tasks_missing(
        "tasks-missing",
        ON_AN_ORDERS_WAY,
        Severity::Page,
        "Orders are refused or stand still.",
    ),
    tasks_missing(
        "tasks-missing-slow",
        BESIDE_IT,
        Severity::Ticket,
        "Customers or staff are told late.",
    ),
    platform(
        "shop-errors",
        Platform::ShopErrors,
        5,
        (3, 5),
        Severity::Page,
        "shop",
        "More than one answer in twenty is an error.",
    ),
    platform(
        "shop-errors-slow",
        Platform::ShopErrors,
        1,
        (10, 15),
        Severity::Ticket,
        "shop",
        "More than one answer in a hundred is an error.",
    ),
    platform(
        "shop-latency",
        Platform::ShopLatency,
        2,
        (3, 5),
        Severity::Page,
        "shop",
        "Customers wait for pages.",
    ),
    platform(
        "shop-unhealthy",
        Platform::ShopUnhealthy,
        0,
        (3, 5),
        Severity::Ticket,
        "shop",
        "Fewer tasks than meant answer customers.",
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
        "Programs that order see errors.",
    ),
    platform(
        "topic-failures",
        Platform::TopicFailures,
        0,
        (1, 5),
        Severity::Ticket,
        "topics",
        "Somebody was not told something.",
    ),
    platform(
        "undelivered",
        Platform::Undelivered,
        0,
        (1, 1),
        Severity::Ticket,
        "topics",
        "Somebody was not told something, and it waits to be sent again.",
    ),
    platform(
        "deploying",
        Platform::Deployments,
        1,
        (1, 1),
        Severity::Notice,
        "deployments",
        "A deployment runs; pages about the platform are held back.",
    ),
    // Longer than any deployment of ours takes; after it, pages are held back no more.
    platform(
        "deployment-stuck",
        Platform::Deployments,
        1,
        (45, 45),
        Severity::Page,
        "deployments",
        "A new version neither arrives nor goes back.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::ROLES;

    #[test]
    fn every_role_is_missed_by_exactly_one_alarm() {
        for role in ROLES {
            let misses = |alarm: &&Alarm| match alarm.signal {
                Signal::Platform(Platform::TasksMissing(roles)) => {
                    roles.iter().any(|missed| missed.slug == role.slug)
                }
                _ => false,
            };
            assert_eq!(ALARMS.iter().filter(misses).count(), 1, "{}", role.slug);
        }
    }
}
