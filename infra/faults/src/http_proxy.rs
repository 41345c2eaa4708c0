//! One HTTP connection, on which each request is a call.

use std::io::{Error, ErrorKind, Result};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::board::Call;
use crate::dependency::Dependency;
use crate::http::{Buffer, Message};
use crate::link::Link;
use crate::{Fault, aws, gateway};

/// The connection to the dependency, which is made when needed and again after a loss.
#[derive(Default)]
struct Upstream {
    stream: Option<TcpStream>,
    read: Buffer,
}

pub(crate) async fn serve(link: &Link, mut client: TcpStream) -> Result<()> {
    let (mut read, mut upstream) = (Buffer::default(), Upstream::default());
    while let Some(request) = read.request(&mut client).await? {
        let name = if link.dependency == Dependency::Aws {
            aws::name(&request)
        } else {
            gateway::name(&request)
        };
        let call = link.call(name, &request.body);
        let answer = match answer(link, &mut client, &mut upstream, &call, &request).await? {
            Answer::Bytes(answer) => answer,
            Answer::Stream(mut stream) => {
                // The end of a stream such as server-sent events cannot be detected, so copy bytes
                // until a side closes.
                tokio::io::copy_bidirectional(&mut client, &mut stream).await?;
                return Ok(());
            }
        };
        client.write_all(&answer).await?;
    }
    Ok(())
}

enum Answer {
    Bytes(Vec<u8>),
    Stream(TcpStream),
}

/// Returns the response to a call, with the fault of a rule applied.
///
/// # Errors
/// When the connection must be closed.
async fn answer(
    link: &Link,
    client: &mut TcpStream,
    upstream: &mut Upstream,
    call: &Call,
    request: &Message,
) -> Result<Answer> {
    let (faults, is_of_aws) = (&link.faults, link.dependency == Dependency::Aws);
    let key = format!("{}\n{}", call.name, String::from_utf8_lossy(&request.body));
    let possible = |fault: &Fault| match fault {
        Fault::Partial => is_of_aws && aws::in_part(request).is_some(),
        Fault::Replay => replay(link, call, request, &key).is_some(),
        Fault::Refuse
        | Fault::Cut
        | Fault::DropReply
        | Fault::Delay(_)
        | Fault::Hang
        | Fault::Fail { .. } => true,
    };
    let fault = link.admit(call, client, possible).await?;
    let mut partial = None;
    match &fault {
        Some(Fault::Fail { status, code }) => {
            let failure = if is_of_aws {
                aws::failure(request, *status, code)
            } else {
                gateway::failure(*status, code)
            };
            return Ok(Answer::Bytes(failure));
        }
        Some(Fault::Replay) => {
            let old = replay(link, call, request, &key)
                .ok_or_else(|| Error::from(ErrorKind::NotFound))?;
            return Ok(Answer::Bytes(old));
        }
        Some(Fault::Partial) => partial = aws::in_part(request),
        Some(Fault::Refuse | Fault::Cut | Fault::DropReply | Fault::Delay(_) | Fault::Hang)
        | None => {}
    }
    let mut something = true;
    let answer = match &partial {
        Some(partial) => match &partial.rest {
            Some(rest) => {
                let rest = faults.signed(rest.clone());
                partial.answer(Some(&upstream.ask(link, &rest, &request.first.0).await?))
            }
            None => partial.answer(None),
        },
        None if link.dependency == Dependency::Shop && request.first.1.ends_with("/events") => {
            return upstream.open(link, &request.raw).await.map(Answer::Stream);
        }
        None => {
            let answer = upstream.ask(link, &request.raw, &request.first.0).await?;
            something = !is_of_aws || aws::brought_something(&call.name, &answer);
            faults.executed(call, something);
            // Only replies to reads may be replayed, never replies to writes.
            if something && answer.first.1 == "200" && is_question(&call.name) {
                faults.remember(&replay_key(call, request, &key), &answer.raw);
            }
            answer.raw
        }
    };
    link.release(call, fault.as_ref(), &answer, something)
        .await?;
    Ok(Answer::Bytes(answer))
}

fn is_question(name: &str) -> bool {
    let operation = name.rsplit('.').next().unwrap_or_default();
    ["Receive", "Get", "Query", "Scan", "Describe", "GET "]
        .iter()
        .any(|verb| operation.starts_with(verb))
}

/// Returns the key for replays. Receive requests to one queue share a key, because their bodies
/// differ each time.
fn replay_key(call: &Call, request: &Message, key: &str) -> String {
    if call.name != "sqs.ReceiveMessage" {
        return key.to_owned();
    }
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
    format!("{} {}", call.name, body["QueueUrl"])
}

fn replay(link: &Link, call: &Call, request: &Message, key: &str) -> Option<Vec<u8>> {
    let key = replay_key(call, request, key);
    match call.name.as_str() {
        "sqs.ReceiveMessage" => link.faults.last_answer(&key),
        _ => link.faults.stale_answer(&key),
    }
}

impl Upstream {
    /// Sends a request once. A retry after a lost connection could execute a call twice, so that is
    /// left to the caller.
    async fn ask(&mut self, link: &Link, request: &[u8], method: &str) -> Result<Message> {
        let mut stream = match self.stream.take() {
            Some(stream) if still_open(&stream) => stream,
            _ => {
                self.read = Buffer::default();
                link.connect().await?
            }
        };
        stream.write_all(request).await?;
        let answer = self.read.response(&mut stream, method).await?;
        let closes = answer
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let framed = answer.header("content-length").is_some()
            || answer.header("transfer-encoding").is_some();
        if !closes && framed {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    /// Sends a request on a separate connection, for a response that does not end.
    async fn open(&self, link: &Link, request: &[u8]) -> Result<TcpStream> {
        let mut stream = link.connect().await?;
        stream.write_all(request).await?;
        Ok(stream)
    }
}

/// Returns whether an idle connection is still open on the other side.
fn still_open(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}
