//! An SDK interceptor that counts the calls that are sent, retries included, and the units that AWS
//! bills. It also reports whether the service answered.

use std::fmt;
use std::sync::Arc;

use aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemInput;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemInput;
use aws_sdk_dynamodb::operation::get_item::GetItemInput;
use aws_sdk_dynamodb::operation::put_item::PutItemInput;
use aws_sdk_dynamodb::operation::query::QueryInput;
use aws_sdk_dynamodb::operation::scan::ScanInput;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsInput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemInput;
use aws_sdk_dynamodbstreams::operation::get_records::GetRecordsInput;
use aws_sdk_sqs::config::interceptors::{
    BeforeSerializationInterceptorContextRef as BeforeSerialization,
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_sdk_sqs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sqs::error::BoxError;
use aws_sdk_sqs::operation::change_message_visibility_batch::ChangeMessageVisibilityBatchInput;
use aws_sdk_sqs::operation::delete_message_batch::DeleteMessageBatchInput;
use aws_sdk_sqs::operation::receive_message::ReceiveMessageInput;
use aws_sdk_sqs::operation::send_message::SendMessageInput;
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchInput;
use contract::billed::Billed;
use serde_json::Value;

/// The AWS services that the clients call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    Sqs,
    Sns,
    /// SNS for text messages only, which have another price and other failures.
    Sms,
    EventBridge,
    DynamoDb,
    DynamoDbStreams,
    Ses,
    ParameterStore,
    SecretsManager,
    CloudWatch,
}

impl Service {
    /// Returns the name of the service in metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Service::Sqs => "sqs",
            Service::Sns => "sns",
            Service::Sms => "sms",
            Service::EventBridge => "events",
            Service::DynamoDb => "dynamodb",
            Service::DynamoDbStreams => "streams",
            Service::Ses => "ses",
            Service::ParameterStore => "ssm",
            Service::SecretsManager => "secrets",
            Service::CloudWatch => "cloudwatch",
        }
    }
}

/// An event of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// The call is sent, or sent again, to this service.
    Sent(Service),
    /// The call is about to be sent; AWS bills this many units.
    Billed(Billed, u64),
    /// The call has ended, retries included: the service answered, possibly with a refusal.
    Answered(Service),
    /// The call has ended without an answer in time, or with a server error.
    Unanswered(Service),
}

/// Receives every event of every call.
pub type OnCall = Arc<dyn Fn(Called) + Send + Sync>;

/// The interceptor of one service's client.
pub struct CallCount {
    /// The service of the client.
    pub service: Service,
    /// Receives every event of a call.
    pub on_call: OnCall,
}

impl fmt::Debug for CallCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallCount({})", self.service.code())
    }
}

impl Intercept for CallCount {
    fn name(&self) -> &'static str {
        "CallCount"
    }

    fn read_before_serialization(
        &self,
        context: &BeforeSerialization<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some((billed, units)) = billed(self.service, context) {
            (self.on_call)(Called::Billed(billed, units));
        }
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        (self.on_call)(Called::Sent(self.service));
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answered = match context.output_or_error() {
            Some(Ok(_)) => true,
            // A refusal is an answer; a server error is not.
            Some(Err(error)) => {
                error.is_operation_error()
                    && context
                        .response()
                        .is_some_and(|response| !response.status().is_server_error())
            }
            None => false,
        };
        (self.on_call)(if answered {
            Called::Answered(self.service)
        } else {
            Called::Unanswered(self.service)
        });
        Ok(())
    }
}

/// Returns the billing unit of a call and the number of units. Assumes that no message or item is
/// larger than one unit, which is true of ours. Writes of secondary indexes are not counted,
/// because the client does not see them.
fn billed(service: Service, call: &BeforeSerialization<'_>) -> Option<(Billed, u64)> {
    match service {
        Service::Sqs => Some((queue_request(queue_url(call)?), 1)),
        Service::Sns => Some((Billed::TopicRequest, 1)),
        Service::EventBridge => {
            let entries = call.input().downcast_ref::<Value>()?["Entries"].as_array()?;
            Some((Billed::Event, entries.len() as u64))
        }
        Service::DynamoDb => table(call),
        Service::DynamoDbStreams => call
            .input()
            .downcast_ref::<GetRecordsInput>()
            .map(|_| (Billed::StreamRead, 1)),
        // The price of a text depends on country and carrier, so there is no list price.
        Service::Sms => None,
        Service::Ses => Some((Billed::Mail, 1)),
        // Billed per month, or independent of the number of orders.
        Service::ParameterStore | Service::SecretsManager | Service::CloudWatch => None,
    }
}

/// Returns the queue URL of a call that consumers or senders make.
fn queue_url<'a>(call: &'a BeforeSerialization<'_>) -> Option<&'a str> {
    macro_rules! url_of {
        ($($input:ty),*) => {
            None$(.or_else(|| call.input().downcast_ref::<$input>()?.queue_url()))*
        };
    }
    url_of!(
        ReceiveMessageInput,
        DeleteMessageBatchInput,
        ChangeMessageVisibilityBatchInput,
        SendMessageBatchInput,
        SendMessageInput
    )
}

/// Returns the billing unit of a queue. SQS requires the suffix `.fifo` (Amazon SQS Developer
/// Guide, FIFO queues).
fn queue_request(url: &str) -> Billed {
    if url.ends_with(".fifo") {
        Billed::FifoQueueRequest
    } else {
        Billed::QueueRequest
    }
}

fn table(call: &BeforeSerialization<'_>) -> Option<(Billed, u64)> {
    if let Some(transaction) = call.input().downcast_ref::<TransactWriteItemsInput>() {
        // Two units per action, to prepare and to commit (DynamoDB Developer Guide, transactions).
        return Some((
            Billed::TableWrite,
            2 * transaction.transact_items().len() as u64,
        ));
    }
    if let Some(batch) = call.input().downcast_ref::<BatchWriteItemInput>() {
        let requests = batch
            .request_items()
            .into_iter()
            .flatten()
            .map(|(_, requests)| requests.len() as u64);
        return Some((Billed::TableWrite, requests.sum()));
    }
    let writes = call.input().downcast_ref::<PutItemInput>().is_some()
        || call.input().downcast_ref::<UpdateItemInput>().is_some()
        || call.input().downcast_ref::<DeleteItemInput>().is_some();
    let reads = call.input().downcast_ref::<GetItemInput>().is_some()
        || call.input().downcast_ref::<QueryInput>().is_some()
        || call.input().downcast_ref::<ScanInput>().is_some();
    if writes {
        Some((Billed::TableWrite, 1))
    } else {
        reads.then_some((Billed::TableRead, 1))
    }
}
