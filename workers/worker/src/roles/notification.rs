//! `notification-worker`: e-mails to customers and staff, and texts to customers.

use std::time::Duration;

use adapter_aws::{SesMailer, SnsTexter, SqsInbox};
use app::ports::Source as _;
use app::ports::locations::LocationStore as _;
use app::use_cases::Handled;
use app::use_cases::notify::{Post, Switches, notify};
use chassis::Metrics;
use contract::cause::chain;
use contract::messages::Envelope;
use contract::metric::Metric;
use contract::parameter::{EMAIL_ENABLED, SMS_ENABLED};
use contract::queue::NOTIFICATIONS;
use notices::{Words, Zones};

use super::consumer::{UseCase, consume};
use super::{Wiring, every};
use crate::aws::{Aws, LiveParameter};
use crate::config::Config;
use crate::sent_once::SentOnce;
use crate::stores::{Store, SystemSource};

/// The pause between two readings of the locations. A location rarely changes its time zone.
const READ_ZONES_EVERY: Duration = Duration::from_secs(60);

/// Consumes the messages of the notifications queue, and reads the time zones, until shutdown.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let Adapters {
        inbox,
        mailer,
        texter,
        email_enabled,
        sms_enabled,
    } = adapters(&wiring.aws, &wiring.config)?;
    let zones = Zones::default();
    read_zones(&wiring.store, &zones).await;
    let mail = wiring.config.mail()?;
    let words = Words {
        public_url: mail.public_url.clone(),
        staff_mail: mail.staff.clone(),
        zones: zones.clone(),
    };
    let (store, process) = (wiring.store.clone(), wiring.process.clone());
    let herald = Herald {
        mailer: SentOnce::new(mailer),
        texter: SentOnce::new(texter),
        email_enabled,
        sms_enabled,
        words,
        store: wiring.store.clone(),
        metrics: wiring.process.metrics.clone(),
    };
    let reading = every(READ_ZONES_EVERY, &process, async || {
        read_zones(&store, &zones).await
    });
    let consuming = consume(wiring, &NOTIFICATIONS, inbox, herald);
    tokio::join!(reading, consuming);
    Ok(())
}

/// The adapters of the role.
pub struct Adapters {
    inbox: SqsInbox,
    mailer: SesMailer,
    texter: SnsTexter,
    email_enabled: LiveParameter,
    sms_enabled: LiveParameter,
}

/// Builds the adapters of the role from its grants.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub fn adapters(aws: &Aws, config: &Config) -> anyhow::Result<Adapters> {
    let [email_enabled, sms_enabled] = aws.parameters(config, [&EMAIL_ENABLED, &SMS_ENABLED])?;
    Ok(Adapters {
        inbox: aws.inbox(&config.grants, &NOTIFICATIONS)?,
        mailer: aws.mailer(&config.grants, &config.mail()?.from)?,
        texter: aws.texter(&config.grants)?,
        email_enabled,
        sms_enabled,
    })
}

/// Reads the time zones of the locations. Without a zone, notifications show times in UTC.
async fn read_zones(store: &Store, zones: &Zones) {
    match store.locations().await {
        Ok(shops) => zones.set(&shops),
        Err(error) => {
            tracing::warn!(error = %chain(&error), "The locations cannot be read; the last time zones stay in use")
        }
    }
}

struct Herald {
    store: Store,
    mailer: SentOnce<SesMailer>,
    texter: SentOnce<SnsTexter>,
    email_enabled: LiveParameter,
    sms_enabled: LiveParameter,
    words: Words,
    metrics: Metrics,
}

async fn is_on(switch: &LiveParameter) -> bool {
    switch.get().await == "true"
}

impl UseCase for Herald {
    async fn handle(&self, envelope: &Envelope) -> Handled {
        let switches = Switches {
            email: is_on(&self.email_enabled).await,
            sms: is_on(&self.sms_enabled).await,
        };
        let post = Post {
            mailer: &self.mailer,
            texter: &self.texter,
            composer: &self.words,
            switches,
        };
        let told = notify(&self.store, &post, &SystemSource, envelope).await;
        for tried in &told.tried {
            let channel = tried.channel.code();
            match &tried.failed {
                None => {
                    self.metrics.count(Metric::NotificationsSent, &[channel], 1);
                    let delay = (SystemSource.now() - envelope.occurred_at).as_seconds_f64();
                    self.metrics
                        .observe(Metric::NotificationDelay, &[], delay.max(0.0));
                }
                Some(why) => {
                    tracing::warn!(event_id = %envelope.event_id, channel, why, "A notification was not accepted");
                    self.metrics
                        .count(Metric::NotificationsFailed, &[channel], 1);
                }
            }
        }
        told.handled
    }
}
