//! AWS implementations of the ports of `app`. SDK types leave this crate only as the clients from
//! which adapters are created.

mod access;
pub mod call;
mod call_count;
mod clients;
mod inbox;
mod items;
mod leases;
mod local;
mod mailer;
mod metrics;
mod parking;
mod proxy;
mod publisher;
mod settings;
mod stock;
mod stream;
mod tables;
mod texter;
mod transactions;
mod views;

pub use access::LocalAccess;
pub use call_count::{Called, Service};
pub use clients::Clients;
pub use inbox::SqsInbox;
pub use leases::DynamoLeases;
pub use local::{InspectError, LocalMailbox};
pub use mailer::SesMailer;
pub use metrics::{MetricSink, Series, Value};
pub use parking::{Parked, SqsParking};
pub use publisher::{AwsPublisher, Destinations};
pub use settings::{
    ParameterReader, addresses, addresses_of, secret, secret_text, secret_versions,
};
pub use stock::{DynamoProducts, DynamoShopStock, DynamoStock, StockTables};
pub use stream::DynamoStockStream;
pub use tables::{ReadTable, Readable, WriteTable};
pub use texter::SnsTexter;
pub use views::{DynamoViewReader, DynamoViews};

/// Returns the cause of a failed call for the log: the code and message of the service, or how the
/// call itself failed.
fn why<E, R>(error: &aws_sdk_dynamodb::error::SdkError<E, R>) -> String
where
    E: std::error::Error + aws_sdk_dynamodb::error::ProvideErrorMetadata + 'static,
    R: std::fmt::Debug,
{
    match error.as_service_error() {
        Some(service) => {
            format!(
                "{}: {}",
                service.code().unwrap_or("error"),
                service.message().unwrap_or("no message")
            )
        }
        None => format!("{}", aws_sdk_dynamodb::error::DisplayErrorContext(error)),
    }
}
