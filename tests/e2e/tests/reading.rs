//! Commands that only read, run as a user does.

use std::process::{Command, Output, Stdio};

use e2e::{assert_readable, haven, haven_command};
use serde_json::Value;
use servers::local_aws;

#[track_caller]
fn run(arguments: &[&str]) -> Output {
    let output = haven_command()
        .args(arguments)
        .output()
        .expect("haven runs");
    assert_readable(&output);
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn json(arguments: &[&str]) -> Value {
    let output = run(arguments);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"))
}

#[test]
fn the_environments_have_no_finding_and_every_waiver_has_a_reason() {
    let output = run(&["check", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(code(&output), Some(0), "{document:#}");
    let names: Vec<&str> = document["checked"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|checked| checked["name"].as_str())
        .collect();
    assert_eq!(names, ["dev", "staging", "prod", "local"]);
    for checked in document["checked"].as_array().expect("a list") {
        for waived in checked["waived"].as_array().expect("a list") {
            assert!(
                waived["waived"]
                    .as_str()
                    .is_some_and(|reason| reason.len() > 10),
                "{waived}"
            );
        }
    }
}

#[test]
fn weaknesses_in_a_directory_of_templates_are_listed_worst_first() {
    let folder = std::env::temp_dir().join(format!("haven-check-{}", uuid::Uuid::now_v7()));
    let there = folder.to_str().expect("text");
    assert_eq!(code(&run(&["synth", "prod", "--out", there])), Some(0));
    assert_eq!(code(&run(&["check", "--templates", there])), Some(0));
    let path = folder.join("brew-haven-prod-messaging.json");
    let mut template: Value =
        serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
    let queue = &mut template["Resources"]["OrdersQueue"]["Properties"];
    queue["VisibilityTimeuot"] = 30.into();
    queue
        .as_object_mut()
        .expect("an object")
        .remove("KmsMasterKeyId");
    std::fs::write(&path, template.to_string()).expect("written");
    let output = run(&["check", "--templates", there]);
    let said = text(&output.stdout);
    assert_eq!(code(&output), Some(2), "{said}");
    let (refused, weak) = (
        said.find("did you mean VisibilityTimeout?"),
        said.find("SQS-1"),
    );
    assert!(refused.is_some() && refused < weak, "{said}");
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn bad_usage_exits_with_64_and_names_the_remedy() {
    let cases: [(&[&str], &str); 5] = [
        (
            &["check", "prd"],
            "did you mean `prod`? Known: local, dev, staging, prod",
        ),
        (&["synth", "prod", "--stack", "dta"], "did you mean data?"),
        (
            &["config", "explain", "prod", "--set", "network.zones=9"],
            "allowed: 2 to 3",
        ),
        (&["check", "--set", "network.zones"], "must be KEY=VALUE"),
        (&["completions", "sh"], "bash"),
    ];
    for (arguments, right) in cases {
        let output = run(arguments);
        let said = text(&output.stderr);
        assert!(
            code(&output) == Some(64) && said.contains(right),
            "{arguments:?}: {:?} {said}",
            output.status
        );
    }
}

#[test]
fn a_setting_is_explained_and_all_problems_are_reported_together() {
    let document = json(&["config", "explain", "prod", "network.zones", "--json"]);
    let key = &document["keys"][0];
    assert_eq!(
        (&key["key"], &key["value"]),
        (&"network.zones".into(), &"3".into())
    );
    assert!(
        key["origin"]
            .as_str()
            .is_some_and(|origin| origin.contains(".toml:")),
        "{key}"
    );
    let wrong = [
        "config",
        "explain",
        "prod",
        "--json",
        "--set",
        "network.zones=9",
        "--set",
        "cache.replcas=1",
    ];
    assert_eq!(json(&wrong)["problems"].as_array().map(Vec::len), Some(2));
    let missed = run(&["config", "explain", "prod", "network.zone"]);
    assert_eq!(code(&missed), Some(2));
    assert!(
        text(&missed.stderr).contains("did you mean `network.zones`?"),
        "{missed:?}"
    );
}

#[test]
fn a_resource_a_slug_and_a_statement_are_explained() {
    let queue = json(&["why", "orders", "--json"]);
    assert_eq!(queue["resources"][0]["name"], "messaging/OrdersQueue");
    let statement = json(&["why", "ConsumesOrders", "prod", "--json"]);
    assert_eq!(statement["statements"][0]["edge"], "consumes orders");
    let database = text(&run(&["why", "data/Database", "--env", "prod"]).stdout);
    assert!(database.contains("--allow data/Database"), "{database}");
    let missed = run(&["why", "OrderQueue"]);
    assert_eq!(code(&missed), Some(2));
    assert!(
        text(&missed.stderr).contains("did you mean OrdersQueue?"),
        "{missed:?}"
    );
}

#[test]
fn a_template_is_printed_as_it_is_deployed() {
    let template = json(&["synth", "prod", "--stack", "data"]);
    assert!(template["Resources"]["Database"].is_object());
    let stacks = json(&["synth", "prod", "--json"]);
    assert!(
        stacks["stacks"]
            .as_array()
            .is_some_and(|stacks| stacks.iter().any(|stack| stack["slug"] == "data"))
    );
}

#[test]
fn a_closed_pipe_causes_no_message() {
    for arguments in [
        &["cost", "prod"][..],
        &["check", "prod"],
        &["why", "orders"],
        &["config", "explain"],
    ] {
        let mut child = haven_command()
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("haven runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        assert_eq!(code(&output), Some(141), "{arguments:?}");
    }
}

#[test]
fn bash_completes_commands_and_environments_of_ours() {
    let script = r#"source <("$0" completions bash) && COMP_WORDS=(haven comp) COMP_CWORD=1
        _haven haven comp haven && echo "${COMPREPLY[@]}""#;
    let output = Command::new("bash")
        .args(["-c", script])
        .arg(haven())
        .output()
        .expect("bash runs");
    assert_eq!(text(&output.stdout).trim(), "completions", "{output:?}");
}

#[test]
fn zsh_takes_the_script() {
    let script = text(&run(&["completions", "zsh"]).stdout);
    assert!(script.starts_with("#compdef haven"), "{script}");
    let checked = Command::new("zsh").args(["-n", "-c", &script]).output();
    match checked {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(_) => eprintln!("no zsh here: only the script's form was looked at"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_are_printed_by_name_and_secrets_are_not() {
    let aws = local_aws().await;
    let nowhere = std::env::temp_dir().join("haven-e2e-no-state");
    let nowhere = nowhere.to_str().expect("text");
    let place = ["--endpoint", &aws.access.endpoint, "--state", nowhere];
    let at = |arguments: &[&str]| {
        let mut command = haven_command();
        command
            .args(arguments)
            .args(place)
            .envs(aws.access.variables())
            .output()
            .expect("haven runs")
    };
    let before = at(&["outputs", "local"]);
    assert_eq!(code(&before), Some(2), "{before:?}");
    let deployed = at(&["deploy", "local", "--json"]);
    assert_eq!(code(&deployed), Some(0), "{deployed:?}");
    let output = at(&["outputs", "local", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let url = document["parameters"]["queue/orders/url"]["value"]
        .as_str()
        .expect("an address");
    let alone = at(&["outputs", "local", "queue/orders/url"]);
    assert_eq!(text(&alone.stdout).trim(), url);
    assert!(document["stacks"].as_array().is_some_and(|stacks| {
        stacks
            .iter()
            .all(|stack| stack["status"] == "CREATE_COMPLETE")
    }));
    let missed = at(&["outputs", "local", "queue/order/url"]);
    assert_eq!(code(&missed), Some(2));
    assert!(
        text(&missed.stderr).contains("did you mean `queue/orders/url`?"),
        "{missed:?}"
    );
}
