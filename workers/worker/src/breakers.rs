//! The circuit breakers of a role: one for each thing that it calls.

use std::time::Duration;

use adapter_aws::Service;
use chassis::breaker::Weight;
use chassis::{Breaker, Process};
use contract::dependency::Dependency;
use contract::role::Role;

#[derive(Clone)]
pub struct Breakers(Vec<Breaker>);

impl Breakers {
    pub fn of(role: &Role, process: &Process) -> Breakers {
        // The storefront shows its menu without any of them; that it needs its database to be ready
        // is told by itself.
        let weight = if role.public {
            Weight::Soft
        } else {
            Weight::Hard
        };
        let used = Dependency::ALL
            .into_iter()
            .filter(|dependency| role.depends_on(*dependency));
        Breakers(
            used.map(|dependency| {
                Breaker::new(dependency, weight, &process.health, &process.metrics)
            })
            .collect(),
        )
    }

    /// Of everything that the role calls.
    pub fn all(&self) -> &[Breaker] {
        &self.0
    }

    pub fn get(&self, dependency: Dependency) -> Option<&Breaker> {
        self.0
            .iter()
            .find(|breaker| breaker.dependency() == dependency)
    }

    /// While one of these is left alone: after how long to ask again.
    pub fn refusal(&self, needs: &[Dependency]) -> Option<Duration> {
        needs
            .iter()
            .filter_map(|dependency| self.get(*dependency)?.refusal())
            .max()
    }

    /// A call to this service of AWS is over.
    pub fn note_aws(&self, service: Service, answered: bool) {
        let dependency = match service {
            Service::DynamoDb => Dependency::Stock,
            Service::Ses => Dependency::Mail,
            // Without a breaker: a queue's messages wait in it, an unsent text goes by mail, and of
            // settings and secrets the last value stands.
            Service::Sqs
            | Service::Sns
            | Service::Sms
            | Service::EventBridge
            | Service::DynamoDbStreams
            | Service::ParameterStore
            | Service::SecretsManager
            | Service::CloudWatch => return,
        };
        match self.get(dependency) {
            Some(breaker) if answered => breaker.success(),
            Some(breaker) => breaker.failure("no answer to a call, or only that it cannot"),
            None => {}
        }
    }
}
