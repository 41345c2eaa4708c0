//! Drift, plans that were left behind, and the commands that repair them, on a local AWS of the
//! test's own.

use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;

use adapter_aws::Clients;
use aws_sdk_sqs::types::QueueAttributeName;
use e2e::haven_command;
use serde_json::Value;
use servers::{LocalAws, local_aws};
use uuid::Uuid;

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

/// Returns the output of a command that ended with `code`.
#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}\n{errors}");
    text
}

#[track_caller]
fn document(output: &Output, code: i32) -> Value {
    serde_json::from_str(&said(output, code)).expect("one JSON document")
}

struct Queue {
    client: aws_sdk_sqs::Client,
    url: String,
}

/// Returns the first work queue of the platform.
async fn queue(aws: &LocalAws) -> Queue {
    let client = Clients::local(&aws.access, Arc::new(|_| {})).sqs().clone();
    let queues = client
        .list_queues()
        .send()
        .await
        .expect("queues")
        .queue_urls
        .expect("some");
    let url = queues
        .into_iter()
        .find(|url| !url.to_ascii_lowercase().contains("parking"))
        .expect("a queue");
    Queue { client, url }
}

impl Queue {
    async fn timeout(&self) -> String {
        let name = QueueAttributeName::VisibilityTimeout;
        let got = self
            .client
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(name.clone())
            .send()
            .await;
        got.expect("attributes").attributes.expect("some")[&name].clone()
    }

    async fn set_timeout(&self, seconds: &str) {
        let call = self.client.set_queue_attributes().queue_url(&self.url);
        call.attributes(QueueAttributeName::VisibilityTimeout, seconds)
            .send()
            .await
            .expect("set");
    }
}

/// A plan file for one test, deleted when the value is dropped.
struct PlanFile(PathBuf);

impl PlanFile {
    fn new() -> PlanFile {
        PlanFile(std::env::temp_dir().join(format!("haven-e2e-{}.plan.json", Uuid::now_v7())))
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a plain path")
    }
}

impl Drop for PlanFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn drifted(document: &Value) -> Vec<&Value> {
    let stacks = document["stacks"].as_array().expect("stacks").iter();
    stacks
        .flat_map(|stack| stack["drift"].as_array().expect("a list"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn manual_changes_are_detected_shown_and_reverted() {
    let aws = local_aws().await;
    said(&haven_on(&aws, &["deploy", "local"]), 0);
    let clean = document(&haven_on(&aws, &["drift", "local", "--json"]), 0);
    assert_eq!(drifted(&clean), Vec::<&Value>::new());
    let queue = queue(&aws).await;
    let meant = queue.timeout().await;

    queue.set_timeout("77").await;
    let found = document(&haven_on(&aws, &["drift", "local", "--json"]), 2);
    let [drift] = drifted(&found)[..] else {
        panic!("{found:#}")
    };
    assert_eq!(drift["how"], "modified");
    let difference = &drift["differences"][0];
    let of = |key: &str| difference[key].as_str().unwrap_or_default();
    assert_eq!(
        (of("path"), of("expected"), of("actual")),
        ("/VisibilityTimeout", meant.as_str(), "77")
    );
    let shown = said(&haven_on(&aws, &["drift", "local"]), 2);
    assert!(
        shown.contains(&format!("VisibilityTimeout: template {meant}, now 77")),
        "{shown}"
    );

    let plan = said(&haven_on(&aws, &["plan", "local"]), 0);
    assert!(
        plan.contains("Changed outside CloudFormation (1)") && plan.contains("now 77"),
        "{plan}"
    );
    let unasked = said(&haven_on(&aws, &["plan", "local", "--no-drift"]), 0);
    assert!(
        unasked.contains("Drift unknown in ") && !unasked.contains("now 77"),
        "{unasked}"
    );

    let refused = haven_on(&aws, &["drift", "local", "--revert"]);
    said(&refused, 64);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("--yes"),
        "nobody is there to ask"
    );
    assert_eq!(queue.timeout().await, "77");
    let reverted = document(
        &haven_on(&aws, &["drift", "local", "--revert", "--yes", "--json"]),
        0,
    );
    assert!(
        reverted["reverted"][0]["how"]
            .as_str()
            .is_some_and(|how| how.starts_with("reverted")),
        "{reverted:#}"
    );
    assert_eq!(queue.timeout().await, meant);
    let again = said(&haven_on(&aws, &["deploy", "local"]), 0);
    assert!(
        again.contains("Nothing to deploy: "),
        "the templates are what they were: {again}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_whose_stacks_were_changed_by_hand_since_is_refused() {
    let aws = local_aws().await;
    said(&haven_on(&aws, &["deploy", "local"]), 0);
    let plan = PlanFile::new();
    said(&haven_on(&aws, &["plan", "local", "--out", plan.path()]), 0);
    let queue = queue(&aws).await;
    let meant = queue.timeout().await;
    queue.set_timeout("77").await;
    let refused = haven_on(&aws, &["apply", plan.path()]);
    said(&refused, 1);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        why.contains("brew-haven-local-messaging: changed by hand since"),
        "{why}"
    );
    queue.set_timeout(&meant).await;
    said(&haven_on(&aws, &["apply", plan.path()]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_the_next_command_and_deletes_the_remains_of_a_forgotten_plan() {
    let aws = local_aws().await;
    let plan = PlanFile::new();
    // The plan's change sets are in stacks that have no resources.
    said(&haven_on(&aws, &["plan", "local", "--out", plan.path()]), 0);
    let check = |document: &Value, name: &str| -> Value {
        let checks = document["checks"].as_array().expect("checks").iter();
        let of = |check: &&Value| {
            check["what"]
                .as_str()
                .is_some_and(|what| what.starts_with(name))
        };
        checks
            .clone()
            .find(of)
            .unwrap_or_else(|| panic!("{document:#}"))
            .clone()
    };
    let found = document(&haven_on(&aws, &["doctor", "local", "--json"]), 0);
    let shell = check(&found, "brew-haven-local-messaging REVIEW_IN_PROGRESS");
    assert_eq!(
        (&shell["verdict"], &shell["next"]),
        (&"look".into(), &"haven doctor local --fix".into())
    );

    let fixed = document(&haven_on(&aws, &["doctor", "local", "--fix", "--json"]), 0);
    let done = fixed["fixed"].as_array().expect("a list");
    assert!(
        done.iter()
            .any(|done| done == "brew-haven-local-messaging: deleted the empty stack"),
        "{done:?}"
    );
    let gone = check(&fixed, "brew-haven-local-messaging NOT_DEPLOYED");
    assert_eq!(gone["next"], "haven deploy local");
    let again = document(&haven_on(&aws, &["doctor", "local", "--fix", "--json"]), 0);
    assert_eq!(
        again["fixed"].as_array().map(Vec::len),
        Some(0),
        "it is done once"
    );
    let refused = haven_on(&aws, &["apply", plan.path()]);
    said(&refused, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_prepared_once_and_its_role_is_no_forgotten_stack() {
    let aws = local_aws().await;
    let first = document(&haven_on(&aws, &["bootstrap", "local", "--json"]), 0);
    assert_eq!(first["outcome"], "created");
    assert!(
        first["execution_role"]
            .as_str()
            .is_some_and(|arn| arn.contains(":role/")),
        "{first:#}"
    );
    let again = document(&haven_on(&aws, &["bootstrap", "local", "--json"]), 0);
    assert_eq!(again["outcome"], "unchanged");
    said(&haven_on(&aws, &["deploy", "local"]), 0);
    let plan = document(&haven_on(&aws, &["plan", "local", "--json"]), 0);
    assert_eq!(
        plan["forgotten"].as_array().map(Vec::len),
        Some(0),
        "{:#}",
        plan["forgotten"]
    );
    let well = said(&haven_on(&aws, &["doctor", "local", "-v"]), 0);
    assert!(
        well.contains("ok    CloudFormation has its own role"),
        "{well}"
    );
    assert!(
        !well.lines().any(|line| line.starts_with("FAIL")) && well.contains("\nReady to deploy: "),
        "{well}"
    );
}
