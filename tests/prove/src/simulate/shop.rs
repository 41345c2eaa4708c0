//! The shop of one run: its shared state, and the check whether it is quiet.

use std::sync::Arc;

use app::location::Location;
use app::ports::orders::{OrderFilter, OrderStore as _};
use app::ports::scope::Scope;
use domain::order::Order;

use super::customer::Customer;
use super::engine::Engine;
use super::gateway::Ledger;
use super::mail::Sink;
use super::orders::{Database, at_once};
use super::queues::Broker;
use super::stock::Table;

/// The state of the shop, which all tasks share.
pub struct SimulatedShop {
    pub engine: Arc<Engine>,
    pub database: Arc<Database>,
    pub table: Arc<Table>,
    pub broker: Arc<Broker>,
    pub ledger: Arc<Ledger>,
    pub sink: Arc<Sink>,
    pub settings: Location,
    pub customers: Vec<Arc<Customer>>,
}

impl SimulatedShop {
    /// Returns all orders as they are stored.
    pub fn orders(&self) -> Vec<Order> {
        at_once(self.database.store.list(
            &Scope::Everything,
            &OrderFilter {
                limit: 200,
                ..OrderFilter::default()
            },
        ))
        .unwrap_or_default()
    }

    /// Returns why the shop is not quiet, or `None` if it is.
    pub fn unrest(&self) -> Option<String> {
        if let Some(order) = self.orders().iter().find(|order| !order.state.settled()) {
            return Some(format!(
                "order {} is {}",
                order.order_id,
                order.state.code()
            ));
        }
        if !self.broker.is_empty() {
            return Some("a queue is not empty".to_owned());
        }
        if at_once(self.database.store.oldest_unpublished()) != Ok(None) {
            return Some("the outbox is not empty".to_owned());
        }
        if !self.table.is_read() {
            return Some("the stream is not read to its end".to_owned());
        }
        self.customers
            .iter()
            .any(|customer| !customer.is_done())
            .then(|| "a customer still tries to order".to_owned())
    }
}
