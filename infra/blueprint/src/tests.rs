use std::collections::BTreeSet;
use std::path::Path;

use contract::alarm::ALARMS;
use contract::queue::QUEUES;
use contract::role::ROLES;
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::*;

fn environments() -> Vec<Environment> {
    ["local", "dev", "staging", "prod"]
        .into_iter()
        .filter_map(Environment::named)
        .collect()
}

/// Collects every value under `key`.
fn under<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get(key));
            object.values().for_each(|value| under(value, key, found));
        }
        Value::Array(values) => values.iter().for_each(|value| under(value, key, found)),
        _ => {}
    }
}

fn all<'a>(value: &'a Value, key: &str) -> Vec<&'a Value> {
    let mut found = Vec::new();
    under(value, key, &mut found);
    found
}

/// Compares the value with the file, or writes the file with `HAVEN_BLESS=1`.
pub(crate) fn fresh(path: &Path, value: &Value) {
    fresh_text(
        path,
        &(serde_json::to_string_pretty(value).expect("JSON") + "\n"),
    );
}

/// Returns one property per line, for readable diffs, with minimal indentation: there are files for
/// four environments.
fn golden(value: &Value) -> String {
    let mut text = Vec::new();
    let mut writer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b" "));
    value.serialize(&mut writer).expect("JSON");
    String::from_utf8(text).expect("UTF-8") + "\n"
}

#[expect(clippy::disallowed_methods, reason = "HAVEN_BLESS renews the files")]
fn fresh_text(path: &Path, text: &str) {
    if std::env::var_os("HAVEN_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        there == text,
        "{} is stale: run HAVEN_BLESS=1 cargo test -p blueprint",
        path.display()
    );
}

#[test]
fn the_golden_templates_are_what_is_deployed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    for environment in environments() {
        let folder = folder.join(&environment.name);
        let mut files = BTreeSet::new();
        for stack in stacks(&environment) {
            let file = format!("{}.json", stack.slug);
            fresh_text(&folder.join(&file), &golden(&stack.template));
            files.insert(file);
        }
        // A file of a stack that no longer exists would be linted and reviewed for nothing.
        let there = std::fs::read_dir(&folder)
            .expect("a directory")
            .map(|file| file.expect("a file").file_name());
        let there: BTreeSet<String> = there.filter_map(|name| name.into_string().ok()).collect();
        assert_eq!(there, files, "in {}", folder.display());
        // The bootstrap stack is separate: it is deployed once per account and is no part of the
        // platform.
        let bootstrap = golden(&crate::bootstrap(&environment).template);
        fresh_text(
            &Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("golden/bootstrap")
                .join(format!("{}.json", environment.name)),
            &bootstrap,
        );
    }
}

/// `check` reports a type that is missing in the table, because it would go unchecked.
#[test]
fn every_template_is_valid_by_the_schemas_of_its_types() {
    for environment in environments() {
        for stack in stacks(&environment) {
            let violations = schema::check(&stack.template);
            assert!(violations.is_empty(), "{}: {violations:#?}", stack.name);
        }
    }
}

#[test]
fn the_dashboard_file_is_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dashboards");
    fresh(&folder.join("operations.json"), &operations_dashboard());
}

/// CloudFormation refuses a second export of a name. `in_order` checks that imports have exports.
#[test]
fn every_export_has_a_name_of_its_own() {
    for environment in environments() {
        let mut names = BTreeSet::new();
        for stack in stacks(&environment) {
            for (name, _) in references::exports(&stack.template) {
                assert!(names.insert(name.to_owned()), "{name} is exported twice");
            }
        }
    }
}

#[test]
fn every_queue_has_a_parking_queue_and_every_parking_queue_an_alarm() {
    for queue in QUEUES {
        assert!(
            ALARMS
                .iter()
                .any(|alarm| matches!(alarm.signal, contract::alarm::Signal::Parked(watched) if watched == *queue))
        );
    }
    let environment = Environment::named("prod").expect("known");
    let stacks = stacks(&environment);
    let messaging = &stacks
        .iter()
        .find(|stack| stack.slug == "messaging")
        .expect("a stack of queues")
        .template;
    let kinds = |kind: &str| {
        let resources = messaging["Resources"].as_object().expect("resources");
        resources
            .values()
            .filter(|resource| resource["Type"] == kind)
            .collect::<Vec<_>>()
    };
    let queues = kinds("AWS::SQS::Queue");
    assert_eq!(
        queues
            .iter()
            .filter(|queue| queue["Properties"].get("RedrivePolicy").is_some())
            .count(),
        QUEUES.len()
    );
    assert_eq!(
        kinds("AWS::SQS::QueuePolicy").len(),
        queues.len(),
        "each refuses what is not encrypted"
    );
}

#[test]
fn no_role_may_do_everything_or_touch_everything() {
    let environment = Environment::named("prod").expect("known");
    for role in ROLES {
        let statements = statements(role, &environment);
        for statement in statements {
            assert!(
                statement.actions.iter().all(|action| !action.contains('*')),
                "{}",
                statement.because
            );
            // A phone has no ARN. A test of the roles checks that topics are denied.
            let to_phones = role.text_messages && statement.actions == ["sns:Publish"];
            assert!(
                to_phones || statement.resources.iter().all(|it| it != "*"),
                "{}",
                statement.because
            );
        }
    }
}

/// Waivers of public Guard rules. Each must be in docs/figures.md with its reason.
#[test]
fn waivers_of_public_rules_are_documented_in_the_figures() {
    let figures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/figures.md");
    let figures = std::fs::read_to_string(figures).expect("figures");
    let mut waived = BTreeSet::new();
    for environment in ["dev", "staging", "prod"]
        .into_iter()
        .filter_map(Environment::named)
    {
        for stack in stacks(&environment)
            .into_iter()
            .chain([crate::bootstrap(&environment)])
        {
            for (name, resource) in stack.template["Resources"].as_object().expect("resources") {
                let guard = &resource["Metadata"]["guard"];
                for rule in guard["SuppressedRules"].as_array().into_iter().flatten() {
                    let rule = rule.as_str().expect("a name").to_owned();
                    let reason = guard["Reason"].as_str().unwrap_or_default();
                    assert!(
                        reason.split_whitespace().count() >= 5,
                        "{name}: {rule} without a reason"
                    );
                    assert!(
                        figures.contains(&format!("`{rule}`")),
                        "{name}: docs/figures.md does not mention {rule}"
                    );
                    waived.insert(rule);
                }
            }
        }
    }
    let told = [
        "API_GW_CACHE_ENABLED_AND_ENCRYPTED",
        "ELB_DELETION_PROTECTION_ENABLED",
        "NO_UNRESTRICTED_ROUTE_TO_IGW",
        "S3_BUCKET_DEFAULT_LOCK_ENABLED",
        "S3_BUCKET_REPLICATION_ENABLED",
        "SECRETSMANAGER_ROTATION_ENABLED_CHECK",
    ];
    assert_eq!(waived, told.map(str::to_owned).into());
}

/// Maximum of all templates of one environment together, a little above the current size. A change
/// that needs more must state the reason in docs/figures.md.
const ALL_TEMPLATES_BYTES_MAX: usize = 277_000;

/// Run with `--nocapture` to see the sizes.
#[test]
fn templates_stay_within_what_cloudformation_takes_inline() {
    for environment in environments() {
        let (mut total, mut resources) = (0, 0);
        for stack in stacks(&environment) {
            let bytes = stack.template.to_string().len();
            let count = stack.template["Resources"]
                .as_object()
                .expect("resources")
                .len();
            println!("{bytes:7} bytes, {count:3} resources: {}", stack.name);
            (total, resources) = (total + bytes, resources + count);
            assert!(bytes < 51_200, "{} is {bytes} bytes", stack.name);
            for alarm in all(&stack.template, "AlarmDescription") {
                assert!(alarm.as_str().is_some_and(|text| text.len() <= 1_024));
            }
        }
        println!(
            "{total:7} bytes, {resources:3} resources: all of {}",
            environment.name
        );
        assert!(
            total <= ALL_TEMPLATES_BYTES_MAX,
            "the templates of {} are {total} bytes",
            environment.name
        );
    }
}
