//! Checks that the container image exists in the repository that ECS uses.

use adapter_aws::call::{Call, DESCRIBE_IMAGES};
use aws_sdk_cloudformation::error::ProvideErrorMetadata as _;
use serde_json::json;

use crate::aws_failure::AwsFailure;
use crate::deployed_stack::DeployedStack;
use crate::doctor::check::Check;
use crate::stack::resources;
use crate::target::Target;

const REPOSITORY: &str = "AWS::ECR::Repository";

/// Checks the environment's image, by its digest.
pub async fn check(target: &Target) -> Check {
    let name = &target.environment.name;
    let digest = &target.environment.settings.compute.image_digest;
    if digest.is_empty() {
        return Check::look(
            format!("{name} has no image yet (compute.image_digest): it will run no tasks"),
            format!("haven deploy {name} --set compute.image_digest=sha256:..."),
        );
    }
    let what = format!("the image {digest}");
    match repository(target).await {
        Err(error) => Check::not_made(&what, format!("{error:#}")),
        Ok(None) => Check::wrong(
            format!("{what} cannot exist yet: the stack compute creates its repository"),
            format!("haven deploy {name} --set compute.image_digest="),
        ),
        Ok(Some(repository)) => in_repository(target, &what, digest, &repository).await,
    }
}

/// Returns the name of the repository, or `None` if it does not exist yet.
async fn repository(target: &Target) -> anyhow::Result<Option<String>> {
    let stack = target.environment.stack_name("compute");
    if DeployedStack::of(&target.cloudformation, &stack)
        .await?
        .there()
        .is_none()
    {
        return Ok(None);
    }
    let resources = resources(&target.cloudformation, &stack).await?.into_iter();
    let mut repositories =
        resources.filter(|resource| resource.resource_type() == Some(REPOSITORY));
    Ok(repositories
        .next()
        .and_then(|repository| repository.physical_resource_id))
}

async fn in_repository(target: &Target, what: &str, digest: &str, repository: &str) -> Check {
    let image = json!({ "repositoryName": repository, "imageIds": [{ "imageDigest": digest }] });
    let asked = Call::new(&target.config, &DESCRIBE_IMAGES)
        .send(image)
        .await;
    let missing = |why: &str| {
        Check::wrong(
            format!("{what} is not in {repository}{why}: tasks could not start"),
            push(target, repository),
        )
    };
    match asked {
        Ok(found) if found["imageDetails"].get(0).is_some() => {
            Check::ok(format!("{what} is in {repository}"))
        }
        Ok(_) => missing(""),
        Err(error) => match error.code() {
            Some("ImageNotFoundException") => missing(""),
            Some("RepositoryNotFoundException") => missing(", which does not exist"),
            _ => Check::not_made(what, AwsFailure::of(&error)),
        },
    }
}

fn push(target: &Target, repository: &str) -> String {
    let region = &target.environment.settings.account.region;
    let account = &target.environment.settings.account.id;
    let account = if account.is_empty() {
        "ACCOUNT"
    } else {
        account
    };
    format!("docker push {account}.dkr.ecr.{region}.amazonaws.com/{repository}")
}

#[cfg(test)]
mod tests {
    use adapter_aws::LocalAccess;
    use blueprint::Environment;

    use super::*;
    use crate::doctor::next_step::Verdict;
    use crate::testing::{Answer, Stub, stub, target_on};

    /// Runs the check against an account with a repository, whose describe-images call has this
    /// response.
    async fn told(answer: fn() -> Answer) -> Check {
        let mut prod = Environment::named("prod").expect("an embedded environment");
        prod.settings.compute.image_digest = format!("sha256:{}", "0a".repeat(32));
        let Stub { endpoint, .. } = &stub(move |form| {
            let result = |action: &str, body: &str| {
                Answer::from(format!("<{action}Response><{action}Result>{body}</{action}Result></{action}Response>"))
            };
            match form["Action"].as_str() {
                "DescribeStacks" => result(
                    "DescribeStacks",
                    "<Stacks><member><StackName>compute</StackName><StackStatus>UPDATE_COMPLETE</StackStatus>\
                     <CreationTime>2026-01-01T00:00:00Z</CreationTime></member></Stacks>",
                ),
                "GetTemplate" => result("GetTemplate", "<TemplateBody>{}</TemplateBody>"),
                "ListStackResources" => result(
                    "ListStackResources",
                    "<StackResourceSummaries><member><LogicalResourceId>Images</LogicalResourceId>\
                     <PhysicalResourceId>images-1</PhysicalResourceId><ResourceType>AWS::ECR::Repository</ResourceType>\
                     <ResourceStatus>CREATE_COMPLETE</ResourceStatus>\
                     <LastUpdatedTimestamp>2026-01-01T00:00:00Z</LastUpdatedTimestamp></member></StackResourceSummaries>",
                ),
                "DescribeImages" if form["repositoryName"] == "images-1" => answer(),
                other => panic!("{other} was not expected"),
            }
        })
        .await;
        let access = LocalAccess::unverified(endpoint, "us-east-1");
        check(&target_on(&access, prod)).await
    }

    #[tokio::test]
    async fn a_missing_image_is_reported_with_the_push_command() {
        let there = told(|| {
            Answer::from(r#"{"imageDetails": [{"repositoryName": "images-1"}]}"#.to_owned())
        })
        .await;
        assert_eq!(there.verdict, Verdict::Ok, "{there:?}");
        let missing = told(|| Answer::refused("ImageNotFoundException", "no such image")).await;
        assert_eq!(missing.verdict, Verdict::Wrong, "{missing:?}");
        assert!(missing.what.contains("is not in images-1"), "{missing:?}");
        let next = missing.next.unwrap_or_default();
        assert!(
            next.starts_with("docker push") && next.ends_with("/images-1"),
            "{next}"
        );
        // A check that is not possible is neither ok nor wrong.
        let refused = told(|| Answer::refused("AccessDeniedException", "not for you")).await;
        assert!(
            refused.verdict == Verdict::Look && refused.what.contains("not for you"),
            "{refused:?}"
        );
    }
}
