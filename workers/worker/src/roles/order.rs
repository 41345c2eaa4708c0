//! `order-worker`: the saga of each order.

use std::sync::Arc;

use adapter_aws::DynamoStock;
use app::inbox::{Delivery, Settlement};
use app::use_cases::run_saga::run_saga;
use chassis::{Breaker, Handler, Metrics};
use contract::metric::Metric;
use contract::queue::ORDERS;
use contract::role::Role;
use domain::order::Status;

use super::{Applier, Wiring, decode, inbox, maker, settle};
use crate::breakers::Breakers;
use crate::stores::{Store, SystemSource};

pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let inbox = inbox(&wiring, &ORDERS)?;
    let handler = Saga {
        role: wiring.role,
        stock: wiring.aws.stock(&wiring.config.addresses, wiring.role.slug)?,
        applier: Applier::new(wiring.store.clone()),
        store: wiring.store,
        breakers: wiring.breakers,
        metrics: wiring.process.metrics.clone(),
    };
    chassis::consume(inbox, &ORDERS, wiring.role.concurrency, Arc::new(handler), wiring.process).await;
    Ok(())
}

struct Saga {
    breakers: Breakers,
    role: &'static Role,
    store: Store,
    applier: Applier,
    stock: DynamoStock,
    metrics: Metrics,
}

impl Handler for Saga {
    async fn handle(&self, delivery: &Delivery) -> Settlement {
        let envelope = match decode(delivery) {
            Ok(envelope) => envelope,
            Err(settlement) => return settlement,
        };
        let maker = maker(self.role);
        let handled = run_saga(&self.store, &self.applier, &self.stock, &SystemSource, &maker, &envelope).await;
        if let Some((status, age)) = handled.reached {
            self.metrics.count(Metric::OrdersReached, &[status.code()], 1);
            if status == Status::Confirmed {
                self.metrics.observe(Metric::ConfirmLatency, &[], age);
            }
        }
        settle(handled, &ORDERS, &self.metrics)
    }
    fn needs(&self) -> &[Breaker] {
        self.breakers.all()
    }
}
