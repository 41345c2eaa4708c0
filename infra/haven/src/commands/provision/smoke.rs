//! `haven smoke`: checks that a deployed platform works, from the outside.

use std::time::Duration;

use anyhow::{Context as _, bail};
use blueprint::{Environment, How};
use clap::Args;
use contract::address::Address;
use contract::parameter::PARAMETERS;
use contract::parameter_root;
use haven_console::exit::Exit;
use haven_console::progress::Steps;
use haven_console::style::Meaning;
use haven_console::time::counted;
use haven_console::verdict::Verdict;
use haven_console::width::wrap;
use haven_console::{time, width};
use platform::aws::Aws;
use platform::facts::Facts;
use reqwest::StatusCode;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::{readable, targets};
use crate::arguments::{Target, http_url};
use crate::shop::{Receipt, Shop};

#[derive(Debug, Args)]
pub struct Smoke {
    #[command(flatten)]
    pub target: Target,
    /// URL of the shop [default: the domain of the settings]
    #[arg(long, value_name = "URL", value_parser = http_url)]
    pub shop: Option<String>,
}

/// The time in which the order must be confirmed. Normally this takes less than a second.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(30);
/// The names of the checks that do not run everywhere.
const READABLE: &str = "permissions of roles";
const TARGETS: &str = "load balancer targets";

/// One check and its result.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub ok: bool,
    /// Whether the check was possible in this environment. If not, `found` has the reason, and the
    /// check proves nothing.
    pub asked: bool,
    pub found: String,
}

impl Check {
    /// Makes the result of a check.
    pub fn of(name: &'static str, found: anyhow::Result<String>) -> Check {
        Check {
            name,
            ok: found.is_ok(),
            asked: true,
            found: found.unwrap_or_else(|error| format!("{error:#}")),
        }
    }

    fn not_asked(name: &'static str, why: &str) -> Check {
        Check {
            name,
            ok: true,
            asked: false,
            found: why.to_owned(),
        }
    }

    /// Returns the state that the text output shows.
    fn mark(&self) -> Meaning {
        match (self.ok, self.asked) {
            (false, _) => Meaning::Fail,
            (true, false) => Meaning::Skip,
            (true, true) => Meaning::Ok,
        }
    }
}

/// Runs a check as one step of the progress.
pub async fn step(
    steps: &Steps,
    name: &'static str,
    found: impl Future<Output = anyhow::Result<String>>,
) -> Check {
    ended(steps, name, async { Check::of(name, found.await) }).await
}

async fn ended(steps: &Steps, name: &str, check: impl Future<Output = Check>) -> Check {
    let step = steps.begin(name);
    let check = check.await;
    step.end(check.mark(), &format!("{name}: {}", check.found));
    check
}

/// Prints all checks. The exit code says whether all of them hold.
///
/// # Errors
/// When the environment cannot be resolved, or AWS does not answer.
pub async fn command(options: &Smoke) -> anyhow::Result<Exit> {
    let target = &options.target;
    let begun = Instant::now();
    let (aws, environment) = crate::target::resolve(target).await?;
    let steps = Steps::vanishing("smoke");
    let mut checks = of_the_platform(&steps, &aws, &environment).await;
    let facts = Facts::read(&target.place.state)
        .ok()
        .filter(|_| environment.local);
    if let Some(facts) = facts {
        let shop = Shop::of(&facts, "haven smoke")?;
        checks.push(step(&steps, "a marked order", order(&shop)).await);
    } else if !environment.local {
        let url = options
            .shop
            .clone()
            .unwrap_or_else(|| format!("https://{}", environment.settings.edge.domain));
        checks.push(step(&steps, "the shop's menu", answers(&url)).await);
    }
    let mut verdict = verdict(&checks, begun.elapsed(), "");
    let is_well = verdict.exit() == Exit::Done;
    if !is_well {
        verdict = verdict.next(format!("haven doctor {}", environment.name));
    }
    let fields = json!({ "well": is_well, "checks": checks });
    Ok(verdict.end("haven.smoke/1", fields, || {
        println!("{}", text(&checks, width::stdout_text()));
    }))
}

/// Returns the checks, failed ones first.
pub fn text(checks: &[Check], columns: usize) -> String {
    let mut checks: Vec<&Check> = checks.iter().collect();
    checks.sort_by_key(|check| check.ok);
    let line = |check: &&Check| {
        let first = format!("{}{:26}", check.mark().mark(6), check.name);
        wrap(&check.found, columns, &first, "        ") + "\n"
    };
    checks.iter().map(line).collect()
}

/// Returns the verdict on checks. `note` is appended to a good one.
pub fn verdict(checks: &[Check], took: Duration, note: &str) -> Verdict {
    let count = |of: fn(&Check) -> bool| checks.iter().filter(|check| of(check)).count();
    let (failed, skipped) = (count(|check| !check.ok), count(|check| !check.asked));
    let skipped = match skipped {
        0 => String::new(),
        skipped => format!(", {skipped} skipped"),
    };
    let took = time::duration(took);
    match failed {
        0 => {
            let passed = counted(count(|check| check.asked), "check");
            Verdict::good(format!("Passed: {passed}{skipped} ({took}){note}."))
        }
        failed => {
            let all = counted(checks.len(), "check");
            Verdict::no(format!("Failed: {failed} of {all}{skipped} ({took})."))
        }
    }
}

/// Returns `good` if nothing is bad, else the error that lists what is, after `heading`.
fn none_of(bad: &[String], heading: &str, good: String) -> anyhow::Result<String> {
    match bad {
        [] => Ok(good),
        _ => bail!("{heading}{}", bad.join(", ")),
    }
}

/// Runs the checks that need only AWS.
pub async fn of_the_platform(steps: &Steps, aws: &Aws, environment: &Environment) -> Vec<Check> {
    vec![
        step(steps, "stacks", stacks(aws, environment)).await,
        step(steps, "parameters", parameters(aws, environment)).await,
        ended(steps, READABLE, readable(aws, environment)).await,
        ended(steps, TARGETS, targets(aws, environment)).await,
        step(steps, "queues", queues(aws, environment)).await,
        step(steps, "alarms", alarms(aws, environment)).await,
    ]
}

async fn stacks(aws: &Aws, environment: &Environment) -> anyhow::Result<String> {
    let stacks = provision::status::status(&aws.target(environment.clone())).await?;
    let bad = stacks
        .iter()
        .filter(|stack| !matches!(stack.status.as_str(), "CREATE_COMPLETE" | "UPDATE_COMPLETE"));
    let bad: Vec<String> = bad
        .map(|stack| format!("{} is {}", stack.name, stack.status))
        .collect();
    let good = format!("{}, all complete", counted(stacks.len(), "stack"));
    none_of(&bad, "", good)
}

async fn parameters(aws: &Aws, environment: &Environment) -> anyhow::Result<String> {
    let root = parameter_root(&environment.name);
    let target = aws.target(environment.clone());
    let there = provision::account::parameter_versions(&target).await?;
    let keys = Address::all().map(|address| address.parameter());
    let keys = keys.chain(PARAMETERS.iter().map(|parameter| parameter.key.to_owned()));
    let mut wanted: Vec<String> = keys.map(|key| format!("{root}/{key}")).collect();
    let good = format!("{} parameters", wanted.len());
    wanted.retain(|name| !there.contains_key(name));
    none_of(&wanted, "missing: ", good)
}

async fn readable(aws: &Aws, environment: &Environment) -> Check {
    let target = aws.target(environment.clone());
    match provision::stack::find(&target.cloudformation, &environment.stack_name("roles")).await {
        // `haven up` deploys only what its processes need, and these have no IAM roles.
        Ok(None) if environment.local => {
            Check::not_asked(READABLE, "`haven deploy local` creates the roles")
        }
        Ok(_) => Check::of(READABLE, readable::readable(&target).await),
        Err(error) => Check::of(READABLE, Err(error)),
    }
}

async fn targets(aws: &Aws, environment: &Environment) -> Check {
    let idle = blueprint::left_out(environment)
        .into_iter()
        .find(|left_out| {
            left_out.kind == "AWS::ElasticLoadBalancingV2::LoadBalancer"
                && matches!(left_out.how, How::Idle | How::LeftOut)
        });
    if let Some(idle) = idle {
        return Check::not_asked(TARGETS, &idle.why);
    }
    let found = targets::targets(&aws.target(environment.clone())).await;
    Check::of(TARGETS, found)
}

async fn queues(aws: &Aws, environment: &Environment) -> anyhow::Result<String> {
    let queues = aws.queues(&aws.addresses(&environment.name).await?).await?;
    let parked = queues.iter().filter(|queue| queue.parked > 0);
    let parked: Vec<String> = parked
        .map(|queue| format!("{}: {} dead letters", queue.queue, queue.parked))
        .collect();
    let good = format!("{} without dead letters", counted(queues.len(), "queue"));
    none_of(&parked, "", good)
}

async fn alarms(aws: &Aws, environment: &Environment) -> anyhow::Result<String> {
    let alarms = aws.alarms(&environment.stack_name("")).await?;
    let good = format!("{}, none in ALARM", counted(alarms.count, "alarm"));
    none_of(&alarms.firing, "in ALARM: ", good)
}

async fn answers(url: &str) -> anyhow::Result<String> {
    let client = chassis::proxy::client_of(url)
        .timeout(Duration::from_secs(10))
        .build()
        .context("an HTTP client")?;
    let answer = client
        .get(format!("{url}/api/v1/menu"))
        .send()
        .await
        .with_context(|| format!("GET {url}/api/v1/menu"))?;
    let status = answer.status();
    if status == StatusCode::OK {
        Ok(url.to_owned())
    } else {
        bail!("{url} returned {status}")
    }
}

/// Places an order, which passes storefront, outbox, queues, stock and payment, and waits for its
/// confirmation.
async fn order(shop: &Shop) -> anyhow::Result<String> {
    let mut menu = shop.menu().await?.into_iter();
    let product = menu.next().context("the menu is empty")?;
    shop.fill_shelves(std::slice::from_ref(&product), 1).await?;
    let begun = Instant::now();
    let (status, receipt) = shop
        .order(&product)
        .await
        .context("place the marked order")?;
    if status != StatusCode::ACCEPTED {
        bail!("the shop returned {status}: {receipt}");
    }
    let receipt = Receipt::of(&receipt)?;
    let (id, standing) = (
        &receipt.order_id,
        shop.standing(&receipt, begun + CONFIRMED_WITHIN).await?,
    );
    if standing.confirmed_at.is_some() {
        Ok(format!(
            "{id} confirmed in {} ms",
            begun.elapsed().as_millis()
        ))
    } else if standing.settled() {
        bail!(
            "order {id} is {}: see `haven orders show {id}`",
            standing.status
        )
    } else {
        bail!(
            "order {id} was not confirmed within {} s",
            CONFIRMED_WITHIN.as_secs()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::commands::provision::testing::plain;
    use crate::schemas::testing::valid;

    #[tokio::test]
    async fn off_a_terminal_each_check_is_one_line_when_it_ends() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let printed = lines.clone();
        let steps = Steps::in_lines("smoke", move |line: &str| {
            lines.lock().expect("no panic").push(line.to_owned());
        });
        let failure = anyhow::anyhow!("orders:\n\u{1b}[5m5");
        let check = step(&steps, "queues", std::future::ready(Err(failure))).await;
        assert!(!check.ok && check.found.contains('\n'));
        let skipped = async { Check::not_asked(TARGETS, "no tasks") };
        ended(&steps, TARGETS, skipped).await;
        let lines = printed.lock().expect("no panic").clone();
        let [failed, skipped] = lines.as_slice() else {
            panic!("{lines:?}")
        };
        assert!(
            failed.starts_with("smoke: FAIL queues: orders:"),
            "{failed}"
        );
        let expected = "smoke: skip load balancer targets: no tasks (";
        assert!(skipped.starts_with(expected), "{skipped}");
        assert!(!lines.concat().chars().any(char::is_control), "{lines:?}");
    }

    #[test]
    fn failed_checks_come_first_and_skipped_ones_are_no_failure() {
        let checks = [
            Check::of("stacks", Ok("12 stacks, all complete".to_owned())),
            Check::not_asked("load balancer targets", "the local AWS runs no tasks"),
            Check::of("queues", Err(anyhow::anyhow!("orders: 5 dead letters"))),
        ];
        let expected = "FAIL  queues                    orders: 5 dead letters\n\
            ok    stacks                    12 stacks, all complete\n\
            skip  load balancer targets     the local AWS runs no tasks\n";
        for columns in [60, 80, 120] {
            assert_eq!(plain(&text(&checks, columns), columns), expected);
        }
        let took = Duration::from_millis(5_830);
        let failed = verdict(&checks, took, "");
        assert_eq!(
            failed,
            Verdict::no("Failed: 1 of 3 checks, 1 skipped (5.8 s).")
        );
        assert_eq!(failed.exit(), Exit::No);
        for (schema, checked) in [("haven.smoke/1", "checks"), ("haven.rehearse/1", "steps")] {
            valid(failed.document(schema, json!({ "well": false, checked: checks })));
        }
        let passed = verdict(&checks[..2], took, "");
        assert_eq!(passed, Verdict::good("Passed: 1 check, 1 skipped (5.8 s)."));
        assert_eq!(passed.exit(), Exit::Done);
    }
}
