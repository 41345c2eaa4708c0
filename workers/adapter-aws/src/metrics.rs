//! A minute's numbers to CloudWatch, for the local AWS. In AWS they go out as log lines (EMF) and
//! cost no call.

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit, StatisticSet};
use contract::metric::NAMESPACE;

use crate::Clients;

/// PutMetricData takes 1,000 metrics a call.
const CALL_MAX: usize = 1_000;

/// One series of one minute.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub name: &'static str,
    pub dimensions: Vec<(String, String)>,
    pub value: Value,
    /// Seconds, else a plain count.
    pub seconds: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    Single(f64),
    Statistics {
        count: f64,
        sum: f64,
        min: f64,
        max: f64,
    },
}

#[derive(Clone)]
pub struct MetricSink {
    client: Client,
}

impl MetricSink {
    pub fn new(clients: &Clients) -> MetricSink {
        MetricSink {
            client: clients.cloudwatch(),
        }
    }

    pub async fn put(&self, series: Vec<Series>) -> Result<(), String> {
        let data: Vec<MetricDatum> = series.into_iter().map(datum).collect();
        for chunk in data.chunks(CALL_MAX) {
            let call = self
                .client
                .put_metric_data()
                .namespace(NAMESPACE)
                .set_metric_data(Some(chunk.to_vec()));
            call.send().await.map_err(|error| crate::why(&error))?;
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
