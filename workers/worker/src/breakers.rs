//! The circuit breakers of a role: one for each dependency that it calls.

use std::time::Duration;

use adapter_aws::Service;
use chassis::breaker::Weight;
use chassis::{Breaker, Process};
use contract::dependency::Dependency;
use contract::role::Role;

/// The breakers of a role. Clones share them.
#[derive(Clone)]
pub struct Breakers(Vec<Breaker>);

impl Breakers {
    /// Creates the breakers of a role's dependencies.
    pub fn of(role: &Role, process: &Process) -> Breakers {
        // The storefront shows its menu without these dependencies, and reports its database
        // itself.
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

    /// Returns the breakers of all dependencies.
    pub fn all(&self) -> &[Breaker] {
        &self.0
    }

    /// Returns the breaker of a dependency, or `None` if the role does not call it.
    pub fn get(&self, dependency: Dependency) -> Option<&Breaker> {
        self.0
            .iter()
            .find(|breaker| breaker.dependency() == dependency)
    }

    /// Returns the longest time until one of these dependencies may be called again, or `None` if
    /// all may be called now.
    pub fn refusal(&self, needs: &[Dependency]) -> Option<Duration> {
        needs
            .iter()
            .filter_map(|dependency| self.get(*dependency)?.refusal())
            .max()
    }

    /// Reports the end of a call of an AWS service to the breaker of its dependency.
    pub fn note_aws(&self, service: Service, answered: bool) {
        let dependency = match service {
            Service::DynamoDb => Dependency::Stock,
            Service::Ses => Dependency::Mail,
            // These services need no breaker. Messages wait in their queues, an unsent text is
            // replaced by a mail, and the last values of parameters and secrets apply.
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
            Some(breaker) => breaker.failure("a call got no answer, or a server error"),
            None => {}
        }
    }
}
