//! Locations, slots, tickets and shipments of the in-memory store of orders.

use contract::messages::Envelope;
use domain::Timestamp;
use domain::ids::{LocationId, OrderId, TenantId};

use super::orders::{Books, MemoryOrders};
use crate::location::Location;
use crate::ports::StoreError;
use crate::ports::fulfilment::{Fulfilment, FulfilmentStore, Shipment, Ticket, Work};
use crate::ports::journey::TakenIn;
use crate::ports::locations::LocationStore;
use crate::ports::orders::Applied;
use crate::ports::scope::Scope;

impl MemoryOrders {
    /// Replaces the location of a new installation.
    pub fn set_locations(&self, shops: Vec<Location>) {
        self.books().locations = shops;
    }

    /// Returns all unsent messages, each once.
    pub fn owed(&self) -> Vec<Envelope> {
        self.books().unpublished()
    }
}

impl LocationStore for MemoryOrders {
    async fn locations(&self) -> Result<Vec<Location>, StoreError> {
        let books = self.books();
        Ok(if books.locations.is_empty() {
            vec![Location::initial()]
        } else {
            books.locations.clone()
        })
    }

    async fn taken(
        &self,
        tenant: &TenantId,
        location: &LocationId,
        from: Timestamp,
        before: Timestamp,
    ) -> Result<Vec<(Timestamp, u32)>, StoreError> {
        self.answers().await;
        let books = self.books();
        let of_location = books.slots.iter().filter(|((of, at, starts_at), taken)| {
            of == tenant && at == location && (from..before).contains(starts_at) && **taken > 0
        });
        Ok(of_location
            .map(|((_, _, starts_at), taken)| (*starts_at, *taken))
            .collect())
    }
}

impl FulfilmentStore for MemoryOrders {
    async fn fulfil(&self, fulfilment: &Fulfilment) -> Result<Applied, StoreError> {
        let mut books = self.books();
        let key = (fulfilment.consumer, fulfilment.event_id);
        if books.inbox.contains_key(&key) {
            return Ok(Applied::Duplicate);
        }
        if !books.make(fulfilment) {
            return Ok(Applied::Conflict);
        }
        let taken_in = TakenIn {
            consumer: fulfilment.consumer.to_owned(),
            event_id: fulfilment.event_id,
            at: fulfilment.at,
            delivery: None,
        };
        books.inbox.insert(key, taken_in);
        books.owe(&fulfilment.outbox, fulfilment.at);
        Ok(Applied::Applied)
    }

    async fn tickets(&self, scope: &Scope, orders: &[OrderId]) -> Result<Vec<Ticket>, StoreError> {
        let books = self.books();
        let tickets = orders
            .iter()
            .filter_map(|order_id| books.tickets.get(order_id));
        Ok(tickets
            .filter(|(_, (of, at))| scope.includes(of, at))
            .map(|(ticket, _)| ticket.clone())
            .collect())
    }

    async fn shipment(
        &self,
        scope: &Scope,
        order_id: OrderId,
    ) -> Result<Option<Shipment>, StoreError> {
        let books = self.books();
        Ok(books
            .shipments
            .get(&order_id)
            .filter(|_| books.is_in(scope, order_id))
            .cloned())
    }
}

impl Books {
    /// Creates a ticket or a shipment. Returns false when the order has one.
    fn make(&mut self, fulfilment: &Fulfilment) -> bool {
        let order_id = fulfilment.order_id;
        match &fulfilment.work {
            Work::Ticket {
                tenant_id,
                location_id,
                day,
            } => {
                if self.tickets.contains_key(&order_id) {
                    return false;
                }
                let place = (tenant_id.clone(), location_id.clone());
                let before = self
                    .tickets
                    .values()
                    .filter(|(ticket, at)| ticket.day == *day && *at == place)
                    .count();
                let position = u32::try_from(before + 1).unwrap_or(u32::MAX);
                let slot_at = self.slot_of(order_id);
                self.tickets.insert(
                    order_id,
                    (
                        Ticket {
                            order_id,
                            day: *day,
                            position,
                            slot_at,
                        },
                        place,
                    ),
                );
            }
            Work::Shipment { tracking_number } => {
                if self.shipments.contains_key(&order_id) {
                    return false;
                }
                let (tracking_number, shipped_at) = (tracking_number.clone(), fulfilment.at);
                self.shipments.insert(
                    order_id,
                    Shipment {
                        order_id,
                        tracking_number,
                        shipped_at,
                    },
                );
            }
        }
        true
    }
}
