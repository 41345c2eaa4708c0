//! Numbers, counted once and read twice: as Prometheus text, and as what changed since the last
//! reading (for CloudWatch). Only a [`Metric`] of the contract can be emitted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::metric::{Metric, Shape};
use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder};

/// The numbers of this process. Cheap to clone.
///
/// Values of a metric's own dimensions are given in the order of [`Metric::dimensions`]. A call
/// that does not fit the metric (another shape, another number of values) is a bug: it fails a
/// debug build and is dropped in a release one.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    /// By `Metric as usize`.
    families: Vec<Family>,
    /// Bounded by the contract: dimensions have few and fixed values, never one of a customer.
    since_last_reading: Mutex<BTreeMap<Metric, Vec<Series>>>,
}

enum Family {
    Counter(CounterVec),
    Gauge(GaugeVec),
    Seconds(HistogramVec),
}

/// What has changed in one series since the last reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    pub metric: Metric,
    /// The metric's own dimensions, or none for the total over all of them. `Environment` and
    /// `Service` are the sender's to add.
    pub dimensions: Vec<(&'static str, String)>,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// How much a counter has grown.
    Sum(f64),
    /// Where a gauge stands.
    Value(f64),
    /// `values` are observed values, each off by at most 7 %, and how often; at most
    /// [`DISTINCT_MAX`] of them.
    Distribution {
        count: u64,
        sum: f64,
        min: f64,
        max: f64,
        values: Vec<(f64, u64)>,
    },
}

/// CloudWatch takes 100 different values of a metric in one EMF line (150 in PutMetricData).
pub const DISTINCT_MAX: usize = 100;

impl Metrics {
    /// Every metric of the contract, those without dimensions of their own at zero.
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

    /// The text exposition format of Prometheus.
    pub fn render(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.0.registry.gather())
            .unwrap_or_else(|error| {
                tracing::error!(error = %error, "Metrics cannot be rendered");
                String::new()
            })
    }

    /// What has changed since the last call: one reader only, once a minute.
    ///
    /// Series that this process has never touched are left out, since CloudWatch bills by the
    /// series; a counter that was touched once goes on being told, at zero, so that an alarm on it
    /// can end.
    pub fn take_deltas(&self) -> Vec<Datum> {
        let mut series = self.series();
        let mut totals: BTreeMap<Metric, Gathered> = BTreeMap::new();
        let mut data = Vec::new();
        let each = series
            .iter_mut()
            .flat_map(|(metric, series)| series.iter_mut().map(move |series| (metric, series)));
        for (
            metric,
            Series {
                dimensions,
                gathered,
            },
        ) in each
        {
            let taken = match metric.shape() {
                Shape::Gauge => gathered.clone(),
                Shape::Counter | Shape::Seconds => std::mem::take(gathered),
            };
            if !metric.dimensions().is_empty() {
                totals.entry(*metric).or_default().add(&taken);
            }
            let dimensions = metric
                .dimensions()
                .iter()
                .copied()
                .zip(dimensions.iter().cloned())
                .collect();
            data.extend(taken.kind(*metric).map(|kind| Datum {
                metric: *metric,
                dimensions,
                kind,
            }));
        }
        // Alarms watch the totals.
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
        // They are few: looking through them costs less than making a key of strings.
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

/// `OrdersAccepted` is `brewhaven_orders_accepted_total` there.
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
        "A metric was used in a way that does not fit it"
    );
}

impl Family {
    fn register(metric: Metric, registry: &Registry) -> Self {
        /// From a fast query to the longest that a customer would wait.
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

/// What has come together in a series: a counter's growth, a gauge's value, or a distribution.
#[derive(Debug, Clone, Default)]
struct Gathered {
    sum: f64,
    min: f64,
    max: f64,
    /// How many observations fell into each step of [`STEP`].
    steps: BTreeMap<i32, u64>,
}

/// Values are told apart in steps of 15 %: near enough for a percentile, and few enough for one
/// line.
const STEP: f64 = 1.15;
/// What is shorter or longer than that is counted as that; minimum, maximum and sum stay exact.
const STEPS_FROM_S: f64 = 0.000_5;
const STEPS_TO_S: f64 = 120.0;

impl Gathered {
    fn observe(&mut self, seconds: f64) {
        let first = self.steps.is_empty();
        self.sum += seconds;
        self.min = if first {
            seconds
        } else {
            self.min.min(seconds)
        };
        self.max = if first {
            seconds
        } else {
            self.max.max(seconds)
        };
        *self.steps.entry(step(seconds)).or_default() += 1;
    }

    fn add(&mut self, other: &Self) {
        if !other.steps.is_empty() {
            let first = self.steps.is_empty();
            self.min = if first {
                other.min
            } else {
                self.min.min(other.min)
            };
            self.max = if first {
                other.max
            } else {
                self.max.max(other.max)
            };
        }
        self.sum += other.sum;
        for (step, count) in &other.steps {
            *self.steps.entry(*step).or_default() += count;
        }
    }

    /// `None` for a distribution without observations.
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
    fn a_gauge_tells_where_it_stands_and_an_untouched_series_nothing() {
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
    fn a_distribution_keeps_extremes_exactly_and_the_rest_nearly() {
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
