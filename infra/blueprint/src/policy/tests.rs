//! The platform has no weakness, and each weakness would be found. The tests plant one weakness at
//! a time into the templates of production, and exactly one rule must report it.

mod fixture;
mod weakness;
mod weaknesses;

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::json;

use super::*;
use crate::{Engine, stacks};

fn named(name: &str) -> Environment {
    Environment::named(name).expect("known")
}

/// Returns the findings as text for people.
fn lines<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> String {
    let line = |finding: &Finding| {
        format!(
            "{} {} {} {}: {}\n",
            finding.rule, finding.stack, finding.resource, finding.path, finding.message
        )
    };
    findings.into_iter().map(line).collect()
}

#[test]
fn the_platform_has_no_finding() {
    for name in ["dev", "staging", "prod"] {
        let environment = named(name);
        let findings = check_all(&environment, &stacks(&environment));
        let open: Vec<&Finding> = findings
            .iter()
            .filter(|finding| finding.waived.is_none())
            .collect();
        assert!(
            open.is_empty(),
            "{} in {name}:\n{}",
            open.len(),
            lines(open)
        );
    }
}

#[test]
fn the_fixture_has_no_finding() {
    let fixture = fixture::stack();
    let findings = check(&fixture.name, &fixture.template);
    assert!(findings.is_empty(), "{}", lines(&findings));
}

/// The engine is one setting, so both must be without findings.
#[test]
fn the_platform_on_aurora_has_no_finding() {
    for name in ["dev", "staging", "prod"] {
        let mut environment = named(name);
        environment.settings.database.engine = Engine::Aurora;
        let findings = check_all(&environment, &stacks(&environment));
        let open: Vec<&Finding> = findings
            .iter()
            .filter(|finding| finding.waived.is_none())
            .collect();
        assert!(open.is_empty(), "{name}:\n{}", lines(open));
    }
}

#[test]
fn waivers_are_reported_with_their_reasons() {
    let environment = named("prod");
    let findings = check_all(&environment, &stacks(&environment));
    let waived: Vec<&Finding> = findings
        .iter()
        .filter(|finding| finding.waived.is_some())
        .collect();
    for finding in &waived {
        let reason = finding.waived.as_deref().unwrap_or_default();
        assert!(
            reason.split_whitespace().count() >= 5,
            "{} of {}: {reason}",
            finding.rule,
            finding.resource
        );
    }
    let rules: BTreeSet<&str> = waived.iter().map(|finding| finding.rule.as_str()).collect();
    assert!(
        rules.contains("S3-2"),
        "the bucket of the balancer's logs takes no key of ours: {rules:?}"
    );
}

#[test]
fn each_planted_weakness_is_caught_by_exactly_its_rule() {
    let mut aurora = named("prod");
    aurora.settings.database.engine = Engine::Aurora;
    let mut failures = Vec::new();
    for (environment, weaknesses) in [
        (named("prod"), weaknesses::all()),
        (aurora, weaknesses::of_aurora()),
    ] {
        let mut good = stacks(&environment);
        good.push(fixture::stack());
        let before = Found::new(&environment, &good);
        for weakness in &weaknesses {
            let found = match weakness.planted_in(&good) {
                Ok((changed, bad)) => before.after(&environment, &bad, changed),
                Err(error) => {
                    failures.push(format!("{weakness}: {error}"));
                    continue;
                }
            };
            let rules: BTreeSet<&str> = found.iter().map(|finding| finding.rule.as_str()).collect();
            if rules != BTreeSet::from([weakness.rule]) {
                failures.push(format!("{weakness}: caught by {rules:?}"));
            }
            // A message has two sentences: the problem, and the fix.
            for finding in found.iter().filter(|finding| finding.rule == weakness.rule) {
                if !finding.message.contains(". ") || !finding.path.starts_with('/') {
                    failures.push(format!(
                        "{weakness}: {} {:?}",
                        finding.path, finding.message
                    ));
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of the weaknesses:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Findings in the templates without a weakness, for example waived ones.
struct Found(BTreeSet<(String, String, String)>);

impl Found {
    fn new(environment: &Environment, stacks: &[Stack]) -> Found {
        Found(
            check_all(environment, stacks)
                .iter()
                .filter_map(open)
                .collect(),
        )
    }

    /// Returns the additional findings when `stacks[changed]` has a weakness.
    fn after(&self, environment: &Environment, stacks: &[Stack], changed: usize) -> Vec<Finding> {
        let mut findings = check(&stacks[changed].name, &stacks[changed].template);
        findings.extend(closure(environment, stacks));
        findings.retain(|finding| open(finding).is_some_and(|open| !self.0.contains(&open)));
        findings
    }
}

fn open(finding: &Finding) -> Option<(String, String, String)> {
    finding.waived.is_none().then(|| {
        (
            finding.rule.clone(),
            finding.stack.clone(),
            finding.resource.clone(),
        )
    })
}

type Weaken = fn(&mut Environment);

/// Weaknesses of the tags that `haven` sets on every stack. No template contains them.
const OF_THE_STACKS: &[(&str, Weaken)] = &[
    ("TAG-2", |environment| {
        environment.settings.account.owner.clear()
    }),
    ("TAG-2", |environment| {
        environment.settings.account.cost_center.clear()
    }),
];

#[test]
fn each_weakness_of_all_stacks_is_caught_by_exactly_its_rule() {
    for (rule, weaken) in OF_THE_STACKS {
        let mut environment = named("prod");
        weaken(&mut environment);
        let findings = check_all(&environment, &stacks(&environment));
        let rules: Vec<&str> = findings
            .iter()
            .filter_map(|it| it.waived.is_none().then_some(it.rule.as_str()))
            .collect();
        assert_eq!(rules, [*rule]);
    }
}

#[test]
fn every_rule_is_shown_to_catch_something() {
    let (all, of_aurora) = (weaknesses::all(), weaknesses::of_aurora());
    let in_templates = all.iter().chain(&of_aurora).map(|weakness| weakness.rule);
    let planted: BTreeSet<&str> = in_templates
        .chain(OF_THE_STACKS.iter().map(|(rule, _)| *rule))
        .collect();
    let rules = rules();
    let never: Vec<&String> = rules
        .iter()
        .filter(|rule| !planted.contains(rule.as_str()))
        .collect();
    assert!(never.is_empty(), "nothing is planted for {never:?}");
    let unknown: Vec<&&str> = planted
        .iter()
        .filter(|rule| !rules.iter().any(|known| known == **rule))
        .collect();
    assert!(unknown.is_empty(), "no such rules: {unknown:?}");
    let total = all.len() + of_aurora.len() + OF_THE_STACKS.len();
    println!("{total} weaknesses for {} rules", rules.len());
    assert!(total >= 80, "{total}");
}

#[test]
fn a_rule_has_one_id() {
    let rules = rules();
    let unique: BTreeSet<&String> = rules.iter().collect();
    assert_eq!(unique.len(), rules.len(), "{rules:?}");
    for rule in &rules {
        let (service, number) = rule.split_once('-').expect("such as SQS-2");
        assert!(
            service
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()),
            "{rule}"
        );
        assert!(number.parse::<u16>().is_ok(), "{rule}");
    }
}

#[test]
fn a_waiver_hides_one_rule_of_one_resource_and_needs_a_reason() {
    let queue = |waive: Value| {
        json!({ "Resources": { "Orders": {
            "Type": "AWS::SQS::Queue",
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",
            "Metadata": { "haven": { "waive": waive } },
            "Properties": { "RedrivePolicy": { "maxReceiveCount": 5 }, "VisibilityTimeout": 60 },
        } } })
    };
    let open = |waive: Value| -> Vec<String> {
        let findings = check("messaging", &queue(waive)).into_iter();
        findings
            .filter(|finding| finding.waived.is_none())
            .map(|finding| finding.rule)
            .collect()
    };
    assert_eq!(open(json!([])), ["SQS-1", "SQS-8", "TAG-1"]);
    assert_eq!(
        open(json!([{ "rule": "SQS-1", "reason": "holds nothing but the time of day" }])),
        ["SQS-8", "TAG-1"]
    );
    assert_eq!(
        open(json!([{ "rule": "SQS-1", "reason": " " }])),
        ["SQS-1", "SQS-8", "TAG-1", "WAIVE-1"]
    );
    let idle = json!([{ "rule": "SQS-3", "reason": "nobody knows any more" }]);
    assert_eq!(open(idle), ["SQS-1", "SQS-8", "TAG-1", "WAIVE-2"]);
}

/// The time is for a release build; run with `--nocapture` to see it.
#[test]
fn checking_production_is_fast() {
    let environment = named("prod");
    let stacks = stacks(&environment);
    let resources: usize = stacks
        .iter()
        .map(|stack| resources(&stack.template).count())
        .sum();
    let began = Instant::now();
    let rules = rules().len();
    let parsed = began.elapsed();
    let began = Instant::now();
    let findings = check_all(&environment, &stacks).len();
    let checked = began.elapsed();
    println!(
        "{rules} rules parsed in {parsed:?}; {resources} resources checked in {checked:?}, {findings} findings"
    );
    if !cfg!(debug_assertions) {
        assert!(
            (parsed + checked).as_millis() < 1_000,
            "{parsed:?}, {checked:?}"
        );
    }
}
