//! Where a platform stands, and what that changes.

use serde_json::{Value, json};

use crate::configuration::{Configuration, embedded, is_prod};
use crate::settings::{Account, Settings};

/// One deployed platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    /// Part of every stack's name, and of the parameter root.
    pub name: String,
    /// On the local AWS, which lacks some things: see `left_out`.
    pub local: bool,
    pub settings: Settings,
}

/// Something that an environment does without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    pub what: &'static str,
    pub why: &'static str,
}

/// All that the local AWS does without. The only place that decides it.
const LOCAL: &[LeftOut] = &[
    LeftOut {
        what: "time to live of tables",
        why: "the local AWS ignores it in a template; `haven up` sets it by API",
    },
    LeftOut { what: "point-in-time recovery and deletion protection of tables", why: "a laptop's data is one folder" },
    LeftOut { what: "refusal of unencrypted transport", why: "the local AWS is reached over plain HTTP on loopback" },
];

impl Environment {
    /// As its files and the caller's overrides describe it.
    pub fn configured(configuration: &Configuration) -> Environment {
        let Configuration { environment: name, settings, .. } = configuration;
        Environment { name: name.clone(), local: name == "local", settings: settings.clone() }
    }

    /// One of the environments that this repository has, without overrides.
    ///
    /// # Panics
    /// When a file in `infra/environments` is wrong: a defect of ours, found by any test that makes an environment.
    pub fn named(name: &str) -> Option<Environment> {
        match Configuration::load(name, &embedded(name)?, &[]) {
            Ok(configuration) => Some(Environment::configured(&configuration)),
            Err(problems) => panic!("{problems}"),
        }
    }

    /// The one on this machine.
    ///
    /// # Panics
    /// As `named`.
    pub fn local() -> Environment {
        match Environment::named("local") {
            Some(environment) => environment,
            None => panic!("no files for the local environment"),
        }
    }

    pub fn left_out(&self) -> &'static [LeftOut] {
        if self.local { LOCAL } else { &[] }
    }

    pub fn stack_name(&self, slug: &str) -> String {
        format!("brew-haven-{}-{slug}", self.name)
    }

    /// For every resource that takes tags.
    pub fn tags(&self) -> Value {
        let tag = |key: &str, value: &str| json!({ "Key": key, "Value": value });
        let Account { owner, cost_center, .. } = &self.settings.account;
        json!([
            tag("CostCenter", cost_center),
            tag("Environment", &self.name),
            tag("ManagedBy", "haven"),
            tag("Owner", owner),
            tag("Service", "brew-haven"),
        ])
    }

    /// Whether it would hurt to lose it: real customers' data.
    pub fn is_production(&self) -> bool {
        is_prod(&self.name)
    }
}
