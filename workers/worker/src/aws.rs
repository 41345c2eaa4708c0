//! A role's adapters, made from its settings.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use adapter_aws::{
    AwsPublisher, Called, Clients, Destinations, DynamoLeases, DynamoProducts, DynamoStock, DynamoStockStream,
    DynamoViews, MetricSink, ParameterReader, Series, SesMailer, SnsTexter, SqsInbox, StockTables, Value,
};
use anyhow::Context as _;
use app::ports::Source as _;
use chassis::config::AwsSettings;
use chassis::metrics::{Datum, Kind};
use chassis::{Metrics, Process, emf};
use contract::address::Address;
use contract::event::{EventKind, Route};
use contract::metric::{Metric, Shape};
use contract::queue::Queue;
use contract::table::{LEASES, MOVEMENTS, ORDER_VIEWS, PRODUCTS, RESERVATIONS};
use contract::topic::BUS;

use crate::breakers::Breakers;
use crate::stores::SystemSource;

/// How often numbers leave: CloudWatch keeps one value a minute anyway.
const SEND_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub struct Aws {
    clients: Clients,
}

impl Aws {
    pub async fn connect(metrics: Metrics, breakers: Breakers) -> Aws {
        let on_call = move |called| match called {
            Called::Sent(service) => metrics.count(Metric::AwsCalls, &[service.code()], 1),
            Called::Billed(billed, units) => metrics.count(Metric::AwsUnits, &[billed.code()], units),
            Called::Answered(service) => breakers.note_aws(service, true),
            Called::Unanswered(service) => breakers.note_aws(service, false),
        };
        let clients = Clients::from_environment(Arc::new(on_call)).await;
        Aws { clients }
    }

    /// For `haven`, which knows where its local AWS is.
    pub fn of(clients: Clients) -> Aws {
        Aws { clients }
    }

    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    pub fn inbox(&self, queue: &'static Queue, addresses: &HashMap<String, String>) -> anyhow::Result<SqsInbox> {
        Ok(SqsInbox {
            client: self.clients.sqs(),
            polls: self.clients.sqs_polls(),
            queue,
            url: value(addresses, Address::Queue(queue))?,
            parking_url: value(addresses, Address::ParkingQueue(queue))?,
        })
    }

    /// Publishes along every route that a message of ours can take.
    ///
    /// # Errors
    /// When a destination is none of the role's: a message for it would wait for ever.
    pub fn publisher(&self, addresses: &HashMap<String, String>) -> anyhow::Result<AwsPublisher> {
        let mut destinations = Destinations::default();
        for route in EventKind::ALL.into_iter().flat_map(EventKind::routes) {
            match route {
                Route::Queue(queue) => {
                    destinations.queues.insert(queue.slug, value(addresses, Address::Queue(queue))?);
                }
                Route::Topic(topic) => {
                    destinations.topics.insert(topic.slug, value(addresses, Address::Topic(topic))?);
                }
                Route::Bus => destinations.bus = value(addresses, Address::Bus(&BUS))?,
            }
        }
        Ok(AwsPublisher::new(&self.clients, destinations))
    }

    /// Every table that stock is moved in. `actor` stands in the ledger beside what is moved here.
    ///
    /// # Errors
    /// When one of the tables is none of the role's: a verb of the stock that the role's code can reach would fail.
    pub fn stock(&self, addresses: &HashMap<String, String>, actor: &str) -> anyhow::Result<DynamoStock> {
        let tables = StockTables {
            products: value(addresses, Address::Table(&PRODUCTS))?,
            reservations: value(addresses, Address::Table(&RESERVATIONS))?,
            movements: value(addresses, Address::Table(&MOVEMENTS))?,
        };
        Ok(DynamoStock::new(&self.clients, tables, actor))
    }

    /// The products alone, to look at.
    ///
    /// # Errors
    /// When the products table is none of the role's.
    pub fn products(&self, addresses: &HashMap<String, String>) -> anyhow::Result<DynamoProducts> {
        Ok(DynamoProducts::new(&self.clients, value(addresses, Address::Table(&PRODUCTS))?))
    }

    pub fn stream(&self, addresses: &HashMap<String, String>) -> anyhow::Result<DynamoStockStream> {
        Ok(DynamoStockStream::new(&self.clients, value(addresses, Address::Stream(&PRODUCTS))?))
    }

    pub fn leases(&self, addresses: &HashMap<String, String>) -> anyhow::Result<DynamoLeases> {
        Ok(DynamoLeases::new(&self.clients, value(addresses, Address::Table(&LEASES))?))
    }

    pub fn views(&self, addresses: &HashMap<String, String>) -> anyhow::Result<DynamoViews> {
        Ok(DynamoViews::new(&self.clients, value(addresses, Address::Table(&ORDER_VIEWS))?))
    }

    pub fn mailer(&self, from: &str) -> SesMailer {
        SesMailer::new(&self.clients, from)
    }

    pub fn texter(&self) -> SnsTexter {
        SnsTexter::new(&self.clients)
    }

    pub fn parameters(&self, environment: &str) -> ParameterReader {
        ParameterReader::new(&self.clients, environment)
    }

    /// Sends the numbers every minute until shutdown, and once more then: as log lines in AWS, by PutMetricData to a
    /// local AWS, which reads no log lines.
    pub fn send_metrics(
        &self,
        service: &'static str,
        settings: &AwsSettings,
        process: &Process,
    ) -> tokio::task::JoinHandle<()> {
        let sink = settings.is_local().then(|| MetricSink::new(&self.clients));
        let source = emf::Source { environment: settings.environment.clone(), service: service.to_owned() };
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
                        let series = data.iter().map(|datum| series(datum, &source)).collect();
                        if let Err(error) = sink.put(series).await {
                            tracing::warn!(error, "A minute's numbers could not be sent");
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

fn series(datum: &Datum, source: &emf::Source) -> Series {
    let mut dimensions =
        vec![("Environment".to_owned(), source.environment.clone()), ("Service".to_owned(), source.service.clone())];
    dimensions.extend(datum.dimensions.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let value = match &datum.kind {
        Kind::Sum(value) | Kind::Value(value) => Value::Single(*value),
        Kind::Distribution { count, sum, min, max, .. } => {
            Value::Statistics { count: *count as f64, sum: *sum, min: *min, max: *max }
        }
    };
    Series { name: datum.metric.name(), dimensions, value, seconds: datum.metric.shape() == Shape::Seconds }
}

fn value(addresses: &HashMap<String, String>, address: Address) -> anyhow::Result<String> {
    let variable = address.variable();
    addresses.get(&variable).cloned().with_context(|| format!("{variable} is not known to this role"))
}
