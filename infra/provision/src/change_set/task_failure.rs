//! Finds out why the tasks of an ECS service stopped, and the end of their logs. CloudFormation
//! only reports that the service did not stabilize.

use anyhow::Context as _;
use aws_config::SdkConfig;
use aws_sdk_ecs::types::{Container, DesiredStatus, Task};

use crate::aws_failure::{failed, why};

/// The lines of a container's log that are shown.
const LAST_LINES: i32 = 20;

/// Returns lines about the last stopped task of a service, or one line with the reason if they
/// cannot be read.
pub async fn last_words(config: &SdkConfig, service: &str) -> Vec<String> {
    match read(config, service).await {
        Ok(lines) => lines,
        Err(error) => vec![format!("its tasks could not be read: {error:#}")],
    }
}

async fn read(config: &SdkConfig, service: &str) -> anyhow::Result<Vec<String>> {
    let (cluster, name) =
        cluster_and_name(service).with_context(|| format!("{service} is no service's ARN"))?;
    let client = aws_sdk_ecs::Client::new(config);
    let stopped = client
        .list_tasks()
        .cluster(cluster)
        .service_name(name)
        .desired_status(DesiredStatus::Stopped);
    let stopped = stopped
        .send()
        .await
        .map_err(|error| failed("list them", &error))?
        .task_arns;
    let Some(arns) = stopped.filter(|arns| !arns.is_empty()) else {
        return Ok(vec![
            "none of its tasks has stopped: see whether they become healthy in time".to_owned(),
        ]);
    };
    let tasks = client
        .describe_tasks()
        .cluster(cluster)
        .set_tasks(Some(arns))
        .send()
        .await;
    let tasks = tasks
        .map_err(|error| failed("describe them", &error))?
        .tasks
        .unwrap_or_default();
    let Some(last) = tasks.iter().max_by_key(|task| task.stopped_at()) else {
        return Ok(Vec::new());
    };
    let mut lines = vec![format!(
        "its last task stopped: {}",
        last.stopped_reason().unwrap_or("no reason was given")
    )];
    lines.extend(last.containers().iter().filter_map(exit));
    lines.extend(log(config, &client, last).await);
    Ok(lines)
}

fn exit(container: &Container) -> Option<String> {
    let name = container.name().unwrap_or("a container");
    match (container.exit_code(), container.reason()) {
        (None, None) => None,
        (Some(code), None) => Some(format!("{name} exited with {code}")),
        (None, Some(reason)) => Some(format!("{name}: {reason}")),
        (Some(code), Some(reason)) => Some(format!("{name} exited with {code}: {reason}")),
    }
}

/// Returns the end of the log of each container, or the reason if there is none.
async fn log(config: &SdkConfig, client: &aws_sdk_ecs::Client, task: &Task) -> Vec<String> {
    let mut lines = Vec::new();
    let Some((definition, id)) = task
        .task_definition_arn()
        .zip(task.task_arn().and_then(|arn| arn.rsplit('/').next()))
    else {
        return lines;
    };
    let described = match client
        .describe_task_definition()
        .task_definition(definition)
        .send()
        .await
    {
        Ok(described) => described,
        Err(error) => return vec![format!("where it logs could not be read: {}", why(&error))],
    };
    let logs = aws_sdk_cloudwatchlogs::Client::new(config);
    let containers = described
        .task_definition
        .and_then(|definition| definition.container_definitions);
    for container in containers.unwrap_or_default() {
        let options = container.log_configuration().and_then(|log| log.options());
        let option = |name: &str| options.and_then(|options| options.get(name));
        let (Some(group), Some(prefix), Some(name)) = (
            option("awslogs-group"),
            option("awslogs-stream-prefix"),
            container.name(),
        ) else {
            continue;
        };
        let call = logs
            .get_log_events()
            .log_group_name(group)
            .log_stream_name(format!("{prefix}/{name}/{id}"));
        match call.limit(LAST_LINES).start_from_head(false).send().await {
            Ok(said) if said.events().is_empty() => lines.push(format!("{name} wrote no log")),
            Ok(said) => {
                lines.push(format!("the end of its log ({group}):"));
                let messages = said.events().iter().filter_map(|event| event.message());
                lines.extend(messages.map(|message| format!("  {}", message.trim_end())));
            }
            Err(error) => lines.push(format!(
                "the log of {name} could not be read: {}",
                why(&error)
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
    fn a_service_is_in_a_cluster() {
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
    fn an_exit_code_and_a_reason_are_told_where_there_are() {
        let container = Container::builder().name("storefront");
        assert_eq!(exit(&container.clone().build()), None);
        let killed = container
            .exit_code(137)
            .reason("OutOfMemoryError: killed")
            .build();
        assert_eq!(
            exit(&killed).as_deref(),
            Some("storefront exited with 137: OutOfMemoryError: killed")
        );
    }
}
