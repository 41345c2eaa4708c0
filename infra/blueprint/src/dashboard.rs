//! The CloudWatch dashboards for operations and for business.
//!
//! The bodies stay small. The graph of an alarm refers to the alarm's metric and threshold, a
//! search expression finds the series of every service, and CloudWatch places widgets without
//! coordinates side by side.

use contract::alarm::{ALARMS, Alarm};
use contract::metric::Metric::{
    AwsCalls, AwsUnits, ConfirmLatency, DuplicateDeliveries, EmptyReceives, ExpiredHandles,
    HandlerLatency, HttpLatency, HttpRequests, IdempotentReplays, MessagesHandled,
    NotificationDelay, NotificationsFailed, NotificationsSent, OrdersAccepted, OrdersOverdue,
    OrdersReached, OrdersRedriven, OutboxFailures, OutboxPublished, OutboxUnreadable, Pollers,
    RequestsShed, ReservationsExpired, ReservationsRefused, SecurityEvents, StockAlerts,
    StreamRebuilds,
};
use contract::metric::{Metric, NAMESPACE, Shape};
use serde_json::{Value, json};

use crate::template::sorted;

/// Width of CloudWatch's grid. A widget without a size is 6 by 6.
const WIDTH: usize = 24;

/// Returns the operations dashboard, for use after an alarm. The text contains `${Alarms}` for the
/// prefix of an alarm's ARN, `${Environment}` and `${AWS::Region}`.
pub fn operations() -> Value {
    let named = |alarm: &Alarm| format!("${{Alarms}}{}", alarm.slug);
    let mut widgets = vec![text(
        "# Operations\nEach alarm has a runbook: `haven runbook list`. Times are UTC.",
    )];
    let alarms: Vec<String> = ALARMS.iter().map(named).collect();
    let height = alarms.len().div_ceil(4) + 1;
    widgets.push(json!({ "type": "alarm", "width": WIDTH, "height": height, "properties": { "alarms": alarms } }));
    widgets.extend(ALARMS.iter().map(|alarm| {
        json!({ "type": "metric", "properties": {
            "title": alarm.slug, "region": "${AWS::Region}", "annotations": { "alarms": [named(alarm)] },
        } })
    }));
    widgets.extend(OPERATIONS.iter().map(|panel| graph(panel, 8)));
    dashboard(widgets)
}

/// Returns the business dashboard: orders, stock and notifications to customers.
pub fn business() -> Value {
    let mut widgets = vec![text(
        "# Business\nOrders, stock and notifications of all customers. Times are UTC.",
    )];
    widgets.extend(BUSINESS.iter().map(|panel| graph(panel, 12)));
    dashboard(widgets)
}

/// The title and the metrics of a graph of related metrics: counts and values on the left axis,
/// seconds (the 95th percentile) on the right axis.
type Panel = (&'static str, &'static [Metric]);

/// Metrics without an alarm. A metric with an alarm has its own graph.
const OPERATIONS: &[Panel] = &[
    ("Requests", &[HttpRequests, HttpLatency, RequestsShed]),
    ("Refused requests", &[SecurityEvents]),
    ("Messages", &[MessagesHandled, HandlerLatency]),
    (
        "Outbox",
        &[OutboxPublished, OutboxFailures, OutboxUnreadable],
    ),
    ("Polling", &[Pollers, EmptyReceives]),
    (
        "Duplicates and delays",
        &[
            DuplicateDeliveries,
            ExpiredHandles,
            IdempotentReplays,
            OrdersRedriven,
            OrdersOverdue,
            StreamRebuilds,
        ],
    ),
    ("Calls to AWS", &[AwsCalls, AwsUnits]),
];

const BUSINESS: &[Panel] = &[
    ("Orders", &[OrdersAccepted, OrdersReached]),
    ("Time to confirmation", &[ConfirmLatency]),
    (
        "Stock",
        &[StockAlerts, ReservationsRefused, ReservationsExpired],
    ),
    (
        "Notifications",
        &[NotificationsSent, NotificationsFailed, NotificationDelay],
    ),
];

fn dashboard(widgets: Vec<Value>) -> Value {
    sorted(json!({ "start": "-PT6H", "periodOverride": "inherit", "widgets": widgets }))
}

fn text(markdown: &str) -> Value {
    json!({ "type": "text", "width": WIDTH, "height": 2, "properties": { "markdown": markdown } })
}

/// Returns a graph with one line per service and value of the metric's own dimensions.
fn graph((title, metrics): &Panel, width: usize) -> Value {
    let lines = metrics.iter().map(|metric| {
        let own = metric.dimensions().iter().map(|name| format!(",{name}")).collect::<String>();
        let statistic = match metric.shape() {
            Shape::Counter => "Sum",
            Shape::Gauge => "Maximum",
            Shape::Seconds => "p95",
        };
        let name = metric.name();
        let search = format!(
            "SEARCH('{{{NAMESPACE},Environment,Service{own}}} MetricName=\"{name}\" Environment=\"${{Environment}}\"',\
             '{statistic}',60)"
        );
        let mut line = json!({ "expression": search });
        if metric.shape() == Shape::Seconds {
            line["yAxis"] = json!("right");
        }
        json!([line])
    });
    json!({ "type": "metric", "width": width, "properties": {
        "title": title, "region": "${AWS::Region}", "metrics": lines.collect::<Vec<_>>(),
    } })
}

#[cfg(test)]
mod tests {
    use contract::alarm::Signal;

    use super::*;

    #[test]
    fn every_metric_is_on_a_dashboard_once() {
        let watched = |metric: Metric| {
            ALARMS.iter().any(|alarm| matches!(alarm.signal, Signal::Ours { metric: watched, .. } if watched == metric))
        };
        for metric in Metric::ALL {
            let panels = OPERATIONS
                .iter()
                .chain(BUSINESS)
                .filter(|(_, metrics)| metrics.contains(metric))
                .count();
            assert!(
                panels == 1 || (panels == 0 && watched(*metric)),
                "{metric:?} is on {panels} panels"
            );
        }
    }
}
