//! The commands that only look, as a user calls them: most without an account, the others on a local AWS of the test's own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use aws_sdk_sqs::types::QueueAttributeName;
use e2e::haven;
use serde_json::Value;
use servers::{LocalAws, local_aws};
use uuid::Uuid;

const DONE: i32 = 0;
const SOMETHING_TO_SEE: i32 = 2;
const BAD_USAGE: i32 = 64;

/// What `haven` says, and how it must end. It finds no account, whatever machine this is.
fn run(arguments: &[&str], code: i32) -> Output {
    let mut command = Command::new(haven());
    command.args(arguments).env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").env("AWS_EC2_METADATA_DISABLED", "true");
    let output = command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").output();
    let output = output.expect("haven runs");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{}\n{}", text(&output), errors(&output));
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

/// A folder of a test's own; gone with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let folder = std::env::temp_dir().join(format!("haven-reading-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Folder(folder)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_setting_says_where_it_is_from() {
    let told = text(&run(&["config", "explain", "prod", "database.multi_az"], DONE));
    assert!(told.starts_with("database.multi_az = true"), "{told}");
    assert!(told.contains("infra/environments/"), "{told}");
    let told = json(&run(&["config", "explain", "dev", "network", "--set", "network.zones=2", "--json"], DONE));
    let keys = told["keys"].as_array().expect("keys");
    let zones = keys.iter().find(|key| key["key"] == "network.zones").expect("it is of the group");
    assert_eq!((&zones["value"], &zones["origin"]), (&"2".into(), &"--set network.zones".into()));
    let missed = run(&["config", "explain", "prod", "database.multi-az"], SOMETHING_TO_SEE);
    assert!(errors(&missed).contains("did you mean database.multi_az?"));
}

#[test]
fn settings_that_break_a_rule_are_told_all_at_once() {
    let wrong = ["--set", "database.multi_az=false", "--set", "network.zones=9", "--set", "network.colour=red"];
    let refused = run(&[&["check", "prod"], &wrong[..]].concat(), BAD_USAGE);
    for key in ["database.multi_az", "network.zones", "network.colour"] {
        assert!(errors(&refused).contains(key), "{key}: {}", errors(&refused));
    }
}

#[test]
fn our_templates_have_no_finding_and_a_weakness_has_one() {
    let checked = json(&run(&["check", "--json"], DONE));
    let names: Vec<&str> =
        checked["checked"].as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["dev", "staging", "prod", "local"]);
    let waived = checked["checked"][2]["waived"].as_array().expect("a list");
    assert!(waived.iter().all(|waived| waived["waived"].as_str().is_some_and(|reason| !reason.is_empty())));

    let folder = Folder::new();
    run(&["synth", "prod", "--out", folder.path()], DONE);
    run(&["check", "--templates", folder.path()], DONE);
    let path = folder.0.join("brew-haven-prod-messaging.json");
    let template = std::fs::read_to_string(&path).expect("it was written");
    let mut template: Value = serde_json::from_str(&template).expect("JSON");
    let queue = template["Resources"]["OrdersQueue"]["Properties"].as_object_mut().expect("a queue");
    queue.remove("KmsMasterKeyId");
    queue.insert("VisibilityTimeuot".to_owned(), 30.into());
    std::fs::write(&path, template.to_string()).expect("it is written");
    let told = json(&run(&["check", "--templates", folder.path(), "--json"], SOMETHING_TO_SEE));
    let findings = told["checked"][0]["findings"].as_array().expect("findings");
    assert_eq!((&findings[0]["severity"], &findings[0]["rule"]), (&"refused".into(), &"SCHEMA".into()), "worst first");
    assert!(findings[0]["message"].as_str().is_some_and(|text| text.contains("VisibilityTimeout")), "{findings:?}");
    assert!(findings.iter().any(|finding| finding["severity"] == "weak" && finding["resource"] == "OrdersQueue"));
}

#[test]
fn one_template_can_be_printed_and_all_of_them_counted() {
    let template = json(&run(&["synth", "prod", "--stack", "data"], DONE));
    assert_eq!(template["Resources"]["Database"]["Type"], "AWS::RDS::DBInstance");
    let told = json(&run(&["synth", "prod", "--json"], DONE));
    assert!(told["stacks"].as_array().is_some_and(|stacks| stacks.len() > 8));
    assert!(errors(&run(&["synth", "prod", "--stack", "dta"], BAD_USAGE)).contains("did you mean data?"));
}

#[test]
fn why_answers_for_a_resource_a_role_and_a_statement() {
    let database = text(&run(&["why", "data/Database"], DONE));
    for said in ["AWS::RDS::DBInstance", "holds data", "database-cpu", "haven runbook show database", "replaces it"] {
        assert!(database.contains(said), "{said}: {database}");
    }
    let orders = json(&run(&["why", "orders", "dev", "--json"], DONE));
    assert_eq!(orders["resources"][0]["name"], "messaging/OrdersQueue");
    let statement = text(&run(&["why", "ConsumesOrders"], DONE));
    assert!(statement.contains("order-worker may, since it consumes orders, an edge of the contract"), "{statement}");
    assert!(text(&run(&["why", "order-worker"], DONE)).starts_with("role order-worker: "));
    assert!(errors(&run(&["why", "OrdersQeue"], SOMETHING_TO_SEE)).contains("did you mean OrdersQueue?"));
}

#[test]
fn bash_and_zsh_take_their_completions() {
    let folder = Folder::new();
    for (shell, proof) in [("bash", "complete -p haven"), ("zsh", "(( $+functions[_haven] ))")] {
        let script = folder.0.join(shell);
        std::fs::write(&script, text(&run(&["completions", shell], DONE))).expect("it is written");
        let there = Command::new(shell).args(["-c", "true"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if there.is_err() {
            println!("skipped: {shell} was not found on this machine");
            continue;
        }
        assert!(is_taken(shell, &script, proof), "{shell}");
    }
}

/// Whether a shell knows `haven` after the script.
fn is_taken(shell: &str, script: &Path, proof: &str) -> bool {
    let begin = if shell == "zsh" { "autoload -Uz compinit && compinit -u -D; " } else { "" };
    let line = format!("{begin}source {} && {proof}", script.display());
    Command::new(shell).args(["-c", &line]).status().is_ok_and(|status| status.success())
}

#[test]
fn an_account_that_does_not_answer_is_told_and_the_rest_is_left_unchecked() {
    let endpoint = ["--endpoint", "http://127.0.0.1:9"];
    let told = text(&run(&[&["doctor", "dev"], &endpoint[..]].concat(), SOMETHING_TO_SEE));
    assert!(told.contains("WRONG  account: AWS does not answer"), "{told}");
    assert!(told.contains("?      everything else"), "{told}");
}

/// What `haven` says of a local AWS that no `haven up` runs.
fn on(aws: &LocalAws, arguments: &[&str], code: i32) -> Output {
    let endpoint = ["--endpoint", aws.endpoint.as_str(), "--state", "/nonexistent/haven-reading"];
    run(&[arguments, &endpoint[..]].concat(), code)
}

fn deploy(aws: &LocalAws) -> Folder {
    let state = Folder::new();
    run(&["deploy", "local", "--endpoint", &aws.endpoint, "--state", state.path()], DONE);
    state
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_are_found_by_name_and_secrets_are_not_printed() {
    let aws = local_aws().await;
    on(&aws, &["outputs", "local"], SOMETHING_TO_SEE);
    let _state = deploy(&aws);
    let url = text(&on(&aws, &["outputs", "local", "queue/orders/url"], DONE));
    assert!(url.trim().ends_with(".fifo") && url.starts_with("http"), "{url}");
    let missed = on(&aws, &["outputs", "local", "queue/order/url"], SOMETHING_TO_SEE);
    assert!(errors(&missed).contains("did you mean queue/orders/url?"));
    let all = json(&on(&aws, &["outputs", "local", "--json"], DONE));
    assert!(all["stacks"].as_array().is_some_and(|stacks| stacks.len() > 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_by_hand_is_found_and_put_back() {
    let aws = local_aws().await;
    let _state = deploy(&aws);
    let said = text(&on(&aws, &["drift", "local"], DONE));
    assert!(said.contains("0 differ"), "{said}");

    let url = text(&on(&aws, &["outputs", "local", "queue/payments/url"], DONE));
    let sqs = adapter_aws::Clients::local(&aws.endpoint, "us-east-1", std::sync::Arc::new(|_| {})).sqs();
    let change = sqs.set_queue_attributes().queue_url(url.trim());
    change.attributes(QueueAttributeName::VisibilityTimeout, "7").send().await.expect("it is changed");

    let found = json(&on(&aws, &["drift", "local", "--json"], SOMETHING_TO_SEE));
    let stacks = found["stacks"].as_array().expect("stacks");
    let drifted: Vec<&Value> = stacks.iter().filter_map(|stack| stack["drifted"].as_array()).flatten().collect();
    assert_eq!((drifted.len(), &drifted[0]["resource"]), (1, &"PaymentsQueue".into()), "{drifted:?}");
    let difference = &drifted[0]["differences"][0];
    assert_eq!(
        (&difference["path"], &difference["expected"], &difference["actual"]),
        (&"/VisibilityTimeout".into(), &"120".into(), &"7".into())
    );

    let reverted = text(&on(&aws, &["drift", "local", "--revert"], DONE));
    assert!(reverted.contains("put back by"), "{reverted}");
    on(&aws, &["drift", "local"], DONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_is_content_with_a_fresh_platform_and_names_what_is_left_behind() {
    let aws = local_aws().await;
    let _state = deploy(&aws);
    let well = json(&on(&aws, &["doctor", "local", "--json"], DONE));
    assert_eq!(well["well"], true, "{well:#}");

    // What a release before this one may have made.
    let target = haven::aws::Aws::local(&aws.endpoint, "us-east-1");
    let target = target.target(blueprint::Environment::local());
    let old = r#"{"Resources":{"Old":{"Type":"AWS::SQS::Queue"}}}"#;
    let call = target.cloudformation.create_stack().stack_name("brew-haven-local-old").template_body(old);
    call.send().await.expect("a stack");
    let waiting = target.cloudformation.create_change_set().stack_name("brew-haven-local-messaging");
    let waiting = waiting.change_set_name("by-hand").template_body(old);
    waiting.send().await.expect("a change set");

    let told = text(&on(&aws, &["doctor", "local"], SOMETHING_TO_SEE));
    for said in [
        "look   brew-haven-local-old: nothing makes this stack any more",
        "next: aws cloudformation delete-stack --stack-name brew-haven-local-old",
        "look   brew-haven-local-messaging: the change set by-hand waits to be executed",
        "0 wrong, 2 to look at",
    ] {
        assert!(told.contains(said), "{said}: {told}");
    }
}
