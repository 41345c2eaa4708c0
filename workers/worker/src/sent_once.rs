//! A mail service that does not know a mail again, made to: what this process has sent it does not send a second time.
//!
//! A mail is sent, and then that is written down. Where the database does not answer in between, the message comes again
//! and the notice still says that nothing was sent. Only a process that died in between cannot know better.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use app::ports::notices::{Mail, MailError, Mailer};

/// So many of the latest mails are known again: half an hour of a busy shop, and less than a megabyte.
const KNOWN_MAX: usize = 10_000;

/// Sends a mail of the same `dedup_id` once.
pub struct SentOnce<M> {
    mailer: M,
    sent: Mutex<Sent>,
}

#[derive(Default)]
struct Sent {
    ids: HashSet<String>,
    /// The oldest first.
    order: VecDeque<String>,
}

impl<M> SentOnce<M> {
    pub fn new(mailer: M) -> Self {
        Self { mailer, sent: Mutex::default() }
    }

    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, id: &str) {
        let mut sent = self.sent();
        if sent.ids.insert(id.to_owned()) {
            sent.order.push_back(id.to_owned());
        }
        if sent.order.len() > KNOWN_MAX
            && let Some(oldest) = sent.order.pop_front()
        {
            sent.ids.remove(&oldest);
        }
    }

    fn knows(&self, id: &str) -> bool {
        self.sent().ids.contains(id)
    }
}

impl<M: Mailer> Mailer for SentOnce<M> {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        if self.knows(&mail.dedup_id) {
            return Ok(());
        }
        self.mailer.send(mail).await?;
        self.remember(&mail.dedup_id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says no so often, then takes everything.
    struct Postbox {
        refusals: Mutex<usize>,
        taken: Mutex<Vec<String>>,
    }

    impl Mailer for Postbox {
        async fn send(&self, mail: &Mail) -> Result<(), MailError> {
            let mut refusals = self.refusals.lock().expect("nobody panics");
            if *refusals > 0 {
                *refusals -= 1;
                return Err(MailError::Unavailable("closed".to_owned()));
            }
            self.taken.lock().expect("nobody panics").push(mail.dedup_id.clone());
            Ok(())
        }
    }

    fn mail(id: &str) -> Mail {
        let text = String::new;
        Mail { to: text(), subject: text(), text: text(), html: text(), dedup_id: id.to_owned() }
    }

    #[tokio::test]
    async fn what_was_taken_is_not_sent_again_and_what_was_not_is() {
        let once = SentOnce::new(Postbox { refusals: Mutex::new(1), taken: Mutex::default() });
        assert!(once.send(&mail("a")).await.is_err());
        for id in ["a", "a", "b", "a"] {
            once.send(&mail(id)).await.expect("taken, or known");
        }
        assert_eq!(*once.mailer.taken.lock().expect("nobody panics"), ["a", "b"]);
    }

    #[tokio::test]
    async fn the_oldest_is_forgotten_so_that_memory_has_a_bound() {
        let once = SentOnce::new(Postbox { refusals: Mutex::new(0), taken: Mutex::default() });
        for n in 0..=KNOWN_MAX {
            once.send(&mail(&n.to_string())).await.expect("taken");
        }
        assert!(!once.knows("0") && once.knows("1"));
        assert_eq!(once.sent().order.len(), KNOWN_MAX);
    }
}
