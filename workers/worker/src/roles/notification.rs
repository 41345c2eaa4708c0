//! `notification-worker`: e-mails to customers and staff, and texts to customers.

use std::sync::Arc;
use std::time::Duration;

use adapter_aws::{ParameterReader, SesMailer, SnsTexter};
use app::inbox::{Delivery, Settlement};
use app::ports::Source as _;
use app::ports::locations::LocationStore as _;
use app::use_cases::notify::{Post, Switches, notify};
use chassis::{Breaker, Handler, Metrics};
use contract::metric::Metric;
use contract::parameter::{EMAIL_ENABLED, Parameter, SMS_ENABLED};
use contract::queue::NOTIFICATIONS;

use super::{Wiring, decode, every, inbox, settle};
use crate::breakers::Breakers;
use crate::sent_once::SentOnce;
use crate::stores::{Store, SystemSource};
use crate::words::{Words, Zones};

/// A location that moves to another zone is rare.
const READ_ZONES_EVERY: Duration = Duration::from_secs(60);

pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let inbox = inbox(&wiring, &NOTIFICATIONS)?;
    let zones = Zones::default();
    read_zones(&wiring.store, &zones).await;
    let words = Words {
        public_url: wiring.config.public_url.clone(),
        staff_mail: wiring.config.staff_mail.clone(),
        zones: zones.clone(),
    };
    let (store, process) = (wiring.store.clone(), wiring.process.clone());
    let handler = Herald {
        mailer: SentOnce::new(wiring.aws.mailer(&wiring.config.mail_from)),
        texter: SentOnce::new(wiring.aws.texter()),
        parameters: wiring.aws.parameters(&wiring.config.aws.environment),
        words,
        store: wiring.store,
        breakers: wiring.breakers,
        metrics: wiring.process.metrics.clone(),
    };
    let reading = every(READ_ZONES_EVERY, &process, async || read_zones(&store, &zones).await);
    let consuming = chassis::consume(inbox, &NOTIFICATIONS, wiring.role.concurrency, Arc::new(handler), wiring.process);
    tokio::join!(reading, consuming);
    Ok(())
}

/// Without them a time is told in UTC, and says so.
async fn read_zones(store: &Store, zones: &Zones) {
    match store.locations().await {
        Ok(shops) => zones.set(&shops),
        Err(error) => tracing::warn!(%error, "The locations cannot be read; their time zones stay as they were"),
    }
}

struct Herald {
    breakers: Breakers,
    store: Store,
    mailer: SentOnce<SesMailer>,
    texter: SentOnce<SnsTexter>,
    parameters: ParameterReader,
    words: Words,
    metrics: Metrics,
}

impl Herald {
    async fn is_on(&self, switch: &Parameter) -> bool {
        self.parameters.get(switch).await == "true"
    }
}

impl Handler for Herald {
    async fn handle(&self, delivery: &Delivery) -> Settlement {
        let envelope = match decode(delivery) {
            Ok(envelope) => envelope,
            Err(settlement) => return settlement,
        };
        let switches = Switches { email: self.is_on(&EMAIL_ENABLED).await, sms: self.is_on(&SMS_ENABLED).await };
        let post = Post { mailer: &self.mailer, texter: &self.texter, composer: &self.words, switches };
        let told = notify(&self.store, &post, &SystemSource, &envelope).await;
        for tried in &told.tried {
            let channel = tried.channel.code();
            match &tried.failed {
                None => {
                    self.metrics.count(Metric::NotificationsSent, &[channel], 1);
                    let delay = (SystemSource.now() - envelope.occurred_at).as_seconds_f64();
                    self.metrics.observe(Metric::NotificationDelay, &[], delay.max(0.0));
                }
                Some(why) => {
                    tracing::warn!(event_id = %envelope.event_id, channel, why, "A notice was not taken");
                    self.metrics.count(Metric::NotificationsFailed, &[channel], 1);
                }
            }
        }
        settle(told.handled, &NOTIFICATIONS, &self.metrics)
    }

    fn needs(&self) -> &[Breaker] {
        self.breakers.all()
    }
}
