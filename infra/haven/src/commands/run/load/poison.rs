//! Poison messages during a load, which must not affect the processing of the orders.

use anyhow::Context as _;
use contract::address::Address;
use contract::queue::{ORDERS, PAYMENTS, Queue};
use platform::aws::Aws;
use platform::environment::ENVIRONMENT;
use platform::facts::Facts;
use uuid::Uuid;

/// The queues whose messages an order needs before it is confirmed.
const QUEUES: [&Queue; 2] = [&ORDERS, &PAYMENTS];

/// Sends poison messages to the queues.
pub struct Poison {
    client: aws_sdk_sqs::Client,
    urls: Vec<(&'static Queue, String)>,
    /// The poison messages per order and queue.
    share: f64,
}

impl Poison {
    /// Prepares `percent` poison messages among all messages of a queue.
    ///
    /// # Errors
    /// When the local AWS does not answer, or a queue was not deployed.
    pub async fn of(facts: &Facts, percent: f64) -> anyhow::Result<Poison> {
        let aws = Aws::local(&facts.aws_access());
        let addresses = aws.addresses(ENVIRONMENT).await?;
        let url = |queue: &'static Queue| {
            let url = addresses.get(&Address::Queue(queue).variable()).cloned();
            url.map(|url| (queue, url))
                .context("a queue was not deployed")
        };
        let urls = QUEUES
            .into_iter()
            .map(url)
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Poison {
            client: aws.sqs(),
            urls,
            share: percent / (100.0 - percent),
        })
    }

    /// Returns how many poison messages to send between order `index` and the next one.
    pub fn due(&self, index: usize) -> usize {
        let by = |orders: usize| (orders as f64 * self.share).floor() as usize;
        by(index + 1) - by(index)
    }

    /// Sends one poison message to each queue.
    ///
    /// # Errors
    /// When a queue does not accept it.
    pub async fn send(&self) -> anyhow::Result<()> {
        for (queue, url) in &self.urls {
            let mut call = self
                .client
                .send_message()
                .queue_url(url)
                .message_body("{ poison");
            if queue.fifo {
                let id = Uuid::now_v7().to_string();
                call = call.message_group_id(&id).message_deduplication_id(&id);
            }
            call.send()
                .await
                .with_context(|| format!("send poison to {}", queue.slug))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_in_a_hundred_is_poison() {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest());
        let client = aws_sdk_sqs::Client::from_conf(config.build());
        let poison = Poison {
            client,
            urls: Vec::new(),
            share: 1.0 / 99.0,
        };
        assert_eq!((0..990).map(|index| poison.due(index)).sum::<usize>(), 10);
    }
}
