//! Measures the CPU time of the consume loop and compares it with a bare SDK loop. The difference
//! is the cost of heartbeats, lanes, batching, spans and metrics.

use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use adapter_aws::{Clients, LocalAccess, SqsInbox};
use anyhow::{Context as _, bail};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, MessageSystemAttributeName};
use chassis::health::Health;
use chassis::inbox::Delivery;
use chassis::{Handler, Metrics, Process};
use clap::Args;
use contract::queue::{LONG_POLL, NOTIFICATIONS};
use contract::settlement::Settlement;
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::endpoint::Tally;

/// Maximum ratio of the CPU time of the consume loop to that of the bare loop.
const RATIO_MAX: f64 = 1.3;
/// Pollers of the bare loop. The consume loop has the same number when it is busy.
const POLLERS: usize = 16;
/// Messages in one receive call, SQS's maximum.
const BATCH: usize = 10;

#[derive(Debug, Args)]
pub struct Options {
    /// Number of messages in each drain
    #[arg(long, default_value_t = 50_000)]
    messages: u64,
    /// Number of drains with each loop
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Measurements of one drain of the queue.
struct Drained {
    cpu_s: f64,
    tally: Tally,
}

/// Runs both loops in turn and prints the medians. The exit code is 2 if the ratio of CPU times is
/// above the limit.
///
/// # Errors
/// Returns an error if the endpoint does not start, or if a drain fails or leaves messages.
pub async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    // The same logs as in a role, so that spans take the same CPU time.
    let _logs = chassis::telemetry::start("bench", None);
    let this = std::env::current_exe().context("find this program")?;
    let mut endpoint = tokio::process::Command::new(this)
        .arg("endpoint")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("start the endpoint")?;
    let output = endpoint.stdout.take().context("the endpoint's output")?;
    let address = BufReader::new(output)
        .lines()
        .next_line()
        .await?
        .context("the endpoint's address")?;
    let clients = Clients::local(
        &LocalAccess::unverified(&format!("http://{address}"), "us-east-1"),
        Arc::new(|_| {}),
    );

    let (mut bare, mut engine) = (Vec::new(), Vec::new());
    // The first round warms up and is not counted.
    for round in 0..=options.rounds {
        let pair = [
            drain_bare(&clients, &address, options.messages).await?,
            drain_engine(&clients, &address, options.messages).await?,
        ];
        if round == 0 {
            continue;
        }
        let [of_bare, of_engine] = pair;
        bare.push(of_bare);
        engine.push(of_engine);
    }
    let ratios = median(
        bare.iter()
            .zip(&engine)
            .map(|(bare, engine)| engine.cpu_s / bare.cpu_s),
    );
    println!(
        "{} messages, {} rounds each, medians",
        options.messages, options.rounds
    );
    println!(
        "{:<12} {:>22} {:>12} {:>8}",
        "", "CPU s / 10k messages", "messages/s", "calls"
    );
    for (name, drains) in [("bare loop", &bare), ("consume loop", &engine)] {
        let cpu = median(
            drains
                .iter()
                .map(|drain| drain.cpu_s / options.messages as f64 * 1e4),
        );
        let rate = median(
            drains
                .iter()
                .map(|drain| drain.tally.deleted as f64 / drain.tally.seconds),
        );
        let calls = median(drains.iter().map(|drain| drain.tally.calls as f64));
        println!("{name:<12} {cpu:>22.3} {rate:>12.0} {calls:>8.0}");
    }
    println!("CPU of the consume loop relative to the bare loop: {ratios:.2} (limit {RATIO_MAX})");
    Ok(if ratios <= RATIO_MAX {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

/// Drains the queue with sixteen pollers that receive ten messages and delete ten.
async fn drain_bare(clients: &Clients, address: &str, messages: u64) -> anyhow::Result<Drained> {
    fill(address, messages).await?;
    let (url, left) = (queue_url(address), Arc::new(AtomicU64::new(messages)));
    let before = cpu_s();
    let pollers: Vec<_> = (0..POLLERS)
        .map(|_| {
            let (polls, client, url, left) = (
                clients.sqs_polls(),
                clients.sqs(),
                url.clone(),
                left.clone(),
            );
            tokio::spawn(async move {
                while left.load(Ordering::Relaxed) > 0 {
                    let received = polls
                        .receive_message()
                        .queue_url(&url)
                        .max_number_of_messages(BATCH as i32)
                        .message_system_attribute_names(
                            MessageSystemAttributeName::ApproximateReceiveCount,
                        )
                        .send()
                        .await?;
                    let entries = received
                        .messages()
                        .iter()
                        .enumerate()
                        .map(|(index, message)| {
                            let entry =
                                DeleteMessageBatchRequestEntry::builder().id(index.to_string());
                            entry
                                .set_receipt_handle(message.receipt_handle.clone())
                                .build()
                        });
                    let entries = entries.collect::<Result<Vec<_>, _>>()?;
                    if !entries.is_empty() {
                        let count = entries.len() as u64;
                        client
                            .delete_message_batch()
                            .queue_url(&url)
                            .set_entries(Some(entries))
                            .send()
                            .await?;
                        left.fetch_sub(count, Ordering::Relaxed);
                    }
                }
                Ok::<_, anyhow::Error>(())
            })
        })
        .collect();
    for poller in pollers {
        poller.await.context("a poller failed")??;
    }
    done(address, messages, cpu_s() - before).await
}

/// A handler that counts messages and stops the consume loop after the last one.
struct Nothing {
    left: AtomicU64,
    stop: CancellationToken,
}

impl Handler for Nothing {
    async fn handle(&self, _delivery: &Delivery) -> Settlement {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.stop.cancel();
        }
        Settlement::Done
    }
}

async fn drain_engine(clients: &Clients, address: &str, messages: u64) -> anyhow::Result<Drained> {
    fill(address, messages).await?;
    let inbox = SqsInbox {
        client: clients.sqs(),
        polls: clients.sqs_polls(),
        queue: &NOTIFICATIONS,
        url: queue_url(address),
        parking_url: queue_url(address),
    };
    let shutdown = CancellationToken::new();
    let handler = Nothing {
        left: AtomicU64::new(messages),
        stop: shutdown.clone(),
    };
    let drain = LONG_POLL + Duration::from_secs(10);
    let process = Process {
        metrics: Metrics::new(),
        health: Health::new("bench", "0"),
        shutdown,
        drain,
    };
    let before = cpu_s();
    chassis::consume(
        Arc::new(inbox),
        &NOTIFICATIONS,
        POLLERS * BATCH,
        Arc::new(handler),
        process,
    )
    .await;
    done(address, messages, cpu_s() - before).await
}

async fn done(address: &str, messages: u64, cpu_s: f64) -> anyhow::Result<Drained> {
    let answer = http(address, "GET /tally", "").await?;
    let tally: Tally = serde_json::from_str(&answer).with_context(|| format!("read {answer:?}"))?;
    if tally.deleted != messages {
        bail!("{} of {messages} messages were deleted", tally.deleted);
    }
    Ok(Drained { cpu_s, tally })
}

async fn fill(address: &str, messages: u64) -> anyhow::Result<()> {
    http(address, "POST /fill", &messages.to_string())
        .await
        .map(|_| ())
}

/// Sends one HTTP request over a plain socket. A client library would add its own threads and its
/// pool to the measured CPU time.
async fn http(address: &str, request: &str, body: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)
        .await
        .context("reach the endpoint")?;
    let head = format!(
        "{request} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (_, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer without a body")?;
    Ok(body.to_owned())
}

fn queue_url(address: &str) -> String {
    format!("http://{address}/000000000000/bench")
}

/// Returns the CPU time of all threads of this process, in seconds.
fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
