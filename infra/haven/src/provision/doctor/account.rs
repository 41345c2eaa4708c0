//! Whether an account is ready for an environment: each check for itself, so that one which cannot be made hides no other.

use std::collections::BTreeSet;

use blueprint::{MAIL_DOMAIN, Stack, limits};
use serde_json::json;

use super::super::{Target, live, why};
use super::{Diagnosis, call};

/// VPCs of an account and region, unless AWS raised it (VPC user guide, "Amazon VPC quotas").
const VPCS_BY_DEFAULT: usize = 5;
/// Elastic IP addresses, likewise.
const ADDRESSES_BY_DEFAULT: usize = 5;

/// Everything that AWS is asked for, but the stacks. `deployed` are slugs.
pub async fn checks(target: &Target, stacks: &[Stack], deployed: &BTreeSet<&str>) -> Vec<Diagnosis> {
    if target.environment.local {
        // The local AWS has no quotas, proves no domain, and runs no image.
        return Vec::new();
    }
    vec![
        answer("VPCs", vpcs(target, deployed).await),
        answer("Elastic IP addresses", addresses(target, deployed).await),
        answer("mail domain", mail(target).await),
        answer("image", image(target, stacks).await),
        answer("certificate", certificate(target).await),
    ]
}

/// What could not be found out is no fault of the account.
fn answer(what: &str, found: anyhow::Result<Diagnosis>) -> Diagnosis {
    found.unwrap_or_else(|error| Diagnosis::unchecked(what, format!("{error:#}")))
}

/// That these are the credentials of the account that the settings mean.
pub async fn identity(target: &Target) -> Diagnosis {
    let what = "account";
    let meant = &target.environment.settings.account.id;
    match live::account(target).await {
        Err(error) => Diagnosis::wrong(what, format!("AWS does not answer: {error:#}"), "aws sts get-caller-identity"),
        Ok(_) if target.environment.local => Diagnosis::ok(what, "the local AWS answers".to_owned()),
        Ok(account) => identified(&account, meant, &target.environment.name),
    }
}

fn identified(account: &str, meant: &str, environment: &str) -> Diagnosis {
    let what = "account";
    if meant.is_empty() {
        let finding = format!(
            "these credentials are of {account}, and {environment} names no account: with account.id in its settings nobody \
             can deploy it to another one by mistake"
        );
        return Diagnosis::look(what, finding, "haven config explain {env} account.id");
    }
    match account == meant {
        true => Diagnosis::ok(what, format!("{account}, as account.id says")),
        false => Diagnosis::wrong(
            what,
            format!("these credentials are of {account}, and {environment} stands in {meant} (account.id)"),
            "aws configure list",
        ),
    }
}

/// That other tools in this shell look at the same region as haven, which takes it from the settings.
pub fn region(target: &Target) -> Diagnosis {
    let elsewhere = ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .into_iter()
        .filter_map(|variable| Some((variable, std::env::var(variable).ok()?)));
    regional(&target.environment.settings.account.region, elsewhere)
}

fn regional(meant: &str, mut variables: impl Iterator<Item = (&'static str, String)>) -> Diagnosis {
    match variables.find(|(_, region)| !region.is_empty() && region != meant) {
        None => Diagnosis::ok("region", format!("{meant} (account.region)")),
        Some((variable, region)) => Diagnosis::look(
            "region",
            format!("haven works in {meant} (account.region); {variable} sends other tools to {region}"),
            "export AWS_REGION={region}",
        ),
    }
}

/// That every template can go with its request: haven puts none into a bucket first.
pub fn template_sizes(stacks: &[Stack]) -> Diagnosis {
    let sizes = stacks.iter().map(|stack| (stack.template.to_string().len(), stack.slug));
    let (bytes, slug) = sizes.max().unwrap_or_default();
    let most = limits::INLINE_BYTES_MAX;
    match bytes <= most {
        true => Diagnosis::ok("templates", format!("the largest, {slug}, has {bytes} of {most} bytes")),
        false => Diagnosis::wrong(
            "templates",
            format!("{slug} has {bytes} bytes, and a request takes {most}"),
            "haven check {env}",
        ),
    }
}

async fn vpcs(target: &Target, deployed: &BTreeSet<&str>) -> anyhow::Result<Diagnosis> {
    let there = count(&call::ec2(target, "DescribeVpcs", "").await?, "vpcId");
    let needed = usize::from(!deployed.contains("network"));
    Ok(within("VPCs", there, needed, VPCS_BY_DEFAULT, "L-F678F1CE", "vpc"))
}

async fn addresses(target: &Target, deployed: &BTreeSet<&str>) -> anyhow::Result<Diagnosis> {
    let there = count(&call::ec2(target, "DescribeAddresses", "").await?, "publicIp");
    let gateways = usize::from(target.environment.settings.network.nat_gateways);
    let needed = if deployed.contains("network") { 0 } else { gateways };
    Ok(within("Elastic IP addresses", there, needed, ADDRESSES_BY_DEFAULT, "L-0263D0A3", "ec2"))
}

/// Elements of a name in an answer of EC2. A VPC's own id stands once in what is told of it.
fn count(xml: &str, element: &str) -> usize {
    xml.matches(&format!("<{element}>")).count()
}

fn within(what: &str, there: usize, needed: usize, quota: usize, code: &str, service: &str) -> Diagnosis {
    let finding = format!("{there} are there, {needed} more are needed");
    match needed == 0 || there + needed <= quota {
        true => Diagnosis::ok(what, finding),
        false => Diagnosis::look(
            what,
            format!("{finding}, and {quota} are allowed unless AWS raised it: see, and ask for more"),
            &format!("aws service-quotas get-service-quota --service-code {service} --quota-code {code}"),
        ),
    }
}

async fn mail(target: &Target) -> anyhow::Result<Diagnosis> {
    let what = "mail domain";
    let client = aws_sdk_sesv2::Client::new(&target.config);
    match client.get_email_identity().email_identity(MAIL_DOMAIN).send().await {
        Ok(identity) if identity.verified_for_sending_status() => {
            Ok(Diagnosis::ok(what, format!("{MAIL_DOMAIN} is verified")))
        }
        Ok(_) => Ok(Diagnosis::look(
            what,
            format!("{MAIL_DOMAIN} is not verified, and no mail leaves: publish its DKIM records in its DNS"),
            &format!("aws sesv2 get-email-identity --email-identity {MAIL_DOMAIN}"),
        )),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found_exception()) => {
            Ok(Diagnosis::ok(what, format!("{MAIL_DOMAIN} is not there yet: the stack `messaging` makes it")))
        }
        Err(error) => anyhow::bail!("ask SES: {}", why(&error)),
    }
}

async fn image(target: &Target, stacks: &[Stack]) -> anyhow::Result<Diagnosis> {
    let what = "image";
    let digest = &target.environment.settings.compute.image_digest;
    if digest.is_empty() {
        let finding = "compute.image_digest is empty: no image was pushed, and the services start no task".to_owned();
        return Ok(Diagnosis::look(what, finding, "haven config explain {env} compute.image_digest"));
    }
    let resources = stacks.iter().filter_map(|stack| stack.template["Resources"].as_object()).flatten();
    let mut repositories = resources.filter(|(_, resource)| resource["Type"] == "AWS::ECR::Repository");
    let name = repositories.find_map(|(_, resource)| resource["Properties"]["RepositoryName"].as_str());
    let Some(name) = name else {
        return Ok(Diagnosis::unchecked(what, "the stacks name no repository".to_owned()));
    };
    let question = json!({ "repositoryName": name, "imageIds": [{ "imageDigest": digest }] });
    let operation = "AmazonEC2ContainerRegistry_V20150921.DescribeImages";
    match call::json(target, ("ecr", "api.ecr"), operation, &question).await {
        Ok(_) => Ok(Diagnosis::ok(what, format!("{digest} is in {name}"))),
        Err(error) if format!("{error:#}").contains("NotFoundException") => Ok(Diagnosis::wrong(
            what,
            format!("{digest} (compute.image_digest) is not in the repository {name}: push it, or name one that is"),
            &format!("aws ecr describe-images --repository-name {name}"),
        )),
        Err(error) => Err(error),
    }
}

async fn certificate(target: &Target) -> anyhow::Result<Diagnosis> {
    let domain = &target.environment.settings.edge.domain;
    let listed = call::json(target, ("acm", "acm"), "CertificateManager.ListCertificates", &json!({})).await?;
    let all = listed["CertificateSummaryList"].as_array().into_iter().flatten();
    let states = all.filter(|one| one["DomainName"] == domain.as_str()).filter_map(|one| one["Status"].as_str());
    Ok(certified(domain, &states.collect::<Vec<_>>()))
}

fn certified(domain: &str, states: &[&str]) -> Diagnosis {
    let what = "certificate";
    let command = "aws acm list-certificates --certificate-statuses PENDING_VALIDATION FAILED EXPIRED";
    match states {
        [] => Diagnosis::ok(what, format!("{domain} has none yet: the stack `edge` makes it")),
        states if states.contains(&"ISSUED") => Diagnosis::ok(what, format!("that of {domain} is issued")),
        states if states.contains(&"PENDING_VALIDATION") => Diagnosis::look(
            what,
            format!("that of {domain} waits for its DNS record: is edge.hosted_zone_id the zone that the world asks?"),
            command,
        ),
        states => Diagnosis::wrong(what, format!("that of {domain} is {}", states.join(", ").to_lowercase()), command),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn another_account_is_wrong_and_an_unnamed_one_worth_a_look() {
        assert_eq!(identified("111111111111", "111111111111", "prod").verdict, Verdict::Ok);
        assert_eq!(identified("111111111111", "", "prod").verdict, Verdict::Look);
        let other = identified("222222222222", "111111111111", "prod");
        assert!(other.verdict == Verdict::Wrong && other.finding.contains("222222222222"), "{other:?}");
    }

    #[test]
    fn a_region_that_other_tools_do_not_share_is_told() {
        let set = |region: &str| [("AWS_REGION", region.to_owned())].into_iter();
        assert_eq!(regional("eu-west-1", set("eu-west-1")).verdict, Verdict::Ok);
        assert_eq!(regional("eu-west-1", [].into_iter()).verdict, Verdict::Ok);
        assert_eq!(regional("eu-west-1", set("us-east-1")).verdict, Verdict::Look);
    }

    #[test]
    fn a_quota_counts_only_for_what_is_still_to_be_made() {
        let verdict = |there, needed| within("VPCs", there, needed, 5, "code", "vpc").verdict;
        assert_eq!([verdict(4, 1), verdict(5, 1), verdict(9, 0)], [Verdict::Ok, Verdict::Look, Verdict::Ok]);
        let xml = "<vpcSet><item><vpcId>vpc-1</vpcId></item><item><vpcId>vpc-2</vpcId></item></vpcSet>";
        assert_eq!(count(xml, "vpcId"), 2);
    }

    #[test]
    fn a_certificate_is_fine_once_one_is_issued_or_before_there_is_any() {
        let verdict = |states: &[&str]| certified("shop.example", states).verdict;
        assert_eq!([verdict(&[]), verdict(&["EXPIRED", "ISSUED"])], [Verdict::Ok, Verdict::Ok]);
        assert_eq!([verdict(&["PENDING_VALIDATION"]), verdict(&["FAILED"])], [Verdict::Look, Verdict::Wrong]);
    }

    #[test]
    fn our_templates_go_with_their_requests() {
        let prod = blueprint::Environment::named("prod").expect("it is one of ours");
        assert_eq!(template_sizes(&blueprint::stacks(&prod)).verdict, Verdict::Ok);
    }
}
