//! `haven load`: simulates customers at a steady rate, and reports their latency and the cost per
//! order.
//!
//! The load is open loop. Each order has its own due time, whether or not earlier orders have been
//! answered, and its latency is measured from that time. A shop that stalls therefore still gets
//! the customers of that period, and their waiting time counts.

mod counters;
mod mix;
mod poison;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use contract::metric::Metric;
use domain::order::Status;
use haven_console::error::{Failure, unknown};
use haven_console::exit::Exit;
use haven_console::progress::{Step, Steps};
use haven_console::{settings, width};
use platform::facts::Facts;
use reqwest::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::arguments::{InvalidValue, RATE, STATE, duration, number};
use crate::commands::operate::reconcile::books;
use crate::shop::{Receipt, Shop};
use crate::target;
use counters::Counters;
use mix::{Customer, Mix};
use poison::Poison;
use report::{Aws, Notices, Percentiles, Report};

#[derive(Debug, Args)]
pub struct Load {
    #[arg(long, default_value_t = 20.0, value_parser = rate, help = RATE)]
    pub rate: f64,
    /// Duration, such as 30s, 5m or 500ms
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub duration: Duration,
    /// Order only this product [default: the first of the menu]
    #[arg(long, value_name = "PRODUCT_ID", num_args = 0..=1, default_missing_value = "")]
    pub hot_product: Option<String>,
    /// TOML file that describes the customers
    #[arg(long, value_name = "FILE")]
    pub mix: Option<PathBuf>,
    /// Percent of messages to corrupt; each must become a dead letter
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    pub poison: f64,
    /// The state directory
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

/// The highest rate in orders per second. One process cannot simulate more customers at their due
/// times.
const RATE_MAX: f64 = 1_000.0;

fn percent(text: &str) -> Result<f64, InvalidValue> {
    const MOST: f64 = 50.0;
    let what = format!("must be a number of percent, from 0 to {MOST}");
    number(text, |percent| (0.0..=MOST).contains(&percent), &what)
}

fn rate(text: &str) -> Result<f64, InvalidValue> {
    let what = format!("must be a number of orders a second, above 0 and at most {RATE_MAX}");
    number(text, |rate| rate > 0.0 && rate <= RATE_MAX, &what)
}

/// The time after the last order in which all orders must be confirmed or ended. Later ones count
/// as unsettled.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// The time in which a notification must be sent.
const TOLD_WITHIN: Duration = Duration::from_secs(30);
/// Units of each product in stock beyond those that the orders need.
const SPARE_UNITS: u64 = 50;
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// An order that was sent.
struct Sent {
    /// The due time in wall-clock time, which the order's history uses too.
    due: OffsetDateTime,
    pays: bool,
    cancels: bool,
    answer: reqwest::Result<(StatusCode, Value)>,
    waited: Duration,
}

/// Runs the load and prints the report. The exit code says whether all expectations hold.
///
/// # Errors
/// When the options give no order, no platform is running in the state directory, or the shop
/// cannot be asked.
pub async fn command(options: &Load) -> anyhow::Result<Exit> {
    let count = (options.rate * options.duration.as_secs_f64()).round() as usize;
    if count == 0 {
        let (rate, duration) = (options.rate, options.duration);
        let message = format!("--rate {rate} and --duration {duration:?} give no order");
        return Err(Failure::usage(message)
            .tip("choose a longer --duration")
            .into());
    }
    let mix = options
        .mix
        .as_deref()
        .map_or_else(|| Ok(Mix::plain()), Mix::read)?;
    let facts = target::running(&options.state)?;
    let shop = Arc::new(Shop::of(&facts, "haven load")?);
    let products = products(&shop, options, &mix).await?;
    let orders_of_each = (count * mix.products_max()).div_ceil(products.len()) as u64;
    shop.fill_shelves(
        &products,
        orders_of_each * u64::from(mix.quantity_max()) + SPARE_UNITS,
    )
    .await?;
    let steps = Steps::new("load");
    let sending = steps.begin(&format!("Sending {count} orders at {}/s", options.rate));

    let counted = Counters::read(&shop.client, &facts).await?;
    let cpu_before = cpu_time(&facts);
    let begun = Instant::now();
    let poison = if options.poison > 0.0 {
        Some(Arc::new(Poison::of(&facts, options.poison).await?))
    } else {
        None
    };
    let line = mix.order_of(count);
    let sent = send(&shop, options.rate, &products, &line, poison, &sending).await?;
    let lasted = begun.elapsed();
    sending.ok(&format!("{count} orders sent"));
    let settling = steps.begin("Waiting until every order has ended");
    // Wait before the orders are read, because reading them costs the shop time too.
    let settled_by = Instant::now() + SETTLED_WITHIN;
    while shop.pending().await? > 0 && Instant::now() < settled_by {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let cpu = cpu_before
        .zip(cpu_time(&facts))
        .map(|(before, after)| after.saturating_sub(before));
    let grown = Counters::read(&shop.client, &facts).await?.since(&counted);

    let mut report = tally(&shop, &sent, settled_by).await?;
    report.rate_per_s = options.rate;
    report.seconds = lasted.as_secs_f64();
    report.cpu_ms_per_order = cpu
        .filter(|_| report.accepted > 0)
        .map(|cpu| millis(cpu) / report.accepted as f64);
    report.aws = Aws::of(&facts.region, &grown, report.accepted);
    report.notices = notices(&shop, &facts, &counted, report.told_at_least()).await?;
    report.differences = differences(&facts).await?;
    settling.ok("Orders, notifications and ledgers read");
    Ok(report.verdict().end("haven.load/1", json!(report), || {
        let verbose = settings::get().verbose;
        println!("{}", report.text(verbose, width::stdout_text()));
    }))
}

/// Returns the products to order: the whole menu in turn, or one product.
async fn products(shop: &Shop, options: &Load, mix: &Mix) -> anyhow::Result<Vec<String>> {
    let menu = shop.menu().await?;
    let products = match options.hot_product.as_deref() {
        None => menu,
        Some("") => menu.into_iter().take(1).collect(),
        Some(product) if menu.iter().any(|known| known == product) => vec![product.to_owned()],
        Some(product) => {
            let known: Vec<&str> = menu.iter().map(String::as_str).collect();
            return Err(unknown("product", product, &known).into());
        }
    };
    let (most, there) = (mix.products_max(), products.len());
    if there < most {
        let message = format!("--mix has orders of {most} products, and the shop sells {there}");
        return Err(Failure::usage(message)
            .tip("lower `products` in the mix")
            .into());
    }
    Ok(products)
}

/// Sends the orders at their due times, and waits for all answers.
async fn send(
    shop: &Arc<Shop>,
    rate: f64,
    products: &[String],
    line: &[&Customer],
    poison: Option<Arc<Poison>>,
    step: &Step,
) -> anyhow::Result<Vec<Sent>> {
    let begun = Instant::now();
    let mut poisoning: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let (mut sending, mut sent) = (JoinSet::new(), Vec::with_capacity(line.len()));
    let mut next = products.iter().cycle();
    for (index, customer) in line.iter().enumerate() {
        let due = begun + Duration::from_secs_f64(index as f64 / rate);
        tokio::time::sleep_until(due).await;
        let wanted: Vec<String> = next.by_ref().take(customer.products).cloned().collect();
        sending.spawn(one(shop.clone(), (*customer).clone(), wanted, due));
        if let Some(poison) = &poison {
            for _ in 0..poison.due(index) {
                let poison = poison.clone();
                poisoning.spawn(async move { poison.send().await });
            }
        }
        while let Some(answered) = sending.try_join_next() {
            sent.push(answered.context("a customer's task failed")?);
        }
        let (done, total, open) = (index + 1, line.len(), sending.len());
        step.doing(&format!(
            "{done} of {total} orders sent, {open} without a response"
        ));
    }
    sent.extend(sending.join_all().await);
    poisoning
        .join_all()
        .await
        .into_iter()
        .collect::<anyhow::Result<()>>()?;
    Ok(sent)
}

/// Sends one customer's order, which is due at `due`, and cancels it if the customer wants that.
async fn one(shop: Arc<Shop>, customer: Customer, wanted: Vec<String>, due: Instant) -> Sent {
    let due_at = OffsetDateTime::now_utc() - due.elapsed();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let answer = shop
        .order_of(&wanted, customer.quantity, &customer.payment_token)
        .await;
    let waited = due.elapsed();
    let mut cancels = false;
    if let (true, Ok((StatusCode::ACCEPTED, receipt))) = (customer.cancels, &answer)
        && let Ok(receipt) = Receipt::of(receipt)
    {
        // After a refused cancellation, the order counts like any other.
        let canceled = shop.cancel(&receipt).await;
        cancels = canceled.is_ok_and(|status| status == StatusCode::ACCEPTED);
    }
    Sent {
        due: due_at,
        pays: customer.pays(),
        cancels,
        answer,
        waited,
    }
}

/// Waits for the end of each order and counts the results.
async fn tally(shop: &Shop, sent: &[Sent], settled_by: Instant) -> anyhow::Result<Report> {
    let mut report = Report {
        sent: sent.len(),
        ..Report::default()
    };
    let (mut accept_ms, mut confirm_ms) = (Vec::new(), Vec::new());
    for order in sent {
        let receipt = match &order.answer {
            Ok((StatusCode::ACCEPTED, receipt)) => receipt,
            Ok((status, _)) => {
                *report
                    .refused
                    .entry(status.as_u16().to_string())
                    .or_default() += 1;
                continue;
            }
            Err(_) => {
                *report.refused.entry("no answer".to_owned()).or_default() += 1;
                continue;
            }
        };
        report.accepted += 1;
        accept_ms.push(millis(order.waited));
        let standing = shop.standing(&Receipt::of(receipt)?, settled_by).await?;
        if let Some(at) = standing.confirmed_at {
            confirm_ms.push((at - order.due).as_seconds_f64() * 1e3);
        }
        let status = Status::from_code(&standing.status);
        let status = status.with_context(|| {
            format!(
                "the shop answers with an unknown status {:?}",
                standing.status
            )
        })?;
        let (end, as_it_should) = match status {
            Status::Failed => (&mut report.failed, !order.pays),
            // A refund or the release of stock may still be running.
            Status::Cancelled => (&mut report.cancelled, order.cancels),
            Status::Pending
            | Status::Confirmed
            | Status::Preparing
            | Status::Ready
            | Status::Completed => {
                if standing.settled() {
                    (&mut report.confirmed, order.pays)
                } else {
                    (&mut report.unsettled, false)
                }
            }
        };
        *end += 1;
        report.wrong_end += usize::from(!as_it_should);
    }
    report.accept_ms = Percentiles::of(accept_ms);
    report.confirm_ms = Percentiles::of(confirm_ms);
    Ok(report)
}

/// Waits until at least `at_least` notifications were sent, or until the time is over, and counts
/// them.
async fn notices(
    shop: &Shop,
    facts: &Facts,
    counted: &Counters,
    at_least: usize,
) -> anyhow::Result<Notices> {
    let until = Instant::now() + TOLD_WITHIN;
    loop {
        let grown = Counters::read(&shop.client, facts).await?.since(counted);
        let (in_time, sent) = grown.within(Metric::NotificationDelay, TOLD_WITHIN);
        if sent as usize >= at_least || Instant::now() > until {
            return Ok(Notices {
                at_least,
                sent: sent as usize,
                in_time: in_time as usize,
            });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Returns the differences that `haven reconcile` finds. They reveal double sales, double charges
/// and stock holds that were left behind.
async fn differences(facts: &Facts) -> anyhow::Result<Vec<String>> {
    let differences = books(facts).await?.differences;
    Ok(differences
        .iter()
        .map(|found| format!("{} {}", found.kind.code(), found.subject))
        .collect())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Returns the CPU time that the roles and the process of `haven up`, which includes the signed
/// front, have used since their start. Returns `None` if the system has no `/proc`, or a role has
/// just died.
fn cpu_time(facts: &Facts) -> Option<Duration> {
    // Fields 14 and 15 of proc_pid_stat(5), in ticks. Linux reports 100 ticks per second on all
    // platforms.
    const TICK: Duration = Duration::from_millis(10);
    let mut ticks = 0u32;
    for pid in facts.roles.iter().map(|role| role.pid).chain([facts.pid]) {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in parentheses, which can contain spaces.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut times = fields.split(' ').skip(11).take(2);
        ticks += times.next()?.parse::<u32>().ok()? + times.next()?.parse::<u32>().ok()?;
    }
    Some(TICK * ticks)
}
