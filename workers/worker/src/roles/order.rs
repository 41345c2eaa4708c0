//! `order-worker`: the saga of each order.

use adapter_aws::{DynamoStock, SqsInbox};
use app::ports::stock::{Moved, OrderMove, Stock as _};
use app::ports::{Backend, StoreError};
use app::use_cases::Handled;
use app::use_cases::run_saga::{Shelf, run_saga};
use chassis::{GroupCommit, Metrics};
use contract::messages::Envelope;
use contract::metric::Metric;
use contract::queue::ORDERS;
use contract::role::{ORDER_WORKER, Role};
use domain::Timestamp;
use domain::ids::OrderId;
use domain::order::Status;

use super::consumer::{UseCase, consume};
use super::{Applier, LINGER, Wiring, maker};
use crate::aws::Aws;
use crate::config::Config;
use crate::stores::{Store, SystemSource};

/// Consumes the messages of the orders queue until shutdown.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let (inbox, stock) = adapters(&wiring.aws, &wiring.config)?;
    let saga = Saga {
        role: wiring.role,
        shelf: GroupedStock::new(stock),
        applier: Applier::new(wiring.store.clone()),
        store: wiring.store.clone(),
        metrics: wiring.process.metrics.clone(),
    };
    consume(wiring, &ORDERS, inbox, saga).await;
    Ok(())
}

/// Builds the adapters of the role from its grants.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub fn adapters(aws: &Aws, config: &Config) -> anyhow::Result<(SqsInbox, DynamoStock)> {
    Ok((
        aws.inbox(&config.grants, &ORDERS)?,
        aws.stock(&config.grants, ORDER_WORKER.slug)?,
    ))
}

struct Saga {
    role: &'static Role,
    store: Store,
    applier: Applier,
    shelf: GroupedStock,
    metrics: Metrics,
}

/// Combines the stock moves of orders whose messages are handled at the same time into one
/// transaction.
struct GroupedStock {
    moves: GroupCommit<OrderMove, Result<Moved, StoreError>>,
    stock: DynamoStock,
}

impl GroupedStock {
    /// Maximum number of moves in one call: the orders of two lines that fit into two transactions.
    const MAX: usize = 40;

    fn new(stock: DynamoStock) -> GroupedStock {
        let counters = stock.clone();
        let moves = GroupCommit::start(GroupedStock::MAX, LINGER, move |moves: Vec<OrderMove>| {
            let stock = counters.clone();
            async move { stock.move_orders(&moves).await }
        });
        GroupedStock { moves, stock }
    }
}

impl Shelf for GroupedStock {
    async fn move_one(&self, one: OrderMove) -> Result<Moved, StoreError> {
        self.moves
            .submit(one)
            .await
            .unwrap_or_else(|lost| Err(StoreError::new(Backend::Stock, lost)))
    }

    async fn give_back(&self, order_id: OrderId, now: Timestamp) -> Result<(), StoreError> {
        self.stock.release(order_id, now).await
    }
}

impl UseCase for Saga {
    async fn handle(&self, envelope: &Envelope) -> Handled {
        let maker = maker(self.role);
        let handled = run_saga(
            &self.store,
            &self.applier,
            &self.shelf,
            &SystemSource,
            &maker,
            envelope,
        )
        .await;
        if let Some((status, age)) = handled.reached {
            self.metrics
                .count(Metric::OrdersReached, &[status.code()], 1);
            if status == Status::Confirmed {
                self.metrics.observe(Metric::ConfirmLatency, &[], age);
            }
        }
        handled
    }
}
