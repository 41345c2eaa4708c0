//! A queue in memory that behaves as SQS does: leases, groups that are closed while a message of
//! theirs is in flight, handles that end with their lease, batches that fail in part. Tests
//! can inject failures.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use contract::cause::Cause;
use contract::queue::{BATCH_MAX, Queue};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::inbox::{Delivery, EntryError, Inbox, QueueError};

pub const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A call takes that long.
const ROUND_TRIP: Duration = Duration::from_millis(5);

pub struct FakeQueue {
    spec: &'static Queue,
    started: Instant,
    state: Mutex<State>,
    /// Wakes long polls.
    changed: Notify,
}

#[derive(Debug, Clone)]
pub enum Call {
    Receive,
    Delete(Vec<String>),
    Hide(Vec<(String, Duration)>),
}

#[derive(Default)]
struct State {
    messages: Vec<Message>,
    calls: Vec<Call>,
    parked: Vec<(String, String)>,
    receiving: usize,
    most_receiving: usize,
    most_in_flight: usize,
    receives_dropped: usize,
    touched_after_deletion: Vec<String>,
    faults: Faults,
}

#[derive(Default)]
struct Faults {
    deletes: HashMap<String, u32>,
    expire_at_delete: Vec<String>,
    parks: u32,
    hides_until: Duration,
    renewals_take: Duration,
    receives_until: Duration,
    never_wait: bool,
    hang: bool,
}

struct Message {
    id: String,
    group: Option<String>,
    attempts: u32,
    visible_from: Duration,
    deleted: bool,
}

impl Message {
    fn handle(&self) -> String {
        format!("{}#{}", self.id, self.attempts)
    }
    fn in_flight(&self, now: Duration) -> bool {
        !self.deleted && self.attempts > 0 && self.visible_from > now
    }
}

impl FakeQueue {
    pub fn new(spec: &'static Queue) -> Arc<Self> {
        Arc::new(Self {
            spec,
            started: Instant::now(),
            state: Mutex::default(),
            changed: Notify::new(),
        })
    }

    pub fn spec(&self) -> &'static Queue {
        self.spec
    }

    pub fn send(&self, id: &str, group: Option<&str>) {
        assert_eq!(
            group.is_some(),
            self.spec.fifo,
            "messages of a FIFO queue, and only those, have a group"
        );
        let (id, group) = (id.to_owned(), group.map(str::to_owned));
        let message = Message {
            id,
            group,
            attempts: 0,
            visible_from: Duration::ZERO,
            deleted: false,
        };
        self.state().messages.push(message);
        self.changed.notify_waiters();
    }

    /// Without groups: `m0`, `m1`, ...
    pub fn send_many(&self, n: usize) {
        for n in 0..n {
            self.send(&format!("m{n}"), None);
        }
    }

    pub fn fail_delete(&self, id: &str, times: u32) {
        self.state().faults.deletes.insert(id.to_owned(), times);
    }
    pub fn expire_at_delete(&self, id: &str) {
        self.state().faults.expire_at_delete.push(id.to_owned());
    }
    pub fn fail_parks(&self, times: u32) {
        self.state().faults.parks = times;
    }
    pub fn fail_hides_until(&self, until: Duration) {
        self.state().faults.hides_until = until;
    }
    pub fn answer_renewals_after(&self, time: Duration) {
        self.state().faults.renewals_take = time;
    }
    pub fn fail_receives_for(&self, time: Duration) {
        self.state().faults.receives_until = self.now() + time;
    }
    pub fn never_wait(&self) {
        self.state().faults.never_wait = true;
    }
    pub fn hang(&self) {
        self.state().faults.hang = true;
    }

    /// As if its consumer had been out of reach for too long.
    pub fn end_lease(&self, id: &str) {
        let now = self.now();
        for message in self
            .state()
            .messages
            .iter_mut()
            .filter(|message| message.id == id)
        {
            message.visible_from = now;
        }
        self.changed.notify_waiters();
    }

    pub fn is_empty(&self) -> bool {
        self.state().messages.iter().all(|message| message.deleted)
    }
    pub fn deleted(&self) -> Vec<String> {
        self.state()
            .messages
            .iter()
            .filter(|message| message.deleted)
            .map(|message| message.id.clone())
            .collect()
    }
    pub fn visible(&self) -> Vec<String> {
        let now = self.now();
        let state = self.state();
        let visible = state
            .messages
            .iter()
            .filter(|message| !message.deleted && message.visible_from <= now);
        visible.map(|message| message.id.clone()).collect()
    }
    pub fn parked(&self) -> Vec<(String, String)> {
        self.state().parked.clone()
    }
    pub fn calls(&self, which: impl Fn(&Call) -> bool) -> usize {
        self.state().calls.iter().filter(|call| which(call)).count()
    }
    pub fn deletes(&self) -> Vec<Vec<String>> {
        let of = |call: &Call| {
            if let Call::Delete(handles) = call {
                Some(handles.clone())
            } else {
                None
            }
        };
        self.state().calls.iter().filter_map(of).collect()
    }
    /// Every entry of every call, in order.
    pub fn hides(&self) -> Vec<(String, Duration)> {
        let of = |call: &Call| {
            if let Call::Hide(entries) = call {
                Some(entries.clone())
            } else {
                None
            }
        };
        self.state().calls.iter().filter_map(of).flatten().collect()
    }
    pub fn most_receives_at_once(&self) -> usize {
        self.state().most_receiving
    }
    pub fn most_in_flight(&self) -> usize {
        self.state().most_in_flight
    }
    pub fn receives_dropped(&self) -> usize {
        self.state().receives_dropped
    }
    /// Handles that were spoken of after their message was deleted.
    pub fn touched_after_deletion(&self) -> Vec<String> {
        self.state().touched_after_deletion.clone()
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    fn until_one_is_visible(&self) -> Duration {
        let now = self.now();
        let state = self.state();
        let hidden = state
            .messages
            .iter()
            .filter(|message| message.in_flight(now));
        hidden
            .map(|message| message.visible_from - now)
            .min()
            .unwrap_or(Duration::MAX)
    }

    async fn travel(&self, time: Duration) {
        sleep(time).await;
        let hangs = self.state().faults.hang;
        if hangs {
            std::future::pending::<()>().await;
        }
    }

    fn take(&self, max: usize, lease: Duration) -> Vec<Delivery> {
        let now = self.now();
        let mut state = self.state();
        let closed: Vec<_> = state
            .messages
            .iter()
            .filter(|m| m.in_flight(now))
            .filter_map(|m| m.group.clone())
            .collect();
        let is_free = |m: &&mut Message| {
            !m.deleted
                && m.visible_from <= now
                && m.group.as_ref().is_none_or(|group| !closed.contains(group))
        };
        let mut taken = Vec::new();
        for message in state.messages.iter_mut().filter(is_free).take(max) {
            message.attempts += 1;
            message.visible_from = now + lease;
            taken.push(Delivery {
                message_id: message.id.clone(),
                handle: message.handle(),
                body: String::new(),
                group: message.group.clone(),
                attempt: message.attempts,
                sent_at: None,
                traceparent: Some(TRACEPARENT.to_owned()),
            });
        }
        let in_flight = state
            .messages
            .iter()
            .filter(|message| message.in_flight(now))
            .count();
        state.most_in_flight = state.most_in_flight.max(in_flight);
        taken
    }
}

impl State {
    /// The message that the handle still names.
    fn named(&mut self, handle: &str, now: Duration) -> Result<&mut Message, EntryError> {
        let message = self
            .messages
            .iter_mut()
            .find(|message| message.handle() == handle);
        match message {
            Some(message) if message.deleted => {
                self.touched_after_deletion.push(handle.to_owned());
                Err(EntryError::HandleExpired)
            }
            Some(message) if message.in_flight(now) => Ok(message),
            _ => Err(EntryError::HandleExpired),
        }
    }
}

/// Notices a receive that is given up before it is answered.
struct Receiving<'a> {
    queue: &'a FakeQueue,
    answered: bool,
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.receiving -= 1;
        state.receives_dropped += usize::from(!self.answered);
    }
}

impl Inbox for FakeQueue {
    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        lease: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        assert!(
            (1..=BATCH_MAX).contains(&max),
            "SQS refuses to give {max} messages"
        );
        let mut receiving = {
            let mut state = self.state();
            state.calls.push(Call::Receive);
            state.receiving += 1;
            state.most_receiving = state.most_receiving.max(state.receiving);
            Receiving {
                queue: self,
                answered: false,
            }
        };
        let wait = if self.state().faults.never_wait {
            Duration::ZERO
        } else {
            wait
        };
        let until = self.now() + wait;
        self.travel(ROUND_TRIP).await;
        let answer = loop {
            let changed = self.changed.notified();
            if self.now() < self.state().faults.receives_until {
                break Err(QueueError(Cause::new("connection refused")));
            }
            let taken = self.take(max, lease);
            if !taken.is_empty() || self.now() >= until {
                break Ok(taken);
            }
            let _ = timeout(
                (until - self.now()).min(self.until_one_is_visible()),
                changed,
            )
            .await;
        };
        receiving.answered = true;
        answer
    }

    async fn delete(&self, handles: &[String]) -> Result<Vec<Result<(), EntryError>>, QueueError> {
        assert!((1..=BATCH_MAX).contains(&handles.len()));
        self.state().calls.push(Call::Delete(handles.to_vec()));
        self.travel(ROUND_TRIP).await;
        let now = self.now();
        let mut state = self.state();
        let delete = |handle: &String| {
            let id = handle.split('#').next().unwrap_or_default().to_owned();
            if let Some(times) = state
                .faults
                .deletes
                .get_mut(&id)
                .filter(|times| **times > 0)
            {
                *times -= 1;
                return Err(EntryError::Failed(Cause::new("internal error")));
            }
            let expires = state
                .faults
                .expire_at_delete
                .iter()
                .position(|expiring| *expiring == id);
            let message = state.named(handle, now)?;
            if let Some(expires) = expires {
                message.visible_from = Duration::ZERO;
                state.faults.expire_at_delete.remove(expires);
                return Err(EntryError::HandleExpired);
            }
            message.deleted = true;
            Ok(())
        };
        let results = handles.iter().map(delete).collect();
        self.changed.notify_waiters();
        Ok(results)
    }

    async fn hide(
        &self,
        handles: &[(String, Duration)],
    ) -> Result<Vec<Result<(), EntryError>>, QueueError> {
        assert!((1..=BATCH_MAX).contains(&handles.len()));
        self.state().calls.push(Call::Hide(handles.to_vec()));
        let renews = handles
            .iter()
            .any(|(_, so_long)| *so_long == self.spec.lease);
        let time = if renews {
            self.state().faults.renewals_take.max(ROUND_TRIP)
        } else {
            ROUND_TRIP
        };
        self.travel(time).await;
        let now = self.now();
        let mut state = self.state();
        if now < state.faults.hides_until {
            return Err(QueueError(Cause::new("throttled")));
        }
        let mut hide = |(handle, so_long): &(String, Duration)| {
            state.named(handle, now)?.visible_from = now + *so_long;
            Ok(())
        };
        let results = handles.iter().map(&mut hide).collect();
        self.changed.notify_waiters();
        Ok(results)
    }

    async fn park(&self, delivery: &Delivery, reason: &str) -> Result<(), QueueError> {
        self.travel(ROUND_TRIP).await;
        let mut state = self.state();
        if state.faults.parks > 0 {
            state.faults.parks -= 1;
            return Err(QueueError(Cause::new("throttled")));
        }
        state
            .parked
            .push((delivery.message_id.clone(), reason.to_owned()));
        Ok(())
    }
}
