//! A shop in unusual surroundings: with a company's proxy in every variable, and with a reader that
//! closes the pipe of the output.

use std::process::Stdio;

use e2e::{World, haven_command};
use reqwest::StatusCode;
use serde_json::Value;
use servers::local_aws;

const PROXIES: [&str; 6] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];

#[tokio::test(flavor = "multi_thread")]
async fn commands_work_with_a_proxy_that_cannot_reach_this_machine() {
    // Nothing listens on this port, so a request through the proxy fails.
    let environment = PROXIES.map(|variable| (variable, "http://127.0.0.1:1"));
    let world = World::open_in(&environment, &[]).await;
    let order = world.order("espresso", 1, "tok_ok").await;
    assert_eq!(order.status, StatusCode::ACCEPTED, "{order:?}");
    world.until(&order, &["confirmed"]).await;
    for arguments in [
        &["reconcile"][..],
        &["status"],
        &["dlq", "list"],
        &["load", "--rate", "5", "--duration", "2s"],
    ] {
        let mut command = haven_command();
        command
            .args(arguments)
            .arg("--state")
            .arg(world.state())
            .envs(environment);
        let output = command.output().expect("haven runs");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_completes_after_its_output_is_closed() {
    let aws = local_aws().await;
    let nowhere = std::env::temp_dir().join(format!("haven-e2e-{}", uuid::Uuid::now_v7()));
    let mut command = haven_command();
    command
        .args([
            "deploy",
            "local",
            "--json",
            "--endpoint",
            &aws.access.endpoint,
            "--state",
        ])
        .arg(&nowhere)
        .envs(aws.access.variables());
    let mut deploys = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("haven starts");
    drop(deploys.stdout.take());
    let output = deploys.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(141), "{output:?}");
    let mut again = haven_command();
    again
        .args([
            "deploy",
            "local",
            "--json",
            "--endpoint",
            &aws.access.endpoint,
            "--state",
        ])
        .arg(&nowhere)
        .envs(aws.access.variables());
    let output = again.output().expect("haven runs");
    let last = String::from_utf8_lossy(&output.stdout)
        .lines()
        .last()
        .map(str::to_owned)
        .expect("a line");
    let deployed: Value = serde_json::from_str(&last).expect("JSON");
    let stacks = deployed["stacks"].as_array().expect("stacks");
    assert!(
        stacks.iter().all(|stack| stack["outcome"] == "unchanged"),
        "{deployed:#}"
    );
    let _ = std::fs::remove_dir_all(nowhere);
}
