//! Where a platform stands, and what that changes.

use serde_json::{Value, json};

use crate::configuration::{Configuration, embedded, is_prod};
use crate::settings::{Account, Settings};

/// One deployed platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    /// Part of every stack's name, and of the parameter root.
    pub name: String,
    /// On the local AWS, which lacks some things: see `local`.
    pub local: bool,
    pub part: Part,
    pub settings: Settings,
}

/// How much of a platform is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// What roles need that run as processes beside a local AWS: `haven up`.
    Shop,
}

impl Environment {
    /// As its files and the caller's overrides describe it.
    pub fn configured(configuration: &Configuration) -> Environment {
        let Configuration {
            environment: name,
            settings,
            ..
        } = configuration;
        Environment {
            name: name.clone(),
            local: name == "local",
            part: Part::Whole,
            settings: settings.clone(),
        }
    }

    /// One of the environments that this repository has, without overrides.
    ///
    /// # Panics
    /// When a file in `infra/environments` is wrong: a defect of ours, found by any test that makes
    /// an environment.
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

    /// As much of the local one as `haven up` needs.
    ///
    /// # Panics
    /// As `named`.
    pub fn shop() -> Environment {
        Environment {
            part: Part::Shop,
            ..Environment::local()
        }
    }

    pub fn stack_name(&self, slug: &str) -> String {
        format!("brew-haven-{}-{slug}", self.name)
    }

    /// Whose it is and who pays. `haven` sets them on every stack, and CloudFormation hands them to
    /// nearly every resource: see `stacks::tags`.
    pub fn tags(&self) -> Value {
        let tag = |key: &str, value: &str| json!({ "Key": key, "Value": value });
        let Account {
            owner, cost_center, ..
        } = &self.settings.account;
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
