//! The dependencies of roles, apart from queues. Every process that calls a dependency has a
//! circuit breaker for it.

use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::role::Role;
use crate::table::PRODUCTS;

/// A service that can fail while the role runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Dependency {
    /// The database: PostgreSQL, or SQLite on an embedded platform.
    Database,
    /// The DynamoDB tables with the stock.
    Stock,
    /// The payment gateway.
    Gateway,
    /// Amazon SES.
    Mail,
}

domain::named_variants!(Dependency);

impl Role {
    /// Returns whether the role calls the dependency.
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
            let watched = ALARMS.iter().any(|alarm| {
                matches!(alarm.signal, Signal::Ours { metric: Metric::BreakerOpen, service, .. }
                    if service == role.slug)
            });
            assert!(watched, "no alarm fires when {} pauses", role.slug);
        }
    }
}
