//! The first screen and the groups of commands in `haven --help`.

use haven_console::help::{Group, Section};

/// The groups. A test holds that each command that is listed is in one of them.
pub const GROUPS: [Group; 4] = [
    Group {
        heading: "Run",
        commands: &[
            "up", "down", "open", "env", "seed", "load", "migrate", "role",
        ],
    },
    Group {
        heading: "Look",
        commands: &["status", "logs", "orders", "notify", "outputs", "config"],
    },
    Group {
        heading: "Provision",
        commands: &[
            "check",
            "cost",
            "why",
            "synth",
            "diff",
            "plan",
            "apply",
            "deploy",
            "promote",
            "rehearse",
            "smoke",
            "drift",
            "doctor",
            "bootstrap",
            "destroy",
        ],
    },
    Group {
        heading: "Operate",
        commands: &["dlq", "reconcile", "runbook", "staff"],
    },
];

/// The screen of `haven` without arguments.
pub const FIRST: [Section; 2] = [
    Section {
        heading: "Start here",
        lines: &[
            ("haven up", "Start the platform on this machine"),
            ("haven open", "Open the shop in your browser"),
            ("haven status", "Show whether everything is healthy"),
            ("haven load", "Send orders and measure the result"),
        ],
    },
    Section {
        heading: "On AWS",
        lines: &[
            ("haven check", "Validate the templates; needs no account"),
            ("haven plan prod", "Show what a deployment would change"),
            ("haven deploy prod", "Review and apply the changes"),
        ],
    },
];
