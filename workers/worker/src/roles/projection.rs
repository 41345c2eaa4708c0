//! `projection-worker`: writes the order view.

use adapter_aws::{DynamoViews, SqsInbox};
use app::ports::views::{OrderView, OrderViews as _};
use app::ports::{Backend, StoreError};
use app::use_cases::Handled;
use app::use_cases::project::{Show, project};
use chassis::GroupCommit;
use contract::messages::Envelope;
use contract::queue::PROJECTIONS;

use super::consumer::{UseCase, consume};
use super::{LINGER, Wiring};
use crate::aws::Aws;
use crate::config::Config;
use crate::stores::Store;

/// Consumes the messages of the projections queue until shutdown.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let (inbox, views) = adapters(&wiring.aws, &wiring.config)?;
    let projection = Projection {
        store: wiring.store.clone(),
        views: GroupedViews::new(views),
    };
    consume(wiring, &PROJECTIONS, inbox, projection).await;
    Ok(())
}

/// Builds the adapters of the role from its grants.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub fn adapters(aws: &Aws, config: &Config) -> anyhow::Result<(SqsInbox, DynamoViews)> {
    Ok((
        aws.inbox(&config.grants, &PROJECTIONS)?,
        aws.views(&config.grants)?,
    ))
}

struct Projection {
    store: Store,
    views: GroupedViews,
}

/// Combines the views of messages that are handled at the same time into one call.
struct GroupedViews(GroupCommit<OrderView, Result<(), StoreError>>);

impl GroupedViews {
    /// Maximum number of views in one call.
    const MAX: usize = 20;

    fn new(views: DynamoViews) -> GroupedViews {
        GroupedViews(GroupCommit::start(
            GroupedViews::MAX,
            LINGER,
            move |some: Vec<OrderView>| {
                let views = views.clone();
                async move { views.show(&some).await }
            },
        ))
    }
}

impl Show for GroupedViews {
    async fn show_one(&self, view: OrderView) -> Result<(), StoreError> {
        self.0
            .submit(view)
            .await
            .unwrap_or_else(|lost| Err(StoreError::new(Backend::OrderView, lost)))
    }
}

impl UseCase for Projection {
    async fn handle(&self, envelope: &Envelope) -> Handled {
        project(&self.store, &self.views, envelope).await
    }
}
