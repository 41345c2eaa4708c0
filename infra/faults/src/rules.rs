//! The rules of an experiment: which fault happens to which calls, how often and when. They count
//! their hits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::{Dependency, Dice};

/// The kinds of faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Reset a new connection at once. The rule's name is ignored, because there is no call yet.
    Refuse,
    /// Close the connection before the dependency receives the call.
    Cut,
    /// Let the dependency execute the call, and close the connection instead of sending the reply.
    DropReply,
    /// Forward the call after this time.
    Delay(Duration),
    /// Keep the call from the dependency, and send no reply until the caller gives up.
    Hang,
    /// Reply with an error in the dependency's own format: an AWS error with this code, a problem
    /// document, an SQLSTATE, or a Redis error. `status` is the HTTP status, where there is one.
    Fail { status: u16, code: &'static str },
    /// Hold back the last entry of a batch, and report it as failed in the reply (`Failed`,
    /// `UnprocessedItems`, `FailedEntryCount`). Of an SNS batch, all entries are held back. A call
    /// that is not a batch passes, and is no hit.
    Partial,
    /// Send an earlier reply instead of a new one: messages that were received before, or the value
    /// before the last change. Until such a reply is known, calls pass and are no hits.
    Replay,
}

/// A fault, and the calls that it happens to.
#[derive(Debug, Clone)]
pub struct Rule {
    pub(crate) dependency: Dependency,
    pub(crate) client: Option<String>,
    name: String,
    pub(crate) fault: Fault,
    chance: f64,
    at_most: Option<u64>,
    from: Duration,
    until: Option<Duration>,
}

impl Rule {
    /// Makes a rule for every call whose name contains `name`, such as `sqs.SendMessageBatch`,
    /// `sqs.` or `COMMIT`. An empty name matches all calls.
    pub fn on(dependency: Dependency, name: &str, fault: Fault) -> Rule {
        Rule {
            dependency,
            client: None,
            name: name.to_owned(),
            fault,
            chance: 1.0,
            at_most: None,
            from: Duration::ZERO,
            until: None,
        }
    }

    /// Restricts the rule to calls of one client.
    pub fn of(self, client: &str) -> Rule {
        Rule {
            client: Some(client.to_owned()),
            ..self
        }
    }

    /// Applies the rule with this probability, from 0 to 1. The seed of [`crate::Faults`]
    /// determines the decisions.
    pub fn chance(self, chance: f64) -> Rule {
        Rule { chance, ..self }
    }

    /// Limits the rule to the first `count` calls that it applies to.
    pub fn times(self, count: u64) -> Rule {
        Rule {
            at_most: Some(count),
            ..self
        }
    }

    /// Restricts the rule to a period, measured from the moment when it was added.
    pub fn between(self, from: Duration, until: Duration) -> Rule {
        Rule {
            from,
            until: Some(until),
            ..self
        }
    }
}

/// The number of calls that a rule has affected.
#[derive(Debug, Clone, Default)]
pub struct Hits(Arc<AtomicU64>);

impl Hits {
    /// Returns the number of hits.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A rule in use.
#[derive(Debug)]
pub(crate) struct Active {
    pub rule: Rule,
    pub since: Instant,
    pub hits: Hits,
}

impl Active {
    /// Returns whether the rule matches the call, apart from its probability.
    pub fn is_about(&self, dependency: Dependency, client: &str, name: Option<&str>) -> bool {
        let Active { rule, since, hits } = self;
        let age = since.elapsed();
        rule.dependency == dependency
            && rule.client.as_deref().is_none_or(|wanted| wanted == client)
            && matches!(rule.fault, Fault::Refuse) == name.is_none()
            && name.is_none_or(|name| name.contains(&rule.name))
            && rule.at_most.is_none_or(|most| hits.count() < most)
            && age >= rule.from
            && rule.until.is_none_or(|until| age < until)
    }

    /// Decides by the rule's probability whether it applies.
    pub fn strikes(&self, dice: &mut Dice) -> bool {
        self.rule.chance >= 1.0 || dice.fraction() < self.rule.chance
    }

    /// Counts a hit.
    pub fn hit(&self) {
        self.hits.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active(rule: Rule) -> Active {
        Active {
            rule,
            since: Instant::now(),
            hits: Hits::default(),
        }
    }

    #[test]
    fn a_rule_applies_only_to_the_calls_that_it_names() {
        let rule = active(
            Rule::on(Dependency::Aws, "sqs.", Fault::Cut)
                .of("order-worker")
                .times(1),
        );
        assert!(rule.is_about(
            Dependency::Aws,
            "order-worker",
            Some("sqs.DeleteMessageBatch")
        ));
        assert!(!rule.is_about(Dependency::Aws, "order-worker", Some("dynamodb.GetItem")));
        assert!(!rule.is_about(
            Dependency::Aws,
            "payment-worker",
            Some("sqs.DeleteMessageBatch")
        ));
        assert!(!rule.is_about(
            Dependency::Postgres,
            "order-worker",
            Some("sqs.DeleteMessageBatch")
        ));
        assert!(
            !rule.is_about(Dependency::Aws, "order-worker", None),
            "a call's fault is not a connection's"
        );
        rule.hit();
        assert!(
            !rule.is_about(
                Dependency::Aws,
                "order-worker",
                Some("sqs.DeleteMessageBatch")
            ),
            "once was enough"
        );
        let later = Rule::on(Dependency::Aws, "", Fault::Hang)
            .between(Duration::from_secs(60), Duration::from_secs(90));
        assert!(
            !active(later).is_about(Dependency::Aws, "order-worker", Some("sqs.ReceiveMessage")),
            "not yet"
        );
        let over =
            Rule::on(Dependency::Aws, "", Fault::Hang).between(Duration::ZERO, Duration::ZERO);
        assert!(
            !active(over).is_about(Dependency::Aws, "order-worker", Some("sqs.ReceiveMessage")),
            "not any more"
        );
    }

    #[test]
    fn equal_seeds_draw_equal_values() {
        let draw = |seed| {
            let mut dice = Dice::of(seed);
            (0..1_000).map(|_| dice.fraction()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let rule = active(Rule::on(Dependency::Aws, "", Fault::Cut).chance(0.25));
        let mut dice = Dice::of(1);
        let struck = (0..10_000).filter(|_| rule.strikes(&mut dice)).count();
        assert!(
            (2_300..2_700).contains(&struck),
            "{struck} of 10000 at one in four"
        );
    }
}
