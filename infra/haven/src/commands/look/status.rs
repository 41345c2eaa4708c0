//! `haven status`: shows the stacks, the roles and the queues.

use std::time::Duration;

use anyhow::Context as _;
use comfy_table::{Table, presets};
use serde_json::json;

use crate::arguments::Target;
use platform::facts::Facts;

/// Prints the state of the platform. Returns whether all stacks are deployed, all roles are ready
/// and no dead letters exist.
///
/// # Errors
/// When the environment cannot be resolved, or AWS does not answer.
pub async fn command(options: &Target) -> anyhow::Result<bool> {
    let facts = Facts::read(&options.place.state);
    let (aws, environment) = crate::target::resolve(options).await?;
    let stacks = provision::status::status(&aws.target(environment.clone())).await?;
    let deployed = stacks
        .iter()
        .all(|stack| stack.status.ends_with("_COMPLETE") && !stack.status.contains("ROLLBACK"));
    let queues = if deployed {
        aws.queues(&aws.addresses(&environment.name).await?).await?
    } else {
        Vec::new()
    };
    let roles = match &facts {
        Ok(facts) if environment.local => roles(facts).await?,
        _ => Vec::new(),
    };
    let well = deployed
        && roles.iter().all(|(_, _, ready)| *ready)
        && queues.iter().all(|queue| queue.parked == 0);
    if options.which.json {
        let roles = roles
            .iter()
            .map(|(name, pid, ready)| json!({ "name": name, "pid": pid, "ready": ready }));
        let document = json!({ "environment": environment.name, "well": well, "stacks": stacks,
            "roles": roles.collect::<Vec<_>>(), "queues": queues });
        println!("{document:#}");
        return Ok(well);
    }
    let table = |header: &[&str]| {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_header(header.to_vec());
        table
    };
    let mut shown = table(&["Stack", "Status", "Resources", ""]);
    for stack in &stacks {
        shown.add_row([
            stack.name.clone(),
            stack.status.clone(),
            stack.resources.to_string(),
            stack.about.to_owned(),
        ]);
    }
    println!("{shown}\n");
    let mut shown = table(&["Role", "Process", "Ready"]);
    for (name, pid, ready) in &roles {
        shown.add_row([
            name.clone(),
            pid.to_string(),
            if *ready { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    println!("{shown}\n");
    let mut shown = table(&["Queue", "Waiting", "In hand", "Parked"]);
    for queue in &queues {
        shown.add_row([
            queue.queue.to_owned(),
            queue.waiting.to_string(),
            queue.in_hand.to_string(),
            queue.parked.to_string(),
        ]);
    }
    println!("{shown}");
    Ok(well)
}

/// Returns name, pid and readiness of each role.
async fn roles(facts: &Facts) -> anyhow::Result<Vec<(String, u32, bool)>> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(2))
        .build()
        .context("an HTTP client")?;
    let mut roles = Vec::new();
    for role in &facts.roles {
        let path = if role.name == platform::environment::GATEWAY {
            contract::HEALTH_PATH
        } else {
            contract::READY_PATH
        };
        let answer = client.get(format!("{}{path}", role.health)).send().await;
        roles.push((
            role.name.clone(),
            role.pid,
            answer.is_ok_and(|answer| answer.status().is_success()),
        ));
    }
    Ok(roles)
}
