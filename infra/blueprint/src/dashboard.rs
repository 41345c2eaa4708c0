//! The dashboards: what to look at when an alarm has gone off, and how the shop is doing.
//!
//! A body is small because it says little: a graph of an alarm shows the alarm's own metric and threshold, a search
//! finds the series of every service, and CloudWatch puts widgets without a place side by side.

use contract::alarm::{ALARMS, Alarm, Severity};
use contract::metric::{Metric, NAMESPACE, Shape};
use serde_json::{Value, json};

/// CloudWatch's grid is 24 wide, and a widget 6 by 6 if it does not say otherwise.
const WIDTH: usize = 24;
const HALF: usize = WIDTH / 2;

/// What to look at when an alarm has gone off. In it `${Alarms}` stands for what comes before an alarm's slug in its ARN,
/// and `${Environment}` and `${AWS::Region}` for themselves.
pub fn operations() -> Value {
    let named = |alarm: &Alarm| format!("${{Alarms}}{}", alarm.slug);
    let mut widgets = vec![text("# Operations\nEach alarm has a runbook: `haven runbook list`. Times are UTC.")];
    for (title, severity) in
        [("Look now", Severity::Page), ("Look today", Severity::Ticket), ("Only to know", Severity::Notice)]
    {
        let alarms: Vec<String> = ALARMS.iter().filter(|alarm| alarm.severity == severity).map(named).collect();
        let height = alarms.len().div_ceil(4) + 1;
        let properties = json!({ "title": title, "alarms": alarms });
        widgets.push(json!({ "type": "alarm", "width": WIDTH, "height": height, "properties": properties }));
    }
    widgets.extend(ALARMS.iter().map(|alarm| {
        json!({ "type": "metric", "properties": {
            "title": alarm.slug, "region": "${AWS::Region}", "annotations": { "alarms": [named(alarm)] },
        } })
    }));
    let technical = Metric::ALL.iter().filter(|metric| !is_business(**metric));
    widgets.extend(technical.map(|metric| graph(*metric, 6)));
    dashboard(widgets)
}

/// How the shop is doing: orders, stock and what customers were told.
pub fn business() -> Value {
    let mut widgets = vec![text("# Business\nOrders, stock and notices of all customers. Times are UTC.")];
    let business = Metric::ALL.iter().filter(|metric| is_business(**metric));
    widgets.extend(business.map(|metric| graph(*metric, HALF)));
    dashboard(widgets)
}

/// Whether somebody who runs the shop asks for it, and not only somebody who runs the machines.
fn is_business(metric: Metric) -> bool {
    match metric {
        Metric::OrdersAccepted
        | Metric::OrdersReached
        | Metric::ConfirmLatency
        | Metric::StockAlerts
        | Metric::ReservationsRefused
        | Metric::ReservationsExpired
        | Metric::NotificationsSent
        | Metric::NotificationsFailed
        | Metric::NotificationDelay => true,
        Metric::HttpRequests
        | Metric::HttpLatency
        | Metric::IdempotentReplays
        | Metric::MessagesHandled
        | Metric::HandlerLatency
        | Metric::DuplicateDeliveries
        | Metric::ExpiredHandles
        | Metric::EmptyReceives
        | Metric::Pollers
        | Metric::OutboxLag
        | Metric::OutboxPublished
        | Metric::StreamLag
        | Metric::StreamRebuilds
        | Metric::StockDrift
        | Metric::OrdersRedriven
        | Metric::AwsCalls => false,
    }
}

fn dashboard(widgets: Vec<Value>) -> Value {
    json!({ "start": "-PT6H", "periodOverride": "inherit", "widgets": widgets })
}

fn text(markdown: &str) -> Value {
    json!({ "type": "text", "width": WIDTH, "height": 2, "properties": { "markdown": markdown } })
}

/// One metric of ours, a line for each service and for each value of the metric's own dimensions.
fn graph(metric: Metric, width: usize) -> Value {
    let (unit, statistic) = match metric.shape() {
        Shape::Counter => ("count", "Sum"),
        Shape::Gauge => ("value", "Maximum"),
        Shape::Seconds => ("s, p95", "p95"),
    };
    let own = metric.dimensions().iter().map(|name| format!(",{name}")).collect::<String>();
    let name = metric.name();
    let series = format!(
        "SEARCH('{{{NAMESPACE},Environment,Service{own}}} MetricName=\"{name}\" Environment=\"${{Environment}}\"',\
         '{statistic}',60)"
    );
    json!({ "type": "metric", "width": width, "properties": {
        "title": format!("{name} ({unit})"), "region": "${AWS::Region}", "metrics": [[{ "expression": series }]],
    } })
}
