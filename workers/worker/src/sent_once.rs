//! Deduplicates mails and text messages within one process, because SES and SNS do not.
//!
//! A worker sends a notification and then records the result in the database. If that write fails,
//! SQS delivers the message again, and the record still says that nothing was sent. This module
//! then returns the id of the first attempt. A process that dies between the two steps loses its
//! memory, so its successor sends the notification again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use app::ports::notices::{Mail, Mailer, SendError, Text, Texter};

/// Maximum number of remembered notifications: half an hour of a busy shop, in a few megabytes.
const KNOWN_MAX: usize = 10_000;

/// Sends a mail or a text message with the same `dedup_id` once.
pub struct SentOnce<S> {
    sender: S,
    sent: Mutex<Sent>,
}

#[derive(Default)]
struct Sent {
    /// The provider's id of each notification, by `dedup_id`.
    ids: HashMap<String, String>,
    /// Each `dedup_id`, the oldest first.
    order: VecDeque<String>,
}

impl<S> SentOnce<S> {
    /// Wraps a sender, without a record of earlier notifications.
    pub fn new(sender: S) -> Self {
        Self {
            sender,
            sent: Mutex::default(),
        }
    }

    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, id: &str, message_id: &str) {
        let mut sent = self.sent();
        if sent
            .ids
            .insert(id.to_owned(), message_id.to_owned())
            .is_none()
        {
            sent.order.push_back(id.to_owned());
        }
        if sent.order.len() > KNOWN_MAX
            && let Some(oldest) = sent.order.pop_front()
        {
            sent.ids.remove(&oldest);
        }
    }

    fn known(&self, id: &str) -> Option<String> {
        self.sent().ids.get(id).cloned()
    }

    async fn once(
        &self,
        id: &str,
        send: impl Future<Output = Result<String, SendError>>,
    ) -> Result<String, SendError> {
        if let Some(message_id) = self.known(id) {
            return Ok(message_id);
        }
        let message_id = send.await?;
        self.remember(id, &message_id);
        Ok(message_id)
    }
}

impl<M: Mailer> Mailer for SentOnce<M> {
    async fn send(&self, mail: &Mail) -> Result<String, SendError> {
        self.once(&mail.dedup_id, self.sender.send(mail)).await
    }
}

impl<T: Texter> Texter for SentOnce<T> {
    async fn send_text(&self, text: &Text) -> Result<String, SendError> {
        self.once(&text.dedup_id, self.sender.send_text(text)).await
    }
}

#[cfg(test)]
mod tests {
    use contract::cause::Cause;

    use super::*;

    /// Refuses a number of mails, and then accepts every mail.
    struct Postbox {
        refusals: Mutex<usize>,
        taken: Mutex<Vec<String>>,
    }

    impl Mailer for Postbox {
        async fn send(&self, mail: &Mail) -> Result<String, SendError> {
            let mut refusals = self.refusals.lock().expect("not poisoned");
            if *refusals > 0 {
                *refusals -= 1;
                return Err(SendError::Unavailable(Cause::new("closed")));
            }
            self.taken
                .lock()
                .expect("not poisoned")
                .push(mail.dedup_id.clone());
            Ok(format!("ses-{}", mail.dedup_id))
        }
    }

    fn mail(id: &str) -> Mail {
        let text = String::new;
        Mail {
            to: text(),
            subject: text(),
            text: text(),
            html: text(),
            dedup_id: id.to_owned(),
        }
    }

    #[tokio::test]
    async fn an_accepted_mail_is_not_sent_again_and_a_refused_mail_is() {
        let once = SentOnce::new(Postbox {
            refusals: Mutex::new(1),
            taken: Mutex::default(),
        });
        assert!(once.send(&mail("a")).await.is_err());
        for id in ["a", "a", "b", "a"] {
            assert_eq!(
                once.send(&mail(id)).await,
                Ok(format!("ses-{id}")),
                "accepted now or before"
            );
        }
        assert_eq!(*once.sender.taken.lock().expect("not poisoned"), ["a", "b"]);
    }

    #[tokio::test]
    async fn the_memory_is_bounded_and_drops_the_oldest_id() {
        let once = SentOnce::new(Postbox {
            refusals: Mutex::new(0),
            taken: Mutex::default(),
        });
        for n in 0..=KNOWN_MAX {
            once.send(&mail(&n.to_string())).await.expect("accepted");
        }
        assert!(once.known("0").is_none() && once.known("1").is_some());
        assert_eq!(once.sent().order.len(), KNOWN_MAX);
    }
}
