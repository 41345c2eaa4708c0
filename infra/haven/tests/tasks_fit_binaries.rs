//! Compares the variables of each task definition with the variables that its binary reads. No
//! other test sees both.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use blueprint::Environment;
use contract::role::{ROLES, Role};
use serde_json::{Map, Value};
use worker::config::{Config, Origin, settings};

/// Of each environment: the container of each role.
fn containers() -> Vec<(&'static Role, Map<String, Value>)> {
    let mut containers = Vec::new();
    for name in ["dev", "staging", "prod"] {
        let environment = Environment::named(name).expect("known");
        for stack in blueprint::stacks(&environment) {
            for resource in stack.template["Resources"]
                .as_object()
                .expect("resources")
                .values()
            {
                if resource["Type"] == "AWS::ECS::TaskDefinition" {
                    let list = resource["Properties"]["ContainerDefinitions"]
                        .as_array()
                        .expect("containers");
                    let [Value::Object(container)] = list.as_slice() else {
                        panic!("one container a task")
                    };
                    let slug = container["Name"].as_str().expect("a name");
                    let role = Role::by_slug(slug).unwrap_or_else(|| panic!("{slug} is no role"));
                    containers.push((role, container.clone()));
                }
            }
        }
    }
    assert_eq!(containers.len(), 3 * ROLES.len());
    containers
}

fn names(container: &Map<String, Value>, list: &str) -> Vec<String> {
    let entries = container[list].as_array().expect("a list").iter();
    let mut names: Vec<String> = entries
        .map(|entry| entry["Name"].as_str().expect("a name").to_owned())
        .collect();
    names.sort();
    names
}

/// A value as the process finds it: what only AWS knows becomes a word.
fn filled(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => match &value["Fn::Join"] {
            Value::Array(join) => join[1]
                .as_array()
                .expect("parts")
                .iter()
                .map(filled)
                .collect(),
            _ => "5432".to_owned(),
        },
    }
}

/// Everything that the process of this container finds.
fn given(role: &Role, container: &Map<String, Value>) -> BTreeMap<String, String> {
    let plain = container["Environment"].as_array().expect("a list").iter();
    let plain = plain.map(|entry| {
        (
            entry["Name"].as_str().expect("a name").to_owned(),
            filled(&entry["Value"]),
        )
    });
    let secret = names(container, "Secrets")
        .into_iter()
        .map(|name| (name, "s3cret".to_owned()));
    let image = settings(role)
        .into_iter()
        .filter(|(_, origin)| *origin == Origin::Image);
    plain
        .chain(secret)
        .chain(image.map(|(name, _)| (name, "/a/file".to_owned())))
        .collect()
}

#[test]
fn a_task_definition_has_exactly_the_variables_that_its_binary_reads() {
    for (role, container) in containers() {
        for (list, origin) in [("Environment", Origin::Task), ("Secrets", Origin::Secret)] {
            let read: BTreeSet<String> = settings(role)
                .into_iter()
                .filter(|(_, from)| *from == origin)
                .map(|(name, _)| name)
                .collect();
            assert_eq!(
                names(&container, list),
                read.into_iter().collect::<Vec<_>>(),
                "{} {list}",
                role.slug
            );
        }
    }
}

#[test]
fn a_binary_starts_with_its_task_definition_and_needs_each_variable() {
    for (role, container) in containers() {
        let given = given(role, &container);
        Config::load(role, &given).unwrap_or_else(|problems| panic!("{}: {problems}", role.slug));
        for name in given.keys() {
            let mut lacking = given.clone();
            lacking.remove(name);
            let problems = Config::load(role, &lacking).err();
            assert!(
                problems.is_some_and(|told| told.to_string().contains(name)),
                "{} without {name}",
                role.slug
            );
        }
    }
}

#[test]
fn ports_match_the_template() {
    for (role, container) in containers() {
        let config = Config::load(role, &given(role, &container)).expect("it starts");
        let mapped = container
            .get("PortMappings")
            .map(|ports| ports[0]["ContainerPort"].as_u64());
        let http = config.http().ok();
        assert_eq!(http.is_some(), role.public, "{}", role.slug);
        assert_eq!(
            mapped,
            http.map(|http| Some(u64::from(http.bind.port()))),
            "{}",
            role.slug
        );
        let health_port = config.health.bind.port();
        assert_ne!(health_port, 0, "{}: nobody could ask it", role.slug);
        if let Some(http) = http {
            assert_ne!(health_port, http.bind.port(), "{}", role.slug);
            let all = SocketAddr::from(([0, 0, 0, 0], http.bind.port()));
            assert_eq!(
                http.bind, all,
                "{}: the balancer comes from outside",
                role.slug
            );
        }
    }
}

#[test]
fn a_container_runs_the_binary_of_its_role_and_its_health_check() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../workers/worker/src/bin");
    for (role, container) in containers() {
        let binary = format!("/usr/local/bin/{}", role.slug);
        assert_eq!(container["EntryPoint"], serde_json::json!([binary]));
        assert!(
            !container.contains_key("Command"),
            "{}: any argument but `health` is refused",
            role.slug
        );
        let health = &container["HealthCheck"];
        assert_eq!(
            health["Command"],
            serde_json::json!(["CMD", binary, "health"])
        );
        // Five seconds where it is not given; the binary answers within two.
        assert!(
            health
                .get("Timeout")
                .is_none_or(|seconds| seconds.as_u64() >= Some(3)),
            "{health}"
        );
        assert!(
            std::path::Path::new(&format!("{manifest}/{}.rs", role.slug)).is_file(),
            "{} has no binary",
            role.slug
        );
        let stop = container["StopTimeout"].as_u64().expect("seconds");
        assert!(
            stop > role.drain.as_secs(),
            "{}: killed while it drains",
            role.slug
        );
    }
}
