//! Sends metrics to CloudWatch once a minute, on a local AWS only. On AWS, metrics are log lines in
//! the embedded metric format (EMF).

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit, StatisticSet};
use contract::cause::BoxError;
use contract::metric::NAMESPACE;

use crate::Clients;

/// Maximum metrics of one PutMetricData call.
const CALL_MAX: usize = 1_000;

/// One metric series for one minute.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name of the metric.
    pub name: &'static str,
    /// Dimensions as pairs of name and value.
    pub dimensions: Vec<(String, String)>,
    /// The value or the statistics.
    pub value: Value,
    /// True if the unit is seconds, false for a count.
    pub seconds: bool,
}

/// The value of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// One value.
    Single(f64),
    /// Statistics of several values.
    Statistics {
        count: f64,
        sum: f64,
        min: f64,
        max: f64,
    },
}

/// Sends metrics to CloudWatch.
#[derive(Clone)]
pub struct MetricSink {
    client: Client,
}

impl MetricSink {
    /// Creates a sink.
    pub fn new(clients: &Clients) -> MetricSink {
        MetricSink {
            client: clients.cloudwatch(),
        }
    }

    /// Sends the series.
    ///
    /// # Errors
    /// Returns the cause of the first failed call; the series after it are not sent.
    pub async fn put(&self, series: Vec<Series>) -> Result<(), BoxError> {
        let data: Vec<MetricDatum> = series.into_iter().map(datum).collect();
        for chunk in data.chunks(CALL_MAX) {
            let call = self
                .client
                .put_metric_data()
                .namespace(NAMESPACE)
                .set_metric_data(Some(chunk.to_vec()));
            call.send().await.map_err(crate::cause)?;
        }
        Ok(())
    }
}

fn datum(series: Series) -> MetricDatum {
    let dimensions = series
        .dimensions
        .into_iter()
        .map(|(name, value)| Dimension::builder().name(name).value(value).build());
    let datum = MetricDatum::builder()
        .metric_name(series.name)
        .set_dimensions(Some(dimensions.collect()))
        .unit(if series.seconds {
            StandardUnit::Seconds
        } else {
            StandardUnit::Count
        });
    match series.value {
        Value::Single(value) => datum.value(value).build(),
        Value::Statistics {
            count,
            sum,
            min,
            max,
        } => {
            let set = StatisticSet::builder()
                .sample_count(count)
                .sum(sum)
                .minimum(min)
                .maximum(max)
                .build();
            datum.statistic_values(set).build()
        }
    }
}
