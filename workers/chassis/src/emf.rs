//! CloudWatch's embedded metric format (EMF): metrics as log lines, without calls of an API.

use std::collections::BTreeMap;

use contract::metric::{NAMESPACE, Shape};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::metrics::{Datum, Kind};

/// The dimensions that every series has.
#[derive(Debug, Clone)]
pub struct Source {
    pub environment: String,
    pub service: String,
}

/// Returns one line of JSON for each set of dimension values, for standard output.
pub fn lines(data: &[Datum], source: &Source, at: OffsetDateTime) -> Vec<String> {
    let mut groups: BTreeMap<&[(&'static str, String)], Vec<&Datum>> = BTreeMap::new();
    for datum in data {
        groups.entry(&datum.dimensions).or_default().push(datum);
    }
    groups
        .into_iter()
        .map(|(dimensions, data)| line(dimensions, &data, source, at))
        .collect()
}

fn line(
    dimensions: &[(&'static str, String)],
    data: &[&Datum],
    source: &Source,
    at: OffsetDateTime,
) -> String {
    let names: Vec<&str> = ["Environment", "Service"]
        .into_iter()
        .chain(dimensions.iter().map(|(name, _)| *name))
        .collect();
    let metrics: Vec<Value> = data
        .iter()
        .map(|datum| json!({ "Name": datum.metric.name(), "Unit": unit(datum.metric.shape()) }))
        .collect();
    let mut line = json!({
        "_aws": {
            "Timestamp": (at.unix_timestamp_nanos() / 1_000_000) as i64,
            "CloudWatchMetrics": [{ "Namespace": NAMESPACE, "Dimensions": [names], "Metrics": metrics }],
        },
        "Environment": source.environment,
        "Service": source.service,
    });
    for (name, value) in dimensions {
        line[*name] = json!(value);
    }
    for datum in data {
        line[datum.metric.name()] = match &datum.kind {
            Kind::Sum(value) | Kind::Value(value) => json!(value),
            Kind::Distribution {
                count,
                sum,
                min,
                max,
                values,
            } => {
                let (values, counts): (Vec<f64>, Vec<u64>) = values.iter().copied().unzip();
                json!({ "Values": values, "Counts": counts, "Count": count, "Sum": sum, "Min": min, "Max": max })
            }
        };
    }
    line.to_string()
}

fn unit(shape: Shape) -> &'static str {
    match shape {
        Shape::Counter => "Count",
        Shape::Gauge => "None",
        Shape::Seconds => "Seconds",
    }
}

#[cfg(test)]
mod tests {
    use contract::metric::Metric;

    use super::*;
    use crate::Metrics;

    #[test]
    fn every_declared_metric_and_dimension_has_a_value_in_its_line() {
        let metrics = Metrics::new();
        metrics.count(Metric::OrdersAccepted, &[], 3);
        metrics.count(Metric::StockAlerts, &["low"], 1);
        metrics.observe(Metric::HandlerLatency, &["orders"], 0.5);
        metrics.observe(Metric::HandlerLatency, &["orders"], 0.5);
        let source = Source {
            environment: "local".into(),
            service: "order-worker".into(),
        };
        let lines = lines(&metrics.take_deltas(), &source, OffsetDateTime::UNIX_EPOCH);
        assert_eq!(
            lines.len(),
            3,
            "no dimensions, a level, a queue: {lines:#?}"
        );
        for line in &lines {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let told = &line["_aws"]["CloudWatchMetrics"][0];
            assert_eq!(told["Namespace"], "BrewHaven");
            for name in told["Dimensions"][0].as_array().expect("names") {
                assert!(
                    line[name.as_str().expect("text")].is_string(),
                    "{name} has no value in {line}"
                );
            }
            for metric in told["Metrics"].as_array().expect("metrics") {
                assert!(
                    !line[metric["Name"].as_str().expect("text")].is_null(),
                    "{metric} has no value in {line}"
                );
            }
        }
        let whole: Value = serde_json::from_str(&lines[0]).expect("JSON");
        assert_eq!(whole["OrdersAccepted"], 3.0);
        assert_eq!(whole["StockAlerts"], 1.0, "the total over all levels");
        assert_eq!(whole["HandlerLatency"]["Counts"], json!([2]));
        assert_eq!(whole["HandlerLatency"]["Values"], json!([0.5]));
        assert_eq!(whole["_aws"]["Timestamp"], 0);
    }
}
