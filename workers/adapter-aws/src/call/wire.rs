//! Requests and responses of the three protocols, from and to JSON values.

use std::fmt;

use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::metadata::{ErrorMetadata, ProvideErrorMetadata};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::{Map, Value};

use super::services::{Operation, Protocol};

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// All characters that URIs reserve (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// An error response of a service, or a response that could not be read.
#[derive(Debug)]
pub struct Refused {
    metadata: ErrorMetadata,
    source: Option<BoxError>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.metadata.code(), self.metadata.message()) {
            (Some(code), Some(message)) => write!(f, "{code}: {message}"),
            (Some(code), None) => f.write_str(code),
            (None, _) => f.write_str("unhandled error"),
        }
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl ProvideErrorMetadata for Refused {
    fn meta(&self) -> &ErrorMetadata {
        &self.metadata
    }
}

/// Writes a request.
///
/// # Errors
/// When the input lacks a field of the path.
pub(super) fn request(operation: &Operation, mut input: Value) -> Result<HttpRequest, BoxError> {
    let uri = fill(operation.path, &mut input)?;
    let (content, body) = match operation.service.protocol {
        _ if operation.method == "GET" => (None, String::new()),
        Protocol::Json(_) => (Some("application/x-amz-json-1.1"), input.to_string()),
        Protocol::Rest => (Some("application/json"), input.to_string()),
        Protocol::Query(version) => {
            let mut form = vec![
                ("Action".to_owned(), operation.name.to_owned()),
                ("Version".to_owned(), version.to_owned()),
            ];
            flatten("", &input, &mut form);
            let pairs = form.iter().map(|(name, value)| {
                let encode = |text| utf8_percent_encode(text, RESERVED);
                format!("{}={}", encode(name), encode(value))
            });
            (
                Some("application/x-www-form-urlencoded"),
                pairs.collect::<Vec<_>>().join("&"),
            )
        }
    };
    let mut request = HttpRequest::new(SdkBody::from(body));
    request.set_method(operation.method)?;
    request.set_uri(uri)?;
    if let Some(content) = content {
        request.headers_mut().insert("content-type", content);
    }
    if let Protocol::Json(prefix) = operation.service.protocol {
        let target = format!("{prefix}.{}", operation.name);
        request.headers_mut().insert("x-amz-target", target);
    }
    Ok(request)
}

/// Writes a value as fields of a form: `Outer.Inner`, and `Outer.1` for the first of a list.
fn flatten(name: &str, value: &Value, form: &mut Vec<(String, String)>) {
    let under = |part: &str| match name {
        "" => part.to_owned(),
        _ => format!("{name}.{part}"),
    };
    match value {
        Value::Null => {}
        Value::Bool(value) => form.push((name.to_owned(), value.to_string())),
        Value::Number(value) => form.push((name.to_owned(), value.to_string())),
        Value::String(value) => form.push((name.to_owned(), value.clone())),
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                flatten(&under(&(index + 1).to_string()), value, form);
            }
        }
        Value::Object(fields) => {
            for (field, value) in fields {
                flatten(&under(field), value, form);
            }
        }
    }
}

/// Takes the fields that the path names out of the input, and returns the path with their values.
fn fill(path: &str, input: &mut Value) -> Result<String, BoxError> {
    let Some((before, rest)) = path.split_once('{') else {
        return Ok(path.to_owned());
    };
    let (field, after) = rest.split_once('}').ok_or("a path with an open brace")?;
    let value = input
        .as_object_mut()
        .and_then(|fields| fields.remove(field));
    let value = value.as_ref().and_then(Value::as_str);
    let value = value.ok_or_else(|| format!("the input has no text {field}"))?;
    Ok(format!(
        "{before}{}{after}",
        utf8_percent_encode(value, RESERVED)
    ))
}

/// Reads a response as the result of the operation, or as the service's error.
pub(super) fn answer(operation: &Operation, response: &HttpResponse) -> Result<Value, Refused> {
    let unreadable = |source: BoxError| Refused {
        metadata: ErrorMetadata::builder().build(),
        source: Some(source),
    };
    let body = response.body().bytes().unwrap_or_default();
    let is_query = matches!(operation.service.protocol, Protocol::Query(_));
    let body = if is_query {
        xml(body).map_err(unreadable)?
    } else if body.is_empty() {
        Value::Object(Map::new())
    } else {
        serde_json::from_slice(body).map_err(|error| unreadable(error.into()))?
    };
    if response.status().is_success() {
        return Ok(if is_query {
            body[format!("{}Result", operation.name)].clone()
        } else {
            body
        });
    }
    // `Error` is the child of `ErrorResponse`, which is the root.
    let error = if is_query { &body["Error"] } else { &body };
    let text = |names: [&str; 3]| {
        let found = names.into_iter().find_map(|name| error[name].as_str());
        found.map(str::to_owned)
    };
    let code = text(["__type", "Code", "code"]).or_else(|| {
        let header = response.headers().get("x-amzn-errortype")?;
        Some(header.to_owned())
    });
    // `com.amazonaws.iam#NoSuchEntity:http://internal...` is the code `NoSuchEntity`.
    let code = code.as_deref().and_then(|code| {
        let code = code.rsplit('#').next()?;
        code.split(':').next()
    });
    let mut metadata = ErrorMetadata::builder();
    if let Some(code) = code {
        metadata = metadata.code(code);
    }
    if let Some(message) = text(["message", "Message", "errorMessage"]) {
        metadata = metadata.message(message);
    }
    if let Some(id) = response.headers().get("x-amzn-requestid") {
        metadata = metadata.custom("aws_request_id", id);
    }
    Err(Refused {
        metadata: metadata.build(),
        source: None,
    })
}

/// Reads a document as the value of its root element: text as a string, children as an object, and
/// `member` and `entry` as arrays.
fn xml(document: &[u8]) -> Result<Value, BoxError> {
    let mut reader = Reader::from_reader(document);
    let mut open: Vec<(String, Map<String, Value>, String)> = Vec::new();
    loop {
        let event = reader.read_event()?;
        match event {
            Event::Start(start) => {
                let name = String::from_utf8(start.local_name().as_ref().to_vec())?;
                open.push((name, Map::new(), String::new()));
            }
            Event::Empty(empty) => {
                let name = String::from_utf8(empty.local_name().as_ref().to_vec())?;
                if let Some((_, parent, _)) = open.last_mut() {
                    add(parent, name, Value::String(String::new()));
                }
            }
            Event::Text(text) => {
                if let Some((_, _, content)) = open.last_mut() {
                    content.push_str(&text.decode()?);
                }
            }
            Event::CData(text) => {
                if let Some((_, _, content)) = open.last_mut() {
                    content.push_str(&text.decode()?);
                }
            }
            Event::GeneralRef(reference) => {
                if let Some((_, _, content)) = open.last_mut() {
                    let name = reference.decode()?;
                    match reference.resolve_char_ref()? {
                        Some(letter) => content.push(letter),
                        None => content.push_str(
                            quick_xml::escape::resolve_predefined_entity(&name)
                                .ok_or("an unknown entity")?,
                        ),
                    }
                }
            }
            Event::End(_) => {
                let (name, children, content) = open.pop().ok_or("an end without a start")?;
                let value = if children.is_empty() {
                    Value::String(content)
                } else {
                    Value::Object(children)
                };
                match open.last_mut() {
                    Some((_, parent, _)) => add(parent, name, value),
                    None => return Ok(value),
                }
            }
            Event::Eof => return Err("the document has no root element".into()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
}

fn add(parent: &mut Map<String, Value>, name: String, value: Value) {
    if name != "member" && name != "entry" {
        parent.insert(name, value);
    } else if let Value::Array(values) = parent
        .entry(name)
        .or_insert_with(|| Value::Array(Vec::new()))
    {
        values.push(value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::services::*;
    use super::*;

    fn response(status: u16, body: &'static str) -> HttpResponse {
        HttpResponse::new(
            status.try_into().expect("a status"),
            SdkBody::from(body.as_bytes()),
        )
    }

    #[test]
    fn a_form_has_the_names_of_the_query_protocol() {
        let input = json!({
            "PublishBatchRequestEntries": { "member": [
                { "Id": "0", "MessageAttributes": { "entry": [
                    { "Name": "a", "Value": { "DataType": "String" } }
                ] } }
            ] },
            "TopicArn": "arn:1",
        });
        let request = request(&PUBLISH_BATCH, input).expect("a request");
        let body = std::str::from_utf8(request.body().bytes().expect("bytes")).expect("text");
        assert_eq!(
            body,
            "Action=PublishBatch&Version=2010-03-31\
             &PublishBatchRequestEntries.member.1.Id=0\
             &PublishBatchRequestEntries.member.1.MessageAttributes.entry.1.Name=a\
             &PublishBatchRequestEntries.member.1.MessageAttributes.entry.1.Value.DataType=String\
             &TopicArn=arn%3A1"
        );
    }

    #[test]
    fn xml_is_read_as_the_operations_result() {
        let body = "<?xml version=\"1.0\"?><R xmlns=\"x\"><DescribeTargetHealthResult>\
            <TargetHealthDescriptions><member><Target><Id>i &amp; j&#33;</Id></Target></member>\
            </TargetHealthDescriptions></DescribeTargetHealthResult></R>";
        assert_eq!(
            answer(&DESCRIBE_TARGET_HEALTH, &response(200, body)).expect("a result"),
            json!({ "TargetHealthDescriptions": { "member": [{ "Target": { "Id": "i & j!" } }] } })
        );
    }

    #[test]
    fn an_error_has_code_and_message_in_every_protocol() {
        let xml = "<ErrorResponse><Error><Code>NoSuchEntity</Code><Message>gone</Message></Error></ErrorResponse>";
        let json = r#"{"__type":"com.amazonaws.x#NoSuchEntity:http://y","message":"gone"}"#;
        for (operation, body) in [(&SIMULATE_PRINCIPAL_POLICY, xml), (&LIST_TASKS, json)] {
            let refused = answer(operation, &response(400, body)).expect_err("refused");
            assert_eq!(
                (refused.code(), refused.message()),
                (Some("NoSuchEntity"), Some("gone"))
            );
        }
        let page = answer(&LIST_TASKS, &response(502, "<html>")).expect_err("not an answer");
        assert_eq!(
            (page.code(), page.to_string().as_str()),
            (None, "unhandled error")
        );
        assert!(std::error::Error::source(&page).is_some());
    }

    #[test]
    fn a_field_of_the_path_is_encoded_and_not_in_the_body() {
        let input = json!({ "EmailIdentity": "a/b c" });
        let request = request(&GET_EMAIL_IDENTITY, input).expect("a request");
        assert_eq!(request.uri(), "/v2/email/identities/a%2Fb%20c");
        assert_eq!(request.body().bytes(), Some(&b""[..]));
    }
}
