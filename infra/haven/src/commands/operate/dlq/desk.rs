//! The stores and queues of a running platform, and the dead letters in them.

use std::path::Path;

use adapter_aws::{DynamoStock, DynamoViews, Parked, SqsParking};
use anyhow::Context as _;
use app::ports::journey::JourneyStore as _;
use app::ports::notices::NoticeStatus;
use app::ports::orders::OrderStore as _;
use app::ports::views::OrderViews as _;
use app::use_cases::rehearse::{Foreseen, RehearsalDeps, consumer_of, rehearse};
use contract::queue::{QUEUES, Queue, QueueId};
use domain::ids::{EventId, OrderId};
use futures::future::try_join_all;
use platform::aws::Aws;
use platform::environment::ENVIRONMENT;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use worker::stores::{Store, SystemSource};

use crate::target;

/// The number of messages that are read from a queue at most, enough to find every cause.
pub const READ_MAX: usize = 10_000;

/// The stores and queues that the commands use.
pub struct Desk {
    pub store: Store,
    pub stock: DynamoStock,
    views: DynamoViews,
    queues: Vec<SqsParking>,
}

/// A dead letter and the work queue that it belongs to.
#[derive(Debug, Clone)]
pub struct Letter {
    pub queue: &'static Queue,
    pub parked: Parked,
}

impl Desk {
    /// Connects to the platform that `haven up` runs.
    ///
    /// # Errors
    /// When no platform is running in the state directory, or a store cannot be opened.
    pub async fn open(state: &Path) -> anyhow::Result<Desk> {
        let facts = target::running(state)?;
        let aws = Aws::local(&facts.aws_access());
        let addresses = aws.addresses(ENVIRONMENT).await?;
        let store = Store::connect(&facts.database_url, &adapter_sql::Login::default()).await;
        Ok(Desk {
            store: store.context("open the shop's database")?,
            stock: aws.stock(&addresses, "haven dlq")?,
            views: aws.views(&addresses)?,
            queues: QUEUES
                .iter()
                .map(|queue| aws.parking(queue, &addresses))
                .collect::<anyhow::Result<_>>()?,
        })
    }

    /// Reads all dead letters, and makes them visible again before it returns.
    ///
    /// # Errors
    /// When a queue cannot be read.
    pub async fn read(&self, stop: &CancellationToken) -> anyhow::Result<Vec<Letter>> {
        let read = self.queues.iter().map(|parking| async move {
            let parked = parking.read(READ_MAX, stop).await;
            let parked = parked
                .with_context(|| format!("read the dead letters of {}", parking.queue.slug))?;
            anyhow::Ok(
                parked
                    .into_iter()
                    .map(|parked| Letter {
                        queue: parking.queue,
                        parked,
                    })
                    .collect::<Vec<_>>(),
            )
        });
        Ok(try_join_all(read).await?.into_iter().flatten().collect())
    }

    /// Returns a work queue and its dead-letter queue.
    ///
    /// # Errors
    /// When the queue is not in the contract.
    pub fn parking(&self, queue: &Queue) -> anyhow::Result<&SqsParking> {
        self.queues
            .iter()
            .find(|parking| parking.queue == queue)
            .context("a queue of the contract")
    }

    /// Runs today's handler for a dead letter without writing anything.
    pub async fn rehearse(&self, letter: &Letter) -> Foreseen {
        let world = RehearsalDeps {
            orders: &self.store,
            stock: &self.stock,
            views: &self.views,
        };
        rehearse(world, &SystemSource, letter.queue, &letter.parked.body).await
    }

    /// Returns whether the effect of a message exists: a row in the inbox, a notification or an
    /// order view, depending on its consumer.
    ///
    /// # Errors
    /// When a store cannot be read.
    pub async fn is_applied(&self, letter: &Letter) -> anyhow::Result<bool> {
        let Some(event_id) = letter.event_id() else {
            return Ok(false);
        };
        match letter.queue.id {
            QueueId::Orders | QueueId::Payments | QueueId::Fulfilment => Ok(self
                .store
                .taken_in(consumer_of(letter.queue), event_id)
                .await?
                .is_some()),
            QueueId::Notifications => {
                let notices = self.store.notices_of(event_id).await?;
                Ok(!notices.is_empty()
                    && notices
                        .iter()
                        .all(|notice| notice.state != NoticeStatus::Pending))
            }
            // The order view has no inbox. A shown version that is not older than the order's
            // proves that some message has updated the view.
            QueueId::Projections => {
                let Some(order_id) = letter.order_id() else {
                    return Ok(false);
                };
                let Some(stored) = self.store.load(order_id).await? else {
                    return Ok(false);
                };
                let shown = self.views.shown_version(order_id).await?;
                Ok(shown.is_some_and(|shown| shown >= stored.order.version))
            }
        }
    }
}

impl Letter {
    /// Returns the body, if it is JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.parked.body).ok()
    }

    /// Returns the order id in the body.
    pub fn order_id(&self) -> Option<OrderId> {
        self.json()?["order_id"].as_str()?.parse().ok()
    }

    /// Returns the event id in the body.
    pub fn event_id(&self) -> Option<EventId> {
        self.json()?["event_id"].as_str()?.parse().ok()
    }
}
