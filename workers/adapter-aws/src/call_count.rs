//! Counts what is really sent, retries included, and what AWS bills it by; tells whether calls are
//! answered.

use std::fmt;

use aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemInput;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemInput;
use aws_sdk_dynamodb::operation::get_item::GetItemInput;
use aws_sdk_dynamodb::operation::put_item::PutItemInput;
use aws_sdk_dynamodb::operation::query::QueryInput;
use aws_sdk_dynamodb::operation::scan::ScanInput;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsInput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemInput;
use aws_sdk_dynamodbstreams::operation::get_records::GetRecordsInput;
use aws_sdk_eventbridge::operation::put_events::PutEventsInput;
use aws_sdk_sesv2::operation::send_email::SendEmailInput;
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

use crate::clients::{Called, OnCall, Service};

pub struct CallCount {
    pub service: Service,
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
            // A refusal is an answer; a server's error is none.
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

/// What one call is billed by, as if no message or item were larger than a unit: ours are not.
/// Writes of secondary indexes are not seen from here.
fn billed(service: Service, call: &BeforeSerialization<'_>) -> Option<(Billed, u64)> {
    match service {
        Service::Sqs => Some((queue_request(queue_url(call)?), 1)),
        Service::Sns => Some((Billed::TopicRequest, 1)),
        Service::EventBridge => Some((
            Billed::Event,
            call.input()
                .downcast_ref::<PutEventsInput>()?
                .entries()
                .len() as u64,
        )),
        Service::DynamoDb => table(call),
        Service::DynamoDbStreams => call
            .input()
            .downcast_ref::<GetRecordsInput>()
            .map(|_| (Billed::StreamRead, 1)),
        // A text's price is its country's and its carrier's: there is no list price to multiply.
        Service::Sms => None,
        Service::Ses => call
            .input()
            .downcast_ref::<SendEmailInput>()
            .map(|_| (Billed::Mail, 1)),
        // By the month, or by what an order has no part in.
        Service::ParameterStore | Service::SecretsManager | Service::CloudWatch => None,
    }
}

/// Of the calls that consumers and senders make.
fn queue_url<'a>(call: &'a BeforeSerialization<'_>) -> Option<&'a str> {
    None.or_else(|| {
        call.input()
            .downcast_ref::<ReceiveMessageInput>()?
            .queue_url()
    })
    .or_else(|| {
        call.input()
            .downcast_ref::<DeleteMessageBatchInput>()?
            .queue_url()
    })
    .or_else(|| {
        call.input()
            .downcast_ref::<ChangeMessageVisibilityBatchInput>()?
            .queue_url()
    })
    .or_else(|| {
        call.input()
            .downcast_ref::<SendMessageBatchInput>()?
            .queue_url()
    })
    .or_else(|| call.input().downcast_ref::<SendMessageInput>()?.queue_url())
}

/// SQS demands the ending of the name (Amazon SQS Developer Guide, FIFO queues).
fn queue_request(url: &str) -> Billed {
    if url.ends_with(".fifo") {
        Billed::FifoQueueRequest
    } else {
        Billed::QueueRequest
    }
}

fn table(call: &BeforeSerialization<'_>) -> Option<(Billed, u64)> {
    if let Some(transaction) = call.input().downcast_ref::<TransactWriteItemsInput>() {
        // One unit to prepare and one to commit each (DynamoDB Developer Guide, transactions).
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
