//! The protocols of AWS as a proxy sees them: the operation of a request, the error responses of a
//! service, and batches of which only a part succeeds.

use serde_json::{Value, json};

use crate::http::{Message, response};

/// The protocols of the services that we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// `X-Amz-Target: Prefix.Operation` and JSON: SQS, DynamoDB and its streams, EventBridge, SSM,
    /// Secrets Manager.
    Json,
    /// `Action=Operation&...` in the body and XML in the response: SNS, CloudFormation, STS.
    Query,
    /// The operation in the path, and CBOR: CloudWatch.
    Cbor,
    /// Method and path, and JSON: SES.
    Rest,
}

/// Returns the name of a call, `service.Operation`. The service is named as in its endpoint
/// variable, in lower case.
pub(crate) fn name(request: &Message) -> String {
    let (method, target) = (&request.first.0, &request.first.1);
    let service = match request
        .header("x-amz-target")
        .and_then(|target| target.split_once('.'))
    {
        // Requests to DynamoDB and to its streams are both signed for `dynamodb`, so the prefix
        // decides.
        Some((prefix, _)) if prefix.starts_with("DynamoDBStreams") => "streams".to_owned(),
        _ => signed_for(request).unwrap_or_else(|| "aws".to_owned()),
    };
    let operation = match protocol(request) {
        Protocol::Json => {
            let target = request.header("x-amz-target").unwrap_or_default();
            target.rsplit('.').next().unwrap_or_default().to_owned()
        }
        Protocol::Query => field(&request.body, "Action").unwrap_or_default(),
        Protocol::Cbor => target.rsplit('/').next().unwrap_or_default().to_owned(),
        Protocol::Rest if method == "POST" && target.starts_with("/v2/email/outbound-emails") => {
            "SendEmail".to_owned()
        }
        Protocol::Rest => format!("{method} {}", target.split('?').next().unwrap_or_default()),
    };
    format!("{service}.{operation}")
}

fn protocol(request: &Message) -> Protocol {
    if request.header("x-amz-target").is_some() {
        Protocol::Json
    } else if request.first.1.starts_with("/service/") {
        Protocol::Cbor
    } else if request
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
    {
        Protocol::Query
    } else {
        Protocol::Rest
    }
}

/// Returns the service in the scope of the signature:
/// `Credential=KEY/DAY/REGION/SERVICE/aws4_request`.
fn signed_for(request: &Message) -> Option<String> {
    let scope = request
        .header("authorization")?
        .split("Credential=")
        .nth(1)?
        .split(',')
        .next()?;
    Some(scope.split('/').nth(3)?.to_owned())
}

/// Returns the value of a form field.
fn field(body: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let mut fields = text.split('&').filter_map(|field| field.split_once('='));
    fields
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value.to_owned())
}

/// Returns an error response in the protocol of the request.
pub(crate) fn failure(request: &Message, status: u16, code: &str) -> Vec<u8> {
    const MESSAGE: &str = "Injected by a fault proxy";
    match protocol(request) {
        Protocol::Query => {
            let (kind, id) = (
                if status < 500 { "Sender" } else { "Receiver" },
                "00000000-0000-0000-0000-000000000000",
            );
            let body = format!(
                "<ErrorResponse><Error><Type>{kind}</Type><Code>{code}</Code><Message>{MESSAGE}</Message></Error>\
                 <RequestId>{id}</RequestId></ErrorResponse>"
            );
            response(status, &[("content-type", "text/xml")], &body)
        }
        Protocol::Json | Protocol::Cbor | Protocol::Rest => {
            let body = json!({ "__type": code, "message": MESSAGE }).to_string();
            response(
                status,
                &[
                    ("content-type", "application/x-amz-json-1.0"),
                    ("x-amzn-errortype", code),
                ],
                &body,
            )
        }
    }
}

/// A batch request without its last entry.
#[derive(Debug)]
pub(crate) struct Partial {
    operation: &'static str,
    /// The request with the remaining entries. `None` if no entry remains.
    pub rest: Option<Vec<u8>>,
    kept_back: Vec<Value>,
    /// Whether this is an SNS batch. All its entries are held back, because its responses are XML.
    query: bool,
}

/// Returns the request without its last entry, if it is a batch.
pub(crate) fn in_part(request: &Message) -> Option<Partial> {
    let name = name(request);
    let operation = name.rsplit('.').next()?;
    if operation == "PublishBatch" && protocol(request) == Protocol::Query {
        let ids = (1..=10).filter_map(|n| {
            field(
                &request.body,
                &format!("PublishBatchRequestEntries.member.{n}.Id"),
            )
        });
        let kept_back: Vec<Value> = ids.map(|id| json!({ "Id": id })).collect();
        return Some(Partial {
            operation: "PublishBatch",
            rest: None,
            kept_back,
            query: true,
        });
    }
    let known = [
        "SendMessageBatch",
        "DeleteMessageBatch",
        "ChangeMessageVisibilityBatch",
        "PutEvents",
        "BatchWriteItem",
    ];
    let operation = known.into_iter().find(|known| *known == operation)?;
    let mut body: Value = serde_json::from_slice(&request.body).ok()?;
    let (kept_back, left) = if operation == "BatchWriteItem" {
        let tables = body["RequestItems"].as_object_mut()?;
        let (table, items) = tables.iter_mut().next()?;
        let item = items.as_array_mut()?.pop()?;
        let (table, emptied) = (table.clone(), items.as_array().is_some_and(Vec::is_empty));
        if emptied {
            tables.remove(&table);
        }
        (json!({ "table": table, "item": item }), tables.len())
    } else {
        let entries = body["Entries"].as_array_mut()?;
        (entries.pop()?, entries.len())
    };
    let rest = (left > 0).then(|| request.with_body(body.to_string().as_bytes()));
    Some(Partial {
        operation,
        rest,
        kept_back: vec![kept_back],
        query: false,
    })
}

impl Partial {
    /// Returns the response to the whole batch, made from the response to the remaining entries.
    /// The entries that were held back count as failed.
    pub fn answer(&self, rest: Option<&Message>) -> Vec<u8> {
        const CODE: &str = "InternalFailure";
        if self.query {
            let failed = self
                .kept_back
                .iter()
                .filter_map(|entry| entry["Id"].as_str());
            let failed: String = failed
                .map(|id| format!("<member><Id>{id}</Id><Code>{CODE}</Code><SenderFault>false</SenderFault></member>"))
                .collect();
            let body = format!(
                "<PublishBatchResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishBatchResult>\
                 <Successful/><Failed>{failed}</Failed></PublishBatchResult><ResponseMetadata><RequestId>0</RequestId>\
                 </ResponseMetadata></PublishBatchResponse>"
            );
            return response(200, &[("content-type", "text/xml")], &body);
        }
        let mut body: Value = rest
            .and_then(|rest| serde_json::from_slice(&rest.body).ok())
            .unwrap_or_else(|| json!({}));
        for entry in &self.kept_back {
            match self.operation {
                "PutEvents" => {
                    let failed =
                        json!({ "ErrorCode": CODE, "ErrorMessage": "rejected by a fault proxy" });
                    push(&mut body["Entries"], failed);
                    body["FailedEntryCount"] =
                        json!(body["FailedEntryCount"].as_u64().unwrap_or_default() + 1);
                }
                "BatchWriteItem" => {
                    let table = entry["table"].as_str().unwrap_or_default();
                    push(&mut body["UnprocessedItems"][table], entry["item"].clone());
                }
                _ => {
                    let failed = json!({ "Id": entry["Id"], "SenderFault": false, "Code": CODE });
                    push(&mut body["Failed"], failed);
                    if !body["Successful"].is_array() {
                        body["Successful"] = json!([]);
                    }
                }
            }
        }
        let text = body.to_string();
        match rest {
            Some(rest) => rest.with_body(text.as_bytes()),
            None => response(
                200,
                &[("content-type", "application/x-amz-json-1.0")],
                &text,
            ),
        }
    }
}

fn push(array: &mut Value, value: Value) {
    match array.as_array_mut() {
        Some(array) => array.push(value),
        None => *array = json!([value]),
    }
}

/// Returns whether a response contains messages, records or items. For other operations the answer
/// is always true.
pub(crate) fn brought_something(name: &str, answer: &Message) -> bool {
    let list = match name {
        "sqs.ReceiveMessage" => "Messages",
        "streams.GetRecords" => "Records",
        "dynamodb.Query" | "dynamodb.Scan" => "Items",
        _ => return true,
    };
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    body[list].as_array().is_some_and(|list| !list.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Buffer;

    async fn request(head: &str, body: &str) -> Message {
        let raw = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        Buffer::default()
            .request(&mut raw.as_bytes())
            .await
            .expect("HTTP")
            .expect("a request")
    }

    async fn answer(raw: &[u8]) -> Value {
        let answer = Buffer::default()
            .response(&mut &*raw, "POST")
            .await
            .expect("HTTP");
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    #[tokio::test]
    async fn every_protocol_names_its_operation() {
        let scope = |service: &str| {
            format!(
                "authorization: AWS4-HMAC-SHA256 Credential=local/20261121/us-east-1/{service}/aws4_request, Signature=0"
            )
        };
        for (head, body, expected) in [
            (
                format!(
                    "POST / HTTP/1.1\r\nx-amz-target: AmazonSQS.ReceiveMessage\r\n{}",
                    scope("sqs")
                ),
                "{}",
                "sqs.ReceiveMessage",
            ),
            (
                format!(
                    "POST / HTTP/1.1\r\nx-amz-target: DynamoDBStreams_20120810.GetRecords\r\n{}",
                    scope("dynamodb")
                ),
                "{}",
                "streams.GetRecords",
            ),
            (
                format!(
                    "POST / HTTP/1.1\r\ncontent-type: application/x-www-form-urlencoded\r\n{}",
                    scope("sns")
                ),
                "Action=PublishBatch&Version=2010-03-31",
                "sns.PublishBatch",
            ),
            (
                format!(
                    "POST /service/GraniteServiceVersion20100801/operation/PutMetricData HTTP/1.1\r\n{}",
                    scope("monitoring")
                ),
                "",
                "monitoring.PutMetricData",
            ),
            (
                format!(
                    "POST /v2/email/outbound-emails HTTP/1.1\r\n{}",
                    scope("ses")
                ),
                "{}",
                "ses.SendEmail",
            ),
        ] {
            assert_eq!(name(&request(&head, body).await), expected);
        }
    }

    #[tokio::test]
    async fn rejected_entries_of_a_batch_are_named_in_the_response() {
        let head = "POST / HTTP/1.1\r\nx-amz-target: AmazonSQS.SendMessageBatch";
        let two = request(
            head,
            r#"{"QueueUrl":"q","Entries":[{"Id":"0"},{"Id":"1"}]}"#,
        )
        .await;
        let partial = in_part(&two).expect("a batch");
        let rest = partial.rest.clone().expect("one is left");
        let rest = Buffer::default()
            .request(&mut rest.as_slice())
            .await
            .expect("HTTP")
            .expect("a request");
        assert_eq!(
            serde_json::from_slice::<Value>(&rest.body).expect("JSON")["Entries"],
            json!([{ "Id": "0" }])
        );
        let taken = response(200, &[], r#"{"Successful":[{"Id":"0"}]}"#);
        let taken = Buffer::default()
            .response(&mut taken.as_slice(), "POST")
            .await
            .expect("HTTP");
        let said = answer(&partial.answer(Some(&taken))).await;
        assert_eq!(
            (&said["Successful"][0]["Id"], &said["Failed"][0]["Id"]),
            (&json!("0"), &json!("1"))
        );

        let head = "POST / HTTP/1.1\r\nx-amz-target: AWSEvents.PutEvents";
        let one =
            in_part(&request(head, r#"{"Entries":[{"Detail":"{}"}]}"#).await).expect("a batch");
        assert!(one.rest.is_none(), "an empty batch is an error of its own");
        let said = answer(&one.answer(None)).await;
        assert_eq!(
            (
                &said["FailedEntryCount"],
                said["Entries"].as_array().map(Vec::len)
            ),
            (&json!(1), Some(1))
        );

        let head = "POST / HTTP/1.1\r\nx-amz-target: DynamoDB_20120810.BatchWriteItem";
        let write = in_part(&request(head, r#"{"RequestItems":{"t":[{"a":1},{"b":2}]}}"#).await)
            .expect("a batch");
        assert_eq!(
            answer(&write.answer(None)).await["UnprocessedItems"]["t"],
            json!([{ "b": 2 }])
        );
        assert!(
            in_part(
                &request(
                    "POST / HTTP/1.1\r\nx-amz-target: AmazonSQS.ReceiveMessage",
                    "{}"
                )
                .await
            )
            .is_none()
        );
    }
}
