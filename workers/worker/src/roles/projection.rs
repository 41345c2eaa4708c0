//! `projection-worker`: writes the order view.

use std::sync::Arc;

use adapter_aws::{DynamoViews, SqsInbox};
use app::ports::views::{OrderView, OrderViews as _};
use app::ports::{Backend, StoreError};
use app::use_cases::project::{Show, project};
use chassis::inbox::Delivery;
use chassis::{Breaker, GroupCommit, Handler, Metrics};
use contract::queue::PROJECTIONS;
use contract::settlement::Settlement;

use super::{LINGER, Wiring, decode, settle};
use crate::aws::Aws;
use crate::breakers::Breakers;
use crate::config::Config;
use crate::stores::Store;

/// Consumes the messages of the projections queue until shutdown.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let (inbox, views) = adapters(&wiring.aws, &wiring.config)?;
    let handler = ProjectionHandler {
        breakers: wiring.breakers,
        store: wiring.store,
        views: GroupedViews::new(views),
        metrics: wiring.process.metrics.clone(),
    };
    chassis::consume(
        Arc::new(inbox),
        &PROJECTIONS,
        wiring.role.concurrency,
        Arc::new(handler),
        wiring.process,
    )
    .await;
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

struct ProjectionHandler {
    breakers: Breakers,
    store: Store,
    views: GroupedViews,
    metrics: Metrics,
}

/// Combines the views of messages that are handled at the same time into one call.
struct GroupedViews(GroupCommit<OrderView, Result<(), StoreError>>);

impl GroupedViews {
    /// Maximum number of views in one call.
    const MAX: usize = 20;

    fn new(views: DynamoViews) -> GroupedViews {
        GroupedViews(GroupCommit::start_lingering(
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

impl Handler for ProjectionHandler {
    async fn handle(&self, delivery: &Delivery) -> Settlement {
        let envelope = match decode(delivery) {
            Ok(envelope) => envelope,
            Err(settlement) => return settlement,
        };
        settle(
            project(&self.store, &self.views, &envelope).await,
            &PROJECTIONS,
            &self.metrics,
        )
    }

    fn needs(&self) -> &[Breaker] {
        self.breakers.all()
    }
}
