//! The transitions of the model: what a worker does with a message, and what else can happen.
//!
//! The sweeper's repeated commands are left out. They would add a message that is also waiting in
//! the model if its deletion was lost.

use domain::saga::{Decision, Event, State};
use stateright::{Model, Property};

use super::properties;
use super::reduce::reduce;
use super::shop::{Hit, ModelShop};
use super::world::{Charge, Hand, Hold, Message, Mistake, Order, Step, Verdict, World};

/// One step that can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A worker receives a message and reads what it needs.
    Receive {
        worker: u8,
        order: u8,
        message: Message,
    },
    /// The worker does its next step. `reply` matters only for calls to the gateway.
    Work { worker: u8, reply: Reply },
    /// The worker dies; its message is still waiting.
    Crash { worker: u8 },
    /// The customer cancels the order.
    Cancel { order: u8 },
    /// The order's time limit ends.
    TimeOut { order: u8 },
    /// A charge request that was delayed reaches the gateway.
    Arrive { order: u8, verdict: Verdict },
}

/// The outcome of a call to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reply {
    /// The reply arrives. The verdict counts only if the gateway has not decided before.
    Clear(Verdict),
    /// The gateway handled the request, but its reply was lost.
    LostAfter(Verdict),
    /// The gateway has not handled the request; it may still arrive.
    LostBefore,
}

impl Model for ModelShop {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::opening(self.units)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for worker in 0..self.workers {
            match world.workers[usize::from(worker)] {
                Hand::Free => {
                    for order in 0..self.orders {
                        let waiting = world.orders[usize::from(order)].waiting;
                        let there = Message::ALL
                            .into_iter()
                            .filter(|message| waiting.has(*message));
                        actions.extend(there.map(|message| Action::Receive {
                            worker,
                            order,
                            message,
                        }));
                    }
                }
                Hand::Busy { order, step, .. } => {
                    let replies = replies(&world.orders[usize::from(order)], step);
                    actions.extend(
                        replies
                            .into_iter()
                            .map(|reply| Action::Work { worker, reply }),
                    );
                    actions.push(Action::Crash { worker });
                }
            }
        }
        for order in 0..self.orders {
            let Order { state, gateway, .. } = world.orders[usize::from(order)];
            if matches!(state.on(Event::CancelRequested), Decision::Advance(_)) {
                actions.push(Action::Cancel { order });
            }
            if matches!(state.on(Event::TimedOut), Decision::Advance(_)) {
                actions.push(Action::TimeOut { order });
            }
            if gateway.under_way {
                let verdicts = gateway
                    .answer
                    .map_or(Verdict::ALL.to_vec(), |known| vec![known]);
                actions.extend(
                    verdicts
                        .into_iter()
                        .map(|verdict| Action::Arrive { order, verdict }),
                );
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match action {
            Action::Receive {
                worker,
                order,
                message,
            } => {
                let in_hand = |hand: &Hand| matches!(hand, Hand::Busy { order: o, message: m, .. } if (*o, *m) == (order, message));
                if world.workers.iter().any(in_hand) {
                    self.hits.count(Hit::Redelivery);
                }
                if self.mistake == Some(Mistake::DeleteBeforeCommit) {
                    next.orders[usize::from(order)].waiting.remove(message);
                }
                next.workers[usize::from(worker)] = self.begin(&mut next, order, message);
            }
            Action::Work { worker, reply } => {
                let Hand::Busy {
                    order,
                    message,
                    step,
                } = world.workers[usize::from(worker)]
                else {
                    return None;
                };
                next.workers[usize::from(worker)] =
                    self.work(&mut next, order, message, step, reply);
            }
            Action::Crash { worker } => {
                self.hits.count(Hit::Crash);
                next.workers[usize::from(worker)] = Hand::Free;
            }
            Action::Cancel { order } => {
                self.hits.count(Hit::Cancel);
                self.happen(&mut next.orders[usize::from(order)], Event::CancelRequested)?;
            }
            Action::TimeOut { order } => {
                self.hits.count(Hit::TimeOut);
                self.happen(&mut next.orders[usize::from(order)], Event::TimedOut)?;
            }
            Action::Arrive { order, verdict } => {
                self.hits.count(Hit::LateRequest);
                let order = &mut next.orders[usize::from(order)];
                order.gateway.under_way = false;
                self.capture(order, verdict);
            }
        }
        self.reduce(&mut next);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<ModelShop>> {
        properties::all()
    }
}

impl ModelShop {
    fn reduce(&self, world: &mut World) {
        // A message without effect in the product can have one with a planted mistake.
        if self.mistake.is_none() {
            for _ in 0..reduce(world, self.orders) {
                self.hits.count(Hit::Duplicate);
            }
        }
    }

    /// Returns a worker's first step for a message, given the stored state.
    fn begin(&self, world: &mut World, order: u8, message: Message) -> Hand {
        let there = &mut world.orders[usize::from(order)];
        let read = there.state;
        let saved = |event| match read.on(event) {
            Decision::Advance(next) => Ok(Step::Save { read, next }),
            Decision::AlreadyDone => Err(Decision::AlreadyDone),
            Decision::Impossible => Err(Decision::Impossible),
        };
        let step = match message {
            Message::ReserveStock => match read.on(Event::Accepted) {
                Decision::Advance(State::Validated) => Ok(Step::Reserve { read }),
                _ if read == State::Validated => Ok(Step::Reserve { read }),
                other => Err(other),
            },
            Message::ReleaseStock => saved(Event::StockReleased).map(|_| Step::Release { read }),
            Message::PaymentCompleted => match read.on(Event::CardCharged) {
                Decision::Advance(State::Paid) => Ok(Step::Confirm { read }),
                _ if read == State::Paid => Ok(Step::Confirm { read }),
                Decision::Advance(next) => Ok(Step::Save { read, next }),
                other => Err(other),
            },
            Message::PaymentFailed => saved(Event::CardRefused),
            Message::PaymentRefunded => saved(Event::CardRefunded),
            Message::ChargeCard => Ok(match there.charge {
                Charge::Requested => Step::Charge {
                    read: Charge::Requested,
                },
                Charge::Unknown => Step::Query,
                known @ (Charge::Captured | Charge::Declined) => Step::SaveCharge {
                    read: known,
                    next: known,
                },
            }),
            Message::RefundCard => match (there.charge, there.refunded) {
                (Charge::Captured, false) => Ok(Step::Refund),
                (Charge::Captured, true) | (Charge::Declined, _) => Ok(Step::SaveRefund),
                // The charge has no outcome yet, so the message stays for a later delivery.
                (Charge::Requested | Charge::Unknown, _) => return Hand::Free,
            },
        };
        match step {
            Ok(step) => Hand::Busy {
                order,
                message,
                step,
            },
            Err(Decision::Impossible) => {
                there.parked = true;
                Hand::Busy {
                    order,
                    message,
                    step: Step::Delete,
                }
            }
            Err(Decision::AlreadyDone | Decision::Advance(_)) => {
                self.hits.count(Hit::Duplicate);
                Hand::Busy {
                    order,
                    message,
                    step: Step::Delete,
                }
            }
        }
    }

    /// Does one step and returns the next.
    fn work(
        &self,
        world: &mut World,
        order: u8,
        message: Message,
        step: Step,
        reply: Reply,
    ) -> Hand {
        let then = |step| Hand::Busy {
            order,
            message,
            step,
        };
        let World { stock, orders, .. } = world;
        let there = &mut orders[usize::from(order)];
        match step {
            Step::Reserve { read } => {
                let known =
                    self.mistake != Some(Mistake::ReserveWithoutRecord) && there.hold != Hold::None;
                let held = if known {
                    matches!(there.hold, Hold::Held | Hold::Confirmed)
                } else if stock.available > 0 {
                    stock.available -= 1;
                    stock.reserved += 1;
                    there.hold = Hold::Held;
                    true
                } else {
                    self.hits.count(Hit::SoldOut);
                    false
                };
                let event = if held {
                    Event::StockHeld
                } else {
                    Event::StockRefused
                };
                match State::Validated.on(event) {
                    Decision::Advance(next) => then(Step::Save { read, next }),
                    Decision::AlreadyDone | Decision::Impossible => then(Step::Delete),
                }
            }
            Step::Confirm { read } => {
                let sold = match there.hold {
                    Hold::Held => {
                        stock.reserved -= 1;
                        stock.sold += 1;
                        there.hold = Hold::Confirmed;
                        true
                    }
                    Hold::Confirmed => true,
                    Hold::Released | Hold::None => false,
                };
                match State::Paid.on(if sold {
                    Event::StockConfirmed
                } else {
                    Event::StockLost
                }) {
                    Decision::Advance(next) => then(Step::Save { read, next }),
                    Decision::AlreadyDone | Decision::Impossible => then(Step::Delete),
                }
            }
            Step::Release { read } => {
                match there.hold {
                    Hold::Held => {
                        stock.reserved -= 1;
                        stock.available += 1;
                    }
                    Hold::Confirmed => {
                        stock.sold -= 1;
                        stock.available += 1;
                    }
                    Hold::Released | Hold::None => {}
                }
                if there.hold != Hold::None || self.mistake != Some(Mistake::ReleaseWithoutMark) {
                    there.hold = Hold::Released;
                }
                match read.on(Event::StockReleased) {
                    Decision::Advance(next) => then(Step::Save { read, next }),
                    Decision::AlreadyDone | Decision::Impossible => then(Step::Delete),
                }
            }
            Step::Save { read, next } => {
                if there.state != read && self.mistake != Some(Mistake::SaveWithoutVersion) {
                    self.hits.count(Hit::Conflict);
                    return self.begin(world, order, message);
                }
                there.state = next;
                if self.mistake == Some(Mistake::OutboxAfterCommit) {
                    return then(Step::Send { next });
                }
                ask(there, next);
                then(Step::Delete)
            }
            Step::Send { next } => {
                ask(there, next);
                then(Step::Delete)
            }
            Step::Query => match (reply, there.gateway.answer) {
                (Reply::Clear(_), Some(known)) => then(Step::SaveCharge {
                    read: Charge::Unknown,
                    next: known.charge(),
                }),
                (Reply::Clear(_), None) => then(Step::Charge {
                    read: Charge::Unknown,
                }),
                (Reply::LostAfter(_) | Reply::LostBefore, _) => Hand::Free,
            },
            Step::Charge { read } => {
                let next = match reply {
                    Reply::Clear(verdict) => self.capture(there, verdict).charge(),
                    Reply::LostAfter(verdict) => {
                        self.hits.count(Hit::LostReply);
                        self.capture(there, verdict);
                        self.unknown()
                    }
                    Reply::LostBefore => {
                        self.hits.count(Hit::LostRequest);
                        there.gateway.under_way = true;
                        self.unknown()
                    }
                };
                // The charge was unknown before, so nothing is written. The message is delivered
                // again.
                if read == next {
                    Hand::Free
                } else {
                    then(Step::SaveCharge { read, next })
                }
            }
            Step::SaveCharge { read, next } => {
                if there.charge != read {
                    self.hits.count(Hit::Conflict);
                    return self.begin(world, order, message);
                }
                there.charge = next;
                match Message::telling(next) {
                    Some(answer) => {
                        there.waiting.add(answer);
                        then(Step::Delete)
                    }
                    None => Hand::Free,
                }
            }
            Step::Refund => {
                if reply != Reply::LostBefore {
                    let again = self.mistake == Some(Mistake::RefundWithNewKey);
                    there.gateway.refunds = if again {
                        (there.gateway.refunds + 1).min(2)
                    } else {
                        1
                    };
                }
                if matches!(reply, Reply::Clear(_)) {
                    then(Step::SaveRefund)
                } else {
                    Hand::Free
                }
            }
            Step::SaveRefund => {
                there.refunded = there.charge == Charge::Captured;
                there.waiting.add(Message::PaymentRefunded);
                then(Step::Delete)
            }
            Step::Delete => {
                there.waiting.remove(message);
                Hand::Free
            }
        }
    }

    /// The gateway handles a charge. It decides once for each idempotency key.
    fn capture(&self, order: &mut Order, verdict: Verdict) -> Verdict {
        if let Some(known) = order.gateway.answer
            && self.mistake != Some(Mistake::ChargeWithNewKey)
        {
            return known;
        }
        order.gateway.answer = Some(verdict);
        if verdict == Verdict::Captured {
            order.gateway.captures = (order.gateway.captures + 1).min(2);
        }
        verdict
    }

    fn unknown(&self) -> Charge {
        if self.mistake == Some(Mistake::UnknownIsDeclined) {
            Charge::Declined
        } else {
            Charge::Unknown
        }
    }

    /// Applies an event that is stored in one transaction and needs no earlier step.
    fn happen(&self, order: &mut Order, event: Event) -> Option<()> {
        let Decision::Advance(next) = order.state.on(event) else {
            return None;
        };
        order.state = next;
        ask(order, next);
        Some(())
    }
}

fn ask(order: &mut Order, state: State) {
    if let Some(command) = state.awaits() {
        order.waiting.add(Message::asking_for(command));
    }
}

/// Returns the possible outcomes of a step: one, unless the step calls the gateway.
fn replies(order: &Order, step: Step) -> Vec<Reply> {
    match step {
        Step::Charge { .. } => {
            let verdicts = order
                .gateway
                .answer
                .map_or(Verdict::ALL.to_vec(), |known| vec![known]);
            let clear = verdicts.iter().map(|verdict| Reply::Clear(*verdict));
            let lost = verdicts.iter().map(|verdict| Reply::LostAfter(*verdict));
            clear.chain(lost).chain([Reply::LostBefore]).collect()
        }
        Step::Refund => {
            vec![
                Reply::Clear(Verdict::Captured),
                Reply::LostAfter(Verdict::Captured),
                Reply::LostBefore,
            ]
        }
        Step::Query => vec![Reply::Clear(Verdict::Captured), Reply::LostBefore],
        Step::Reserve { .. }
        | Step::Confirm { .. }
        | Step::Release { .. }
        | Step::Save { .. }
        | Step::Send { .. }
        | Step::SaveCharge { .. }
        | Step::SaveRefund
        | Step::Delete => vec![Reply::Clear(Verdict::Captured)],
    }
}
