//! What calls for a human, when, and which runbook they open.

use std::time::Duration;

use crate::metric::Metric;
use crate::queue::{NOTIFICATIONS, ORDERS, PAYMENTS, Queue};

/// What an alarm watches.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    /// `ApproximateAgeOfOldestMessage` of a work queue, in seconds.
    QueueAge(&'static Queue),
    /// `ApproximateNumberOfMessagesVisible` of a parking queue. Not `NumberOfMessagesSent`: SQS does not count there
    /// what its redrive policy moves.
    Parked(&'static Queue),
    /// One of ours, of one service.
    Ours { metric: Metric, service: &'static str, statistic: Statistic },
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
    /// It fires above this value.
    pub threshold: u64,
    pub period: Duration,
    /// So many of `evaluation_periods` must be above.
    pub datapoints: u32,
    pub evaluation_periods: u32,
    pub missing: Missing,
    pub severity: Severity,
    /// File name, without `.md`, in `runbooks/`.
    pub runbook: &'static str,
}

const MINUTE: Duration = Duration::from_secs(60);

const fn queue_age(slug: &'static str, queue: &'static Queue, impact: &'static str, severity: Severity) -> Alarm {
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

const fn parked(slug: &'static str, queue: &'static Queue, impact: &'static str, severity: Severity) -> Alarm {
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
        signal: Signal::Ours { metric, service, statistic },
        threshold,
        period: MINUTE,
        datapoints: 3,
        evaluation_periods: 5,
        missing: Missing::NotBreaching,
        severity: Severity::Page,
        runbook: slug,
    }
}

pub const ALARMS: &[Alarm] = &[
    queue_age("orders-age", &ORDERS, "Customers wait for their order to be confirmed.", Severity::Page),
    queue_age("payments-age", &PAYMENTS, "Customers wait for their payment to go through.", Severity::Page),
    queue_age("notifications-age", &NOTIFICATIONS, "Customers are told late.", Severity::Ticket),
    parked(
        "orders-parked",
        &ORDERS,
        "At least one order stands still until its message is dealt with.",
        Severity::Page,
    ),
    parked("payments-parked", &PAYMENTS, "At least one charge or refund stands still.", Severity::Page),
    parked("notifications-parked", &NOTIFICATIONS, "Somebody was not told something.", Severity::Ticket),
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
        "E-mails to customers are not going out.",
    ),
];
