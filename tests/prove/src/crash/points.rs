//! Which calls an order makes, and how one of them is recognized when it is made again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use faults::{Call, Dependency, Entry, Hook, Moment, Verdict};
use haven::local::children;
use rustix::process::Signal;
use tokio::sync::mpsc::UnboundedSender;

use crate::hurry::Given;
use crate::shop::Lives;

/// Where in time a process dies: the dependency has not seen the call, or it has executed it and
/// the process does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Side {
    Before,
    After,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Side::Before => "before",
            Side::After => "after",
        }
    }
}

/// A kind of call: whose, to what, which.
pub type Kind = (String, Dependency, String);

/// The n-th call of a kind, counted from where the flow begins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub kind: Kind,
    /// From 1.
    pub nth: usize,
    /// Only its other side is of an order: whether a poll brings something is known when it is
    /// answered.
    pub poll: bool,
}

impl Point {
    pub fn describe(&self) -> String {
        let (client, dependency, name) = &self.kind;
        format!("{client} -> {dependency:?} {name} #{}", self.nth)
    }

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

/// Settings and numbers go their own way, every so often: they are of no order.
fn of_no_order(kind: &Kind) -> bool {
    ["monitoring.", "ssm.", "secretsmanager."]
        .iter()
        .any(|service| kind.2.starts_with(service))
        || kind.1 == Dependency::Shop && kind.2.starts_with("GET ")
}

/// What goes on when there is no order: by kind, whether it ever brings something.
pub fn idle_kinds(idle: &[Entry]) -> BTreeMap<Kind, bool> {
    let mut kinds = BTreeMap::new();
    for entry in idle {
        *kinds.entry(kind(entry)).or_default() |= entry.something;
    }
    kinds
}

/// The calls of an order in the order that they were first made: those that were made in each of
/// the recorded runs, so that a timer that happened to go off is none.
pub fn points(idle: &BTreeMap<Kind, bool>, runs: &[Vec<Entry>]) -> Vec<Point> {
    // What came back with nothing even once asks again and again.
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
                // It always brings something: a clock.
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

/// Watches for a point, kills whoever reaches it, and says so. Notes what every role is given
/// meanwhile.
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
            _ => false,
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

/// Notes what every role is given, and kills nobody.
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
    fn the_points_are_the_calls_of_every_run_and_no_clock() {
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
    fn a_trap_springs_once_at_the_very_call() {
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
