//! Runs one fault: load, fault, quiet, invariants; once for each seed.

use std::time::{Duration, Instant};

use super::row::{How, Row};
use super::{FaultReport, Options, acts, load};
use crate::customer::{self, Placed};
use crate::invariants::{Known, MailsTwice, QUIET_WITHIN, until_quiet, violations};
use crate::shop::Shop;

/// How long orders are placed before the fault begins.
const LEAD: Duration = Duration::from_millis(500);

/// Runs a fault with each seed until one fails.
///
/// # Errors
/// Returns an error if the fault cannot be caused or a role does not become ready.
pub async fn row(shop: &Shop, row: &'static Row, options: &Options) -> anyhow::Result<FaultReport> {
    let mut report = FaultReport {
        id: row.id,
        about: row.about,
        seeds: options.seeds.clone(),
        hits: 0,
        orders: 0,
        refused: 0,
        unknown: 0,
        quiet_s: 0.0,
        failures: Vec::new(),
    };
    for seed in &options.seeds {
        let hits = once(shop, row, *seed, options, &mut report).await?;
        if hits == 0 {
            report.failures.push(format!("seed {seed}: never hit"));
        }
        report.hits += hits;
        if !report.failures.is_empty() {
            break;
        }
    }
    Ok(report)
}

async fn once(
    shop: &Shop,
    row: &Row,
    seed: u64,
    options: &Options,
    report: &mut FaultReport,
) -> anyhow::Result<u64> {
    shop.faults.clear();
    shop.faults.seed(seed);
    shop.faults.take_record();
    load::fill_shelves(shop).await?;
    let parked_before = acts::queues::parked(shop).await?;
    let lasting = options.lasting();
    let striking = async {
        tokio::time::sleep(LEAD).await;
        match row.how {
            How::Rules(rules) => {
                let strike = |lasting| -> Vec<_> {
                    rules(lasting)
                        .into_iter()
                        .map(|rule| shop.faults.add(rule))
                        .collect()
                };
                let count =
                    |hits: &[faults::Hits]| hits.iter().map(faults::Hits::count).sum::<u64>();
                let first = strike(lasting / 2);
                let beside = acts::beside(shop, row.id, lasting / 2).await?;
                let mut hits = count(&first);
                if hits == 0 {
                    // On a busy machine, no order may have reached the faulty call yet. Wait for
                    // one.
                    let second = strike(acts::PATIENCE);
                    acts::until(acts::PATIENCE, async || Ok(count(&second) > 0)).await?;
                    shop.faults.clear();
                    hits = count(&second);
                }
                anyhow::Ok(acts::Outcome { hits, ..beside })
            }
            How::Act(act) => act(shop, lasting / 2).await,
            How::Elsewhere(_) | How::NotHere(_) => Ok(acts::Outcome::default()),
        }
    };
    let (told, struck) = tokio::join!(load::orders(shop, options.rate, lasting), striking);
    let mut outcome = struck?;
    shop.faults.clear();
    shop.faults.unwatch();
    let ended = Instant::now();
    let noise = until_quiet(shop, QUIET_WITHIN, async || drop(shop.revive())).await;
    report.quiet_s = report.quiet_s.max(ended.elapsed().as_secs_f64());
    let mut placed: Vec<Placed> = told.placed;
    placed.append(&mut outcome.placed);
    for role in contract::role::ROLES {
        shop.until_ready(role.slug).await?;
    }
    // The last order must reach an end. `violations` checks the others below.
    if noise.is_none()
        && let Some(last) = placed.last()
    {
        customer::until(shop, last, &["confirmed", "failed", "cancelled"]).await?;
    }
    report.orders += placed.len();
    report.refused += told.refused;
    report.unknown += told.unknown.len();
    let known: Vec<Known> = placed
        .iter()
        .map(|placed| Known {
            order_id: placed.order_id.clone(),
            email: placed.email.clone(),
        })
        .collect();
    let parked = acts::queues::parked(shop).await?;
    if parked != parked_before + outcome.parked {
        let why = format!(
            "I4 there are {parked} dead letters, {parked_before} before and {} expected",
            outcome.parked
        );
        outcome.failures.push(why);
    }
    let found = violations(shop, &known, MailsTwice(outcome.mails_twice)).await?;
    let all = noise.into_iter().chain(outcome.failures).chain(found);
    report
        .failures
        .extend(all.map(|what| format!("seed {seed}: {what}")));
    Ok(outcome.hits)
}
