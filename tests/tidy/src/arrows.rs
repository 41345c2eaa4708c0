//! Rules about dependencies between crates ("Which way arrows point" in ARCHITECTURE.md).

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::root;

/// The sections of a manifest that name dependencies.
const SECTIONS: [&str; 3] = [
    "[dependencies]",
    "[build-dependencies]",
    "[dev-dependencies]",
];

/// Returns every crate on which a crate depends, directly or indirectly, without its
/// dev-dependencies.
fn tree(package: &str) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "-p",
            package,
        ])
        .current_dir(root())
        .output()
        .expect("cargo tree runs");
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let names = String::from_utf8(tree.stdout).expect("text");
    names
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

/// Returns the dependencies in each manifest of the workspace, without dev-dependencies.
fn direct() -> BTreeMap<String, BTreeSet<String>> {
    direct_in(&["[dependencies]", "[build-dependencies]"])
}

/// Returns the dependencies that each crate of ours names in these sections of its manifest.
fn direct_in(sections: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let mut direct = BTreeMap::new();
    for folder in ["infra", "workers", "tests", "."] {
        for entry in std::fs::read_dir(root().join(folder))
            .expect("a directory")
            .flatten()
        {
            let Ok(manifest) = std::fs::read_to_string(entry.path().join("Cargo.toml")) else {
                continue;
            };
            let folder = entry.file_name().to_string_lossy().into_owned();
            let mut lines = manifest.lines();
            let name = lines.find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
            let name = name.expect("a crate has a name").to_owned();
            // `console` is also the name of a crate on crates.io, which the progress bars need.
            assert!(
                name == folder || name == format!("haven-{folder}"),
                "the crate in {folder}/ has another name than its directory"
            );
            let mut section = "";
            let mut needs = BTreeSet::new();
            for line in manifest.lines() {
                if line.starts_with('[') {
                    section = line;
                    let is_other = line.contains("dependencies") && !SECTIONS.contains(&line);
                    assert!(!is_other, "{name}: no test reads the section {line}");
                } else if sections.contains(&section)
                    && line.contains('=')
                    && !line.starts_with('#')
                {
                    assert!(
                        line.contains("workspace = true"),
                        "{name}: versions stand in the root manifest: {line}"
                    );
                    needs.insert(
                        line.split(['.', ' ', '='])
                            .next()
                            .unwrap_or_default()
                            .to_owned(),
                    );
                }
            }
            direct.insert(name, needs);
        }
    }
    direct
}

#[test]
fn the_pure_crates_do_no_io() {
    for package in ["domain", "contract", "app", "blueprint"] {
        let needs = tree(package);
        for impure in [
            "tokio",
            "axum",
            "hyper",
            "reqwest",
            "sqlx",
            "rusqlite",
            "redis",
            "aws-config",
            "prometheus",
            "aws-lc-rs",
        ] {
            assert!(!needs.contains(impure), "{package} needs {impure}");
        }
        assert!(
            needs.iter().all(|name| !name.starts_with("aws-sdk-")),
            "{package} needs an SDK"
        );
    }
}

#[test]
fn only_the_adapter_of_a_technology_depends_on_its_crate() {
    let allowed = |name: &str| -> &[&str] {
        match name {
            // `prove` reads the views of the contract schema, like an external client.
            "sqlx" => &["adapter-sql", "prove"],
            "tokio-postgres" | "rusqlite" | "refinery" => &["migrations"],
            "redis" => &["adapter-redis"],
            "prometheus" => &["chassis"],
            name if name.starts_with("aws-") && name != "aws-lc-rs" => &[
                "adapter-aws",
                "bench",
                "e2e",
                "haven",
                "platform",
                "prove",
                "provision",
            ],
            name => panic!("{name} is not looked for"),
        }
    };
    for (package, needs) in direct() {
        for name in needs {
            let watched = [
                "sqlx",
                "tokio-postgres",
                "rusqlite",
                "refinery",
                "redis",
                "prometheus",
            ]
            .contains(&name.as_str());
            if watched || (name.starts_with("aws-") && name != "aws-lc-rs") {
                assert!(
                    allowed(&name).contains(&package.as_str()),
                    "{package} names {name}"
                );
            }
        }
    }
}

/// Returns the crates on which a crate may depend, in products.
fn may(package: &str) -> &'static [&'static str] {
    match package {
        "domain" => &[],
        "contract" => &["domain"],
        "app" | "blueprint" => &["contract", "domain"],
        "chassis" => &["contract"],
        "adapter-memory" => &["app", "contract", "domain"],
        "notices" => &["app", "domain"],
        "adapter-aws" | "adapter-gateway" | "adapter-redis" | "adapter-sql" => {
            &["app", "chassis", "contract", "domain"]
        }
        "migrations" | "payment-gateway" | "faults" | "front" => &[],
        "storefront" => &["app", "chassis", "contract", "domain"],
        "worker" => &[
            "adapter-aws",
            "adapter-gateway",
            "adapter-memory",
            "adapter-redis",
            "adapter-sql",
            "app",
            "chassis",
            "contract",
            "domain",
            "notices",
            "storefront",
        ],
        "haven-console" => &["domain"],
        "provision" => &[
            "adapter-aws",
            "blueprint",
            "chassis",
            "contract",
            "haven-console",
        ],
        "platform" => &[
            "adapter-aws",
            "adapter-sql",
            "app",
            "blueprint",
            "chassis",
            "contract",
            "domain",
            "front",
            "haven-console",
            "migrations",
            "provision",
            "storefront",
            "worker",
        ],
        "tidy" => &["contract"],
        // These crates combine all others, or drive them from outside.
        "bench" | "haven" | "servers" | "e2e" | "prove" => &["*"],
        other => panic!("{other} has no place in ARCHITECTURE.md"),
    }
}

/// Returns the crates on which the tests of a crate may depend beside those of [`may`]: the servers
/// that they need, the schema of a database, and what a proxy or a page is tried with.
fn may_in_tests(package: &str) -> &'static [&'static str] {
    match package {
        "adapter-aws" | "adapter-redis" => &["servers"],
        "adapter-sql" => &["migrations", "servers"],
        "platform" | "provision" => &["servers"],
        "storefront" => &["adapter-memory"],
        "faults" => &[
            "adapter-aws",
            "adapter-sql",
            "adapter-redis",
            "app",
            "domain",
            "migrations",
            "servers",
        ],
        _ => &[],
    }
}

#[test]
fn arrows_between_our_crates_point_up() {
    let direct = direct();
    for (package, needs) in &direct {
        let allowed = may(package);
        for name in needs.iter().filter(|name| direct.contains_key(*name)) {
            assert!(
                allowed == ["*"] || allowed.contains(&name.as_str()),
                "{package} must not need {name}"
            );
        }
    }
}

#[test]
fn tests_depend_only_on_what_their_crate_may_have_and_on_their_servers() {
    let direct = direct_in(&["[dev-dependencies]"]);
    for (package, needs) in &direct {
        let allowed = [may(package), may_in_tests(package)].concat();
        for name in needs.iter().filter(|name| direct.contains_key(*name)) {
            assert!(
                allowed.contains(&"*") || allowed.contains(&name.as_str()),
                "the tests of {package} must not need {name}"
            );
        }
        for name in may_in_tests(package) {
            assert!(
                needs.contains(*name),
                "the tests of {package} do not need {name} any more"
            );
        }
    }
}

/// `contract` has the names that loops and telemetry need. The tests of the loops need no more.
#[test]
fn the_chassis_knows_nothing_of_coffee() {
    let all = direct_in(&["[dependencies]", "[dev-dependencies]"]);
    let ours: Vec<&String> = all["chassis"]
        .iter()
        .filter(|name| all.contains_key(*name))
        .collect();
    assert_eq!(ours, ["contract"]);
}

#[test]
fn there_is_one_provider_of_cryptography() {
    for package in ["haven", "worker", "payment-gateway"] {
        let needs = tree(package);
        for other in ["ring", "native-tls", "openssl"] {
            assert!(
                !needs.contains(other),
                "{package} needs {other} beside aws-lc-rs"
            );
        }
    }
}
