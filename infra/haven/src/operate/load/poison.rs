//! Messages that nobody can read, among those of the orders: what is healthy must not notice them.

use anyhow::Context as _;
use contract::address::Address;
use contract::queue::{ORDERS, PAYMENTS, Queue};
use uuid::Uuid;

use crate::aws::Aws;
use crate::local::facts::Facts;
use crate::local::up::ENVIRONMENT;

/// Where an order waits for its messages before it is confirmed.
const QUEUES: [&Queue; 2] = [&ORDERS, &PAYMENTS];

pub struct Poison {
    client: aws_sdk_sqs::Client,
    urls: Vec<(&'static Queue, String)>,
    /// Messages for each order and queue.
    share: f64,
}

impl Poison {
    /// So many of a hundred messages.
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

    /// How many are due between this order and the next.
    pub fn due(&self, index: usize) -> usize {
        let by = |orders: usize| (orders as f64 * self.share).floor() as usize;
        by(index + 1) - by(index)
    }

    /// One into each queue.
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
