//! The adapters of a role, built from the rights of its `Role`.
//!
//! The code of a role gets its queues, topics, tables, streams, parameters and secrets only here,
//! because the clients of the SDK are private to [`Aws`]. Each function asks [`Grants`] for the
//! rights that its adapter needs. A missing right is therefore an error at the start of the role,
//! and in the test of `roles.rs`, which builds every role. Otherwise IAM would refuse the first
//! call in production.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use adapter_aws::{
    AwsPublisher, Called, Clients, Destinations, DynamoLeases, DynamoProducts, DynamoShopStock,
    DynamoStock, DynamoStockStream, DynamoViewReader, DynamoViews, LocalMailbox, MetricSink,
    ParameterReader, SesMailer, SnsTexter, SqsInbox, StockTables,
};
use adapter_sql::Login;
use anyhow::Context as _;
use app::ports::{Source as _, StoreError};
use chassis::config::{AwsSettings, Secret};
use chassis::{Metrics, Process, emf};
use contract::cause::chain;
use contract::event::{EventKind, Route};
use contract::metric::Metric;
use contract::parameter::Parameter;
use contract::queue::Queue;
use contract::table::{LEASES, MOVEMENTS, ORDER_VIEWS, PRODUCTS, RESERVATIONS};
use contract::topic::BUS;

use crate::breakers::Breakers;
use crate::config::Config;
use crate::grants::Grants;
use crate::renewal::{self, Renewal};
use crate::stores::SystemSource;

/// Period of sending metrics. CloudWatch stores one value a minute.
const SEND_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub struct Aws {
    clients: Clients,
}

impl Aws {
    /// Creates the clients from the region, endpoint and credentials in the environment. Each call
    /// is counted in `metrics`, and its outcome is reported to `breakers`.
    pub async fn connect(metrics: Metrics, breakers: Breakers) -> Aws {
        let on_call = move |called| match called {
            Called::Sent(service) => metrics.count(Metric::AwsCalls, &[service.code()], 1),
            Called::Billed(billed, units) => {
                metrics.count(Metric::AwsUnits, &[billed.code()], units)
            }
            Called::Answered(service) => breakers.note_aws(service, true),
            Called::Unanswered(service) => breakers.note_aws(service, false),
        };
        let clients = Clients::from_environment(Arc::new(on_call)).await;
        Aws { clients }
    }

    /// Wraps existing clients, which `haven` creates for its local AWS or for an account.
    pub fn of(clients: Clients) -> Aws {
        Aws { clients }
    }

    /// Returns the inbox of a queue, with the dead-letter queue.
    ///
    /// # Errors
    /// Returns an error when the role may not consume the queue.
    pub fn inbox(&self, grants: &Grants, queue: &'static Queue) -> anyhow::Result<SqsInbox> {
        let (url, parking_url) = grants.consume(queue)?;
        Ok(SqsInbox {
            client: self.clients.sqs(),
            polls: self.clients.sqs_polls(),
            queue,
            url,
            parking_url,
        })
    }

    /// Returns the publisher for every route that a message can take.
    ///
    /// # Errors
    /// Returns an error when the role may not send to one of the destinations: a message for it
    /// would never be published.
    pub fn publisher(&self, grants: &Grants) -> anyhow::Result<AwsPublisher> {
        let mut destinations = Destinations::default();
        for route in EventKind::ALL.into_iter().flat_map(EventKind::routes) {
            match route {
                Route::Queue(queue) => {
                    destinations.queues.insert(queue.slug, grants.send(queue)?);
                }
                Route::Topic(topic) => {
                    destinations
                        .topics
                        .insert(topic.slug, grants.publish(topic)?);
                }
                Route::Bus => destinations.bus = grants.put_events(&BUS)?,
            }
        }
        Ok(AwsPublisher::new(&self.clients, destinations))
    }

    /// Returns the stock with write access to its tables. `actor` is the actor in ledger entries of
    /// orders.
    ///
    /// # Errors
    /// Returns an error when the role may not write one of the tables: an operation that the role's
    /// code can reach would fail.
    pub fn stock(&self, grants: &Grants, actor: &str) -> anyhow::Result<DynamoStock> {
        let tables = StockTables {
            products: grants.write(&PRODUCTS)?,
            reservations: grants.write(&RESERVATIONS)?,
            movements: grants.write(&MOVEMENTS)?,
        };
        Ok(DynamoStock::new(&self.clients, tables, actor))
    }

    /// Returns the stock for the storefront, which cannot reserve, sell or release the units of an
    /// order. `actor` is the actor in ledger entries of orders.
    ///
    /// # Errors
    /// Returns an error when the role may not read reservations, or may not write products and
    /// ledger entries.
    pub fn shop_stock(&self, grants: &Grants, actor: &str) -> anyhow::Result<DynamoShopStock> {
        let tables = StockTables {
            products: grants.write(&PRODUCTS)?,
            reservations: grants.read(&RESERVATIONS)?,
            movements: grants.write(&MOVEMENTS)?,
        };
        Ok(DynamoStock::new(&self.clients, tables, actor))
    }

    /// Returns a reader of the products table.
    ///
    /// # Errors
    /// Returns an error when the role may not read the products table.
    pub fn products(&self, grants: &Grants) -> anyhow::Result<DynamoProducts> {
        Ok(DynamoProducts::new(&self.clients, grants.read(&PRODUCTS)?))
    }

    /// Returns a reader of the stream of the products table.
    ///
    /// # Errors
    /// Returns an error when the role may not read the stream.
    pub fn stream(&self, grants: &Grants) -> anyhow::Result<DynamoStockStream> {
        Ok(DynamoStockStream::new(
            &self.clients,
            grants.stream(&PRODUCTS)?,
        ))
    }

    /// Returns the leases table.
    ///
    /// # Errors
    /// Returns an error when the role may not write the leases table.
    pub fn leases(&self, grants: &Grants) -> anyhow::Result<DynamoLeases> {
        Ok(DynamoLeases::new(&self.clients, grants.write(&LEASES)?))
    }

    /// Returns a writer of the order view.
    ///
    /// # Errors
    /// Returns an error when the role may not write the order view.
    pub fn views(&self, grants: &Grants) -> anyhow::Result<DynamoViews> {
        Ok(DynamoViews::new(&self.clients, grants.write(&ORDER_VIEWS)?))
    }

    /// Returns a reader of the order view.
    ///
    /// # Errors
    /// Returns an error when the role may not read the order view.
    pub fn view_reader(&self, grants: &Grants) -> anyhow::Result<DynamoViewReader> {
        Ok(DynamoViewReader::new(
            &self.clients,
            grants.read(&ORDER_VIEWS)?,
        ))
    }

    /// Returns a mailer with the sender address `from`.
    ///
    /// # Errors
    /// Returns an error when the role may not send e-mail.
    pub fn mailer(&self, grants: &Grants, from: &str) -> anyhow::Result<SesMailer> {
        grants.mail()?;
        Ok(SesMailer::new(&self.clients, from))
    }

    /// Returns a sender of text messages.
    ///
    /// # Errors
    /// Returns an error when the role may not send text messages.
    pub fn texter(&self, grants: &Grants) -> anyhow::Result<SnsTexter> {
        grants.text_messages()?;
        Ok(SnsTexter::new(&self.clients))
    }

    /// Returns the mailbox of a local AWS. No right is needed for it.
    pub fn local_mailbox(&self) -> LocalMailbox {
        LocalMailbox(self.clients.clone())
    }

    /// Returns parameters that can be read while the role runs. They share one reader, so several
    /// cost no more calls than one.
    ///
    /// # Errors
    /// Returns an error when the role may not read one of them.
    pub fn parameters<const N: usize>(
        &self,
        config: &Config,
        parameters: [&'static Parameter; N],
    ) -> anyhow::Result<[LiveParameter; N]> {
        for parameter in parameters {
            config.grants.parameter(parameter)?;
        }
        let reader = ParameterReader::new(&self.clients, &config.aws.environment);
        Ok(parameters.map(|parameter| LiveParameter {
            reader: reader.clone(),
            parameter,
        }))
    }

    /// Returns a secret with its value at the start of the process. The value can be read again
    /// while the role runs.
    ///
    /// # Errors
    /// Returns an error when the role may not read the secret, or when its variable is not set.
    pub fn secret(
        &self,
        config: &Config,
        secret: &'static contract::parameter::Secret,
    ) -> anyhow::Result<RotatedSecret> {
        config.grants.secret(secret)?;
        let at_start = config.secrets.get(secret.variable);
        let at_start = at_start
            .with_context(|| format!("{} is not set", secret.variable))?
            .clone();
        let environment = config.aws.environment.clone();
        Ok(RotatedSecret {
            at_start,
            clients: self.clients.clone(),
            environment,
            secret,
        })
    }

    /// Returns the renewal of the database's login from the secret that `config` names, or `None`
    /// if it names none.
    ///
    /// # Errors
    /// Returns an error when the role may not use the database.
    pub fn database_renewal(&self, config: &Config) -> anyhow::Result<Option<Renewal<Login>>> {
        let secret = config.database()?.login_secret.clone();
        Ok(secret.map(|id| renewal::of_database(self.clients.clone(), id)))
    }

    /// Returns the renewal of the cache's token from the secret that `config` names, or `None` if
    /// it names none.
    ///
    /// # Errors
    /// Returns an error when the role may not use the cache.
    pub fn cache_renewal(&self, config: &Config) -> anyhow::Result<Option<Renewal<String>>> {
        let secret = config
            .cache()?
            .and_then(|cache| cache.password_secret.clone());
        Ok(secret.map(|id| renewal::of_cache(self.clients.clone(), id)))
    }

    /// Sends the metrics every minute until shutdown, and once more at the shutdown. On AWS they
    /// are log lines. A local AWS, which reads no log lines, gets them by PutMetricData.
    pub fn send_metrics(
        &self,
        service: &'static str,
        settings: &AwsSettings,
        process: &Process,
    ) -> tokio::task::JoinHandle<()> {
        let sink = settings.is_local().then(|| MetricSink::new(&self.clients));
        let source = emf::Source {
            environment: settings.environment.clone(),
            service: service.to_owned(),
        };
        let (metrics, shutdown) = (process.metrics.clone(), process.shutdown.clone());
        tokio::spawn(async move {
            loop {
                let stopping = tokio::select! {
                    () = tokio::time::sleep(SEND_EVERY) => false,
                    () = shutdown.cancelled() => true,
                };
                let data = metrics.take_deltas();
                match &sink {
                    Some(sink) => {
                        if let Err(error) = sink.put(&data, &source).await {
                            tracing::warn!(error = %chain(&*error), "The metrics of a minute could not be sent");
                        }
                    }
                    None => {
                        for line in emf::lines(&data, &source, SystemSource.now()) {
                            // As with logs, a full disk or a closed pipe must not end the role.
                            let _ = writeln!(std::io::stdout(), "{line}");
                        }
                    }
                }
                if stopping {
                    return;
                }
            }
        })
    }
}

/// A parameter that may change while the role runs.
#[derive(Clone)]
pub struct LiveParameter {
    reader: ParameterReader,
    parameter: &'static Parameter,
}

impl LiveParameter {
    /// Returns the current value, as [`ParameterReader::get`] does.
    pub async fn get(&self) -> String {
        self.reader.get(self.parameter).await
    }
}

/// A secret that may be rotated while the role runs.
#[derive(Clone)]
pub struct RotatedSecret {
    at_start: Secret<String>,
    clients: Clients,
    environment: String,
    secret: &'static contract::parameter::Secret,
}

impl RotatedSecret {
    /// Returns the value that the process was started with.
    pub fn at_start(&self) -> &Secret<String> {
        &self.at_start
    }

    /// Reads the current value, as [`adapter_aws::secret`] does.
    pub async fn current(&self) -> Result<Secret<String>, StoreError> {
        adapter_aws::secret(&self.clients, &self.environment, self.secret)
            .await
            .map(Secret::new)
    }

    /// Reads the values that are valid now, as [`adapter_aws::secret_versions`] does.
    pub async fn versions(&self) -> Result<Vec<String>, StoreError> {
        adapter_aws::secret_versions(&self.clients, &self.environment, self.secret).await
    }
}
