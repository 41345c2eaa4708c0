//! `haven status`: shows whether the stacks, roles, queues and alarms of an environment are
//! healthy.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use blueprint::Environment;
use futures::future::join_all;
use haven_console::exit::Exit;
use haven_console::progress::Steps;
use haven_console::style::Meaning;
use haven_console::table::{Cell, Column, Table};
use haven_console::time::{counted, counted_are, relative, thousands};
use haven_console::verdict::Verdict;
use haven_console::width::wrap;
use haven_console::{settings, width};
use platform::aws::{Alarms, Aws, QueueStatus};
use platform::facts::{Facts, RoleFacts};
use provision::account;
use provision::status::StackStatus;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::arguments::Target;
use crate::target;

/// The state of an environment at one moment.
struct Health {
    environment: String,
    is_local: bool,
    /// The first line: the environment, and where it is.
    place: String,
    stacks: Vec<StackStatus>,
    /// The roles on this machine. Empty for an environment on AWS.
    roles: Vec<Role>,
    /// Empty unless all stacks are deployed.
    queues: Vec<QueueStatus>,
    /// `None` unless all stacks are deployed and CloudWatch answers.
    alarms: Option<Alarms>,
}

struct Role {
    name: String,
    /// The pid; 0 while the role does not run.
    pid: u32,
    is_ready: bool,
}

/// Prints the state of an environment. The exit code says whether all stacks are deployed, all roles
/// are ready and no dead letters exist.
///
/// # Errors
/// When the environment cannot be resolved, or AWS does not answer.
pub async fn command(options: &Target) -> anyhow::Result<Exit> {
    let health = read(options).await?;
    let verdict = health.verdict(&options.place.state);
    Ok(verdict.end("haven.status/1", health.document(), || {
        let verbose = settings::get().verbose;
        println!("{}", health.text(verbose, width::stdout_text()));
    }))
}

async fn read(options: &Target) -> anyhow::Result<Health> {
    let facts = Facts::read(&options.place.state);
    let (aws, environment) = target::locate(options).await?;
    let steps = Steps::new("status");
    let _reading = steps.begin(&format!("Reading the state of {}", environment.name));
    let facts = facts.ok().filter(|_| environment.local);
    let place = match (&facts, environment.local) {
        (Some(facts), _) => local_place(facts, OffsetDateTime::now_utc()),
        (None, true) => options.place.endpoint.clone().unwrap_or_default(),
        (None, false) => {
            let account = account::account(&aws.target(environment.clone())).await?;
            format!("account {account}, {}", environment.settings.account.region)
        }
    };
    let stacks = provision::status::status(&aws.target(environment.clone())).await?;
    let (mut queues, mut alarms) = (Vec::new(), None);
    if stacks.iter().all(is_deployed) {
        queues = aws.queues(&aws.addresses(&environment.name).await?).await?;
        alarms = match read_alarms(&aws, &environment).await {
            Ok(alarms) => Some(alarms),
            Err(error) => {
                eprintln!("warning: {error:#}");
                None
            }
        };
    }
    let roles = match &facts {
        Some(facts) => read_roles(&facts.roles).await?,
        None => Vec::new(),
    };
    Ok(Health {
        place: format!("{}, {place}", environment.name),
        is_local: environment.local,
        environment: environment.name,
        stacks,
        roles,
        queues,
        alarms,
    })
}

/// Returns the address, the database and the uptime of the platform on this machine.
fn local_place(facts: &Facts, now: OffsetDateTime) -> String {
    let database = if facts.database_url.starts_with("sqlite:") {
        "SQLite"
    } else {
        "PostgreSQL"
    };
    let up = facts.started_at().map(|at| {
        let at = OffsetDateTime::from(at);
        let since = if now - at < time::Duration::DAY {
            ""
        } else {
            "since "
        };
        format!(", up {since}{}", relative(at, now))
    });
    format!("{}, {database}{}", facts.storefront, up.unwrap_or_default())
}

/// Reads the alarms, named without the prefix of the environment.
async fn read_alarms(aws: &Aws, environment: &Environment) -> anyhow::Result<Alarms> {
    let prefix = environment.stack_name("");
    let mut alarms = aws.alarms(&prefix).await?;
    for name in &mut alarms.firing {
        *name = name.strip_prefix(&prefix).unwrap_or(name).to_owned();
    }
    Ok(alarms)
}

/// Asks each role whether it is ready. The payment gateway has no dependencies that readiness
/// would check, so its liveness counts.
async fn read_roles(roles: &[RoleFacts]) -> anyhow::Result<Vec<Role>> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(2))
        .build()
        .context("make an HTTP client")?;
    let client = &client;
    let asked = roles.iter().map(|role| async move {
        let path = if role.name == platform::environment::GATEWAY {
            contract::HEALTH_PATH
        } else {
            contract::READY_PATH
        };
        let answer = client.get(format!("{}{path}", role.health)).send().await;
        Role {
            name: role.name.clone(),
            pid: role.pid,
            is_ready: answer.is_ok_and(|answer| answer.status().is_success()),
        }
    });
    Ok(join_all(asked).await)
}

fn is_deployed(stack: &StackStatus) -> bool {
    stack.status.ends_with("_COMPLETE") && !stack.status.contains("ROLLBACK")
}

impl Health {
    fn missing_stacks(&self) -> Vec<&StackStatus> {
        self.stacks
            .iter()
            .filter(|stack| !is_deployed(stack))
            .collect()
    }

    fn bad_roles(&self) -> Vec<&Role> {
        self.roles.iter().filter(|role| !role.is_ready).collect()
    }

    fn firing(&self) -> &[String] {
        self.alarms
            .as_ref()
            .map_or(&[][..], |alarms| &alarms.firing[..])
    }

    /// Returns the queues with dead letters.
    fn failing_queues(&self) -> Vec<&QueueStatus> {
        self.queues
            .iter()
            .filter(|queue| queue.parked > 0)
            .collect()
    }

    fn is_well(&self) -> bool {
        self.missing_stacks().is_empty()
            && self.bad_roles().is_empty()
            && self.failing_queues().is_empty()
    }

    fn document(&self) -> Value {
        let roles = self
            .roles
            .iter()
            .map(|role| json!({ "name": role.name, "pid": role.pid, "ready": role.is_ready }));
        let alarms = self
            .alarms
            .as_ref()
            .map(|alarms| json!({ "count": alarms.count, "firing": alarms.firing }));
        json!({ "environment": self.environment, "place": self.place, "well": self.is_well(),
            "stacks": self.stacks, "roles": roles.collect::<Vec<_>>(), "queues": self.queues, "alarms": alarms })
    }

    /// Returns everything above the verdict: what is wrong, or a summary if nothing is; then the
    /// queues with messages. `verbose` adds all stacks, roles and queues.
    fn text(&self, verbose: bool, columns: usize) -> String {
        const LABEL: usize = 10;
        let mut text = wrap(&self.place, columns, "", "  ") + "\n\n";
        let mut line = |label: &str, line: &str| {
            let label = format!("{label:LABEL$}");
            text += &wrap(line, columns, &label, &" ".repeat(LABEL));
            text.push('\n');
        };
        let busy = self
            .queues
            .iter()
            .filter(|queue| queue.waiting + queue.in_hand + queue.parked > 0);
        let mut busy: Vec<&QueueStatus> = busy.collect();
        busy.sort_by_key(|queue| std::cmp::Reverse((queue.parked, queue.waiting)));
        let missing = self.missing_stacks();
        if !missing.is_empty() {
            let states = missing.iter().map(|stack| {
                let state = stack.status.to_lowercase().replace('_', " ");
                format!("{} {state}", stack.name)
            });
            let deployed = self.stacks.len() - missing.len();
            let total = self.stacks.len();
            line(
                "Stacks",
                &format!("{deployed} of {total} deployed; {}", list(states)),
            );
        }
        let bad = self.bad_roles();
        if !bad.is_empty() {
            let states = bad.iter().map(|role| match role.pid {
                0 => format!("{} restarting", role.name),
                pid => format!("{} not ready (pid {pid})", role.name),
            });
            let (ready, total) = (self.roles.len() - bad.len(), self.roles.len());
            line(
                "Roles",
                &format!("{ready} of {total} ready; {}", list(states)),
            );
        }
        if let Some(alarms) = self.alarms.as_ref().filter(|_| !self.firing().is_empty()) {
            let (firing, total) = (alarms.firing.len(), alarms.count);
            let names = list(alarms.firing.iter().cloned());
            line("Alarms", &format!("{firing} of {total} in ALARM: {names}"));
        }
        if let [queue] = busy[..] {
            let (name, dead) = (&queue.queue, counted(queue.parked, "dead letter"));
            let (waiting, in_hand) = (queue.waiting, queue.in_hand);
            let numbers = format!("{name}: {waiting} waiting, {in_hand} in flight, {dead}");
            line("Queue", &numbers);
        }
        if self.is_well() {
            text += &(wrap(&self.summary(busy.len()), columns, "", "  ") + "\n");
        }
        if verbose {
            text += &self.stack_and_role_tables();
            busy = self.queues.iter().collect();
        }
        if busy.len() > 1 {
            text += &("\n".to_owned() + &queue_table(&busy).render(columns).text);
        }
        text
    }

    /// Returns the numbers of a healthy environment in one sentence.
    fn summary(&self, busy: usize) -> String {
        let mut parts = vec![counted(self.stacks.len(), "stack") + " deployed"];
        if !self.roles.is_empty() {
            parts.push(counted(self.roles.len(), "role") + " ready");
        }
        let queues = counted(self.queues.len(), "queue");
        match busy {
            0 => parts.push(format!("{queues} empty")),
            busy => parts.push(format!("{queues}, {busy} with messages")),
        }
        if let Some(alarms) = self.alarms.as_ref().filter(|_| self.firing().is_empty()) {
            parts.push(counted(alarms.count, "alarm") + ", none firing");
        }
        parts.join(", ")
    }

    /// Returns the tables that only `-v` shows. A line can be wider than a terminal.
    fn stack_and_role_tables(&self) -> String {
        let mut stacks = Table::new([
            Column::text("Stack"),
            Column::text("Status"),
            Column::number("Resources"),
            Column::text("Purpose"),
        ]);
        for stack in &self.stacks {
            let about = stack.about;
            let resources = stack.resources.to_string();
            stacks.row([stack.name.as_str(), &stack.status, &resources, about]);
        }
        let mut roles = Table::new([
            Column::text("Role"),
            Column::text("State"),
            Column::number("Pid"),
        ]);
        for role in &self.roles {
            let state = match (role.is_ready, role.pid) {
                (true, _) => Meaning::Ok.cell("ready"),
                (false, 0) => Meaning::Fail.cell("restarting"),
                (false, _) => Meaning::Fail.cell("not ready"),
            };
            roles.row([
                Cell::from(role.name.as_str()),
                state,
                Cell::from(role.pid.to_string()),
            ]);
        }
        let mut text = "\n".to_owned() + &stacks.render(usize::MAX).text;
        if !self.roles.is_empty() {
            text += &("\n".to_owned() + &roles.render(usize::MAX).text);
        }
        text
    }

    fn verdict(&self, state: &Path) -> Verdict {
        let (missing, bad, failing) = (
            self.missing_stacks(),
            self.bad_roles(),
            self.failing_queues(),
        );
        if self.is_well() {
            return match self.firing().len() {
                0 => Verdict::good("Healthy."),
                firing => Verdict::good(format!(
                    "Healthy, but {} firing.",
                    counted_are(firing, "alarm")
                ))
                .next("haven runbook list"),
            };
        }
        let mut parts = Vec::new();
        if !missing.is_empty() {
            parts.push(counted(missing.len(), "stack") + " not deployed");
        }
        let restarting = bad.iter().filter(|role| role.pid == 0).count();
        if restarting > 0 {
            parts.push(counted(restarting, "role") + " restarting");
        }
        if bad.len() > restarting {
            parts.push(counted(bad.len() - restarting, "role") + " not ready");
        }
        let dead: u64 = failing.iter().map(|queue| queue.parked).sum();
        match failing[..] {
            [] => {}
            [queue] => parts.push(format!(
                "{} in {}",
                counted(dead, "dead letter"),
                queue.queue
            )),
            _ => parts.push(format!(
                "{} in {} queues",
                counted(dead, "dead letter"),
                failing.len()
            )),
        }
        let rest = if parts.len() < 3 && missing.is_empty() {
            "; the rest is OK"
        } else {
            ""
        };
        let verdict = Verdict::no(format!("Not healthy: {}{rest}.", parts.join(", ")));
        match (missing.is_empty(), self.is_local, bad.first()) {
            (false, true, _) => verdict.next("haven deploy local"),
            (false, false, _) | (true, false, None) => {
                verdict.next(format!("haven doctor {}", self.environment))
            }
            (true, true, None) => verdict.next("haven dlq list"),
            (true, _, Some(role)) => {
                let log = state.join("logs").join(format!("{}.log", role.name));
                verdict.next(format!("tail {}", log.display()))
            }
        }
    }
}

fn queue_table(queues: &[&QueueStatus]) -> Table {
    let mut table = Table::new([
        Column::text("Queue"),
        Column::number("Waiting"),
        Column::number("In flight"),
        Column::number("Dead letters"),
    ]);
    for queue in queues {
        let dead = thousands(queue.parked);
        let dead = match queue.parked {
            0 => Cell::from(dead),
            _ => Meaning::Bad.cell(dead),
        };
        table.row([
            Cell::from(queue.queue),
            Cell::from(thousands(queue.waiting)),
            Cell::from(thousands(queue.in_hand)),
            dead,
        ]);
    }
    table
}

fn list(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::fitting;
    use super::*;
    use crate::schemas::testing::{assert_has_numbers, valid};

    fn queue(name: &'static str, waiting: u64, parked: u64) -> QueueStatus {
        QueueStatus {
            queue: name,
            waiting,
            in_hand: 0,
            parked,
        }
    }

    fn healthy() -> Health {
        let stack = |name: &str| StackStatus {
            name: format!("brew-haven-local-{name}"),
            about: "Queues and topics",
            status: "CREATE_COMPLETE".to_owned(),
            resources: 12,
        };
        let role = |name: &str| Role {
            name: name.to_owned(),
            pid: 4711,
            is_ready: true,
        };
        Health {
            environment: "local".to_owned(),
            is_local: true,
            place: "local, http://127.0.0.1:8080, SQLite, up 12 min".to_owned(),
            stacks: vec![stack("data"), stack("messaging")],
            roles: vec![role("order-worker"), role("storefront")],
            queues: vec![queue("orders", 0, 0), queue("payments", 0, 0)],
            alarms: Some(Alarms {
                count: 20,
                firing: Vec::new(),
            }),
        }
    }

    fn failing() -> Health {
        let mut health = healthy();
        (health.roles[0].pid, health.roles[0].is_ready) = (0, false);
        health.queues = vec![queue("payments", 0, 5), queue("orders", 1_204, 5)];
        let firing = ["orders-parked", "payments-parked"].map(str::to_owned);
        health.alarms = Some(Alarms {
            count: 20,
            firing: firing.to_vec(),
        });
        health
    }

    #[test]
    fn a_healthy_platform_is_one_line_of_numbers() {
        let summary = "local, http://127.0.0.1:8080, SQLite, up 12 min\n\n\
            2 stacks deployed, 2 roles ready, 2 queues empty, 20 alarms, none firing\n";
        for columns in [80, 120] {
            assert_eq!(fitting(&healthy().text(false, columns), columns), summary);
        }
        assert_eq!(
            fitting(&healthy().text(false, 60), 60),
            "local, http://127.0.0.1:8080, SQLite, up 12 min\n\n\
             2 stacks deployed, 2 roles ready, 2 queues empty, 20 alarms,\n\
             \x20 none firing\n"
        );
        let verdict = healthy().verdict(Path::new(".haven"));
        assert_eq!(verdict, Verdict::good("Healthy."));
        assert_eq!(healthy().document()["well"], true);
        let mut busy = healthy();
        busy.queues[0].waiting = 12;
        let text = fitting(&busy.text(false, 80), 80);
        assert!(
            text.contains("Queue     orders: 12 waiting, 0 in flight, 0 dead letters\n")
                && text.contains("2 queues, 1 with messages"),
            "{text}"
        );
    }

    #[test]
    fn problems_are_listed_first_and_decide_the_exit_code() {
        let text = "local, http://127.0.0.1:8080, SQLite, up 12 min\n\n\
            Roles     1 of 2 ready; order-worker restarting\n\
            Alarms    2 of 20 in ALARM: orders-parked, payments-parked\n\n\
            Queue     Waiting  In flight  Dead letters\n\
            orders      1,204          0             5\n\
            payments        0          0             5\n";
        for columns in [60, 80, 120] {
            assert_eq!(fitting(&failing().text(false, columns), columns), text);
        }
        let verdict = failing().verdict(Path::new(".haven"));
        assert_eq!(
            verdict,
            Verdict::no(
                "Not healthy: 1 role restarting, 10 dead letters in 2 queues; the rest is OK."
            )
            .next("tail .haven/logs/order-worker.log")
        );
        assert_eq!(verdict.exit(), Exit::No);
        let document = valid(verdict.document("haven.status/1", failing().document()));
        assert_has_numbers(&document, text);
        assert_eq!(document["well"], false);
        assert_eq!(document["queues"][0]["parked"], 5);
        assert_eq!(document["alarms"]["firing"][1], "payments-parked");
    }

    #[test]
    fn verbose_shows_every_stack_role_and_queue() {
        let text = healthy().text(true, 80);
        for part in [
            "brew-haven-local-messaging  CREATE_COMPLETE         12  Queues and topics",
            "storefront",
            "payments",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }

    #[test]
    fn dead_letters_and_missing_stacks_name_the_next_step() {
        let mut health = healthy();
        health.queues[0].parked = 1;
        assert_eq!(
            health.verdict(Path::new(".haven")),
            Verdict::no("Not healthy: 1 dead letter in orders; the rest is OK.")
                .next("haven dlq list")
        );
        health.environment = "prod".to_owned();
        health.is_local = false;
        health.stacks[0].status = "NOT_DEPLOYED".to_owned();
        (health.queues, health.roles, health.alarms) = (Vec::new(), Vec::new(), None);
        assert_eq!(
            health.verdict(Path::new(".haven")),
            Verdict::no("Not healthy: 1 stack not deployed.").next("haven doctor prod")
        );
        let text = fitting(&health.text(false, 80), 80);
        assert!(
            text.contains("1 of 2 deployed; brew-haven-local-data not deployed\n"),
            "{text}"
        );
    }
}
