//! The clerk: one thread that owns the books and the ledger, and the [`Desk`] through which
//! requests reach it.
//!
//! A single owner makes requests sequential: of two requests with one key, the second finds the
//! result of the first. A client that disconnects changes nothing, because the clerk already has
//! its request. Requests that arrive during a disk write are written together and synced once,
//! before the first of them is answered (group commit).

use anyhow::{Context as _, anyhow};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use uuid::Uuid;

use crate::books::{
    Books, Charge, ChargeRequest, ChargeStep, Entry, Inconsistent, Moment, Movement, Refund,
    RefundRequest, RefundStep, Refusal,
};
use crate::ledger::Ledger;
use crate::tokens::{Outcome, Trouble};
use crate::webhook::{Notice, Notifier};

/// Maximum of requests that wait for the clerk. Further requests wait in their connections, which
/// is back-pressure.
const QUEUE_MAX: usize = 1024;

/// Maximum of requests per sync, which limits how long the first waits for the last.
const GROUP_MAX: usize = 256;

/// The sending side of the clerk's queue. Cloning is cheap.
#[derive(Clone)]
pub struct Desk {
    errands: mpsc::Sender<Errand>,
}

/// The result of a charge request. The result is on the disk.
#[derive(Debug)]
pub enum Tried {
    /// The charge was executed, now or earlier.
    Executed(Charge),
    /// The attempt was recorded and must fail this way.
    Withheld(Trouble),
}

/// The reason why there is no result.
#[derive(Debug)]
pub enum Turned {
    /// The books refused the request.
    Refused(Refusal),
    /// The clerk has ended: the gateway is stopping, or its disk failed.
    Closed,
}

pub(crate) enum Errand {
    Charge {
        key: String,
        request: ChargeRequest,
        reply: oneshot::Sender<Result<Tried, Refusal>>,
    },
    Refund {
        key: String,
        request: RefundRequest,
        reply: oneshot::Sender<Result<Refund, Refusal>>,
    },
    ChargeOfKey {
        key: String,
        reply: oneshot::Sender<Option<Charge>>,
    },
    Movements {
        reply: oneshot::Sender<Vec<Movement>>,
    },
    Close,
}

/// Starts the clerk. The task ends after [`Desk::close`], or with the error after which the books
/// are unsafe.
pub(crate) fn start(
    books: Books,
    ledger: Ledger,
    notifier: Option<Notifier>,
) -> (Desk, JoinHandle<anyhow::Result<()>>) {
    let (errands, inbox) = mpsc::channel(QUEUE_MAX);
    let clerk = Clerk {
        books,
        ledger,
        notifier,
        answers: Vec::new(),
        notices: Vec::new(),
        groups: 0,
    };
    let handle = spawn_blocking(move || clerk.work(inbox).map(drop));
    (Desk { errands }, handle)
}

impl Desk {
    pub(crate) async fn charge(
        &self,
        key: String,
        request: ChargeRequest,
    ) -> Result<Tried, Turned> {
        self.ask(|reply| Errand::Charge {
            key,
            request,
            reply,
        })
        .await?
        .map_err(Turned::Refused)
    }

    pub(crate) async fn refund(
        &self,
        key: String,
        request: RefundRequest,
    ) -> Result<Refund, Turned> {
        self.ask(|reply| Errand::Refund {
            key,
            request,
            reply,
        })
        .await?
        .map_err(Turned::Refused)
    }

    pub(crate) async fn charge_of_key(&self, key: String) -> Result<Option<Charge>, Turned> {
        self.ask(|reply| Errand::ChargeOfKey { key, reply }).await
    }

    pub(crate) async fn movements(&self) -> Result<Vec<Movement>, Turned> {
        self.ask(|reply| Errand::Movements { reply }).await
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.errands.is_closed()
    }

    /// Ends the clerk after the requests that are queued before.
    pub(crate) async fn close(&self) {
        // An error means that the clerk has already ended.
        let _ = self.errands.send(Errand::Close).await;
    }

    async fn ask<T>(&self, errand: impl FnOnce(oneshot::Sender<T>) -> Errand) -> Result<T, Turned> {
        let (reply, answer) = oneshot::channel();
        self.errands
            .send(errand(reply))
            .await
            .map_err(|_| Turned::Closed)?;
        answer.await.map_err(|_| Turned::Closed)
    }
}

struct Clerk {
    books: Books,
    ledger: Ledger,
    notifier: Option<Notifier>,
    /// Responses and webhooks of the current group, sent after the group is on the disk.
    answers: Vec<Box<dyn FnOnce() + Send>>,
    notices: Vec<Notice>,
    groups: u64,
}

enum Day {
    GoesOn,
    IsOver,
}

impl Clerk {
    /// Works until `Close` arrives, and returns the number of groups.
    fn work(mut self, mut inbox: mpsc::Receiver<Errand>) -> anyhow::Result<u64> {
        while let Some(errand) = inbox.blocking_recv() {
            let mut day = self.take(errand)?;
            while matches!(day, Day::GoesOn)
                && self.answers.len() < GROUP_MAX
                && let Ok(errand) = inbox.try_recv()
            {
                day = self.take(errand)?;
            }
            self.ledger.sync()?;
            self.groups += 1;
            self.answers.drain(..).for_each(|answer| answer());
            self.send_notices();
            if matches!(day, Day::IsOver) {
                break;
            }
        }
        Ok(self.groups)
    }

    fn take(&mut self, errand: Errand) -> anyhow::Result<Day> {
        match errand {
            Errand::Charge {
                key,
                request,
                reply,
            } => {
                let tried = self.charge(&key, request)?;
                self.answer(reply, tried);
            }
            Errand::Refund {
                key,
                request,
                reply,
            } => {
                let refund = self.refund(&key, request)?;
                self.answer(reply, refund);
            }
            Errand::ChargeOfKey { key, reply } => {
                let charge = self.books.charge_of_key(&key).cloned();
                self.answer(reply, charge);
            }
            Errand::Movements { reply } => {
                let movements = self.books.movements().to_vec();
                self.answer(reply, movements);
            }
            Errand::Close => return Ok(Day::IsOver),
        }
        Ok(Day::GoesOn)
    }

    fn charge(
        &mut self,
        key: &str,
        request: ChargeRequest,
    ) -> anyhow::Result<Result<Tried, Refusal>> {
        Ok(
            match self.books.decide_charge(key, request, this_moment()) {
                Ok(ChargeStep::Known(charge)) => Ok(Tried::Executed(charge)),
                Ok(ChargeStep::Execute(charge)) => {
                    self.enter(Entry::Charge(charge.clone()))?;
                    match charge.outcome {
                        Outcome::Captured => self.notices.push(Notice::captured(&charge)),
                        Outcome::Declined { .. } => {}
                    }
                    Ok(Tried::Executed(charge))
                }
                Ok(ChargeStep::Withhold(withheld, trouble)) => {
                    self.enter(Entry::Withheld(withheld))?;
                    Ok(Tried::Withheld(trouble))
                }
                Err(refusal) => Err(refusal),
            },
        )
    }

    fn refund(
        &mut self,
        key: &str,
        request: RefundRequest,
    ) -> anyhow::Result<Result<Refund, Refusal>> {
        Ok(
            match self.books.decide_refund(key, request, this_moment()) {
                Ok(RefundStep::Known(refund)) => Ok(refund),
                Ok(RefundStep::Execute(refund)) => {
                    self.enter(Entry::Refund(refund.clone()))?;
                    self.notices.push(Notice::refunded(&refund));
                    Ok(refund)
                }
                Err(refusal) => Err(refusal),
            },
        )
    }

    /// Appends an entry to the file's group and applies it to the books. An error ends the clerk,
    /// because the file and the books could differ from then on.
    fn enter(&mut self, entry: Entry) -> anyhow::Result<()> {
        self.ledger.append(&entry)?;
        self.books
            .record(entry)
            .map_err(|Inconsistent(why)| anyhow!(why))
            .context("record a decision of our own")
    }

    fn answer<T: Send + 'static>(&mut self, reply: oneshot::Sender<T>, answer: T) {
        // An error means that the client has disconnected. The result stays recorded.
        self.answers
            .push(Box::new(move || drop(reply.send(answer))));
    }

    fn send_notices(&mut self) {
        for notice in self.notices.drain(..) {
            if let Some(notifier) = &self.notifier {
                notifier.notify(notice);
            }
        }
    }
}

fn this_moment() -> Moment {
    Moment {
        id: Uuid::now_v7(),
        at: OffsetDateTime::now_utc(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Returns a clerk with `charges` waiting requests followed by `Close`, and the receivers of
    /// the answers.
    fn busy(
        ledger: Ledger,
        books: Books,
        charges: usize,
    ) -> (impl FnOnce() -> anyhow::Result<u64>, Answers) {
        let (errands, inbox) = mpsc::channel(QUEUE_MAX);
        let answers = (0..charges).map(|number| {
            let (reply, answer) = oneshot::channel();
            let request = ChargeRequest {
                amount_minor: 450,
                currency: "EUR".into(),
                token: "tok_ok".into(),
                reference: number.to_string(),
            };
            errands
                .try_send(Errand::Charge {
                    key: number.to_string(),
                    request,
                    reply,
                })
                .ok()
                .unwrap();
            answer
        });
        let answers = answers.collect();
        errands.try_send(Errand::Close).ok().unwrap();
        let clerk = Clerk {
            books,
            ledger,
            notifier: None,
            answers: Vec::new(),
            notices: Vec::new(),
            groups: 0,
        };
        (move || clerk.work(inbox), answers)
    }

    type Answers = Vec<oneshot::Receiver<Result<Tried, Refusal>>>;

    #[test]
    fn waiting_charges_share_one_sync() {
        let path = std::env::temp_dir().join(format!("payment-ledger-{}.jsonl", Uuid::now_v7()));
        let (ledger, books) = crate::ledger::open(&path).unwrap();
        let (work, answers) = busy(ledger, books, 100);
        assert_eq!(work().unwrap(), 1, "one group, one sync");
        for mut answer in answers {
            assert!(matches!(answer.try_recv(), Ok(Ok(Tried::Executed(_)))));
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 100);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_failing_disk_sends_no_response_and_ends_the_gateway() {
        // Opened for reading only, so every write fails.
        let unwritable = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let (work, answers) = busy(Ledger::over(unwritable), Books::default(), 3);
        assert!(format!("{:#}", work().unwrap_err()).starts_with("write the ledger"));
        for mut answer in answers {
            assert_eq!(
                answer.try_recv().unwrap_err(),
                oneshot::error::TryRecvError::Closed
            );
        }
    }
}
