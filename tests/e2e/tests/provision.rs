//! Provisioning as a user runs it, on a local AWS of the test's own.

use std::collections::BTreeSet;
use std::process::Output;

use e2e::{World, haven_command};
use serde_json::Value;
use servers::{LocalAws, local_aws};

/// Runs `haven` against a local AWS without a running shop.
fn haven_on(aws: &LocalAws, arguments: &[&str]) -> Output {
    let nowhere = std::env::temp_dir().join("haven-e2e-no-state");
    let mut command = haven_command();
    command
        .args(arguments)
        .args(["--endpoint", &aws.access.endpoint, "--state"])
        .arg(nowhere);
    command.envs(aws.access.variables());
    command.output().expect("haven runs")
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// Returns the outcome, which is the last line of `--json`. The lines before it report progress.
fn outcome(output: &Output) -> Value {
    let text = said(output);
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

fn outcomes(deployed: &Value) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let stacks = deployed["stacks"].as_array().expect("stacks").iter();
    stacks
        .map(|stack| (text(&stack["name"]), text(&stack["outcome"])))
        .collect()
}

const STACKS: [&str; 12] = [
    "alarms",
    "backup",
    "compute",
    "data",
    "edge",
    "messaging",
    "network",
    "observability",
    "parameters",
    "roles",
    "security",
    "servers",
];

fn all(outcome: &str) -> BTreeSet<(String, String)> {
    STACKS
        .iter()
        .map(|slug| (format!("brew-haven-local-{slug}"), outcome.to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stack_is_deployed_to_the_local_aws_and_destroyed_except_its_data() {
    let aws = local_aws().await;
    let deployed = outcome(&haven_on(&aws, &["deploy", "local", "--json"]));
    assert_eq!(outcomes(&deployed), all("created"));
    let left_out = deployed["left_out"].as_array().expect("what is left out");
    let natless = left_out
        .iter()
        .find(|left_out| left_out["kind"] == "AWS::EC2::NatGateway")
        .expect("it is told");
    assert_eq!(
        (&natless["stack"], &natless["how"]),
        (&"network".into(), &"left_out".into())
    );
    assert!(
        left_out
            .iter()
            .all(|left_out| left_out["why"].as_str().is_some_and(|why| !why.is_empty()))
    );

    let again = said(&haven_on(&aws, &["deploy", "local", "-v"]));
    assert!(
        again.ends_with("\nNothing to deploy: 12 stacks unchanged.\n"),
        "{again}"
    );
    assert!(
        again.contains("AWS::EC2::NatGateway: no packet flows"),
        "{again}"
    );

    let preview = outcome(&haven_on(
        &aws,
        &["destroy", "local", "--dry-run", "--json"],
    ));
    let kept = preview["resources"].as_array().expect("resources").iter();
    let mut kept = kept.filter(|resource| resource["fate"] == "kept");
    assert!(
        kept.any(|resource| resource["resource"] == "data/ProductsTable"),
        "{preview:#}"
    );
    assert_eq!(preview["removed"].as_array().map(Vec::len), Some(0));
    let destroyed = outcome(&haven_on(&aws, &["destroy", "local", "--yes", "--json"]));
    assert_eq!(
        preview["stacks"], destroyed["removed"],
        "all were still there"
    );
    assert_eq!(
        destroyed["removed"].as_array().map(Vec::len),
        Some(STACKS.len())
    );
    let retained = destroyed["retained"].as_array().expect("a list");
    for kept in [
        "auditbucket",
        "lakebucket",
        "data-ProductsTable",
        "payment-webhook",
    ] {
        assert!(
            retained
                .iter()
                .any(|name| name.as_str().is_some_and(|name| name.contains(kept))),
            "{kept}: {retained:?}"
        );
    }
    let status = haven_on(&aws, &["status", "local", "--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    let stacks = status["stacks"].as_array().expect("stacks");
    assert!(
        !stacks.is_empty() && stacks.iter().all(|stack| stack["status"] == "NOT_DEPLOYED"),
        "{stacks:?}"
    );

    let back = outcome(&haven_on(&aws, &["deploy", "local", "--json"]));
    assert_eq!(
        outcomes(&back),
        all("created"),
        "what was kept is not in the way"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_platform_continues_while_the_other_stacks_are_deployed() {
    let mut world = World::open(&[]).await;
    let before = world.order("flat-white", 1, "tok_ok").await;
    let deployed = outcome(&world.haven(&["deploy", "local", "--json"]));
    let unchanged: BTreeSet<String> = outcomes(&deployed)
        .into_iter()
        .filter_map(|(name, outcome)| (outcome == "unchanged").then_some(name))
        .collect();
    let shop = ["alarms", "data", "messaging", "parameters"]
        .map(|slug| format!("brew-haven-local-{slug}"));
    assert_eq!(
        unchanged,
        BTreeSet::from(shop),
        "what the shop stands on is not touched"
    );
    world.until(&before, &["confirmed"]).await;
    let after = world.order("flat-white", 1, "tok_ok").await;
    world.until(&after, &["confirmed"]).await;

    world.reopen(&[]).await;
    let status: Value =
        serde_json::from_slice(&world.haven(&["status", "--json"]).stdout).expect("JSON");
    assert_eq!(status["well"], true, "{status:#}");
    assert_eq!(
        status["stacks"].as_array().map(Vec::len),
        Some(STACKS.len())
    );
    let again = said(&world.haven(&["deploy", "local"]));
    assert!(
        again.ends_with("\nNothing to deploy: 12 stacks unchanged.\n"),
        "{again}"
    );
}
