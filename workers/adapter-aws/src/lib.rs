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
mod messages;
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
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
pub use call_count::{Called, Service};
pub use chassis::emf::Source as MetricSource;
pub use chassis::metrics::{Datum, Kind};
pub use clients::Clients;
use contract::cause::Cause;
pub use inbox::SqsInbox;
pub use leases::DynamoLeases;
pub use local::{InspectError, LocalMailbox};
pub use mailer::SesMailer;
pub use metrics::MetricSink;
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

/// An error that a service returned for a call or for one entry of a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ServiceError {
    pub code: String,
    pub message: String,
}

impl ServiceError {
    fn new(code: Option<&str>, message: Option<&str>) -> ServiceError {
        ServiceError {
            code: code.unwrap_or("error").to_owned(),
            message: message.unwrap_or("no message").to_owned(),
        }
    }
}

/// Returns the cause of a failed call: the error of the service, or how the call itself failed.
/// The SDK's own error would print the service's code and message in several places.
fn cause<E, R>(error: SdkError<E, R>) -> Cause
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match error.as_service_error() {
        Some(service) => Cause::new(ServiceError::new(service.code(), service.message())),
        None => Cause::new(error),
    }
}
