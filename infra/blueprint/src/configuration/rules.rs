//! Rules between settings, and rules for certain environments.

use crate::settings::{Engine, Settings};

/// A rule beyond the allowed values of each key.
#[derive(Debug)]
pub struct Rule {
    /// The environments that the rule applies to.
    pub tier: Tier,
    /// The keys that the rule reads.
    pub keys: &'static [&'static str],
    /// The requirement and its reason.
    pub asks: &'static str,
    /// Returns true if the settings follow the rule.
    pub holds: fn(&Settings) -> bool,
}

/// A group of environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// All environments.
    Every,
    /// Staging, in which a production deployment is rehearsed, and production.
    StagingAndProd,
    /// Production.
    Prod,
}

impl Tier {
    /// Returns true if the environment belongs to the tier. Compares the beginning of the name, so
    /// that the tier also covers `prod-eu`.
    pub fn covers(self, environment: &str) -> bool {
        let (staging, prod) = (environment.starts_with("staging"), is_prod(environment));
        match self {
            Tier::Every => true,
            Tier::StagingAndProd => staging || prod,
            Tier::Prod => prod,
        }
    }
}

/// Returns true if an environment with this name has real customers.
pub fn is_prod(environment: &str) -> bool {
    environment.starts_with("prod")
}

/// All rules.
pub static RULES: &[Rule] = &[
    Rule {
        tier: Tier::Every,
        keys: &["network.nat_gateways", "network.zones"],
        asks: "one NAT gateway, or one a zone: anything between costs more and still fails with one zone",
        holds: |settings| {
            settings.network.nat_gateways == 1
                || settings.network.nat_gateways == settings.network.zones
        },
    },
    Rule {
        tier: Tier::Every,
        keys: &["database.storage_gib", "database.storage_max_gib"],
        // AmazonRDS/latest/UserGuide/USER_PIOPS.Autoscaling.html
        asks: "storage_max_gib at least a tenth above storage_gib, as RDS asks",
        holds: |settings| {
            settings.database.storage_max_gib * 10 >= settings.database.storage_gib * 11
        },
    },
    Rule {
        tier: Tier::Every,
        keys: &["database.engine", "database.instance_class"],
        // AmazonRDS/latest/AuroraUserGuide/Concepts.DBInstanceClass.SupportAurora.html
        asks: "a medium class or larger for Aurora, which has no smaller ones",
        holds: |settings| {
            let class = &settings.database.instance_class;
            settings.database.engine != Engine::Aurora
                || !(class.ends_with(".micro") || class.ends_with(".small"))
        },
    },
    Rule {
        tier: Tier::Every,
        keys: &["backup.copy_to_region", "account.region"],
        asks: "copies in another region: the same one is lost with what it copies",
        holds: |settings| settings.backup.copy_to_region != settings.account.region,
    },
    Rule {
        tier: Tier::Every,
        keys: &["edge.cors_origins", "edge.domain"],
        asks: "the shop's own origin, https:// and edge.domain, among cors_origins",
        holds: |settings| {
            settings
                .edge
                .cors_origins
                .contains(&format!("https://{}", settings.edge.domain))
        },
    },
    Rule {
        tier: Tier::StagingAndProd,
        keys: &["database.multi_az"],
        asks: "true in staging and prod: without it the loss of a zone is the loss of the shop",
        holds: |settings| settings.database.multi_az,
    },
    Rule {
        tier: Tier::Prod,
        keys: &["network.zones"],
        asks: "3 in prod: after the loss of one zone there is still a spare",
        holds: |settings| settings.network.zones == 3,
    },
    Rule {
        tier: Tier::Prod,
        keys: &["network.nat_gateways", "network.zones"],
        asks: "one NAT gateway a zone in prod: a shared one takes the other zones with it",
        holds: |settings| settings.network.nat_gateways == settings.network.zones,
    },
    Rule {
        tier: Tier::Prod,
        keys: &["database.backup_days"],
        asks: "30 or more in prod: damage is often found a month late",
        holds: |settings| settings.database.backup_days >= 30,
    },
    Rule {
        tier: Tier::Prod,
        keys: &["backup.daily_days"],
        asks: "30 or more in prod: damage is often found a month late",
        holds: |settings| settings.backup.daily_days >= 30,
    },
    Rule {
        tier: Tier::Prod,
        keys: &["backup.copy_to_region"],
        asks: "a region in prod: orders must outlive the one that they were taken in",
        holds: |settings| !settings.backup.copy_to_region.is_empty(),
    },
    Rule {
        tier: Tier::Prod,
        keys: &["compute.storefront_tasks"],
        asks: "2 or more as the least in prod: one task's end must not close the shop",
        holds: |settings| settings.compute.storefront_tasks.0 >= 2,
    },
    Rule {
        tier: Tier::Prod,
        keys: &["observability.log_days"],
        // PCI DSS 4.0, 10.5.1: twelve months of audit history.
        asks: "365 or more in prod: who asks about a charge may ask a year later",
        holds: |settings| settings.observability.log_days >= 365,
    },
];
