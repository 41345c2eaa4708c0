use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use contract::alarm::{ALARMS, Severity};
use serde_json::Value;

use super::*;

fn environments() -> Vec<Environment> {
    ["dev", "staging", "prod"]
        .into_iter()
        .filter_map(Environment::named)
        .collect()
}

fn prod() -> Environment {
    Environment::named("prod").expect("known")
}

/// Returns the resources of both stacks with alarms.
fn resources(environment: &Environment) -> Vec<(String, Value)> {
    let templates = [alarms::alarms(environment), observability(environment)];
    let resources =
        templates
            .into_iter()
            .flat_map(|template| match template.into_json()["Resources"].take() {
                Value::Object(resources) => resources.into_iter().collect(),
                _ => Vec::new(),
            });
    resources.collect()
}

fn of_kind(environment: &Environment, kind: &str) -> Vec<(String, Value)> {
    let all = resources(environment).into_iter();
    all.filter(|(_, resource)| resource["Type"] == kind)
        .map(|(id, resource)| (id, resource["Properties"].clone()))
        .collect()
}

fn slug<'a>(environment: &Environment, properties: &'a Value) -> &'a str {
    let name = properties["AlarmName"].as_str().expect("a name");
    name.strip_prefix(&environment.stack_name(""))
        .expect("the environment's prefix")
}

#[test]
fn every_alarm_of_the_contract_exists_and_names_runbooks_that_exist() {
    for environment in environments() {
        let mut alarms = of_kind(&environment, "AWS::CloudWatch::Alarm");
        assert_eq!(
            alarms.len(),
            ALARMS.len(),
            "one of each in the two stacks together"
        );
        for (id, properties) in &alarms {
            assert!(
                properties["DatapointsToAlarm"].as_u64()
                    <= properties["EvaluationPeriods"].as_u64(),
                "{id}"
            );
        }
        alarms.extend(of_kind(&environment, "AWS::CloudWatch::CompositeAlarm"));
        for (id, properties) in &alarms {
            let description = properties["AlarmDescription"]
                .as_str()
                .expect("a description");
            assert!(
                !linked(description).is_empty(),
                "{id} names no runbook: {description}"
            );
            for link in linked(description) {
                assert!(
                    repository().join(link).is_file(),
                    "{id} names {link}, which is not there"
                );
            }
        }
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the runbooks that an alarm's description names.
fn linked(description: &str) -> Vec<&str> {
    description
        .split([' ', ','])
        .filter(|word| word.starts_with("runbooks/"))
        .collect()
}

#[test]
fn every_runbook_has_all_sections() {
    for alarm in ALARMS {
        let path = repository().join(format!("runbooks/{}.md", alarm.runbook));
        let text = std::fs::read_to_string(path).expect(alarm.runbook);
        assert!(
            text.contains(alarm.slug),
            "{} does not name {}",
            alarm.runbook,
            alarm.slug
        );
        for heading in ["Meaning", "Impact", "Diagnosis", "Mitigation", "Prevention"] {
            let (_, section) = text
                .split_once(&format!("\n## {heading}\n"))
                .expect(alarm.runbook);
            let section = section.split("\n## ").next().unwrap_or_default().trim();
            assert!(
                !section.is_empty(),
                "{}: nothing under {heading}",
                alarm.runbook
            );
        }
    }
}

#[test]
fn a_page_names_the_runbooks_of_its_alarms() {
    let environment = prod();
    let composites = of_kind(&environment, "AWS::CloudWatch::CompositeAlarm");
    let named = |page: &str| -> BTreeSet<String> {
        let (_, properties) = composites
            .iter()
            .find(|(_, it)| slug(&environment, it) == page)
            .expect(page);
        let description = properties["AlarmDescription"]
            .as_str()
            .expect("a description");
        linked(description).into_iter().map(str::to_owned).collect()
    };
    for (id, properties) in of_kind(&environment, "AWS::CloudWatch::Alarm") {
        let own = linked(
            properties["AlarmDescription"]
                .as_str()
                .expect("a description"),
        )[0]
        .to_owned();
        for page in ["page-orders", "page-customers", "page-platform"] {
            if rule(&composites, &environment, page).contains(&format!("${{{id}}}")) {
                assert!(named(page).contains(&own), "{page} does not name {own}");
            }
        }
    }
    assert!(
        named("page-orders").is_subset(&named("page-customers")),
        "orders are what customers notice"
    );
}

#[test]
fn every_alarm_has_a_graph_on_the_operations_dashboard() {
    let body = dashboard::operations();
    let widgets = body["widgets"].as_array().expect("widgets");
    for alarm in ALARMS {
        let named = json!([format!("${{Alarms}}{}", alarm.slug)]);
        assert!(
            widgets
                .iter()
                .any(|widget| widget["properties"]["annotations"]["alarms"] == named),
            "{}",
            alarm.slug
        );
    }
}

#[test]
fn alarms_of_the_platform_use_no_more_metrics_than_an_alarm_takes() {
    for environment in environments() {
        for (id, properties) in of_kind(&environment, "AWS::CloudWatch::Alarm") {
            // A metric math expression can have ten metrics (CloudWatch user guide, "Limits").
            let Some(metrics) = properties["Metrics"].as_array() else {
                continue;
            };
            let measured = metrics
                .iter()
                .filter(|metric| metric.get("MetricStat").is_some())
                .count();
            assert!(measured <= 10, "{id}: {measured}");
            let returned = metrics
                .iter()
                .filter(|metric| metric["ReturnData"] != false)
                .count();
            assert_eq!(returned, 1, "{id}: one series decides");
        }
    }
}

/// Returns the text of a composite alarm's rule.
fn rule(composites: &[(String, Value)], environment: &Environment, page: &str) -> String {
    let (_, properties) = composites
        .iter()
        .find(|(_, properties)| slug(environment, properties) == page)
        .expect(page);
    let text = &properties["AlarmRule"]["Fn::Sub"];
    text.as_str()
        .or(text[0].as_str())
        .expect("a rule")
        .to_owned()
}

#[test]
fn every_alarm_that_pages_is_in_exactly_one_page_and_no_other_is() {
    let environment = prod();
    let composites = of_kind(&environment, "AWS::CloudWatch::CompositeAlarm");
    let pages = ["page-orders", "page-customers", "page-platform"];
    let rules: Vec<String> = pages
        .iter()
        .map(|page| rule(&composites, &environment, page))
        .collect();
    for (id, properties) in of_kind(&environment, "AWS::CloudWatch::Alarm") {
        let alarm = ALARMS
            .iter()
            .find(|alarm| alarm.slug == slug(&environment, &properties))
            .expect("of the contract");
        let inside = rules
            .iter()
            .filter(|rule| rule.contains(&format!("${{{id}}}")))
            .count();
        assert_eq!(
            inside,
            usize::from(alarm.severity == Severity::Page),
            "{}",
            alarm.slug
        );
    }
    assert!(
        rules[1].contains("ALARM(\"${Orders}\")"),
        "customers notice what happens to orders"
    );
}

#[test]
fn a_deployment_suppresses_only_the_platform_page_and_only_while_it_is_not_stuck() {
    let environment = prod();
    let composites = of_kind(&environment, "AWS::CloudWatch::CompositeAlarm");
    for (id, properties) in &composites {
        let held_back = properties.get("ActionsSuppressor").is_some();
        assert_eq!(
            held_back,
            slug(&environment, properties) == "page-platform",
            "{id}"
        );
    }
    assert_eq!(
        rule(&composites, &environment, "quiet"),
        "ALARM(\"${DeployingAlarm}\") AND NOT ALARM(\"${DeploymentStuckAlarm}\")"
    );
}

#[test]
fn thresholds_follow_the_size_of_the_environment() {
    let threshold = |environment: &Environment, wanted: &str| {
        let alarms = of_kind(environment, "AWS::CloudWatch::Alarm");
        let found = alarms
            .iter()
            .find(|(_, properties)| slug(environment, properties) == wanted);
        found
            .and_then(|(_, properties)| properties["Threshold"].as_u64())
            .expect(wanted)
    };
    let mut environment = prod();
    // The instances have 16 GiB and 4 GiB of memory, and the storage has 50 GiB.
    assert_eq!(
        threshold(&environment, "database-memory"),
        16 * (1 << 30) / 10
    );
    assert_eq!(
        threshold(&environment, "database-connections"),
        16 * (1 << 30) / 9_531_392 * 80 / 100
    );
    environment.settings.database.instance_class = "db.t4g.medium".to_owned();
    assert_eq!(
        threshold(&environment, "database-memory"),
        4 * (1 << 30) / 10
    );
    environment.settings.database.instance_class = "db.m7g.2xlarge".to_owned();
    assert_eq!(
        threshold(&environment, "database-memory"),
        32 * (1 << 30) / 10
    );
    assert_eq!(threshold(&environment, "database-storage"), 5 << 30);
}

#[test]
fn aurora_is_watched_as_a_cluster() {
    let mut environment = prod();
    environment.settings.database.engine = crate::Engine::Aurora;
    for (id, properties) in of_kind(&environment, "AWS::CloudWatch::Alarm") {
        if properties["Namespace"] == "AWS/RDS" {
            assert_eq!(
                properties["Dimensions"][0]["Name"], "DBClusterIdentifier",
                "{id}"
            );
            assert_ne!(
                properties["MetricName"], "FreeStorageSpace",
                "Aurora has no such metric"
            );
        }
    }
}

#[test]
fn without_an_alarm_address_there_is_no_subscription() {
    let mut environment = prod();
    assert_eq!(of_kind(&environment, "AWS::SNS::Subscription").len(), 1);
    let budget = &of_kind(&environment, "AWS::Budgets::Budget")[0].1;
    let limits: BTreeSet<String> = budget["NotificationsWithSubscribers"]
        .as_array()
        .expect("notifications")
        .iter()
        .map(|told| {
            format!(
                "{} {}",
                told["Notification"]["NotificationType"], told["Notification"]["Threshold"]
            )
        })
        .collect();
    assert_eq!(
        limits,
        ["\"ACTUAL\" 80", "\"FORECASTED\" 100"]
            .map(str::to_owned)
            .into()
    );
    environment.settings.observability.alarm_email.clear();
    assert!(
        resources(&environment)
            .iter()
            .all(|(_, resource)| !resource.to_string().contains("EMAIL"))
    );
    assert!(of_kind(&environment, "AWS::SNS::Subscription").is_empty());
}

#[test]
fn queries_read_the_logs_of_every_role() {
    for (id, properties) in of_kind(&prod(), "AWS::Logs::QueryDefinition") {
        let groups = properties["LogGroupNames"].as_array().expect("groups");
        assert_eq!(groups.len(), ROLES.len(), "{id}");
        assert!(
            groups.contains(&json!("/brewhaven/prod/order-worker")),
            "{id}"
        );
    }
}

#[test]
fn local_alarms_watch_only_local_metrics() {
    let stacks = crate::stacks(&Environment::shop());
    let template = &stacks
        .iter()
        .find(|stack| stack.slug == "alarms")
        .expect("alarms")
        .template;
    let resources = template["Resources"].as_object().expect("resources");
    for (id, resource) in resources {
        assert!(
            ["AWS/SQS", "BrewHaven"]
                .iter()
                .any(|ours| resource["Properties"]["Namespace"] == *ours),
            "{id}"
        );
    }
    assert!(!resources.is_empty());
}
