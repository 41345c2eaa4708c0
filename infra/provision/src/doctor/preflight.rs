//! Checks of an account before a deployment. A check that is not possible reports that, and does
//! not count as a failure.

use std::collections::BTreeSet;

use adapter_aws::call::{Call, GET_EMAIL_IDENTITY};
use aws_sdk_cloudformation::error::ProvideErrorMetadata as _;
use blueprint::limits::INLINE_BYTES_MAX;
use blueprint::{BOOTSTRAP, MAIL_DOMAIN, Stack};
use chassis::config::{Environment as _, ProcessEnvironment};
use serde_json::json;

use crate::account;
use crate::aws_failure::AwsFailure;
use crate::deployed_stack::deployed_template;
use crate::doctor::check::Check;
use crate::doctor::{image, quotas};
use crate::stack::find;
use crate::target::Target;

/// Runs all checks except [`identity`], in the order in which a deployment would fail.
pub async fn checks(target: &Target) -> Vec<Check> {
    let mut checks = vec![region(target)];
    checks.extend(limits(&blueprint::stacks(&target.environment)));
    checks.push(bootstrapped(target).await);
    // The local AWS runs no images, verifies no addresses and has no quotas.
    if !target.environment.local {
        checks.extend(quotas::checks(target).await);
        checks.push(image::check(target).await);
        checks.push(mail_identity(target).await);
        checks.push(certificate(target).await);
    }
    checks
}

/// The result of the first check. Without it all calls fail: credentials, network and endpoint.
pub struct Identity {
    /// Whether AWS returned the account id.
    pub is_known: bool,
    pub check: Check,
}

/// Checks that AWS answers, and that the account matches the settings.
pub async fn identity(target: &Target) -> Identity {
    let account = account::account(target).await;
    Identity {
        is_known: account.is_ok(),
        check: identity_check(target, account),
    }
}

fn identity_check(target: &Target, account: anyhow::Result<String>) -> Check {
    let name = &target.environment.name;
    let meant = &target.environment.settings.account.id;
    match account {
        Err(error) => match error.downcast_ref::<AwsFailure>() {
            Some(failure) => Check::wrong(
                format!("{error}: {}", failure.reason()),
                failure.cause.next(),
            ),
            None => Check::wrong(
                format!("AWS did not return the account: {error:#}"),
                "aws sts get-caller-identity",
            ),
        },
        Ok(account) if *meant == account => Check::ok(format!("account {account}")),
        Ok(account) if meant.is_empty() && target.environment.local => {
            Check::ok(format!("account {account}"))
        }
        Ok(account) if meant.is_empty() => Check::look(
            format!(
                "account {account}; {name} sets no account.id, so a deployment to the wrong account is possible"
            ),
            format!("set account.id = \"{account}\" in infra/environments/{name}.toml"),
        ),
        Ok(account) => Check::wrong(
            format!(
                "these credentials are of account {account}, and {name} belongs in account {meant}"
            ),
            format!("use credentials of account {meant}, or set account.id"),
        ),
    }
}

/// Checks the region. `haven` uses only the settings, but other tools in the same shell use
/// variables.
fn region(target: &Target) -> Check {
    let region = &target.environment.settings.account.region;
    let shell = ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .into_iter()
        .find_map(|name| ProcessEnvironment.get(name));
    region_check(
        region,
        shell.filter(|_| !target.environment.local).as_deref(),
    )
}

fn region_check(region: &str, shell: Option<&str>) -> Check {
    match shell {
        Some(shell) if shell != region => Check::look(
            format!("region {region}, but other tools in this shell go to {shell}"),
            format!("export AWS_REGION={region}"),
        ),
        _ => Check::ok(format!("region {region}")),
    }
}

/// Checks the templates against CloudFormation's limits, as `haven check` does.
fn limits(stacks: &[Stack]) -> Vec<Check> {
    let texts: Vec<String> = stacks
        .iter()
        .map(|stack| blueprint::limits::text(&stack.template))
        .collect();
    let passed = |(stack, text): (&Stack, &String)| {
        let name = stack.name.clone();
        blueprint::limits::check(&stack.template, text)
            .into_iter()
            .map(move |wrong| {
                let place = if wrong.resource.is_empty() {
                    name.clone()
                } else {
                    format!("{name}/{}", wrong.resource)
                };
                let next = "split the stack: its code is in infra/blueprint/src/stacks";
                Check::wrong(format!("{place} {}", wrong.message), next)
            })
    };
    let checks: Vec<Check> = stacks.iter().zip(&texts).flat_map(passed).collect();
    if !checks.is_empty() {
        return checks;
    }
    let largest = texts.iter().map(String::len).max().unwrap_or_default();
    vec![Check::ok(format!(
        "{} templates, the largest {largest} of {INLINE_BYTES_MAX} bytes",
        stacks.len()
    ))]
}

async fn bootstrapped(target: &Target) -> Check {
    let stack = blueprint::bootstrap(&target.environment);
    let next = format!("haven {BOOTSTRAP} {}", target.environment.name);
    match deployed_template(&target.cloudformation, &stack.name).await {
        Err(error) => Check::not_made(&stack.name, format!("{error:#}")),
        Ok(template) if template == stack.template => Check::ok("CloudFormation has its own role"),
        Ok(template) if template.is_null() && target.environment.local => {
            Check::ok("the local AWS checks no permissions, so it needs no bootstrap")
        }
        Ok(template) if template.is_null() => {
            Check::look("CloudFormation deploys with your own permissions", next)
        }
        Ok(_) => Check::look(
            "the role of CloudFormation does not match the present templates",
            next,
        ),
    }
}

async fn mail_identity(target: &Target) -> Check {
    let what = format!("mails from {MAIL_DOMAIN}");
    let records = format!(
        "aws sesv2 get-email-identity --email-identity {MAIL_DOMAIN} --query DkimAttributes.Tokens"
    );
    match Call::new(&target.config, &GET_EMAIL_IDENTITY)
        .send(json!({ "EmailIdentity": MAIL_DOMAIN }))
        .await
    {
        Ok(identity) if identity["VerifiedForSendingStatus"] == true => {
            Check::ok(format!("{what} may be sent"))
        }
        Ok(_) => Check::wrong(
            format!("{what} are refused: its DKIM records are not in DNS"),
            records,
        ),
        Err(error) if error.code() == Some("NotFoundException") => Check::look(
            format!("{what} cannot be sent yet: the stack messaging creates the identity"),
            format!("haven deploy {}", target.environment.name),
        ),
        Err(error) => Check::not_made(&what, AwsFailure::of(&error)),
    }
}

/// Checks that the certificate is issued. CloudFormation waits for this, so the status of the
/// resource shows it.
async fn certificate(target: &Target) -> Check {
    let stack = target.environment.stack_name("edge");
    let deploy = format!("haven deploy {}", target.environment.name);
    match find(&target.cloudformation, &stack).await {
        Ok(Some(_)) => {}
        Ok(None) => return Check::look("no certificate yet: the stack edge creates it", deploy),
        Err(error) => return Check::not_made("the certificate", format!("{error:#}")),
    }
    let described = match target
        .cloudformation
        .describe_stack_resources()
        .stack_name(&stack)
        .send()
        .await
    {
        Ok(described) => described,
        Err(error) => return Check::not_made("the certificate", AwsFailure::of(&error)),
    };
    let resources = described.stack_resources().iter();
    let certificates = resources.filter(|resource| {
        resource.resource_type() == Some("AWS::CertificateManager::Certificate")
    });
    let waiting: BTreeSet<&str> = certificates
        .filter(|resource| {
            resource
                .resource_status()
                .is_none_or(|status| !status.as_str().ends_with("_COMPLETE"))
        })
        .map(|resource| resource.physical_resource_id().unwrap_or_default())
        .collect();
    match waiting.first() {
        None => Check::ok("the certificate is issued"),
        Some(arn) => Check::wrong(
            "the certificate is not issued: its record must be in the public zone of edge.hosted_zone_id",
            format!("aws acm describe-certificate --certificate-arn {arn}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::next_step::Verdict;

    #[test]
    fn another_region_in_the_shell_is_reported() {
        assert_eq!(region_check("eu-west-1", None).verdict, Verdict::Ok);
        assert_eq!(
            region_check("eu-west-1", Some("eu-west-1")).verdict,
            Verdict::Ok
        );
        let other = region_check("eu-west-1", Some("us-east-1"));
        assert_eq!(
            (other.verdict, other.next.as_deref()),
            (Verdict::Look, Some("export AWS_REGION=eu-west-1"))
        );
    }

    #[tokio::test]
    async fn a_local_aws_needs_no_bootstrap() {
        let aws = servers::local_aws().await;
        let target = crate::testing::target_on(&aws.access, blueprint::Environment::local());
        let checks = checks(&target).await;
        assert!(
            checks
                .iter()
                .all(|check| check.verdict == Verdict::Ok && check.next.is_none()),
            "{checks:?}"
        );
    }

    #[test]
    fn a_template_beyond_a_limit_fails() {
        let prod = blueprint::Environment::named("prod").expect("known");
        let mut stacks = blueprint::stacks(&prod);
        assert!(
            limits(&stacks)
                .iter()
                .all(|check| check.verdict == Verdict::Ok)
        );
        stacks[0].template["Description"] = json!("x".repeat(INLINE_BYTES_MAX));
        let checks = limits(&stacks);
        assert_eq!(checks.len(), 1);
        assert!(
            checks[0].verdict == Verdict::Wrong && checks[0].what.contains("51200"),
            "{checks:?}"
        );
    }
}
