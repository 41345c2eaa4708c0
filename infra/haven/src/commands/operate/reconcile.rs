//! `haven reconcile`: compares orders, payments, stock holds, stock and the payment gateway's
//! ledger, and repairs what is safe to repair.

use std::path::PathBuf;

use adapter_aws::DynamoStock;
use adapter_gateway::HttpGateway;
use adapter_sql::Login;
use anyhow::Context as _;
use app::use_cases::Maker;
use app::use_cases::reconcile::{ACTOR, Difference, Report, fix, reconcile};
use chassis::config::Secret;
use clap::Args;
use domain::text::printable;
use serde_json::{Value, json};
use worker::stores::{Store, SystemSource};

use crate::arguments::{FIX, STATE};
use haven_console::terminal;
use platform::audit;
use platform::aws::Aws;
use platform::environment::ENVIRONMENT;
use platform::facts::Facts;

#[derive(Debug, Args)]
pub struct Reconcile {
    #[arg(long, help = FIX)]
    pub fix: bool,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// The state directory
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

/// The differences that the text output shows at most. The JSON output has all of them.
const SHOWN_MAX: usize = 50;

/// A difference and the result of its repair, if one was requested.
struct Found {
    difference: Difference,
    repaired: Option<Repaired>,
}

enum Repaired {
    Done,
    /// The repair needs a decision by a person.
    NotSafe,
    /// The order or its data has changed since the comparison.
    NoLongerFits,
    Failed(String),
}

impl Repaired {
    fn describe(&self) -> String {
        match self {
            Repaired::Done => "repaired".to_owned(),
            Repaired::NotSafe => "left: a person has to decide".to_owned(),
            Repaired::NoLongerFits => "left: it had changed meanwhile".to_owned(),
            Repaired::Failed(why) => format!("not repaired: {why}"),
        }
    }
}

/// The three data sources of the comparison.
struct Books {
    store: Store,
    stock: DynamoStock,
    gateway: HttpGateway,
}

impl Books {
    async fn open(facts: &Facts) -> anyhow::Result<Books> {
        let aws = Aws::local(&facts.aws_access());
        Ok(Books {
            store: Store::connect(&facts.database_url, &Login::default())
                .await
                .context("open the orders")?,
            stock: aws.stock(&aws.addresses(ENVIRONMENT).await?, ACTOR)?,
            gateway: HttpGateway::new(
                &facts.payment_url,
                &Secret::new(facts.payment_api_key.clone()),
            )
            .context("make a client of the gateway")?,
        })
    }

    async fn compare(&self) -> anyhow::Result<Report> {
        reconcile(&self.store, &self.gateway, &self.stock, &SystemSource)
            .await
            .context("read the books")
    }
}

/// Compares everything, and returns the differences.
///
/// # Errors
/// When no platform runs, or a source cannot be read.
pub async fn books(facts: &Facts) -> anyhow::Result<Report> {
    Books::open(facts).await?.compare().await
}

/// Prints the differences, and repairs them with `--fix`. Returns whether none are left.
///
/// # Errors
/// When a source cannot be read, or an audit row cannot be written.
pub async fn command(options: &Reconcile) -> anyhow::Result<bool> {
    let books = Books::open(&Facts::read(&options.state)?).await?;
    let report = books.compare().await?;
    let maker = Maker {
        role: ACTOR,
        version: env!("CARGO_PKG_VERSION"),
        traceparent: None,
    };
    let mut all = Vec::new();
    for difference in &report.differences {
        let repaired = match (options.fix, &difference.repair) {
            (false, _) => None,
            (true, None) => Some(Repaired::NotSafe),
            (true, Some(_)) => Some(
                match fix(
                    &books.store,
                    &books.stock,
                    &SystemSource,
                    &maker,
                    difference,
                )
                .await
                {
                    Ok(true) => Repaired::Done,
                    Ok(false) => Repaired::NoLongerFits,
                    Err(error) => Repaired::Failed(contract::cause::chain(&error)),
                },
            ),
        };
        if let Some(Repaired::Done) = repaired {
            let subject = difference.subject.to_string();
            let after = json!({ "name": difference.kind.code(), "outcome": "repaired" });
            audit::append(
                &books.store,
                &audit::operator(),
                "reconcile.fix",
                subject,
                None,
                Some(after),
            )
            .await?;
        }
        all.push(Found {
            difference: difference.clone(),
            repaired,
        });
    }
    let left = if options.fix && !all.is_empty() {
        Some(books.compare().await?)
    } else {
        None
    };
    let well = left.as_ref().unwrap_or(&report).differences.is_empty();
    if options.json {
        println!(
            "{}",
            terminal::json(&document(&report, &all, left.as_ref(), well))
        );
    } else {
        print(&report, &all, left.as_ref());
    }
    Ok(well)
}

fn document(report: &Report, all: &[Found], left: Option<&Report>, well: bool) -> Value {
    let differences = all.iter().map(|found| {
        let Difference { kind, subject, evidence, repair } = &found.difference;
        json!({
            "name": kind.code(), "subject": subject.to_string(), "meaning": kind.meaning(), "evidence": evidence,
            "safe_to_fix": repair.is_some(), "advice": kind.advice(),
            "fixed": found.repaired.as_ref().map(|repaired| matches!(repaired, Repaired::Done)),
            "outcome": found.repaired.as_ref().map(Repaired::describe),
        })
    });
    let names = |report: &Report| {
        let each = report.differences.iter();
        each.map(|left| json!({ "name": left.kind.code(), "subject": left.subject.to_string() }))
            .collect::<Vec<_>>()
    };
    json!({
        "well": well,
        "compared": { "orders": report.orders, "payments": report.payments, "holds": report.holds,
            "charges_and_refunds": report.charges_and_refunds, "products": report.products },
        "in_flight": report.in_flight,
        "moving_products": report.moving,
        "differences": differences.collect::<Vec<_>>(),
        "left": left.map(names),
    })
}

fn print(report: &Report, all: &[Found], left: Option<&Report>) {
    println!(
        "Compared {} orders ({} on their way), {} payments, {} charges and refunds of the gateway, {} holds, {} products.",
        report.orders,
        report.in_flight,
        report.payments,
        report.charges_and_refunds,
        report.holds,
        report.products
    );
    if !report.moving.is_empty() {
        println!(
            "Sold too fast to be compared: {}.",
            report.moving.join(", ")
        );
    }
    for found in all.iter().take(SHOWN_MAX) {
        let Difference {
            kind,
            subject,
            evidence,
            ..
        } = &found.difference;
        println!("\n{}  {subject}\n  {}", kind.code(), kind.meaning());
        for line in evidence {
            println!("  - {}", printable(line));
        }
        println!(
            "  > {}",
            found
                .repaired
                .as_ref()
                .map_or_else(|| kind.advice().to_owned(), Repaired::describe)
        );
    }
    if all.len() > SHOWN_MAX {
        println!("\n... and {} more: see --json", all.len() - SHOWN_MAX);
    }
    match (all.len(), left) {
        (0, _) => println!("Nothing differs."),
        (found, None) => println!("\n{found} differences. Nothing was changed."),
        (found, Some(left)) => println!("\n{found} differences, {} left.", left.differences.len()),
    }
}
