//! A deployed platform: its name, its settings and how much of it is meant.

use serde_json::{Value, json};

use crate::configuration::{Account, Configuration, Settings, embedded, is_prod};

/// One deployed platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    /// Name of the environment, part of every stack name and of the parameter root.
    pub name: String,
    /// True on the local AWS, which lacks some services: see `local`.
    pub local: bool,
    /// The part of the platform that the templates cover.
    pub part: Part,
    /// The settings from the environment files and overrides.
    pub settings: Settings,
}

/// How much of a platform is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The whole platform.
    Whole,
    /// The resources that roles need when they run as processes beside a local AWS: `haven up`.
    Shop,
}

impl Environment {
    /// Creates the environment that its files and the caller's overrides describe.
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

    /// Returns an environment of this repository without overrides, or `None` for an unknown name.
    ///
    /// # Panics
    /// Panics when a file in `infra/environments` is invalid. Any test that creates the environment
    /// finds this defect.
    pub fn named(name: &str) -> Option<Environment> {
        match Configuration::load(name, &embedded(name)?, &[]) {
            Ok(configuration) => Some(Environment::configured(&configuration)),
            Err(problems) => panic!("{problems}"),
        }
    }

    /// Returns the environment of the local AWS.
    ///
    /// # Panics
    /// Panics like [`Environment::named`].
    pub fn local() -> Environment {
        match Environment::named("local") {
            Some(environment) => environment,
            None => panic!("no files for the local environment"),
        }
    }

    /// Returns the part of the local environment that `haven up` needs.
    ///
    /// # Panics
    /// Panics like [`Environment::named`].
    pub fn shop() -> Environment {
        Environment {
            part: Part::Shop,
            ..Environment::local()
        }
    }

    /// Returns the name of the stack with this slug.
    pub fn stack_name(&self, slug: &str) -> String {
        format!("brew-haven-{}-{slug}", self.name)
    }

    /// Returns the tags for owner and cost center. `haven` sets them on every stack, and
    /// CloudFormation passes them to nearly every resource: see `stacks::tags`.
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

    /// Returns true if the environment has data of real customers.
    pub fn is_production(&self) -> bool {
        is_prod(&self.name)
    }
}
