//! The metrics of the roles, read before and after a load.

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::metrics::prometheus_name;
use contract::METRICS_PATH;
use contract::metric::Metric;
use contract::role::Role;
use platform::facts::Facts;

/// Sums over all roles. The key is the series in Prometheus notation: `name{label="value"}`.
#[derive(Debug, Clone, Default)]
pub struct Counters(BTreeMap<String, f64>);

impl Counters {
    /// Reads the metrics of all roles.
    ///
    /// # Errors
    /// When a role does not answer.
    pub async fn read(client: &reqwest::Client, facts: &Facts) -> anyhow::Result<Counters> {
        let mut sums = BTreeMap::new();
        // The payment gateway is in the list too, but has no metrics.
        for role in facts
            .roles
            .iter()
            .filter(|role| Role::by_slug(&role.name).is_some())
        {
            let url = format!("{}{METRICS_PATH}", role.health);
            let text = client
                .get(url)
                .send()
                .await?
                .error_for_status()?
                .text()
                .await?;
            for (series, value) in text.lines().filter_map(series) {
                *sums.entry(series.to_owned()).or_default() += value;
            }
        }
        Ok(Counters(sums))
    }

    /// Returns the growth of each series. A role that restarted meanwhile counts from zero, so its
    /// growth is too low.
    pub fn since(&self, before: &Counters) -> Counters {
        let grown = |(series, value): (&String, &f64)| {
            (
                series.clone(),
                (value - before.0.get(series).copied().unwrap_or_default()).max(0.0),
            )
        };
        Counters(self.0.iter().map(grown).collect())
    }

    /// Returns the values of a metric by its single dimension.
    pub fn by(&self, metric: Metric) -> BTreeMap<String, f64> {
        let start = format!("{}{{", prometheus_name(metric));
        let of = |(series, value): (&String, &f64)| {
            let label = series.strip_prefix(&start)?.split('"').nth(1)?;
            Some((label.to_owned(), *value))
        };
        self.0.iter().filter_map(of).collect()
    }

    /// Returns the sum of a metric over its dimension.
    pub fn total(&self, metric: Metric) -> f64 {
        self.by(metric).values().sum()
    }

    /// Returns the observations of a distribution: those up to `limit`, and all.
    pub fn within(&self, metric: Metric, limit: Duration) -> (f64, f64) {
        let name = prometheus_name(metric);
        let bucket = format!("{name}_bucket{{le=\"{}\"}}", limit.as_secs_f64());
        let value = |series: &str| self.0.get(series).copied().unwrap_or_default();
        (value(&bucket), value(&format!("{name}_count")))
    }
}

fn series(line: &str) -> Option<(&str, f64)> {
    let (series, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    Some((series, value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(metrics: &chassis::Metrics) -> Counters {
        Counters(
            metrics
                .render()
                .lines()
                .filter_map(series)
                .map(|(series, value)| (series.to_owned(), value))
                .collect(),
        )
    }

    #[test]
    fn the_counters_of_a_role_are_parsed() {
        let metrics = chassis::Metrics::new();
        metrics.count(Metric::AwsCalls, &["sqs"], 2);
        let before = counters(&metrics);
        metrics.count(Metric::AwsCalls, &["sqs"], 3);
        metrics.count(Metric::AwsCalls, &["sns"], 1);
        metrics.observe(Metric::NotificationDelay, &[], 0.2);
        metrics.observe(Metric::NotificationDelay, &[], 45.0);
        let grown = counters(&metrics).since(&before);
        assert_eq!(
            grown.by(Metric::AwsCalls),
            BTreeMap::from([("sns".to_owned(), 1.0), ("sqs".to_owned(), 3.0)])
        );
        assert_eq!(grown.total(Metric::AwsCalls), 4.0);
        assert_eq!(
            grown.within(Metric::NotificationDelay, Duration::from_secs(30)),
            (1.0, 2.0)
        );
    }
}
