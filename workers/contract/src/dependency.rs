//! What roles call while they work, beside their queues: each has a circuit breaker in every
//! process that calls it.

use crate::role::Role;
use crate::table::PRODUCTS;

/// Something that may be down while the role is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dependency {
    Database,
    /// The tables that stock is kept in.
    Stock,
    Gateway,
    Mail,
}

impl Dependency {
    pub const ALL: [Dependency; 4] = [
        Dependency::Database,
        Dependency::Stock,
        Dependency::Gateway,
        Dependency::Mail,
    ];

    /// For metrics and readiness.
    pub const fn code(self) -> &'static str {
        match self {
            Dependency::Database => "database",
            Dependency::Stock => "stock",
            Dependency::Gateway => "gateway",
            Dependency::Mail => "mail",
        }
    }
}

impl Role {
    pub fn depends_on(&self, dependency: Dependency) -> bool {
        match dependency {
            Dependency::Database => self.database,
            Dependency::Stock => self
                .tables
                .iter()
                .any(|(table, _)| table.slug == PRODUCTS.slug),
            Dependency::Gateway => self.gateway,
            Dependency::Mail => self.mail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::{ALARMS, Signal};
    use crate::metric::Metric;
    use crate::role::ROLES;

    #[test]
    fn every_consumer_that_pauses_for_a_dependency_calls_for_a_human() {
        for role in ROLES
            .iter()
            .filter(|role| !role.consumes.is_empty() || role.public)
        {
            assert!(
                Dependency::ALL
                    .iter()
                    .any(|dependency| role.depends_on(*dependency)),
                "{}",
                role.slug
            );
            let watched = ALARMS.iter().any(|alarm| match alarm.signal {
                Signal::Ours {
                    metric, service, ..
                } => metric == Metric::BreakerOpen && service == role.slug,
                _ => false,
            });
            assert!(watched, "nobody is told when {} pauses", role.slug);
        }
    }
}
