//! Runs one flow on one database: several times to record its calls, and then once for each point.

use std::time::{Duration, Instant};

use haven_console::BadUsage;
use haven_console::progress::Step;
use tokio::sync::mpsc::unbounded_channel;

use super::flows::Flow;
use super::points::{self, Point, Side, bystander, trap};
use super::{CrashReport, Failure, Options};
use crate::hurry::{self, Given};
use crate::invariants::{MailsTwice, QUIET_WITHIN, until_quiet, violations};
use crate::shop::Shop;

/// How long the shop is idle while its background calls are recorded. Longer than the interval of
/// the sweeper.
const IDLE: Duration = Duration::from_secs(7);
/// Number of recorded runs. A call belongs to the flow if all of them made it.
const RECORDED: usize = 3;
/// Maximum number of runs to reach a point. Concurrent calls can change their order, so a run may
/// miss the point.
const TRIES: usize = 12;
/// Interval at which messages of the killed process are made visible again.
const SHOWN_EVERY: Duration = Duration::from_millis(100);

/// Kills at the selected points of a flow and reports the violations.
///
/// # Errors
/// Returns an error if the flow cannot be recorded or a role cannot be started again.
pub async fn flow(
    shop: &Shop,
    flow: Flow,
    options: &Options,
    step: &Step,
) -> anyhow::Result<CrashReport> {
    let begun = Instant::now();
    let given = Given::default();
    shop.faults.watch(bystander(given.clone()));
    let points = record(shop, flow).await?;
    if options.list {
        for (index, point) in points.iter().enumerate() {
            haven_console::println!("{:>4} {}", index + 1, point.describe());
        }
    }
    let mut report = CrashReport {
        flow: flow.name(),
        database: shop.database.name(),
        calls: points.len(),
        points: 0,
        passed: 0,
        seconds: 0,
        failures: Vec::new(),
    };
    let chosen = if options.list {
        Vec::new()
    } else {
        chosen(&points, options)?
    };
    for (index, point, sides) in chosen {
        step.doing(&format!(
            "{} on {}: point {} of {}, {}",
            flow.name(),
            shop.database.name(),
            index + 1,
            points.len(),
            point.describe()
        ));
        for side in sides {
            report.points += 1;
            let what = at_point(shop, flow, point, side, &given, options).await?;
            if what.is_empty() {
                report.passed += 1;
                continue;
            }
            haven_console::eprintln!(
                "  {} {} {}: {what:?}",
                index + 1,
                side.name(),
                point.describe()
            );
            report.failures.push(Failure {
                point: index + 1,
                side: side.name(),
                call: point.describe(),
                what,
                again: format!(
                    "prove crash --database {} --flow {} --point {} --side {}",
                    shop.database.name(),
                    flow.name(),
                    index + 1,
                    side.name()
                ),
            });
        }
    }
    report.seconds = begun.elapsed().as_secs();
    Ok(report)
}

/// A point with its index in the list and the sides to kill at.
type Chosen<'a> = (usize, &'a Point, Vec<Side>);

/// Returns the points that the options select.
///
/// # Errors
/// Returns [`BadUsage`] if nothing would be killed, because a run without a kill shows nothing.
fn chosen<'a>(points: &'a [Point], options: &Options) -> Result<Vec<Chosen<'a>>, BadUsage> {
    let selected = points.iter().enumerate().filter(|(index, _)| {
        options.point.is_none_or(|point| point == index + 1)
            && index % usize::from(options.every) == 0
    });
    let with_sides = selected.map(|(index, point)| {
        let sides = point.sides().iter().copied();
        let wanted = sides.filter(|side| options.side.is_none_or(|wanted| wanted == *side));
        (index, point, wanted.collect::<Vec<Side>>())
    });
    let chosen: Vec<_> = with_sides
        .filter(|(_, _, sides)| !sides.is_empty())
        .collect();
    if chosen.is_empty() {
        return Err(BadUsage(format!(
            "--point, --side and --every select none of the {} calls of the flow; see --list",
            points.len()
        )));
    }
    Ok(chosen)
}

async fn record(shop: &Shop, flow: Flow) -> anyhow::Result<Vec<Point>> {
    // The first run differs, because it opens connections, prepares statements and reads settings.
    let begun = flow.begin(shop).await?;
    flow.finish(shop, begun).await?;
    quiet(shop, None).await;
    shop.faults.take_record();
    tokio::time::sleep(IDLE).await;
    let idle = points::idle_kinds(&shop.faults.take_record());
    let mut runs = Vec::new();
    for _ in 0..RECORDED {
        let begun = flow.begin(shop).await?;
        quiet(shop, None).await;
        shop.faults.take_record();
        flow.finish(shop, begun).await?;
        quiet(shop, None).await;
        runs.push(shop.faults.take_record());
        shop.faults.clear();
    }
    Ok(points::points(&idle, &runs))
}

/// Waits until the shop is quiet. Meanwhile, messages that killed processes had received are made
/// visible again.
async fn quiet(shop: &Shop, given: Option<&Given>) -> Option<String> {
    until_quiet(shop, QUIET_WITHIN, async || {
        let Some(given) = given else { return };
        for role in contract::role::ROLES {
            hurry::show_messages(shop, role.slug, given).await;
        }
    })
    .await
}

/// Runs the flow and kills a process at the point. Returns the violations.
async fn at_point(
    shop: &Shop,
    flow: Flow,
    point: &Point,
    side: Side,
    given: &Given,
    options: &Options,
) -> anyhow::Result<Vec<String>> {
    let hurried = (!options.patient).then_some(given);
    for _ in 0..TRIES {
        let begun = flow.begin(shop).await?;
        let alerts = Flow::alerts_before(&begun);
        if let Some(why) = quiet(shop, hurried).await {
            return Ok(vec![format!("before the kill: {why}")]);
        }
        let (killed, mut kills) = unbounded_channel();
        shop.faults
            .watch(trap(point, side, shop.lives.clone(), given.clone(), killed));
        // Starts the killed role again while the flow continues.
        let reviving = async {
            let Some(()) = kills.recv().await else {
                return Ok(false);
            };
            shop.replace(&point.kind.0, &[]).await?;
            if let Some(given) = hurried {
                hurry::end_claims(shop, &point.kind.0, given).await?;
                // A poll of the killed process may still be answered and take a message that was
                // just made visible. Repeat until the trap is removed.
                while tokio::time::timeout(SHOWN_EVERY, kills.recv())
                    .await
                    .is_err()
                {
                    hurry::show_messages(shop, &point.kind.0, given).await;
                }
            }
            anyhow::Ok(true)
        };
        let finishing = async {
            let finished = flow.finish(shop, begun).await;
            let noise = match quiet(shop, hurried).await {
                Some(why) => vec![why],
                None => Vec::new(),
            };
            // Removing the trap closes its channel, which ends `reviving`.
            shop.faults.watch(bystander(given.clone()));
            (finished, noise)
        };
        let ((finished, mut what), revived) = tokio::join!(finishing, reviving);
        shop.faults.clear();
        let killed = revived?;
        let known = match finished {
            Ok(known) => known,
            Err(why) => {
                what.push(format!("{why:#}"));
                Vec::new()
            }
        };
        let may = if killed {
            between_mail_and_note(flow, point, side)
        } else {
            0
        };
        what.extend(flow.owes(shop, alerts, may).await?);
        what.extend(violations(shop, &known, MailsTwice(may)).await?);
        if killed || !what.is_empty() {
            return Ok(what);
        }
    }
    Ok(vec![format!("never reached in {TRIES} runs")])
}

/// Returns how many mails may be sent twice. A sender that dies after it sent a mail and before it
/// recorded that sends the mail again, because SES does not deduplicate. A flow that sends two
/// mails at once can repeat both, at any point.
fn between_mail_and_note(flow: Flow, point: &Point, side: Side) -> usize {
    let (client, _, name) = &point.kind;
    if client != "notification-worker" {
        return 0;
    }
    if matches!(flow, Flow::SoldOut | Flow::LowStock) {
        return 2;
    }
    usize::from(match side {
        Side::Before => name.starts_with("UPDATE notifications"),
        Side::After => name == "ses.SendEmail",
    })
}

#[cfg(test)]
mod tests {
    use faults::Dependency;

    use super::*;

    /// Two points with two sides, and between them a poll, which has only the side after the call.
    fn points() -> Vec<Point> {
        let point = |nth, poll| Point {
            kind: (
                "order-worker".to_owned(),
                Dependency::Aws,
                "sqs.ReceiveMessage".to_owned(),
            ),
            nth,
            poll,
        };
        vec![point(1, false), point(2, true), point(3, false)]
    }

    fn options(point: Option<usize>, side: Option<Side>, every: u16) -> Options {
        Options {
            flow: None,
            database: None,
            point,
            side,
            every,
            list: false,
            patient: false,
            json: false,
        }
    }

    #[test]
    fn every_selection_kills_at_least_once() {
        let points = points();
        for (options, kills) in [
            (options(None, None, 1), vec![(0, 2), (1, 1), (2, 2)]),
            (options(None, None, 2), vec![(0, 2), (2, 2)]),
            (options(None, Some(Side::Before), 1), vec![(0, 1), (2, 1)]),
            (options(Some(2), Some(Side::After), 1), vec![(1, 1)]),
        ] {
            let chosen = chosen(&points, &options).expect("something is killed");
            let counted: Vec<_> = chosen
                .iter()
                .map(|(index, _, sides)| (*index, sides.len()))
                .collect();
            assert_eq!(counted, kills, "{options:?}");
        }
    }

    #[test]
    fn a_selection_without_a_kill_is_bad_usage() {
        for options in [
            options(Some(2), None, 2),
            options(Some(2), Some(Side::Before), 1),
            options(Some(4), None, 1),
            options(Some(0), None, 1),
        ] {
            let error = chosen(&points(), &options).expect_err("nothing is killed");
            assert!(error.to_string().contains("none of the 3 calls"), "{error}");
        }
    }
}
