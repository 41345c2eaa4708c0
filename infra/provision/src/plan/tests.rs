use aws_sdk_cloudformation::types::ExecutionStatus;
use serde_json::json;
use servers::{LocalAws, local_aws};

use super::*;
use crate::testing::target_on;

fn target(aws: &LocalAws) -> Target {
    target_on(&aws.access, Environment::local())
}

fn stack(slug: &'static str, resources: Value) -> Stack {
    Stack {
        slug,
        name: format!("brew-haven-local-{slug}"),
        about: "A stack of a test",
        template: json!({ "Resources": resources }),
        stateful: false,
        depends_on: Vec::new(),
    }
}

fn queue(seconds: u32) -> Value {
    json!({ "Queue": { "Type": "AWS::SQS::Queue", "Properties": { "VisibilityTimeout": seconds } } })
}

async fn planned(target: &Target, stacks: &[Stack]) -> anyhow::Result<Plan> {
    let options = Options {
        named: Named::default(),
        set: Vec::new(),
        valid_for: Duration::from_secs(60),
        seconds: BTreeMap::new(),
        budget_usd: None,
        drift: false,
    };
    plan_of(target, stacks, &options, &Reporter::quiet()).await
}

/// Counts the change sets that were not executed. AWS deletes executed ones, but the local AWS
/// still lists them.
async fn change_sets(target: &Target, stack: &str) -> usize {
    let listed = target
        .cloudformation
        .list_change_sets()
        .stack_name(stack)
        .send()
        .await
        .expect("a list");
    let waiting = listed.summaries().iter();
    waiting
        .filter(|summary| summary.execution_status() == Some(&ExecutionStatus::Available))
        .count()
}

#[tokio::test]
async fn a_plan_that_fails_late_deletes_its_change_sets_and_empty_stacks() {
    let aws = local_aws().await;
    let target = target(&aws);
    let (first, changed) = (stack("first", queue(30)), stack("first", queue(60)));
    let deployed =
        crate::deploy::deploy_stacks(&target, vec![first], &Named::default(), &Reporter::quiet())
            .await;
    deployed.expect("it is made");

    // The plan has a stack that changes, a new stack, and one that CloudFormation refuses to create
    // a change set for.
    let good = [changed, stack("second", queue(30))];
    let bad = stack(
        "third",
        json!({ "Grinder": { "Type": "AWS::Coffee::Grinder" } }),
    );
    let error = planned(&target, &[&good[..], &[bad]].concat())
        .await
        .expect_err("the third is refused");
    assert!(
        format!("{error:#}").contains("brew-haven-local-third"),
        "{error:#}"
    );
    assert_eq!(change_sets(&target, "brew-haven-local-first").await, 0);
    let standing = |stack: &'static str| async {
        DeployedStack::of(&target.cloudformation, stack)
            .await
            .expect("an answer")
    };
    assert!(
        standing("brew-haven-local-second").await.stack.is_none(),
        "the empty stack of its change set is gone"
    );
    assert!(standing("brew-haven-local-third").await.stack.is_none());

    // The plan without the refused stack keeps its change sets.
    let plan = planned(&target, &good).await.expect("a plan");
    assert_eq!(
        plan.stacks
            .iter()
            .filter(|stack| stack.change_set.is_some())
            .count(),
        2
    );
    assert_eq!(change_sets(&target, "brew-haven-local-first").await, 1);
    forget(&target, &plan.stacks).await;
    assert_eq!(change_sets(&target, "brew-haven-local-first").await, 0);
}
