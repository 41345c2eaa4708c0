//! Checks that the load balancer considers its targets healthy.

use adapter_aws::call::{Call, DESCRIBE_TARGET_HEALTH};
use anyhow::{Context as _, bail};
use aws_config::SdkConfig;
use provision::Target;
use provision::aws_failure::failed;
use provision::stack::resources;
use serde_json::{Value, json};

/// Checks the target groups of the stack `edge`. Returns the number of healthy targets.
///
/// # Errors
/// When a target is not healthy, or no target is registered. The message names each unhealthy
/// target with the load balancer's reason.
pub async fn targets(target: &Target) -> anyhow::Result<String> {
    let stack = target.environment.stack_name("edge");
    let groups: Vec<(String, String)> = resources(&target.cloudformation, &stack)
        .await?
        .into_iter()
        .filter(|resource| {
            resource.resource_type() == Some("AWS::ElasticLoadBalancingV2::TargetGroup")
        })
        .filter_map(|it| Some((it.logical_resource_id?, it.physical_resource_id?)))
        .collect();
    if groups.is_empty() {
        bail!("{stack} has no target group");
    }
    health(&target.config, &groups).await
}

/// Reads the health of target groups, each a logical id and an ARN.
async fn health(config: &SdkConfig, groups: &[(String, String)]) -> anyhow::Result<String> {
    let describe = Call::new(config, &DESCRIBE_TARGET_HEALTH);
    let (mut healthy, mut sick) = (0, Vec::new());
    for (name, arn) in groups {
        let described = describe.send(json!({ "TargetGroupArn": arn })).await;
        let described = described
            .map_err(|error| failed(format!("read the health of the targets of {name}"), &error))?;
        let targets = described["TargetHealthDescriptions"]["member"].as_array();
        for target in targets.into_iter().flatten() {
            let state = target["TargetHealth"]["State"]
                .as_str()
                .context("a target without a state")?;
            match state {
                "healthy" => healthy += 1,
                // A deployment is removing this target, which gets no new requests.
                "draining" => {}
                _ => sick.push(told_of(name, target, state)),
            }
        }
    }
    if !sick.is_empty() {
        bail!("{}", sick.join("; "));
    }
    // One of the two groups of a blue/green deployment is empty between deployments.
    match healthy {
        0 => bail!("no target is registered in {}", names(groups)),
        count => Ok(format!("{count} targets in {}", names(groups))),
    }
}

fn names(groups: &[(String, String)]) -> String {
    let names: Vec<&str> = groups.iter().map(|(name, _)| name.as_str()).collect();
    names.join(" and ")
}

fn told_of(group: &str, described: &Value, state: &str) -> String {
    let id = described["Target"]["Id"].as_str().unwrap_or("a target");
    let health = &described["TargetHealth"];
    let reason = health["Description"].as_str().or(health["Reason"].as_str());
    let reason = reason
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    format!("{id} in {group} is {state}{reason}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use provision::testing::{Stub, stub};

    /// Returns the API's XML for one target.
    fn member(id: &str, state: &str, reason: &str) -> String {
        format!(
            "<member><Target><Id>{id}</Id></Target><TargetHealth><State>{state}</State>{reason}</TargetHealth></member>"
        )
    }

    async fn told(first: &[String], second: &[String]) -> Result<String, String> {
        let answers = [
            ("arn:first", first.concat()),
            ("arn:second", second.concat()),
        ];
        let Stub { config, .. } = &stub(move |form| {
            let (_, members) = answers.iter().find(|(arn, _)| form["TargetGroupArn"] == *arn).expect("one of ours");
            assert_eq!(form["Action"], "DescribeTargetHealth");
            format!(
                "<DescribeTargetHealthResponse><DescribeTargetHealthResult><TargetHealthDescriptions>{members}\
                 </TargetHealthDescriptions></DescribeTargetHealthResult></DescribeTargetHealthResponse>"
            )
        })
        .await;
        let group = |name: &str| (name.to_owned(), format!("arn:{name}"));
        health(config, &[group("first"), group("second")])
            .await
            .map_err(|error| format!("{error:#}"))
    }

    #[tokio::test]
    async fn healthy_targets_in_one_of_two_groups_are_enough() {
        let two = [
            member("10.0.0.1", "healthy", ""),
            member("10.0.0.2", "healthy", ""),
        ];
        assert_eq!(
            told(&two, &[]).await,
            Ok("2 targets in first and second".to_owned())
        );
        let leaving = [member("10.0.0.3", "draining", "")];
        assert_eq!(
            told(&leaving, &two).await,
            Ok("2 targets in first and second".to_owned())
        );
    }

    #[tokio::test]
    async fn an_unhealthy_target_is_named_with_the_reason_of_the_load_balancer() {
        let reason = "<Reason>Target.ResponseCodeMismatch</Reason><Description>Health checks failed with these codes: \
                      [503]</Description>";
        let sick = [
            member("10.0.0.1", "healthy", ""),
            member("10.0.0.2", "unhealthy", reason),
        ];
        let error = told(&sick, &[]).await.expect_err("one is not healthy");
        assert_eq!(
            error,
            "10.0.0.2 in first is unhealthy (Health checks failed with these codes: [503])"
        );
        let waits = [member(
            "10.0.0.1",
            "initial",
            "<Reason>Elb.RegistrationInProgress</Reason>",
        )];
        let error = told(&waits, &[]).await.expect_err("it is not healthy yet");
        assert_eq!(
            error,
            "10.0.0.1 in first is initial (Elb.RegistrationInProgress)"
        );
    }

    #[tokio::test]
    async fn a_load_balancer_without_targets_is_reported() {
        assert_eq!(
            told(&[], &[]).await,
            Err("no target is registered in first and second".to_owned())
        );
        let leaving = [member("10.0.0.3", "draining", "")];
        assert!(
            told(&leaving, &[]).await.is_err(),
            "what leaves serves nobody"
        );
    }
}
