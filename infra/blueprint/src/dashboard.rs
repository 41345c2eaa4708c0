//! The operations dashboard: what to look at when an alarm has gone off.

use contract::alarm::{ALARMS, Signal};
use contract::metric::{Metric, NAMESPACE, Shape};
use contract::queue::QUEUES;
use serde_json::{Value, json};

/// CloudWatch's grid is 24 wide.
const WIDTH: usize = 24;
const HEIGHT: usize = 6;

/// The body of the dashboard, for an environment that is written as `${Environment}` and region `${AWS::Region}`.
pub fn operations() -> Value {
    let mut widgets = vec![json!({
        "type": "text", "x": 0, "y": 0, "width": WIDTH, "height": 2,
        "properties": { "markdown": "# Brew Haven operations\nEach alarm has a runbook: `haven runbook list`. Times are UTC." },
    })];
    let queue = |slug: &str, parked: bool| {
        let suffix = if parked { "-parking" } else { "" };
        format!("${{{slug}{suffix}}}")
    };
    let ages =
        QUEUES.iter().map(|q| json!(["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", queue(q.slug, false)]));
    let depths = QUEUES
        .iter()
        .map(|q| json!(["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue(q.slug, false)]));
    let parked = QUEUES
        .iter()
        .map(|q| json!(["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue(q.slug, true)]));
    let mut graphs = vec![
        graph(
            "Age of the oldest message (s)",
            ages.collect(),
            "Maximum",
            thresholds(|signal| matches!(signal, Signal::QueueAge(_))),
        ),
        graph("Messages waiting", depths.collect(), "Maximum", Vec::new()),
        graph("Messages parked", parked.collect(), "Maximum", thresholds(|signal| matches!(signal, Signal::Parked(_)))),
    ];
    for metric in Metric::ALL {
        let services = contract::role::ROLES
            .iter()
            .map(|role| json!([NAMESPACE, metric.name(), "Environment", "${Environment}", "Service", role.slug]));
        let (unit, statistic) = match metric.shape() {
            Shape::Counter => ("count", "Sum"),
            Shape::Gauge => ("value", "Maximum"),
            Shape::Seconds => ("s, p95", "p95"),
        };
        let watched = thresholds(|signal| matches!(signal, Signal::Ours { metric: watched, .. } if watched == metric));
        graphs.push(graph(&format!("{} ({unit})", metric.name()), services.collect(), statistic, watched));
    }
    for (index, mut widget) in graphs.into_iter().enumerate() {
        let columns = 3;
        widget["x"] = json!(index % columns * (WIDTH / columns));
        widget["y"] = json!(2 + index / columns * HEIGHT);
        widget["width"] = json!(WIDTH / columns);
        widget["height"] = json!(HEIGHT);
        widgets.push(widget);
    }
    json!({ "start": "-PT6H", "periodOverride": "inherit", "widgets": widgets })
}

fn graph(title: &str, metrics: Vec<Value>, statistic: &str, annotations: Vec<Value>) -> Value {
    json!({ "type": "metric", "properties": {
        "title": title, "metrics": metrics, "stat": statistic, "period": 60, "region": "${AWS::Region}",
        "yAxis": { "left": { "min": 0 } }, "annotations": { "horizontal": annotations },
    } })
}

fn thresholds(watched: impl Fn(&Signal) -> bool) -> Vec<Value> {
    let alarms = ALARMS.iter().filter(|alarm| watched(&alarm.signal));
    alarms.map(|alarm| json!({ "label": alarm.slug, "value": alarm.threshold })).collect()
}
