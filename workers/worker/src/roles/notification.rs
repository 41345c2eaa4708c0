//! `notification-worker`: e-mails to customers and staff.

use std::sync::Arc;

use adapter_aws::{ParameterReader, SesMailer};
use app::inbox::{Delivery, Settlement};
use app::ports::Source as _;
use app::use_cases::notify::notify;
use chassis::{Breaker, Handler, Metrics};
use contract::metric::Metric;
use contract::parameter::EMAIL_ENABLED;
use contract::queue::NOTIFICATIONS;

use super::{Wiring, decode, inbox, settle};
use crate::breakers::Breakers;
use crate::mail::Words;
use crate::sent_once::SentOnce;
use crate::stores::{Store, SystemSource};

pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let inbox = inbox(&wiring, &NOTIFICATIONS)?;
    let words = Words { public_url: wiring.config.public_url.clone(), staff_mail: wiring.config.staff_mail.clone() };
    let handler = Herald {
        mailer: SentOnce::new(wiring.aws.mailer(&wiring.config.mail_from)),
        parameters: wiring.aws.parameters(&wiring.config.aws.environment),
        words,
        store: wiring.store,
        breakers: wiring.breakers,
        metrics: wiring.process.metrics.clone(),
    };
    chassis::consume(inbox, &NOTIFICATIONS, wiring.role.concurrency, Arc::new(handler), wiring.process).await;
    Ok(())
}

struct Herald {
    breakers: Breakers,
    store: Store,
    mailer: SentOnce<SesMailer>,
    parameters: ParameterReader,
    words: Words,
    metrics: Metrics,
}

impl Handler for Herald {
    async fn handle(&self, delivery: &Delivery) -> Settlement {
        let envelope = match decode(delivery) {
            Ok(envelope) => envelope,
            Err(settlement) => return settlement,
        };
        let enabled = self.parameters.get(&EMAIL_ENABLED).await != "false";
        let told = notify(&self.store, &self.mailer, &self.words, &SystemSource, enabled, &envelope).await;
        if told.sent {
            self.metrics.count(Metric::NotificationsSent, &["email"], 1);
            let delay = (SystemSource.now() - envelope.occurred_at).as_seconds_f64();
            self.metrics.observe(Metric::NotificationDelay, &[], delay.max(0.0));
        }
        if let Some(why) = &told.failed {
            tracing::warn!(event_id = %envelope.event_id, why, "A mail was not taken");
            self.metrics.count(Metric::NotificationsFailed, &["email"], 1);
        }
        settle(told.handled, &NOTIFICATIONS, &self.metrics)
    }
    fn needs(&self) -> &[Breaker] {
        self.breakers.all()
    }
}
