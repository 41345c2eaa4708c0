//! The roles, one file for each.

mod consumer;
mod fulfilment;
mod inventory;
mod login;
mod notification;
mod order;
mod outbox_relay;
mod payment;
mod projection;
mod storefront;
mod sweeper;

use std::time::Duration;

use adapter_sql::ConnectError;
use anyhow::Context as _;
use app::ports::orders::{Applied, Change, OrderStore};
use app::ports::stock::Catalogue as _;
use app::ports::{Backend, StoreError};
use app::use_cases::Maker;
use app::use_cases::run_saga::Apply;
use chassis::health::{self, Health};
use chassis::{GroupCommit, Metrics, Process};
use chassis::{chance, stream};
use contract::cause::chain;
use contract::dependency::Dependency;
use contract::retry::Backoff;
use contract::role::{Role, RoleId};
use domain::ids::ProductId;
use tokio::time::sleep;

use crate::VERSION;
use crate::aws::Aws;
use crate::breakers::Breakers;
use crate::config::{Config, DatabaseConfig};
use crate::stores::Store;

/// Pause between two reads of a rotated secret. Until the next read, only the previous version is
/// accepted.
const READ_SECRETS_EVERY: Duration = Duration::from_secs(60);

/// Pauses between attempts to connect to the database at the start of a role.
const BETWEEN_CONNECTS: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(5),
};

/// The parts that every role is built from.
struct Wiring {
    role: &'static Role,
    config: Config,
    process: Process,
    aws: Aws,
    store: Store,
    breakers: Breakers,
}

/// Runs the role until it is asked to stop.
pub async fn run(role: &'static Role, config: Config) -> anyhow::Result<()> {
    let process = new_process(role)?;
    serve_health(role, &config, &process).await?;
    let breakers = Breakers::of(role, &process);
    let aws = Aws::connect(process.metrics.clone(), breakers.clone()).await;
    let sending = aws.send_metrics(role.slug, &config.aws, &process);
    let Some(store) = connect_store(&config, &aws, &breakers, &process).await? else {
        return Ok(());
    };
    watch_database(store.clone(), process.clone());
    probe(&breakers, &process, &store, &aws, &config)?;
    let login = login::watch(store.clone(), process.clone());
    let wiring = Wiring {
        role,
        config,
        process: process.clone(),
        aws,
        store,
        breakers,
    };
    let worked = until_drained(work(wiring), &process).await;
    process.shutdown.cancel();
    // Sends the metrics of the last minute.
    let _ = sending.await;
    worked.and(login.await.context("watch the login")?)
}

fn new_process(role: &'static Role) -> anyhow::Result<Process> {
    Ok(Process {
        metrics: Metrics::new(),
        health: Health::new(role.slug, VERSION),
        shutdown: chassis::run::shutdown_signal().context("listen for signals")?,
        drain: role.drain,
    })
}

/// Serves health and metrics before any dependency is reachable. The role is then alive but not
/// ready, and `/readyz` has the reason.
async fn serve_health(
    role: &'static Role,
    config: &Config,
    process: &Process,
) -> anyhow::Result<()> {
    expect_all(role, &process.health);
    let listener = chassis::listen("HAVEN_HEALTH_BIND", config.health.bind).await?;
    let address = health::serve(
        listener,
        process.health.clone(),
        process.metrics.clone(),
        process.shutdown.clone(),
    )
    .context("serve health")?;
    tracing::info!(%address, "Serving health and metrics");
    Ok(())
}

/// Returns the store with its circuit breaker and the renewal of its login, or `None` when the role
/// is asked to stop before the database answers.
async fn connect_store(
    config: &Config,
    aws: &Aws,
    breakers: &Breakers,
    process: &Process,
) -> anyhow::Result<Option<Store>> {
    let renewal = aws.database_renewal(config)?;
    let store = wait_for_database(config.database()?, process).await?;
    let breaker = breakers.get(Dependency::Database);
    Ok(store.map(|store| store.reporting_to(breaker).renewing(renewal)))
}

/// Does the work of the role until shutdown.
async fn work(wiring: Wiring) -> anyhow::Result<()> {
    match wiring.role.id {
        RoleId::Storefront => storefront::run(wiring).await,
        RoleId::OutboxRelay => outbox_relay::run(wiring).await,
        RoleId::OrderWorker => order::run(wiring).await,
        RoleId::PaymentWorker => payment::run(wiring).await,
        RoleId::InventoryWorker => inventory::run(wiring).await,
        RoleId::NotificationWorker => notification::run(wiring).await,
        RoleId::FulfilmentWorker => fulfilment::run(wiring).await,
        RoleId::ProjectionWorker => projection::run(wiring).await,
        RoleId::Sweeper => sweeper::run(wiring).await,
    }
}

/// Waits until the work ends, but after the shutdown no longer than the drain. Messages that are
/// still in flight are delivered again, because no state is only in memory.
async fn until_drained(
    working: impl Future<Output = anyhow::Result<()>>,
    process: &Process,
) -> anyhow::Result<()> {
    let drained = async {
        process.shutdown.cancelled().await;
        sleep(process.drain).await;
    };
    tokio::select! {
        worked = working => worked,
        () = drained => {
            tracing::warn!("The drain ran out of time before the work ended");
            Ok(())
        }
    }
}

/// Registers every dependency of the role before readiness can be read. If one of them were
/// registered later, the role would be reported as ready too early.
fn expect_all(role: &Role, health: &Health) {
    health.expect("database");
    for queue in role.consumes {
        health.expect(&chassis::consume::dependency(queue));
    }
    if !role.streams.is_empty() {
        health.expect(stream::DEPENDENCY);
    }
}

/// Waits until the database can be reached, so that a role that starts first becomes ready later.
/// Returns `None` when the role is asked to stop meanwhile. A refused login and an invalid URL are
/// errors at once, because waiting does not help.
async fn wait_for_database(
    database: &DatabaseConfig,
    process: &Process,
) -> anyhow::Result<Option<Store>> {
    for attempts in 1.. {
        let stopped = process.shutdown.cancelled();
        match Store::connect(database.url.expose(), &database.login).await {
            Ok(store) => {
                process.health.up("database");
                return Ok(Some(store));
            }
            Err(lasting @ (ConnectError::LoginRefused { .. } | ConnectError::BadUrl(_))) => {
                return Err(lasting.into());
            }
            Err(error) => {
                process.health.down("database", chain(&error));
                tracing::warn!(error = %chain(&error), "The database cannot be reached yet");
            }
        }
        tokio::select! {
            () = sleep(BETWEEN_CONNECTS.delay(attempts, chance::fraction())) => {}
            () = stopped => break,
        }
    }
    Ok(None)
}

/// Probes the dependencies whose circuit breaker is open. The payment worker probes the payment
/// gateway itself. Mail cannot be probed without sending a mail.
fn probe(
    breakers: &Breakers,
    process: &Process,
    store: &Store,
    aws: &Aws,
    config: &Config,
) -> anyhow::Result<()> {
    if let Some(database) = breakers.get(Dependency::Database) {
        let store = store.clone();
        database.probe_with(process.shutdown.clone(), move || {
            let store = store.clone();
            async move { store.oldest_unpublished().await.is_ok() }
        });
    }
    if let Some(tables) = breakers.get(Dependency::Stock) {
        let stock = aws.products(&config.grants)?;
        let nothing = ProductId::parse("probe").context("a product's id")?;
        tables.probe_with(process.shutdown.clone(), move || {
            let (stock, nothing) = (stock.clone(), nothing.clone());
            async move { stock.product(&nothing).await.is_ok() }
        });
    }
    Ok(())
}

/// Updates readiness from the state of the database, until shutdown.
fn watch_database(store: Store, process: Process) {
    const EVERY: Duration = Duration::from_secs(5);
    tokio::spawn(async move {
        let shutdown = &process.shutdown;
        while shutdown.run_until_cancelled(sleep(EVERY)).await.is_some() {
            match store.oldest_unpublished().await {
                Ok(_) => process.health.up("database"),
                Err(error) => process.health.down("database", chain(&error)),
            }
        }
    });
}

/// Time for which the first message of a receive waits for the others, so that they share one
/// billed call to AWS. The time is shorter than such a call.
const LINGER: Duration = Duration::from_millis(5);

/// Combines the changes of messages that are handled at the same time into one transaction.
#[derive(Clone)]
struct Applier(GroupCommit<Change, Result<Applied, StoreError>>);

impl Applier {
    /// Maximum number of changes in one transaction: the messages of five receives.
    const MAX: usize = 50;

    fn new(store: Store) -> Self {
        Self(GroupCommit::start(
            Applier::MAX,
            Duration::ZERO,
            move |changes: Vec<Change>| {
                let store = store.clone();
                async move { store.apply(&changes).await }
            },
        ))
    }
}

impl Apply for Applier {
    async fn apply_one(&self, change: Change) -> Result<Applied, StoreError> {
        let change = Change {
            delivery: chassis::consume::attempt(),
            ..change
        };
        self.0
            .submit(change)
            .await
            .unwrap_or_else(|lost| Err(StoreError::new(Backend::Orders, lost)))
    }
}

/// Returns the maker of messages in this process, with the trace of the handled message.
fn maker(role: &'static Role) -> Maker {
    Maker {
        role: role.slug,
        version: VERSION,
        traceparent: chassis::trace::current(),
    }
}

/// Runs `work` until shutdown, with a pause of `period` between two runs.
async fn every(period: Duration, process: &Process, work: impl AsyncFn()) {
    let shutdown = &process.shutdown;
    while shutdown.run_until_cancelled(sleep(period)).await.is_some() {
        work().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use adapter_aws::{Clients, LocalAccess};
    use contract::role::{Access, ROLES};

    use super::*;
    use crate::config::tests::on_aws;

    #[test]
    fn a_role_is_ready_only_with_all_of_its_dependencies() {
        for role in ROLES {
            let health = Health::new(role.slug, VERSION);
            expect_all(role, &health);
            health.up("database");
            let more = role.consumes.len() + role.streams.len();
            assert_eq!(
                health.is_ready(),
                more == 0,
                "{}: {}",
                role.slug,
                health.describe()
            );
        }
    }

    /// Builds the adapters of a role with the functions that `run` calls and the settings of a task
    /// on AWS.
    fn build(role: &'static Role, aws: &Aws) -> anyhow::Result<()> {
        let config = Config::load(role, &on_aws(role))?;
        aws.database_renewal(&config)?;
        if role.depends_on(Dependency::Stock) {
            aws.products(&config.grants)?;
        }
        match role.id {
            RoleId::Storefront => drop(storefront::adapters(aws, &config)?),
            RoleId::OutboxRelay => drop(outbox_relay::adapters(aws, &config)?),
            RoleId::OrderWorker => drop(order::adapters(aws, &config)?),
            RoleId::PaymentWorker => drop(payment::adapters(aws, &config)?),
            RoleId::InventoryWorker => drop(inventory::adapters(aws, &config)?),
            RoleId::NotificationWorker => drop(notification::adapters(aws, &config)?),
            RoleId::FulfilmentWorker => drop(fulfilment::adapters(aws, &config)?),
            RoleId::ProjectionWorker => drop(projection::adapters(aws, &config)?),
            RoleId::Sweeper => drop(sweeper::adapters(aws, &config)?),
        }
        Ok(())
    }

    /// Returns the list without the item at `index`.
    fn without<T: Copy + 'static>(all: &[T], index: usize) -> &'static [T] {
        let mut rest = all.to_vec();
        rest.remove(index);
        rest.leak()
    }

    /// Returns, for each right of the role, its name and the role without it.
    ///
    /// The other fields of a `Role` are not rights: names, sizes, times, and `public`, which is
    /// about access to the role.
    fn with_one_right_less(role: &'static Role) -> Vec<(&'static str, Role)> {
        let mut lesser = Vec::new();
        for (index, queue) in role.consumes.iter().enumerate() {
            lesser.push((
                queue.slug,
                Role {
                    consumes: without(role.consumes, index),
                    ..*role
                },
            ));
        }
        for (index, queue) in role.sends.iter().enumerate() {
            lesser.push((
                queue.slug,
                Role {
                    sends: without(role.sends, index),
                    ..*role
                },
            ));
        }
        for (index, topic) in role.publishes.iter().enumerate() {
            lesser.push((
                topic.slug,
                Role {
                    publishes: without(role.publishes, index),
                    ..*role
                },
            ));
        }
        for (index, bus) in role.puts_events.iter().enumerate() {
            lesser.push((
                bus.slug,
                Role {
                    puts_events: without(role.puts_events, index),
                    ..*role
                },
            ));
        }
        for (index, (table, access)) in role.tables.iter().enumerate() {
            lesser.push((
                table.slug,
                Role {
                    tables: without(role.tables, index),
                    ..*role
                },
            ));
            if *access == Access::Write {
                let mut tables = role.tables.to_vec();
                tables[index].1 = Access::Read;
                lesser.push((
                    table.slug,
                    Role {
                        tables: tables.leak(),
                        ..*role
                    },
                ));
            }
        }
        for (index, table) in role.streams.iter().enumerate() {
            lesser.push((
                table.slug,
                Role {
                    streams: without(role.streams, index),
                    ..*role
                },
            ));
        }
        for (index, parameter) in role.parameters.iter().enumerate() {
            lesser.push((
                parameter.key,
                Role {
                    parameters: without(role.parameters, index),
                    ..*role
                },
            ));
        }
        for (index, secret) in role.secrets.iter().enumerate() {
            lesser.push((
                secret.slug,
                Role {
                    secrets: without(role.secrets, index),
                    ..*role
                },
            ));
        }
        for (is_granted, about, less) in [
            (
                role.database,
                "the database",
                Role {
                    database: false,
                    ..*role
                },
            ),
            (
                role.cache,
                "the cache",
                Role {
                    cache: false,
                    ..*role
                },
            ),
            (
                role.gateway,
                "the payment gateway",
                Role {
                    gateway: false,
                    ..*role
                },
            ),
            (
                role.mail,
                "e-mail",
                Role {
                    mail: false,
                    ..*role
                },
            ),
            (
                role.text_messages,
                "text messages",
                Role {
                    text_messages: false,
                    ..*role
                },
            ),
        ] {
            if is_granted {
                lesser.push((about, less));
            }
        }
        lesser
    }

    /// The code of a role needs exactly the rights that its `Role` grants. A missing right fails
    /// here, and so does a right that no code uses.
    #[tokio::test]
    async fn each_role_needs_exactly_its_rights() {
        // As `worker::run` does, for the client of the payment gateway.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let aws = Aws::of(Clients::local(
            &LocalAccess::unverified("http://127.0.0.1:1", "us-east-1"),
            Arc::new(|_| {}),
        ));
        for role in ROLES {
            build(role, &aws).unwrap_or_else(|error| panic!("{}: {error:#}", role.slug));
            for (about, lesser) in with_one_right_less(role) {
                let lesser: &'static Role = Box::leak(Box::new(lesser));
                let error = build(lesser, &aws).err().map(|error| error.to_string());
                let message = error.unwrap_or_else(|| {
                    panic!("{} has a right that it does not need: {about}", role.slug)
                });
                assert!(
                    message.contains(about),
                    "{} without {about}: {message}",
                    role.slug
                );
            }
        }
    }
}
