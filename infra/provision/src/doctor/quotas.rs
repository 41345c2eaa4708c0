//! Checks the quotas of an account that the stacks could exceed.

use adapter_aws::call::{Call, GET_AWS_DEFAULT_SERVICE_QUOTA, GET_SERVICE_QUOTA};
use anyhow::Context as _;
use aws_config::SdkConfig;
use aws_sdk_cloudformation::error::ProvideErrorMetadata as _;
use serde_json::{Value, json};

use crate::aws_failure::AwsFailure;
use crate::deployed_stack::DeployedStack;
use crate::doctor::check::Check;
use crate::target::Target;

/// One quota in Service Quotas. All other resources of the stacks have quotas of hundreds or more
/// (Amazon VPC User Guide, "Amazon VPC quotas").
struct Quota {
    what: &'static str,
    kind: &'static str,
    service: &'static str,
    code: &'static str,
    /// The command that counts the existing resources.
    count: &'static str,
}

const QUOTAS: [Quota; 3] = [
    Quota {
        what: "VPCs",
        kind: "AWS::EC2::VPC",
        service: "vpc",
        code: "L-F678F1CE",
        count: "aws ec2 describe-vpcs --query 'length(Vpcs)'",
    },
    Quota {
        what: "elastic IP addresses",
        kind: "AWS::EC2::EIP",
        service: "ec2",
        code: "L-0263D0A3",
        count: "aws ec2 describe-addresses --query 'length(Addresses)'",
    },
    Quota {
        what: "NAT gateways in one zone",
        kind: "AWS::EC2::NatGateway",
        service: "vpc",
        code: "L-FE5A380F",
        count: "aws ec2 describe-nat-gateways --query 'NatGateways[].[NatGatewayId,SubnetId,State]'",
    },
];

/// Returns a check for each resource type of which the stack `network` needs more than it has.
pub async fn checks(target: &Target) -> Vec<Check> {
    let stacks = blueprint::stacks(&target.environment);
    let Some(network) = stacks.iter().find(|stack| stack.slug == "network") else {
        return Vec::new();
    };
    let there = match DeployedStack::of(&target.cloudformation, &network.name).await {
        Ok(standing) => standing.template,
        Err(error) => {
            return vec![Check::not_made(
                "the quotas of the network",
                format!("{error:#}"),
            )];
        }
    };
    let mut checks = Vec::new();
    for quota in &QUOTAS {
        let (wanted, there) = (
            count(&network.template, quota.kind),
            count(&there, quota.kind),
        );
        if wanted > there {
            checks.push(match applied(&target.config, quota).await {
                Ok(most) => check(quota, wanted, wanted - there, most),
                Err(error) => Check::not_made(&format!("the quota of {}", quota.what), error),
            });
        }
    }
    if checks.is_empty() {
        checks.push(Check::ok(
            "the network exists, so its quotas were not checked",
        ));
    }
    checks
}

/// Counts the resources of a type in a template. For resources in subnets, returns the largest
/// number in one subnet.
fn count(template: &Value, kind: &str) -> usize {
    let resources = template["Resources"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(_, resource)| resource);
    let of_kind: Vec<&Value> = resources
        .filter(|resource| resource["Type"] == kind)
        .collect();
    let subnet = |resource: &Value| resource["Properties"]["SubnetId"].clone();
    let together = of_kind.iter().map(|one| {
        of_kind
            .iter()
            .filter(|other| subnet(other) == subnet(one))
            .count()
    });
    together.max().unwrap_or_default()
}

/// Compares a quota with the need. Service Quotas does not report the current use, so only a quota
/// that is too small by itself is a failure.
fn check(quota: &Quota, wanted: usize, more: usize, most: usize) -> Check {
    let Quota {
        what,
        service,
        code,
        count,
        ..
    } = quota;
    match wanted <= most {
        false => Check::wrong(
            format!("{wanted} {what} are needed, and the account may have {most}"),
            format!(
                "aws service-quotas request-service-quota-increase --service-code {service} --quota-code {code} \
                 --desired-value {wanted}"
            ),
        ),
        true => Check::look(
            format!(
                "{more} more {what} are needed; the account may have {most} (the present number was not read)"
            ),
            *count,
        ),
    }
}

/// Returns the quota of this account, or the default if the account never requested an increase.
async fn applied(config: &SdkConfig, quota: &Quota) -> anyhow::Result<usize> {
    let wanted = json!({ "ServiceCode": quota.service, "QuotaCode": quota.code });
    let own = Call::new(config, &GET_SERVICE_QUOTA)
        .send(wanted.clone())
        .await;
    let found = match own {
        Err(error) if error.code() == Some("NoSuchResourceException") => {
            Call::new(config, &GET_AWS_DEFAULT_SERVICE_QUOTA)
                .send(wanted)
                .await
        }
        own => own,
    };
    let found = found.map_err(|error| AwsFailure::of(&error))?;
    // The value is a whole number, sent as a floating-point number.
    let value = found["Quota"]["Value"].as_f64();
    let whole = value.and_then(|value| format!("{value:.0}").parse().ok());
    whole.context("Service Quotas returned no value")
}

#[cfg(test)]
mod tests {
    use adapter_aws::LocalAccess;

    use super::*;
    use crate::doctor::next_step::Verdict;
    use crate::testing::{Answer, Stub, stub, target_on};
    use blueprint::Environment;

    fn prod() -> Environment {
        Environment::named("prod").expect("an embedded environment")
    }

    /// Runs the checks for an account without a network, whose quotas all have this value.
    async fn told(most: usize) -> Vec<Check> {
        let Stub { endpoint, .. } =
            &stub(move |form| match form.get("Action").map(String::as_str) {
                Some("DescribeStacks") => {
                    Answer::refused("ValidationError", "Stack with id it does not exist")
                }
                _ => Answer::from(format!("{{\"Quota\": {{\"Value\": {most}.0}}}}")),
            })
            .await;
        let access = LocalAccess::unverified(endpoint, "us-east-1");
        checks(&target_on(&access, prod())).await
    }

    #[tokio::test]
    async fn a_quota_below_the_need_fails_and_a_possibly_used_one_is_a_warning() {
        let enough = told(5).await;
        assert_eq!(
            enough.iter().map(|check| check.verdict).collect::<Vec<_>>(),
            [Verdict::Look; 3]
        );
        assert!(
            enough[1]
                .what
                .starts_with("3 more elastic IP addresses are needed; the account may have 5"),
            "{enough:?}"
        );
        assert_eq!(
            enough[0].next.as_deref(),
            Some("aws ec2 describe-vpcs --query 'length(Vpcs)'")
        );

        let small = told(2).await;
        let wrong: Vec<&Check> = small
            .iter()
            .filter(|check| check.verdict == Verdict::Wrong)
            .collect();
        assert_eq!(wrong.len(), 1, "{small:?}");
        assert_eq!(
            wrong[0].what,
            "3 elastic IP addresses are needed, and the account may have 2"
        );
        let next = wrong[0].next.as_deref().unwrap_or_default();
        assert!(
            next.ends_with("--service-code ec2 --quota-code L-0263D0A3 --desired-value 3"),
            "{next}"
        );
    }

    #[test]
    fn gateways_are_counted_for_each_zone_and_addresses_in_total() {
        let stacks = blueprint::stacks(&prod());
        let network = &stacks
            .iter()
            .find(|stack| stack.slug == "network")
            .expect("an embedded environment")
            .template;
        let counts = QUOTAS.map(|quota| count(network, quota.kind));
        assert_eq!(counts, [1, 3, 1]);
        assert_eq!(count(&Value::Null, "AWS::EC2::VPC"), 0);
    }
}
