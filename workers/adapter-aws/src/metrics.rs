//! Sends metrics to CloudWatch once a minute, on a local AWS only. On AWS, metrics are log lines in
//! the embedded metric format (EMF).

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit, StatisticSet};
use chassis::emf::Source;
use chassis::metrics::{Datum, Kind};
use contract::cause::BoxError;
use contract::metric::{NAMESPACE, Shape};

use crate::Clients;

/// Maximum metrics of one PutMetricData call.
const CALL_MAX: usize = 1_000;

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

    /// Sends the data of one process.
    ///
    /// # Errors
    /// Returns the cause of the first failed call; the data after it are not sent.
    pub async fn put(&self, data: &[Datum], source: &Source) -> Result<(), BoxError> {
        let data: Vec<MetricDatum> = data.iter().map(|datum| series(datum, source)).collect();
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

fn series(datum: &Datum, source: &Source) -> MetricDatum {
    let of_process = [
        ("Environment", &source.environment),
        ("Service", &source.service),
    ];
    let own = datum.dimensions.iter().map(|(name, value)| (*name, value));
    let dimensions = of_process
        .into_iter()
        .chain(own)
        .map(|(name, value)| Dimension::builder().name(name).value(value).build());
    let series = MetricDatum::builder()
        .metric_name(datum.metric.name())
        .set_dimensions(Some(dimensions.collect()))
        .unit(match datum.metric.shape() {
            Shape::Seconds => StandardUnit::Seconds,
            Shape::Counter | Shape::Gauge => StandardUnit::Count,
        });
    match &datum.kind {
        Kind::Sum(value) | Kind::Value(value) => series.value(*value).build(),
        Kind::Distribution {
            count,
            sum,
            min,
            max,
            ..
        } => {
            let set = StatisticSet::builder()
                .sample_count(*count as f64)
                .sum(*sum)
                .minimum(*min)
                .maximum(*max)
                .build();
            series.statistic_values(set).build()
        }
    }
}
