//! Rules between settings, and rules for certain environments.

use super::keys::{Engine, Settings};

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
        asks: "1, or one per zone: a number in between costs more and still fails together with one zone",
        holds: |settings| {
            settings.network.nat_gateways == 1
                || settings.network.nat_gateways == settings.network.zones
        },
    },
    Rule {
        tier: Tier::Every,
        keys: &["database.storage_gib", "database.storage_max_gib"],
        // AmazonRDS/latest/UserGuide/USER_PIOPS.Autoscaling.html
        asks: "storage_max_gib at least 10 % above storage_gib, as RDS requires",
        holds: |settings| {
            settings.database.storage_max_gib * 10 >= settings.database.storage_gib * 11
        },
    },
    Rule {
        tier: Tier::Every,
        keys: &["database.engine", "database.instance_class"],
        // AmazonRDS/latest/AuroraUserGuide/Concepts.DBInstanceClass.SupportAurora.html
        asks: "a medium or larger class for Aurora, which supports no smaller one",
        holds: |settings| {
            let class = &settings.database.instance_class;
            settings.database.engine != Engine::Aurora
                || !(class.ends_with(".micro") || class.ends_with(".small"))
        },
    },
    Rule {
        tier: Tier::Every,
        keys: &["backup.copy_to_region", "account.region"],
        asks: "a region other than account.region, whose failure would also affect the copies",
        holds: |settings| settings.backup.copy_to_region != settings.account.region,
    },
    Rule {
        tier: Tier::Every,
        keys: &["edge.cors_origins", "edge.domain"],
        asks: "cors_origins with the shop's own origin, https:// and edge.domain",
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
        asks: "true in staging and prod: without it, the failure of a zone stops the shop",
        holds: |settings| settings.database.multi_az,
    },
    Rule {
        tier: Tier::Prod,
        keys: &["network.zones"],
        asks: "3 in prod: after the failure of one zone, two zones remain",
        holds: |settings| settings.network.zones == 3,
    },
    Rule {
        tier: Tier::Prod,
        keys: &["network.nat_gateways", "network.zones"],
        asks: "one NAT gateway per zone in prod: the failure of a shared one affects other zones",
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
        asks: "a region in prod: orders must survive the loss of their own region",
        holds: |settings| !settings.backup.copy_to_region.is_empty(),
    },
    Rule {
        tier: Tier::Prod,
        keys: &["compute.storefront_tasks"],
        asks: "a minimum of 2 or more in prod: the end of one task must not stop the shop",
        holds: |settings| settings.compute.storefront_tasks.0 >= 2,
    },
    Rule {
        tier: Tier::Prod,
        keys: &["observability.log_days"],
        // PCI DSS 4.0, 10.5.1: twelve months of audit history.
        asks: "365 or more in prod: questions about a charge can come a year later",
        holds: |settings| settings.observability.log_days >= 365,
    },
];
