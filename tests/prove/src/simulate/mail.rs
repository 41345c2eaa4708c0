//! A simulated mail service. It deduplicates mails by id, and counts how often each was sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use app::ports::notices::{Mail, Mailer, NoticeKind, SendError, Text, Texter};
use app::use_cases::notify::{Compose, News};
use contract::cause::Cause;

use super::engine::{Engine, Lost};
use super::port::Port;
use super::task::Who;

/// All mails that were sent.
#[derive(Default)]
pub struct Sink(Mutex<BTreeMap<String, Letter>>);

/// One notification.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The kind, such as `order_confirmed`.
    pub kind: String,
    /// The order's id or the product's name.
    pub about: String,
    /// How often the service accepted the mail.
    pub taken: u32,
    sending: u32,
}

impl Sink {
    fn letters(&self) -> MutexGuard<'_, BTreeMap<String, Letter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the delivered notifications, each once.
    pub fn delivered(&self) -> Vec<Letter> {
        self.letters()
            .values()
            .filter(|letter| letter.taken > 0)
            .cloned()
            .collect()
    }
}

/// Composes mails that contain only the kind and the subject's id.
pub struct Words;

impl Compose for Words {
    fn mail(&self, news: &News<'_>, dedup_id: String) -> Mail {
        let about = match news {
            News::Order { stored, .. }
            | News::Shipped { stored, .. }
            | News::Waiting { stored }
            | News::Overdue { stored } => stored.order.order_id.to_string(),
            News::Stock { name, .. } => (*name).to_owned(),
        };
        let subject = news
            .kind()
            .map(NoticeKind::code)
            .unwrap_or_default()
            .to_owned();
        Mail {
            to: "ana@example.com".to_owned(),
            subject,
            text: about,
            html: String::new(),
            dedup_id,
        }
    }

    fn text(&self, _news: &News<'_>, _dedup_id: String) -> Option<Text> {
        None
    }
}

/// The client of one process.
pub struct SimMailer {
    pub engine: Arc<Engine>,
    pub sink: Arc<Sink>,
    pub who: Who,
}

/// A mail that is being sent. Dropping the value ends the sending.
struct Sending<'a> {
    sink: &'a Sink,
    id: &'a str,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if let Some(letter) = self.sink.letters().get_mut(self.id) {
            letter.sending -= 1;
        }
    }
}

impl Mailer for SimMailer {
    async fn send(&self, mail: &Mail) -> Result<String, SendError> {
        let at_once = {
            let mut letters = self.sink.letters();
            let letter = letters
                .entry(mail.dedup_id.clone())
                .or_insert_with(|| Letter {
                    kind: mail.subject.clone(),
                    about: mail.text.clone(),
                    taken: 0,
                    sending: 0,
                });
            letter.sending += 1;
            letter.sending
        };
        let _sending = Sending {
            sink: &self.sink,
            id: &mail.dedup_id,
        };
        // A claim depends on the clock. If clocks jump, two senders can work at the same time, and
        // only the mail service deduplicates.
        if at_once > 1 && !self.engine.plan.clock_jumps {
            self.engine.violate(
                "I8",
                format!(
                    "{} about {} is being sent twice at once",
                    mail.subject, mail.text
                ),
                None,
            );
        }
        let effect = || {
            if let Some(letter) = self.sink.letters().get_mut(&mail.dedup_id) {
                letter.taken += 1;
            }
        };
        let sent = self
            .engine
            .call(self.who, Port::Mail, "send mail", None, effect)
            .await;
        sent.map(|()| mail.dedup_id.clone())
            .map_err(|lost| match lost {
                Lost::Before | Lost::After => SendError::Unavailable(Cause::new("no answer")),
            })
    }
}

/// A sender of texts that refuses all. Customers of the simulation only want e-mails.
pub struct NoTexts;

impl Texter for NoTexts {
    async fn send_text(&self, _text: &Text) -> Result<String, SendError> {
        Err(SendError::Refused(Cause::new(
            "the simulation sends no texts",
        )))
    }
}
