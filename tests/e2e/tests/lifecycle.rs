//! The life of a stack on CloudFormation: created, unchanged, updated, refused, replaced and
//! failed. Also plans, which are applied as they are or not at all. Each test has its own local
//! AWS.

use std::path::{Path, PathBuf};
use std::process::Output;

use blueprint::{Environment, Stack};
use e2e::haven_command;
use provision::deploy::{Outcome, deploy_stacks};
use provision::guard::Named;
use provision::{Reporter, Target};
use serde_json::{Value, json};
use servers::{LocalAws, local_aws, local_aws_of};

fn sdk(aws: &LocalAws) -> adapter_aws::Clients {
    adapter_aws::Clients::local(&aws.access, std::sync::Arc::new(|_| {}))
}

fn target(aws: &LocalAws) -> Target {
    Target::new(Environment::local(), sdk(aws).config())
}

fn stack(resources: &Value) -> Stack {
    Stack {
        slug: "life",
        name: "brew-haven-local-life".to_owned(),
        about: "A stack of a test",
        template: json!({ "Resources": resources }),
        stateful: true,
        depends_on: Vec::new(),
    }
}

fn queue(seconds: u32) -> Value {
    json!({ "Type": "AWS::SQS::Queue", "Properties": { "QueueName": "life-queue", "VisibilityTimeout": seconds } })
}

fn table(name: &str) -> Value {
    json!({ "Type": "AWS::DynamoDB::Table", "DeletionPolicy": "Delete", "UpdateReplacePolicy": "Delete", "Properties": {
        "TableName": name, "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }] } })
}

async fn bring(target: &Target, resources: Value, allow: &[&str]) -> anyhow::Result<Outcome> {
    let allow: Vec<String> = allow.iter().map(|name| (*name).to_owned()).collect();
    let outcomes = deploy_stacks(
        target,
        vec![stack(&resources)],
        &Named::new(&allow),
        &Reporter::quiet(),
    )
    .await?;
    Ok(outcomes[0].outcome)
}

async fn tables(aws: &LocalAws) -> Vec<String> {
    let listed = sdk(aws)
        .dynamodb()
        .list_tables()
        .send()
        .await
        .expect("tables");
    listed
        .table_names
        .unwrap_or_default()
        .into_iter()
        .filter(|name| name.starts_with("life-"))
        .collect()
}

async fn visibility(aws: &LocalAws) -> String {
    use aws_sdk_sqs::types::QueueAttributeName::VisibilityTimeout;
    let sqs = sdk(aws).sqs();
    let url = sqs
        .get_queue_url()
        .queue_name("life-queue")
        .send()
        .await
        .expect("the queue")
        .queue_url;
    let got = sqs
        .get_queue_attributes()
        .set_queue_url(url)
        .attribute_names(VisibilityTimeout)
        .send()
        .await;
    got.expect("attributes").attributes.expect("some")[&VisibilityTimeout].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn stateful_resources_are_replaced_only_by_name_and_a_failure_rolls_back() {
    let aws = local_aws().await;
    let target = target(&aws);
    let life = |seconds, name| json!({ "Queue": queue(seconds), "Table": table(name) });
    assert_eq!(
        bring(&target, life(30, "life-one"), &[])
            .await
            .expect("made"),
        Outcome::Created
    );
    assert_eq!(
        bring(&target, life(30, "life-one"), &[])
            .await
            .expect("nothing to do"),
        Outcome::Unchanged
    );
    assert_eq!(
        bring(&target, life(60, "life-one"), &[])
            .await
            .expect("in place"),
        Outcome::Updated
    );
    assert_eq!(visibility(&aws).await, "60");

    let refused = bring(&target, life(90, "life-two"), &[])
        .await
        .expect_err("nobody named it")
        .to_string();
    assert!(
        refused.contains("DATA LOSS: life/Table") && refused.contains("--allow life/Table"),
        "{refused}"
    );
    let refused = bring(&target, json!({ "Queue": queue(90) }), &["life/Queue"])
        .await
        .expect_err("another was named");
    assert!(refused.to_string().contains("life/Table"), "{refused}");
    assert_eq!(
        (tables(&aws).await, visibility(&aws).await),
        (vec!["life-one".to_owned()], "60".to_owned())
    );
    let left = target
        .cloudformation
        .list_change_sets()
        .stack_name("brew-haven-local-life")
        .send()
        .await
        .expect("a list");
    let waiting = left.summaries().iter().filter(|set| {
        set.execution_status()
            .is_some_and(|s| s.as_str() == "AVAILABLE")
    });
    assert_eq!(waiting.count(), 0, "what was refused waits nowhere");

    assert_eq!(
        bring(&target, life(60, "life-two"), &["life/Table"])
            .await
            .expect("named"),
        Outcome::Updated
    );
    assert_eq!(tables(&aws).await, ["life-two"]);

    // An alarm without a metric cannot be created. CloudFormation rolls back the queue that was
    // changed in the same update.
    let broken = json!({ "Queue": queue(5), "Table": table("life-two"), "Alarm": { "Type": "AWS::CloudWatch::Alarm",
        "DependsOn": "Queue", "Properties": { "ComparisonOperator": "GreaterThanThreshold", "EvaluationPeriods": 1 } } });
    let failed = bring(&target, broken, &[])
        .await
        .expect_err("an alarm on nothing")
        .to_string();
    let first = failed.lines().next().expect("a line");
    assert!(
        first.starts_with("Alarm (AWS::CloudWatch::Alarm) ") && first.contains("_FAILED: "),
        "cause first: {failed}"
    );
    assert!(
        failed.contains("so the stack brew-haven-local-life is UPDATE_ROLLBACK_COMPLETE"),
        "{failed}"
    );
    assert_eq!(visibility(&aws).await, "60");
    assert_eq!(
        bring(&target, life(61, "life-two"), &[])
            .await
            .expect("it goes on"),
        Outcome::Updated
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_attempt_that_fails_leaves_nothing_and_the_next_one_works() {
    let aws = local_aws().await;
    let target = target(&aws);
    let alarm = json!({ "Type": "AWS::CloudWatch::Alarm", "DependsOn": "Queue",
        "Properties": { "ComparisonOperator": "GreaterThanThreshold", "EvaluationPeriods": 1 } });
    let failed = bring(&target, json!({ "Queue": queue(30), "Alarm": alarm }), &[])
        .await
        .expect_err("it fails");
    assert!(
        failed
            .to_string()
            .starts_with("Alarm (AWS::CloudWatch::Alarm) CREATE_FAILED"),
        "{failed}"
    );
    assert_eq!(
        bring(&target, json!({ "Queue": queue(30) }), &[])
            .await
            .expect("made"),
        Outcome::Created
    );
}

/// A directory for one test, deleted when the value is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let folder = std::env::temp_dir().join(format!("haven-life-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir_all(&folder).expect("a directory");
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs `haven` with credentials of an account. The local AWS takes the access key id as the
/// account.
fn haven_in(aws: &LocalAws, folder: &Path, account: &str, arguments: &[&str]) -> Output {
    let mut command = haven_command();
    command
        .args(arguments)
        .args(["--endpoint", &aws.access.endpoint, "--state"])
        .arg(folder)
        .current_dir(folder);
    command.envs(aws.access_of(account).variables());
    command.output().expect("haven runs")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

const OURS: &str = "111122223333";
const THEIRS: &str = "444455556666";

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_applied_exactly_or_not_at_all() {
    let (aws, folder) = (local_aws().await, Folder::new());
    let ours = |arguments: &[&str]| haven_in(&aws, &folder.0, &aws.access.access_key_id, arguments);
    let planned = ours(&["plan", "local", "--out", "first.json"]);
    assert!(
        planned.status.success() && text(&planned).contains("  + messaging: "),
        "{}",
        text(&planned)
    );
    let applied = ours(&["apply", "first.json"]);
    assert!(applied.status.success(), "{}", text(&applied));

    let again = text(&ours(&["apply", "first.json"]));
    assert!(
        again.contains("nothing was applied")
            && again.contains("it was deployed again after the plan"),
        "{again}"
    );
    let empty = ours(&["plan", "local"]);
    assert!(
        text(&empty).contains("\nNo changes in "),
        "{}",
        text(&empty)
    );

    // Another engine replaces the database, which needs `--allow`.
    let aurora = [
        "plan",
        "local",
        "--set",
        "database.engine=aurora",
        "--set",
        "database.multi_az=false",
    ];
    let refused = ours(&aurora);
    let said = text(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("--allow servers/Database"), "{said}");
    assert!(
        said.find("\nDeletes or replaces data (")
            .is_some_and(|at| at < said.find("\nChanged in place").unwrap_or(usize::MAX))
            && said.contains("\nPlan refused: "),
        "{said}"
    );
    let refused = ours(&[&["deploy"], &aurora[1..]].concat());
    assert!(
        refused.status.code() == Some(2) && text(&refused).contains("\nPlan refused: "),
        "{}",
        text(&refused)
    );

    // Plans are refused if anything has changed since.
    let change = ["--set", "edge.daily_quota=123456"];
    let plan = |name: &str, more: &[&str]| {
        let planned = ours(&[&["plan", "local", "--out", name], &change[..], more].concat());
        assert!(planned.status.success(), "{}", text(&planned));
    };
    plan("edited.json", &[]);
    let edited = std::fs::read_to_string(folder.0.join("edited.json")).expect("it is there");
    std::fs::write(
        folder.0.join("edited.json"),
        edited.replace("123456", "123457"),
    )
    .expect("written");
    let refused = text(&ours(&["apply", "edited.json"]));
    assert!(
        refused.contains("edited.json was edited after it was made; nothing was applied"),
        "{refused}"
    );

    plan("late.json", &["--valid-for", "1ms"]);
    let refused = text(&ours(&["apply", "late.json"]));
    assert!(refused.contains("it expired at"), "{refused}");

    plan("parameter.json", &[]);
    let ssm = aws_sdk_ssm::Client::new(sdk(&aws).config());
    let name = format!("{}/feature/somebody", contract::parameter_root("local"));
    let put = ssm
        .put_parameter()
        .name(&name)
        .value("1")
        .r#type(aws_sdk_ssm::types::ParameterType::String);
    put.send().await.expect("written");
    let refused = text(&ours(&["apply", "parameter.json"]));
    assert!(
        refused.contains(&format!(
            "the parameter {name} was missing and is at version 1"
        )),
        "{refused}"
    );

    plan("good.json", &[]);
    let applied = ours(&["apply", "good.json"]);
    assert!(applied.status.success(), "{}", text(&applied));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_for_another_account_is_refused() {
    let (aws, folder) = (local_aws_of(&[OURS, THEIRS]).await, Folder::new());
    let planned = haven_in(&aws, &folder.0, OURS, &["plan", "dev", "--out", "dev.json"]);
    assert!(planned.status.success(), "{}", text(&planned));
    let refused = text(&haven_in(&aws, &folder.0, THEIRS, &["apply", "dev.json"]));
    assert!(
        refused.contains(&format!(
            "made for account {OURS}, and this is 444455556666"
        )),
        "{refused}"
    );
    let other = haven_in(
        &aws,
        &folder.0,
        OURS,
        &["plan", "dev", "--set", "account.id=444455556666"],
    );
    assert!(
        text(&other).contains(&format!("these credentials are of account {OURS}")),
        "{}",
        text(&other)
    );
    let poor = haven_in(&aws, &folder.0, OURS, &["plan", "dev", "--budget", "100"]);
    assert!(
        poor.status.code() == Some(2) && text(&poor).contains("over budget: "),
        "{}",
        text(&poor)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_whose_exports_are_imported_is_not_deleted() {
    let (aws, folder) = (local_aws().await, Folder::new());
    let ours = |arguments: &[&str]| haven_in(&aws, &folder.0, &aws.access.access_key_id, arguments);
    assert!(ours(&["deploy", "local"]).status.success());
    let client = target(&aws).cloudformation;
    let exports = client.list_exports().send().await.expect("exports");
    let orders = exports
        .exports()
        .iter()
        .filter_map(|export| export.name())
        .find(|name| name.ends_with("queue-orders-url-arn"));
    let template = json!({ "Resources": { "Copy": { "Type": "AWS::SSM::Parameter", "Properties": {
        "Type": "String", "Value": { "Fn::ImportValue": orders.expect("the queue is exported") } } } } });
    client
        .create_stack()
        .stack_name("somebody")
        .template_body(template.to_string())
        .send()
        .await
        .expect("made");
    let refused = ours(&["destroy", "local", "--yes"]);
    assert!(
        !refused.status.success() && text(&refused).contains("somebody"),
        "{}",
        text(&refused)
    );
    let status: Value =
        serde_json::from_slice(&ours(&["status", "local", "--json"]).stdout).expect("JSON");
    let messaging = status["stacks"]
        .as_array()
        .expect("stacks")
        .iter()
        .find(|stack| stack["name"] == "brew-haven-local-messaging");
    assert_eq!(messaging.expect("it is there")["status"], "CREATE_COMPLETE");
}
