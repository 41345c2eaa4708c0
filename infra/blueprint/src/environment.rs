//! Where a platform stands, and what that changes.

use serde_json::{Value, json};

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
    pub fn local() -> Environment {
        Environment { name: "local".to_owned(), local: true, settings: Settings::small() }
    }

    /// One of the environments there are.
    pub fn named(name: &str) -> Option<Environment> {
        match name {
            "local" => Some(Environment::local()),
            "dev" | "staging" => Some(Environment { name: name.to_owned(), local: false, settings: Settings::small() }),
            "prod" => Some(Environment { name: name.to_owned(), local: false, settings: Settings::large() }),
            _ => None,
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
        self.name == "prod"
    }
}
