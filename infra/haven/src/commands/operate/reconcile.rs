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
use haven_console::exit::Exit;
use haven_console::progress::Steps;
use haven_console::settings;
use haven_console::style::Meaning;
use haven_console::time::{counted, thousands};
use haven_console::verdict::Verdict;
use haven_console::width::{self, wrap};
use platform::audit::{Act, operator};
use platform::aws::Aws;
use platform::environment::ENVIRONMENT;
use platform::facts::Facts;
use serde_json::{Value, json};
use worker::stores::{Store, SystemSource};

use crate::arguments::{FIX, STATE};
use crate::target;

#[derive(Debug, Args)]
pub struct Reconcile {
    #[arg(long, help = FIX)]
    pub fix: bool,
    /// The state directory
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

/// The differences that the text output shows at most. `-v` and the JSON output have all of them.
const SHOWN_MAX: usize = 50;

/// A difference and the result of its repair, if one was requested.
struct Found {
    difference: Difference,
    repaired: Option<Repaired>,
}

impl Found {
    /// Returns the state that the text output shows.
    fn mark(&self) -> Meaning {
        match self.repaired {
            Some(Repaired::Done) => Meaning::Ok,
            Some(Repaired::NoLongerFits) => Meaning::Warn,
            None | Some(Repaired::NotSafe | Repaired::Failed(_)) => Meaning::Fail,
        }
    }
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
            Repaired::NotSafe => "not repaired: a person must decide".to_owned(),
            Repaired::NoLongerFits => "not repaired: the records changed meanwhile".to_owned(),
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
                .context("open the database of orders")?,
            stock: aws.stock(&aws.addresses(ENVIRONMENT).await?, ACTOR)?,
            gateway: HttpGateway::new(
                &facts.payment_url,
                &Secret::new(facts.payment_api_key.clone()),
            )
            .context("make a client of the payment gateway")?,
        })
    }

    async fn compare(&self) -> anyhow::Result<Report> {
        reconcile(&self.store, &self.gateway, &self.stock, &SystemSource)
            .await
            .context("compare the records")
    }
}

/// Compares everything, and returns the differences.
///
/// # Errors
/// When no platform runs, or a source cannot be read.
pub async fn books(facts: &Facts) -> anyhow::Result<Report> {
    Books::open(facts).await?.compare().await
}

/// Prints the differences, and repairs them with `--fix`. The exit code says whether none are left.
///
/// # Errors
/// When a source cannot be read, or an audit row cannot be written.
pub async fn command(options: &Reconcile) -> anyhow::Result<Exit> {
    let facts = target::running(&options.state)?;
    let steps = Steps::new("reconcile");
    let step = steps.begin("Comparing orders, payments and stock");
    let books = Books::open(&facts).await?;
    let report = books.compare().await?;
    let maker = Maker {
        role: ACTOR,
        version: env!("CARGO_PKG_VERSION"),
        traceparent: None,
    };
    let mut all = Vec::new();
    for (index, difference) in report.differences.iter().enumerate() {
        if options.fix {
            let count = report.differences.len();
            step.doing(&format!("Repairing: {index} of {count}"));
        }
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
            let act = Act::new(&operator(), "reconcile.fix", subject).after(&after);
            act.append(&books.store).await?;
        }
        all.push(Found {
            difference: difference.clone(),
            repaired,
        });
    }
    let left = if options.fix && !all.is_empty() {
        step.doing("Comparing again");
        Some(books.compare().await?)
    } else {
        None
    };
    drop(step);
    let well = left.as_ref().unwrap_or(&report).differences.is_empty();
    let verdict = verdict(&all, left.as_ref());
    let document = document(&report, &all, left.as_ref(), well);
    Ok(verdict.end("haven.reconcile/1", document, || {
        let (columns, is_full) = (width::stdout_text(), settings::get().verbose);
        println!("{}", text(&report, &all, columns, is_full));
        if !all.is_empty() {
            println!();
        }
    }))
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

/// Returns what was compared, and the differences.
fn text(report: &Report, all: &[Found], columns: usize, is_full: bool) -> String {
    const INDENT: &str = "      ";
    let number = |count: usize| thousands(count as u64);
    let mut compared = format!(
        "Compared {} orders, {} payments, {} gateway entries, {} reservations",
        number(report.orders),
        number(report.payments),
        number(report.charges_and_refunds),
        number(report.holds)
    );
    if is_full {
        let (products, open) = (number(report.products), number(report.in_flight));
        compared += &format!(", {products} products; {open} orders are in progress");
    }
    let mut lines = vec![wrap(&format!("{compared}."), columns, "", "")];
    if !report.moving.is_empty() {
        let products = printable(&report.moving.join(", "));
        let text = format!("not compared, because they changed too often: {products}");
        lines.push(wrap(
            &text,
            columns,
            &Meaning::Warn.mark(INDENT.len()),
            INDENT,
        ));
    }
    let shown = if is_full { all.len() } else { SHOWN_MAX };
    for found in all.iter().take(shown) {
        let Difference { kind, subject, .. } = &found.difference;
        let title = format!("{}  {}", kind.code(), printable(&subject.to_string()));
        let mark = found.mark().mark(INDENT.len());
        lines.push(String::new());
        lines.push(wrap(&title, columns, &mark, INDENT));
        lines.push(wrap(kind.meaning(), columns, INDENT, INDENT));
        for line in &found.difference.evidence {
            let (first, rest) = (format!("{INDENT}- "), format!("{INDENT}  "));
            lines.push(wrap(&printable(line), columns, &first, &rest));
        }
        let outcome = match &found.repaired {
            None => kind.advice().to_owned(),
            Some(Repaired::NotSafe) => format!("not repaired; {}", kind.advice()),
            Some(repaired) => printable(&repaired.describe()),
        };
        lines.push(wrap(&outcome, columns, INDENT, INDENT));
    }
    if all.len() > shown {
        let more = number(all.len() - shown);
        lines.push(format!("\n{more} more differences: -v"));
    }
    lines.join("\n")
}

/// Returns the verdict. `left` has the differences after a repair.
fn verdict(all: &[Found], left: Option<&Report>) -> Verdict {
    let found = counted(all.len(), "difference");
    match left.map(|left| left.differences.len()) {
        None if all.is_empty() => Verdict::good("Consistent: no differences."),
        None => {
            let safe = all.iter().filter(|it| it.difference.repair.is_some());
            let safe = safe.count();
            let sentence =
                format!("Not consistent: {found}, {safe} can be repaired. Nothing was changed.");
            Verdict::no(sentence).next(match safe {
                0 => "haven runbook show stock-drift",
                _ => "haven reconcile --fix",
            })
        }
        Some(0) => Verdict::good(format!("Consistent again: {found} found, none left.")),
        Some(left) => {
            let sentence = format!("Not consistent: {found} found, {left} left.");
            Verdict::no(sentence).next("haven runbook show stock-drift")
        }
    }
}

#[cfg(test)]
mod tests {
    use app::use_cases::reconcile::{Kind, Repair, Subject};
    use domain::ids::OrderId;
    use uuid::Uuid;

    use super::*;
    use crate::schemas::testing::{assert_has_numbers, valid};

    fn found(kind: Kind, is_safe: bool, repaired: Option<Repaired>) -> Found {
        let order_id = OrderId(Uuid::from_u128(0x47));
        Found {
            difference: Difference {
                kind,
                subject: Subject::Order(order_id),
                evidence: vec!["the order is cancelled; 2 units of espresso are held".to_owned()],
                repair: is_safe.then_some(Repair::Release(order_id)),
            },
            repaired,
        }
    }

    fn report(differences: Vec<Difference>) -> Report {
        Report {
            orders: 26,
            in_flight: 1,
            payments: 30,
            charges_and_refunds: 1_030,
            holds: 26,
            products: 18,
            moving: Vec::new(),
            differences,
        }
    }

    #[test]
    fn consistent_records_take_two_lines() {
        for columns in [80, 120] {
            assert_eq!(
                text(&report(Vec::new()), &[], columns, false),
                "Compared 26 orders, 30 payments, 1,030 gateway entries, 26 reservations."
            );
        }
        let verdict = verdict(&[], None);
        assert_eq!(verdict, Verdict::good("Consistent: no differences."));
        let none = report(Vec::new());
        let document = verdict.document("haven.reconcile/1", document(&none, &[], None, true));
        assert_has_numbers(&valid(document), &text(&none, &[], 80, false));
    }

    #[test]
    fn a_difference_has_its_evidence_and_the_remedy() {
        let all = [
            found(Kind::HoldOfEndedOrder, true, None),
            found(Kind::MoneyOwed, false, Some(Repaired::NotSafe)),
        ];
        for columns in [60, 80, 120] {
            let text = text(&report(Vec::new()), &all, columns, true);
            for line in text.lines() {
                // Colors are not counted.
                let width = haven_console::width::of_text(line);
                assert!(width <= columns && line == line.trim_end(), "{line:?}");
            }
        }
        let none = report(Vec::new());
        let fields = document(&none, &all, Some(&none), true);
        valid(verdict(&all, Some(&none)).document("haven.reconcile/1", fields));
        let text = text(&none, &all[..1], 80, false);
        let fail = Meaning::Fail.mark(6);
        let expected = format!(
            "\n\n{fail}hold-of-ended-order  order 00000000-0000-0000-0000-000000000047\n      \
            Units are reserved for an order that has ended, so they cannot be sold.\n      \
            - the order is cancelled; 2 units of espresso are held\n      \
            --fix releases the units"
        );
        assert!(text.ends_with(&expected), "{text}");
    }

    #[test]
    fn the_exit_code_follows_from_the_remaining_differences() {
        let all = [
            found(Kind::HoldOfEndedOrder, true, None),
            found(Kind::MoneyOwed, false, None),
        ];
        assert_eq!(
            verdict(&all, None),
            Verdict::no("Not consistent: 2 differences, 1 can be repaired. Nothing was changed.")
                .next("haven reconcile --fix")
        );
        let left = report(vec![all[1].difference.clone()]);
        assert_eq!(verdict(&all, Some(&left)).exit(), Exit::No);
        let none = report(Vec::new());
        assert_eq!(
            verdict(&all[..1], Some(&none)),
            Verdict::good("Consistent again: 1 difference found, none left.")
        );
    }
}
