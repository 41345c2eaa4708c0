//! Finds out why the tasks of an ECS service stopped, and the end of their logs. CloudFormation
//! only reports that the service did not stabilize.

use adapter_aws::call::{
    Call, DESCRIBE_TASK_DEFINITION, DESCRIBE_TASKS, GET_LOG_EVENTS, LIST_TASKS,
};
use anyhow::Context as _;
use aws_config::SdkConfig;
use serde_json::{Value, json};

use crate::aws_failure::{AwsFailure, failure_to};

/// The lines of a container's log that are shown.
const LAST_LINES: u32 = 20;

/// Returns lines about the last stopped task of a service, or one line with the reason if they
/// cannot be read.
pub(crate) async fn last_words(config: &SdkConfig, service: &str) -> Vec<String> {
    match read(config, service).await {
        Ok(lines) => lines,
        Err(error) => vec![format!("its tasks could not be read: {error:#}")],
    }
}

async fn read(config: &SdkConfig, service: &str) -> anyhow::Result<Vec<String>> {
    let (cluster, name) = cluster_and_name(service)
        .with_context(|| format!("{service} is not the ARN of a service"))?;
    let stopped = json!({ "cluster": cluster, "serviceName": name, "desiredStatus": "STOPPED" });
    let stopped = Call::new(config, &LIST_TASKS)
        .send(stopped)
        .await
        .map_err(failure_to("list them"))?;
    let arns = &stopped["taskArns"];
    if arns.get(0).is_none() {
        return Ok(vec![
            "none of its tasks has stopped: check whether they become healthy in time".to_owned(),
        ]);
    }
    let tasks = Call::new(config, &DESCRIBE_TASKS)
        .send(json!({ "cluster": cluster, "tasks": arns }))
        .await
        .map_err(failure_to("describe them"))?;
    // Times are seconds since 1970.
    let stopped_at = |task: &&Value| task["stoppedAt"].as_f64().unwrap_or_default();
    let tasks = tasks["tasks"].as_array().into_iter().flatten();
    let Some(last) = tasks.max_by(|one, other| stopped_at(one).total_cmp(&stopped_at(other)))
    else {
        return Ok(Vec::new());
    };
    let reason = last["stoppedReason"].as_str();
    let mut lines = vec![format!(
        "its last task stopped: {}",
        reason.unwrap_or("no reason was given")
    )];
    let containers = last["containers"].as_array().into_iter().flatten();
    lines.extend(containers.filter_map(exit));
    lines.extend(log(config, last).await);
    Ok(lines)
}

fn exit(container: &Value) -> Option<String> {
    let name = container["name"].as_str().unwrap_or("a container");
    match (container["exitCode"].as_i64(), container["reason"].as_str()) {
        (None, None) => None,
        (Some(code), None) => Some(format!("{name} exited with {code}")),
        (None, Some(reason)) => Some(format!("{name}: {reason}")),
        (Some(code), Some(reason)) => Some(format!("{name} exited with {code}: {reason}")),
    }
}

/// Returns the end of the log of each container, or the reason if there is none.
async fn log(config: &SdkConfig, task: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let id = task["taskArn"]
        .as_str()
        .and_then(|arn| arn.rsplit('/').next());
    let Some((definition, id)) = task["taskDefinitionArn"].as_str().zip(id) else {
        return lines;
    };
    let described = match Call::new(config, &DESCRIBE_TASK_DEFINITION)
        .send(json!({ "taskDefinition": definition }))
        .await
    {
        Ok(described) => described,
        Err(error) => {
            return vec![format!(
                "its log configuration could not be read: {}",
                AwsFailure::of(&error)
            )];
        }
    };
    let read = Call::new(config, &GET_LOG_EVENTS);
    let containers = described["taskDefinition"]["containerDefinitions"].as_array();
    for container in containers.into_iter().flatten() {
        let option = |name: &str| container["logConfiguration"]["options"][name].as_str();
        let (Some(group), Some(prefix), Some(name)) = (
            option("awslogs-group"),
            option("awslogs-stream-prefix"),
            container["name"].as_str(),
        ) else {
            continue;
        };
        let end = json!({
            "logGroupName": group,
            "logStreamName": format!("{prefix}/{name}/{id}"),
            "limit": LAST_LINES,
            "startFromHead": false,
        });
        match read.send(end).await {
            Ok(log) if log["events"].get(0).is_none() => lines.push(format!("{name} wrote no log")),
            Ok(log) => {
                lines.push(format!("the end of its log ({group}):"));
                let events = log["events"].as_array().into_iter().flatten();
                let messages = events.filter_map(|event| event["message"].as_str());
                lines.extend(messages.map(|message| format!("  {}", message.trim_end())));
            }
            Err(error) => lines.push(format!(
                "the log of {name} could not be read: {}",
                AwsFailure::of(&error)
            )),
        }
    }
    lines
}

/// Returns cluster and service name from `arn:aws:ecs:region:account:service/cluster/name`.
fn cluster_and_name(arn: &str) -> Option<(&str, &str)> {
    arn.split_once(":service/")?.1.split_once('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_and_name_are_read_from_the_arn_of_a_service() {
        assert_eq!(
            cluster_and_name("arn:aws:ecs:eu-west-1:1:service/shop/storefront"),
            Some(("shop", "storefront"))
        );
        assert_eq!(
            cluster_and_name("arn:aws:ecs:eu-west-1:1:service/old"),
            None
        );
    }

    #[test]
    fn exit_codes_and_reasons_are_reported_if_present() {
        assert_eq!(exit(&json!({ "name": "storefront" })), None);
        let killed = json!({
            "name": "storefront",
            "exitCode": 137,
            "reason": "OutOfMemoryError: killed",
        });
        assert_eq!(
            exit(&killed).as_deref(),
            Some("storefront exited with 137: OutOfMemoryError: killed")
        );
    }
}
