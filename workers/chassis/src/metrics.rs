//! Metrics. `/metrics` shows them in the text format of Prometheus, and the EMF writer reads the
//! changes since its last reading, for CloudWatch. Only a [`Metric`] of the contract can be
//! reported.
//!
//! The crate `metrics-exporter-prometheus` would not replace this module: it has no reading of
//! changes, so the series for CloudWatch would stay here, and it keeps every observation of a
//! histogram in memory until a scrape or a timer folds it into the buckets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::metric::{Metric, Shape};
use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder};

/// The metrics of a process. Cheap to clone.
///
/// Callers pass the values of a metric's dimensions in the order of [`Metric::dimensions`]. A call
/// with another shape or another number of values is a bug. The call panics in a debug build, and
/// logs an error in a release build.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    /// By `Metric as usize`.
    families: Vec<Family>,
    /// The series since the last reading. The contract bounds their number, because dimensions have
    /// few and fixed values and never those of a customer.
    since_last_reading: Mutex<BTreeMap<Metric, Vec<Series>>>,
}

enum Family {
    Counter(CounterVec),
    Gauge(GaugeVec),
    Seconds(HistogramVec),
}

/// The change of one series since the last reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    pub metric: Metric,
    /// The dimensions of the metric, or none for the total over all of them. The EMF writer adds
    /// `Environment` and `Service`.
    pub dimensions: Vec<(&'static str, String)>,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// The increase of a counter.
    Sum(f64),
    /// The current value of a gauge.
    Value(f64),
    /// The observations of a histogram. `values` has at most [`DISTINCT_MAX`] different values with
    /// their counts; each differs by at most 7 % from the observed value.
    Distribution {
        count: u64,
        sum: f64,
        min: f64,
        max: f64,
        values: Vec<(f64, u64)>,
    },
}

/// The maximum of different values of a metric in one EMF line (CloudWatch User Guide, embedded
/// metric format; `PutMetricData` accepts 150).
pub const DISTINCT_MAX: usize = 100;

impl Metrics {
    /// Registers every metric of the contract. Metrics without dimensions start at zero.
    #[expect(
        clippy::new_without_default,
        reason = "an empty set of metrics is no sensible default for a field"
    )]
    pub fn new() -> Self {
        let registry = Registry::new();
        let families = Metric::ALL
            .iter()
            .map(|metric| Family::register(*metric, &registry))
            .collect();
        Self(Arc::new(Inner {
            registry,
            families,
            since_last_reading: Mutex::default(),
        }))
    }

    /// Adds `n` to a counter.
    pub fn count(&self, metric: Metric, dimensions: &[&str], n: u64) {
        let Family::Counter(counters) = self.family(metric) else {
            return misuse(metric, dimensions);
        };
        let Ok(counter) = counters.get_metric_with_label_values(dimensions) else {
            return misuse(metric, dimensions);
        };
        counter.inc_by(n as f64);
        self.gather(metric, dimensions, |gathered| gathered.sum += n as f64);
    }

    /// Sets a gauge.
    pub fn set(&self, metric: Metric, dimensions: &[&str], value: f64) {
        let Family::Gauge(gauges) = self.family(metric) else {
            return misuse(metric, dimensions);
        };
        let Ok(gauge) = gauges.get_metric_with_label_values(dimensions) else {
            return misuse(metric, dimensions);
        };
        gauge.set(value);
        self.gather(metric, dimensions, |gathered| gathered.sum = value);
    }

    /// Adds an observation in seconds to a histogram.
    pub fn observe(&self, metric: Metric, dimensions: &[&str], seconds: f64) {
        let Family::Seconds(histograms) = self.family(metric) else {
            return misuse(metric, dimensions);
        };
        let Ok(histogram) = histograms.get_metric_with_label_values(dimensions) else {
            return misuse(metric, dimensions);
        };
        histogram.observe(seconds);
        self.gather(metric, dimensions, |gathered| gathered.observe(seconds));
    }

    /// Returns all metrics in the text format of Prometheus.
    pub fn render(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.0.registry.gather())
            .unwrap_or_else(|error| {
                tracing::error!(error = %error, "Metrics cannot be rendered");
                String::new()
            })
    }

    /// Takes the changes since the last call. The EMF writer calls this once a minute and is the
    /// only reader.
    ///
    /// A series that was never reported is left out, because CloudWatch bills per series. A counter
    /// that was reported once stays in the result, with 0, so that an alarm on it can end.
    pub fn take_deltas(&self) -> Vec<Datum> {
        let mut all = self.series();
        let mut totals: BTreeMap<Metric, Gathered> = BTreeMap::new();
        let mut data = Vec::new();
        let each = all
            .iter_mut()
            .flat_map(|(metric, all)| all.iter_mut().map(move |series| (*metric, series)));
        for (metric, series) in each {
            let taken = match metric.shape() {
                Shape::Gauge => series.gathered.clone(),
                Shape::Counter | Shape::Seconds => std::mem::take(&mut series.gathered),
            };
            if !metric.dimensions().is_empty() {
                totals.entry(metric).or_default().add(&taken);
            }
            let names = metric.dimensions().iter().copied();
            let dimensions = names.zip(series.dimensions.iter().cloned()).collect();
            data.extend(taken.kind(metric).map(|kind| Datum {
                metric,
                dimensions,
                kind,
            }));
        }
        // Alarms watch the totals over all dimensions.
        for (metric, total) in totals {
            data.extend(total.kind(metric).map(|kind| Datum {
                metric,
                dimensions: Vec::new(),
                kind,
            }));
        }
        data
    }

    fn family(&self, metric: Metric) -> &Family {
        &self.0.families[metric as usize]
    }

    fn gather(&self, metric: Metric, dimensions: &[&str], change: impl FnOnce(&mut Gathered)) {
        let mut all = self.series();
        let series = all.entry(metric).or_default();
        // A metric has few series, so a search costs less than the allocation of a key.
        let index = series
            .iter()
            .position(|series| series.dimensions == dimensions)
            .unwrap_or_else(|| {
                let dimensions = dimensions.iter().map(ToString::to_string).collect();
                series.push(Series {
                    dimensions,
                    gathered: Gathered::default(),
                });
                series.len() - 1
            });
        change(&mut series[index].gathered);
    }

    fn series(&self) -> MutexGuard<'_, BTreeMap<Metric, Vec<Series>>> {
        self.0
            .since_last_reading
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the name of a metric in Prometheus: `OrdersAccepted` is
/// `brewhaven_orders_accepted_total`.
pub fn prometheus_name(metric: Metric) -> String {
    let mut name = contract::metric::NAMESPACE.to_lowercase();
    for letter in metric.name().chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    match metric.shape() {
        Shape::Counter => name.push_str("_total"),
        Shape::Gauge => {}
        Shape::Seconds => name.push_str("_seconds"),
    }
    name
}

fn misuse(metric: Metric, dimensions: &[&str]) {
    debug_assert!(
        false,
        "{metric:?} is a {:?} with {:?}, not {dimensions:?}",
        metric.shape(),
        metric.dimensions()
    );
    tracing::error!(
        metric = metric.name(),
        ?dimensions,
        "A metric was reported with another shape or other dimensions than its own"
    );
}

impl Family {
    fn register(metric: Metric, registry: &Registry) -> Self {
        /// The upper bounds in seconds, from a fast query to the longest wait of a customer.
        const BUCKETS_S: &[f64] = &[
            0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
        ];
        const VALID: &str = "names of the contract are valid and unique: a test registers them all";

        let options = Opts::new(prometheus_name(metric), metric.about().trim());
        let labels = metric.dimensions();
        let touch = labels.is_empty();
        match metric.shape() {
            Shape::Counter => {
                let family = CounterVec::new(options, labels).expect(VALID);
                registry.register(Box::new(family.clone())).expect(VALID);
                touch.then(|| family.with_label_values::<&str>(&[]));
                Self::Counter(family)
            }
            Shape::Gauge => {
                let family = GaugeVec::new(options, labels).expect(VALID);
                registry.register(Box::new(family.clone())).expect(VALID);
                touch.then(|| family.with_label_values::<&str>(&[]));
                Self::Gauge(family)
            }
            Shape::Seconds => {
                let options = HistogramOpts::from(options).buckets(BUCKETS_S.to_vec());
                let family = HistogramVec::new(options, labels).expect(VALID);
                registry.register(Box::new(family.clone())).expect(VALID);
                touch.then(|| family.with_label_values::<&str>(&[]));
                Self::Seconds(family)
            }
        }
    }
}

struct Series {
    dimensions: Vec<String>,
    gathered: Gathered,
}

/// The state of a series: the increase of a counter, the value of a gauge, or a distribution.
#[derive(Debug, Clone)]
struct Gathered {
    sum: f64,
    /// The least and the greatest observation; infinite as long as there is none.
    min: f64,
    max: f64,
    /// The number of observations by step of [`STEP`].
    steps: BTreeMap<i32, u64>,
}

impl Default for Gathered {
    fn default() -> Self {
        Self {
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            steps: BTreeMap::new(),
        }
    }
}

/// The ratio of two neighboring steps. 15 % is precise enough for a percentile, and gives few
/// enough values for one line.
const STEP: f64 = 1.15;
/// The first and the last step in seconds. Shorter and longer values count as these; minimum,
/// maximum and sum stay exact.
const STEPS_FROM_S: f64 = 0.000_5;
const STEPS_TO_S: f64 = 120.0;

impl Gathered {
    fn observe(&mut self, seconds: f64) {
        self.sum += seconds;
        self.min = self.min.min(seconds);
        self.max = self.max.max(seconds);
        *self.steps.entry(step(seconds)).or_default() += 1;
    }

    fn add(&mut self, other: &Self) {
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        for (step, count) in &other.steps {
            *self.steps.entry(*step).or_default() += count;
        }
    }

    /// Returns the change of the series, or `None` for a distribution without observations.
    fn kind(&self, metric: Metric) -> Option<Kind> {
        match metric.shape() {
            Shape::Counter => Some(Kind::Sum(self.sum)),
            Shape::Gauge => Some(Kind::Value(self.sum)),
            Shape::Seconds => (!self.steps.is_empty()).then(|| Kind::Distribution {
                count: self.steps.values().sum(),
                sum: self.sum,
                min: self.min,
                max: self.max,
                values: self
                    .steps
                    .iter()
                    .map(|(step, count)| (self.value_of(*step), *count))
                    .collect(),
            }),
        }
    }

    fn value_of(&self, step: i32) -> f64 {
        STEP.powi(step).clamp(self.min, self.max)
    }
}

fn step(seconds: f64) -> i32 {
    seconds.clamp(STEPS_FROM_S, STEPS_TO_S).log(STEP).round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_the_contract_is_registered_once() {
        let metrics = Metrics::new();
        for (place, metric) in Metric::ALL.iter().enumerate() {
            assert_eq!(*metric as usize, place, "{metric:?}");
        }
        let text = metrics.render();
        for zero in [
            "brewhaven_orders_accepted_total 0",
            "brewhaven_outbox_lag 0",
            "brewhaven_confirm_latency_seconds_count 0",
        ] {
            assert!(text.contains(zero), "{zero} is not in\n{text}");
        }
    }

    #[test]
    fn prometheus_reads_totals_and_cloudwatch_reads_changes() {
        let metrics = Metrics::new();
        metrics.count(Metric::MessagesHandled, &["orders", "done"], 2);
        metrics.count(Metric::MessagesHandled, &["orders", "park"], 1);
        let data = metrics.take_deltas();
        let dimensions = |outcome: &str| {
            vec![
                ("queue", "orders".to_owned()),
                ("outcome", outcome.to_owned()),
            ]
        };
        let datum = |dimensions, sum| Datum {
            metric: Metric::MessagesHandled,
            dimensions,
            kind: Kind::Sum(sum),
        };
        assert_eq!(
            data,
            [
                datum(dimensions("done"), 2.0),
                datum(dimensions("park"), 1.0),
                datum(vec![], 3.0)
            ]
        );

        metrics.count(Metric::MessagesHandled, &["orders", "done"], 5);
        let data = metrics.take_deltas();
        assert_eq!(
            data,
            [
                datum(dimensions("done"), 5.0),
                datum(dimensions("park"), 0.0),
                datum(vec![], 5.0)
            ]
        );
        let text = metrics.render();
        let line = r#"brewhaven_messages_handled_total{outcome="done",queue="orders"} 7"#;
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn a_gauge_reports_its_value_and_an_untouched_series_nothing() {
        let metrics = Metrics::new();
        assert_eq!(metrics.take_deltas(), []);
        metrics.set(Metric::OutboxLag, &[], 3.0);
        metrics.set(Metric::OutboxLag, &[], 2.0);
        for _ in 0..2 {
            let [
                Datum {
                    metric: Metric::OutboxLag,
                    kind: Kind::Value(2.0),
                    ..
                },
            ] = &metrics.take_deltas()[..]
            else {
                panic!("a gauge is told at every reading");
            };
        }
    }

    #[test]
    fn a_distribution_keeps_extremes_exactly_and_values_approximately() {
        let metrics = Metrics::new();
        let mut observed = Vec::new();
        for n in 0..5_000 {
            let seconds = 0.000_1 * f64::from(n).powf(1.7);
            observed.push(seconds);
            metrics.observe(
                Metric::HandlerLatency,
                &[if n % 2 == 0 { "orders" } else { "payments" }],
                seconds,
            );
        }
        let data = metrics.take_deltas();
        let total = data
            .iter()
            .find(|datum| datum.dimensions.is_empty())
            .expect("the total over both queues");
        let Kind::Distribution {
            count,
            sum,
            min,
            max,
            values,
        } = &total.kind
        else {
            panic!("{total:?}")
        };
        assert_eq!((*count, *min, *max), (5_000, 0.0, observed[4_999]));
        assert!((sum - observed.iter().sum::<f64>()).abs() < 1e-6 * sum);
        assert!(values.len() <= DISTINCT_MAX, "{} values", values.len());
        let mut seen = 0;
        let median = values
            .iter()
            .find(|(_, times)| {
                seen += times;
                seen >= 2_500
            })
            .expect("a median")
            .0;
        assert!(
            (median / observed[2_500] - 1.0).abs() < 0.08,
            "{median} for {}",
            observed[2_500]
        );
        assert_eq!(metrics.take_deltas(), [], "nothing new was observed");
    }
}
