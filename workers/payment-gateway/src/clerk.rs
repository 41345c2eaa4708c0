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

/// The work of the clerk for one request. An error ends the clerk.
type Errand = Box<dyn FnOnce(&mut Clerk) -> anyhow::Result<()> + Send>;

/// Returns an errand, and the receiver of its answer. The answer is sent after the errand's group is
/// on the disk.
fn errand<T: Send + 'static>(
    work: impl FnOnce(&mut Clerk) -> anyhow::Result<T> + Send + 'static,
) -> (Errand, oneshot::Receiver<T>) {
    let (reply, answer) = oneshot::channel();
    let errand = move |clerk: &mut Clerk| -> anyhow::Result<()> {
        let result = work(clerk)?;
        // An error means that the client has disconnected. The result stays recorded.
        let answer = move || drop(reply.send(result));
        clerk.answers.push(Box::new(answer));
        Ok(())
    };
    (Box::new(errand), answer)
}

/// Returns the errand that ends the clerk.
fn closing() -> Errand {
    Box::new(|clerk: &mut Clerk| {
        clerk.is_closing = true;
        Ok(())
    })
}

/// Starts the clerk. The task ends after [`Desk::close`], or with the error after which the books
/// are unsafe.
pub(crate) fn start(
    books: Books,
    ledger: Ledger,
    notifier: Option<Notifier>,
) -> (Desk, JoinHandle<anyhow::Result<()>>) {
    let (errands, inbox) = mpsc::channel(QUEUE_MAX);
    let clerk = Clerk::new(books, ledger, notifier);
    let handle = spawn_blocking(move || clerk.work(inbox).map(drop));
    (Desk { errands }, handle)
}

impl Desk {
    pub(crate) async fn charge(
        &self,
        key: String,
        request: ChargeRequest,
    ) -> Result<Tried, Turned> {
        self.ask(move |clerk| clerk.charge(&key, request))
            .await?
            .map_err(Turned::Refused)
    }

    pub(crate) async fn refund(
        &self,
        key: String,
        request: RefundRequest,
    ) -> Result<Refund, Turned> {
        self.ask(move |clerk| clerk.refund(&key, request))
            .await?
            .map_err(Turned::Refused)
    }

    pub(crate) async fn charge_of_key(&self, key: String) -> Result<Option<Charge>, Turned> {
        self.ask(move |clerk| Ok(clerk.books.charge_of_key(&key).cloned()))
            .await
    }

    pub(crate) async fn movements(&self) -> Result<Vec<Movement>, Turned> {
        self.ask(|clerk| Ok(clerk.books.movements().to_vec())).await
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.errands.is_closed()
    }

    /// Ends the clerk after the requests that are queued before.
    pub(crate) async fn close(&self) {
        // An error means that the clerk has already ended.
        let _ = self.errands.send(closing()).await;
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Clerk) -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, Turned> {
        let (errand, answer) = errand(work);
        self.errands
            .send(errand)
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
    is_closing: bool,
}

impl Clerk {
    fn new(books: Books, ledger: Ledger, notifier: Option<Notifier>) -> Clerk {
        Clerk {
            books,
            ledger,
            notifier,
            answers: Vec::new(),
            notices: Vec::new(),
            groups: 0,
            is_closing: false,
        }
    }

    /// Works until [`closing`] arrives, and returns the number of groups.
    fn work(mut self, mut inbox: mpsc::Receiver<Errand>) -> anyhow::Result<u64> {
        while !self.is_closing
            && let Some(errand) = inbox.blocking_recv()
        {
            errand(&mut self)?;
            while !self.is_closing
                && self.answers.len() < GROUP_MAX
                && let Ok(errand) = inbox.try_recv()
            {
                errand(&mut self)?;
            }
            self.ledger.sync()?;
            self.groups += 1;
            self.answers.drain(..).for_each(|answer| answer());
            self.send_notices();
        }
        Ok(self.groups)
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

    /// Returns a clerk with `charges` waiting requests followed by `closing`, and the receivers of
    /// the answers.
    fn busy(
        ledger: Ledger,
        books: Books,
        charges: usize,
    ) -> (impl FnOnce() -> anyhow::Result<u64>, Answers) {
        let (errands, inbox) = mpsc::channel(QUEUE_MAX);
        let answers = (0..charges).map(|number| {
            let request = ChargeRequest {
                amount_minor: 450,
                currency: "EUR".into(),
                token: "tok_ok".into(),
                reference: number.to_string(),
            };
            let (errand, answer) = errand(move |clerk| clerk.charge(&number.to_string(), request));
            errands.try_send(errand).ok().unwrap();
            answer
        });
        let answers = answers.collect();
        errands.try_send(closing()).ok().unwrap();
        let clerk = Clerk::new(books, ledger, None);
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
