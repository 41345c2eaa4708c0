//! Selects the calls of an order at which processes are killed, and recognizes a selected call when
//! it is made again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use faults::{Call, Dependency, Entry, Hook, Moment, Verdict};
use platform::children;
use rustix::process::Signal;
use strum::IntoStaticStr;
use tokio::sync::mpsc::UnboundedSender;

use crate::hurry::Given;
use crate::shop::Lives;

/// Where in time a process dies: the dependency has not seen the call, or it has executed it and
/// the process does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Side {
    Before,
    After,
}

impl Side {
    /// Returns the side's name on the command line.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A kind of call: the client, the dependency, and the name of the call.
pub type Kind = (String, Dependency, String);

/// The n-th call of a kind since the flow began.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub kind: Kind,
    /// Counts from 1.
    pub nth: usize,
    /// Whether the call is a poll. A poll only has the side after the call, because the reply
    /// decides whether it belongs to an order.
    pub poll: bool,
}

impl Point {
    /// Returns a line that identifies the point.
    pub fn describe(&self) -> String {
        let (client, dependency, name) = &self.kind;
        format!("{client} -> {dependency:?} {name} #{}", self.nth)
    }

    /// Returns the sides of the call on which a process can be killed.
    pub fn sides(&self) -> &'static [Side] {
        if self.poll {
            &[Side::After]
        } else {
            &[Side::Before, Side::After]
        }
    }
}

fn kind(entry: &Entry) -> Kind {
    (
        entry.client.to_string(),
        entry.dependency,
        entry.name.clone(),
    )
}

/// Returns whether the calls of a kind never belong to an order: settings, secrets and metrics are
/// read and written at intervals, and a GET changes nothing.
fn of_no_order(kind: &Kind) -> bool {
    ["monitoring.", "ssm.", "secretsmanager."]
        .iter()
        .any(|service| kind.2.starts_with(service))
        || kind.1 == Dependency::Shop && kind.2.starts_with("GET ")
}

/// Returns the kinds of calls that occur without an order, and whether any of them returned
/// something.
pub fn idle_kinds(idle: &[Entry]) -> BTreeMap<Kind, bool> {
    let mut kinds = BTreeMap::new();
    for entry in idle {
        *kinds.entry(kind(entry)).or_default() |= entry.something;
    }
    kinds
}

/// Returns the calls of an order in the sequence of the first run. Only calls that every recorded
/// run made are returned, because a call of a timer can occur in one run by chance.
pub fn points(idle: &BTreeMap<Kind, bool>, runs: &[Vec<Entry>]) -> Vec<Point> {
    // A kind that returned nothing at least once is a poll.
    let asks_again: BTreeSet<Kind> = runs
        .iter()
        .flatten()
        .filter(|entry| !entry.something)
        .map(kind)
        .collect();
    let of_run = |run: &[Entry]| {
        let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
        let mut points = Vec::new();
        for entry in run {
            let kind = kind(entry);
            let poll = match idle.get(&kind) {
                // A call that returns something even without an order belongs to a timer.
                Some(true) => continue,
                Some(false) => true,
                None => asks_again.contains(&kind),
            };
            if of_no_order(&kind) || !entry.something && poll {
                continue;
            }
            let nth = counts.entry(kind.clone()).or_default();
            *nth += 1;
            points.push(Point {
                kind,
                nth: *nth,
                poll,
            });
        }
        points
    };
    let mut each = runs.iter().map(|run| of_run(run));
    let first = each.next().unwrap_or_default();
    let others: Vec<BTreeSet<Point>> = each.map(|points| points.into_iter().collect()).collect();
    first
        .into_iter()
        .filter(|point| others.iter().all(|other| other.contains(point)))
        .collect()
}

/// Returns a hook that kills the client at the point and sends to `killed`. The hook also records
/// the receipt handles that every role receives.
pub fn trap(
    point: &Point,
    side: Side,
    lives: Lives,
    given: Given,
    killed: UnboundedSender<()>,
) -> Hook {
    let (point, seen, sprung) = (point.clone(), AtomicUsize::default(), AtomicBool::default());
    Arc::new(move |call: &Call, moment: Moment<'_>| {
        let something = match moment {
            Moment::Before => None,
            Moment::After { reply, something } => {
                given.note(call, reply);
                Some(something)
            }
        };
        let (client, dependency, name) = &point.kind;
        if *call.client != **client || call.dependency != *dependency || call.name != *name {
            return Verdict::Go;
        }
        let counts = match (side, something) {
            (Side::Before, None) => true,
            (Side::After, Some(something)) => something || !point.poll,
            (Side::Before, Some(_)) | (Side::After, None) => false,
        };
        if !counts
            || seen.fetch_add(1, Ordering::SeqCst) + 1 != point.nth
            || sprung.swap(true, Ordering::SeqCst)
        {
            return Verdict::Go;
        }
        let mut lives = lives.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(life) = lives.get_mut(client.as_str()) {
            children::signal(life.pid, Signal::KILL);
            life.dead = true;
            let _ = killed.send(());
        }
        Verdict::Cut
    })
}

/// Returns a hook that only records the receipt handles that every role receives.
pub fn bystander(given: Given) -> Hook {
    Arc::new(move |call: &Call, moment: Moment<'_>| {
        if let Moment::After { reply, .. } = moment {
            given.note(call, reply);
        }
        Verdict::Go
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, something: bool) -> Entry {
        let client = "order-worker".into();
        Entry {
            number: 0,
            client,
            dependency: Dependency::Aws,
            connection: 0,
            name: name.to_owned(),
            something,
        }
    }

    #[test]
    fn crash_points_are_calls_of_every_run_and_not_of_idle_time() {
        let idle = idle_kinds(&[
            entry("sqs.ReceiveMessage", false),
            entry("streams.DescribeStream", true),
        ]);
        let (receive, write) = (
            entry("sqs.ReceiveMessage", true),
            entry("dynamodb.TransactWriteItems", true),
        );
        let first = [
            entry("streams.DescribeStream", true),
            receive.clone(),
            write.clone(),
            write.clone(),
        ];
        let second = [
            entry("sqs.ReceiveMessage", false),
            receive,
            write,
            entry("ssm.GetParameters", true),
        ];
        let points = points(&idle, &[first.to_vec(), second.to_vec()]);
        let described: Vec<String> = points.iter().map(Point::describe).collect();
        assert_eq!(
            described,
            [
                "order-worker -> Aws sqs.ReceiveMessage #1",
                "order-worker -> Aws dynamodb.TransactWriteItems #1"
            ],
            "the second write was in one run only"
        );
        assert_eq!(
            points[0].sides(),
            [Side::After],
            "before it is answered, a poll is nobody's"
        );
        assert_eq!(points[1].sides(), [Side::Before, Side::After]);
    }

    #[test]
    fn a_trap_kills_once_at_its_call() {
        let kind = (
            "order-worker".to_owned(),
            Dependency::Aws,
            "dynamodb.TransactWriteItems".to_owned(),
        );
        let point = Point {
            kind,
            nth: 2,
            poll: false,
        };
        let (killed, mut kills) = tokio::sync::mpsc::unbounded_channel();
        let trap = trap(
            &point,
            Side::After,
            Lives::default(),
            Given::default(),
            killed,
        );
        let call = |name: &str| Call {
            number: 0,
            client: "order-worker".into(),
            dependency: Dependency::Aws,
            connection: 0,
            name: name.to_owned(),
            body: Vec::new().into(),
            at: std::time::Instant::now(),
        };
        let after = || Moment::After {
            reply: b"",
            something: true,
        };
        let write = call("dynamodb.TransactWriteItems");
        assert!(matches!(trap(&write, Moment::Before), Verdict::Go));
        assert!(matches!(trap(&write, after()), Verdict::Go), "the first");
        assert!(
            matches!(trap(&call("dynamodb.GetItem"), after()), Verdict::Go),
            "another"
        );
        assert!(matches!(trap(&write, after()), Verdict::Cut), "the second");
        assert!(
            matches!(trap(&write, after()), Verdict::Go),
            "once is enough"
        );
        assert!(kills.try_recv().is_err(), "nobody lives: nobody is killed");
    }
}
