//! What is to go wrong, where, how often and when; and how often it did.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::{Dependency, Dice};

/// One way in which a call goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A new connection is reset at once. Its rule's name is not looked at: there is no call yet.
    Refuse,
    /// The connection ends before the dependency has seen the call.
    Cut,
    /// The dependency executes the call; the connection ends instead of the reply.
    DropReply,
    /// The call is passed on so much later.
    Delay(Duration),
    /// The dependency never sees the call, and no answer comes until the caller gives up.
    Hang,
    /// The proxy answers in the dependency's own way of saying no: an AWS error of that code, a
    /// problem over HTTP, an SQLSTATE, a Redis error. `status` is HTTP's, where there is one.
    Fail { status: u16, code: &'static str },
    /// Of a batch, the last entry is kept back and named in the answer as failed (`Failed`,
    /// `UnprocessedItems`, `FailedEntryCount`). A call that is no batch passes unspoiled, and is no
    /// hit.
    Partial,
    /// An earlier answer instead of a new one: the message that was already given out, the value
    /// before the last change. Until there is one, calls pass, and are no hits.
    Replay,
}

/// Where and when a fault strikes.
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
    /// Every call whose name contains `name`, such as `sqs.SendMessageBatch`, `sqs.`, `COMMIT` or
    /// nothing for all.
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

    /// Only calls of this client.
    pub fn of(self, client: &str) -> Rule {
        Rule {
            client: Some(client.to_owned()),
            ..self
        }
    }

    /// So likely, from 0 to 1; drawn from the seed of [`crate::Faults`].
    pub fn chance(self, chance: f64) -> Rule {
        Rule { chance, ..self }
    }

    /// The first `count` calls that it would strike, and no more.
    pub fn times(self, count: u64) -> Rule {
        Rule {
            at_most: Some(count),
            ..self
        }
    }

    /// Only so long after it was added.
    pub fn between(self, from: Duration, until: Duration) -> Rule {
        Rule {
            from,
            until: Some(until),
            ..self
        }
    }
}

/// How often a rule struck.
#[derive(Debug, Clone, Default)]
pub struct Hits(Arc<AtomicU64>);

impl Hits {
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A rule in force.
#[derive(Debug)]
pub(crate) struct Active {
    pub rule: Rule,
    pub since: Instant,
    pub hits: Hits,
}

impl Active {
    /// Whether the rule is about this call; chance is not drawn yet.
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

    pub fn strikes(&self, dice: &mut Dice) -> bool {
        self.rule.chance >= 1.0 || dice.fraction() < self.rule.chance
    }

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
    fn a_rule_is_about_the_calls_it_names_and_no_others() {
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
    fn the_same_seed_draws_the_same_chances() {
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
