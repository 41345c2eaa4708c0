//! Simulated queues with visibility timeouts and message groups, topics that fan out to them, and
//! the event bus.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use app::ports::publisher::{PublishError, Publisher};
use contract::cause::Cause;
use contract::event::Route;
use contract::messages::{Envelope, Message};
use contract::queue::{QUEUES, Queue};
use contract::topic::{SUBSCRIPTIONS, Topic};
use domain::ids::{EventId, OrderId};
use faults::Dice;

use super::engine::{Engine, Lost, Signal};
use super::hits::Hit;
use super::mistake::Mistake;
use super::port::Port;
use super::task::Who;

/// How long SQS deduplicates a message on a FIFO queue.
const DEDUP_MS: u64 = 5 * 60_000;

/// One delivery.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub envelope: Envelope,
    pub attempt: u32,
    pub lease_ends_ms: u64,
    id: u64,
    handle: u64,
}

/// All queues, and the event bus.
#[derive(Default)]
pub struct Broker {
    arrived: [Signal; QUEUES.len()],
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    queues: BTreeMap<&'static str, Vec<Stored>>,
    sent: BTreeMap<(&'static str, EventId), u64>,
    next_id: u64,
    bus: BTreeSet<(Option<OrderId>, &'static str, String, EventId)>,
    parked: Vec<(Option<OrderId>, String)>,
}

struct Stored {
    id: u64,
    envelope: Envelope,
    visible_at_ms: u64,
    deliveries: u32,
    /// The receipt handle of the last delivery.
    handle: u64,
    in_hand: bool,
}

impl Broker {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the signal that is raised when a message of the queue may have become visible.
    pub fn arrived(&self, queue: &Queue) -> &Signal {
        let index = QUEUES
            .iter()
            .position(|known| known.slug == queue.slug)
            .unwrap_or_default();
        &self.arrived[index]
    }

    /// Returns whether all queues are empty.
    pub fn is_empty(&self) -> bool {
        self.inner().queues.values().all(Vec::is_empty)
    }

    /// Returns the dead letters with their reasons.
    pub fn parked(&self) -> Vec<(Option<OrderId>, String)> {
        self.inner().parked.clone()
    }

    /// Returns each event of an order that the event bus received, once: its kind, the new status
    /// if it has one, and its id.
    pub fn on_bus(&self, order_id: OrderId) -> Vec<(&'static str, String, EventId)> {
        let inner = self.inner();
        let of_order = inner
            .bus
            .iter()
            .filter(|(order, ..)| *order == Some(order_id));
        of_order
            .map(|(_, kind, status, event_id)| (*kind, status.clone(), *event_id))
            .collect()
    }

    /// Returns when the next message of the queue becomes visible.
    pub fn next_visible_ms(&self, queue: &Queue) -> Option<u64> {
        self.inner()
            .queues
            .get(queue.slug)?
            .iter()
            .map(|stored| stored.visible_at_ms)
            .min()
    }

    /// Receives up to `most` messages. A FIFO queue only returns the first message of each group,
    /// and none while a message of the group is in flight. A standard queue returns any.
    pub fn receive(&self, engine: &Engine, queue: &'static Queue, most: usize) -> Vec<Delivery> {
        let now = engine.now_ms();
        let mut inner = self.inner();
        let inner = &mut *inner;
        let Some(stored) = inner.queues.get_mut(queue.slug) else {
            return Vec::new();
        };
        let mut taken = Vec::new();
        while taken.len() < most {
            let mut closed = BTreeSet::new();
            let visible: Vec<usize> = (0..stored.len())
                .filter(|&index| {
                    let free = stored[index].visible_at_ms <= now;
                    let first = !queue.fifo || closed.insert(stored[index].envelope.order_id);
                    free && first
                })
                .collect();
            if visible.is_empty() {
                break;
            }
            let pick = engine.dice(|dice: &mut Dice| dice.below(visible.len() as u64)) as usize;
            if pick > 0 && !queue.fifo {
                engine.hit(Hit::Reordered);
            }
            inner.next_id += 1;
            let message = &mut stored[visible[pick]];
            if message.in_hand {
                engine.hit(Hit::LeaseEnded);
            }
            message.deliveries += 1;
            message.handle = inner.next_id;
            message.in_hand = true;
            message.visible_at_ms = now + queue.lease.as_millis() as u64;
            taken.push(Delivery {
                envelope: message.envelope.clone(),
                attempt: message.deliveries,
                lease_ends_ms: message.visible_at_ms,
                id: message.id,
                handle: message.handle,
            });
        }
        taken
    }

    /// Deletes a message, if the handle is that of its last delivery.
    pub fn delete(&self, queue: &Queue, delivery: &Delivery) {
        if let Some(stored) = self.inner().queues.get_mut(queue.slug) {
            stored.retain(|message| message.id != delivery.id || message.handle != delivery.handle);
        }
        self.arrived(queue).raise();
    }

    /// Makes a message visible again at a time, if the handle is that of its last delivery.
    pub fn hide(&self, queue: &Queue, delivery: &Delivery, until_ms: u64) {
        if let Some(stored) = self.inner().queues.get_mut(queue.slug) {
            let ours = |message: &&mut Stored| {
                message.id == delivery.id && message.handle == delivery.handle
            };
            if let Some(message) = stored.iter_mut().find(ours) {
                (message.visible_at_ms, message.in_hand) = (until_ms, false);
            }
        }
        self.arrived(queue).raise();
    }

    /// Records a message as a dead letter.
    pub fn park(&self, delivery: &Delivery, reason: &str) {
        self.inner()
            .parked
            .push((delivery.envelope.order_id, reason.to_owned()));
    }

    fn enqueue(&self, engine: &Engine, queue: &'static Queue, envelope: &Envelope) {
        let now = engine.now_ms();
        let copies = if !queue.fifo && engine.strikes(engine.plan.duplicate, Hit::DuplicateMessage)
        {
            2
        } else {
            1
        };
        let mut inner = self.inner();
        if queue.fifo && engine.plan.fifo_dedup {
            let key = (queue.slug, envelope.event_id);
            if inner
                .sent
                .get(&key)
                .is_some_and(|sent| now - sent < DEDUP_MS)
            {
                return;
            }
            inner.sent.insert(key, now);
        }
        for _ in 0..copies {
            inner.next_id += 1;
            let id = inner.next_id;
            let stored = Stored {
                id,
                envelope: envelope.clone(),
                visible_at_ms: now,
                deliveries: 0,
                handle: 0,
                in_hand: false,
            };
            inner.queues.entry(queue.slug).or_default().push(stored);
        }
        drop(inner);
        self.arrived(queue).raise();
    }

    fn deliver(&self, engine: &Engine, route: Route, envelope: &Envelope) {
        match route {
            Route::Queue(queue) => {
                if let Some(queue) = QUEUES.iter().find(|known| known.slug == queue.slug) {
                    self.enqueue(engine, queue, envelope);
                }
            }
            Route::Topic(topic) => self.fan_out(engine, topic, envelope),
            Route::Bus => {
                let status = status_of(envelope);
                let event = (
                    envelope.order_id,
                    envelope.message.kind().name(),
                    status,
                    envelope.event_id,
                );
                self.inner().bus.insert(event);
            }
        }
    }

    fn fan_out(&self, engine: &Engine, topic: &Topic, envelope: &Envelope) {
        let status = status_of(envelope);
        for subscription in SUBSCRIPTIONS
            .iter()
            .filter(|subscription| subscription.topic.slug == topic.slug)
        {
            let wanted = subscription
                .filter
                .as_ref()
                .is_none_or(|filter| filter.values.contains(&status.as_str()));
            if wanted {
                self.enqueue(engine, subscription.queue, envelope);
            }
        }
    }
}

fn status_of(envelope: &Envelope) -> String {
    if let Message::OrderStatusChanged { to, .. } = &envelope.message {
        to.clone()
    } else {
        String::new()
    }
}

/// The client of one outbox relay.
pub struct SimPublisher {
    pub engine: Arc<Engine>,
    pub broker: Arc<Broker>,
    pub who: Who,
}

impl Publisher for SimPublisher {
    async fn publish(&self, route: Route, messages: &[Envelope]) -> Vec<Result<(), PublishError>> {
        let engine = &*self.engine;
        let error = |cause: &'static str| PublishError {
            route,
            cause: Cause::new(cause),
        };
        let effect = || {
            let each = messages.iter().map(|envelope| {
                if engine.strikes(engine.plan.partial_batch, Hit::PartialBatch) {
                    return Err(error("not this one"));
                }
                self.broker.deliver(engine, route, envelope);
                Ok(())
            });
            each.collect::<Vec<_>>()
        };
        let first = messages.first().and_then(|envelope| envelope.order_id);
        let published = engine
            .call(self.who, Port::Publisher, "publish", first, effect)
            .await;
        let results = published.unwrap_or_else(|lost| {
            let why = match lost {
                Lost::Before => "no connection",
                Lost::After => "no answer",
            };
            vec![Err(error(why)); messages.len()]
        });
        if engine.is_mistaken(Mistake::SentUnseen) {
            vec![Ok(()); messages.len()]
        } else {
            results
        }
    }
}
