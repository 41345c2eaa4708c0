use aws_sdk_cloudformation::types::ExecutionStatus;
use blueprint::consequence::Said;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, json};
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

/// How a generated plan changes one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Update {
    Add,
    Keep,
    InPlace,
    Replace,
    Retype,
    Remove,
    /// The templates are equal, and CloudFormation replaces the resource all the same.
    ReplacedUnforeseen,
    /// As before, and CloudFormation deletes the resource.
    RemovedUnforeseen,
}

impl Update {
    /// Returns whether a resource leaves its stack or is replaced, which loses or strands its
    /// data.
    fn endangers(self) -> bool {
        match self {
            Update::Add | Update::Keep | Update::InPlace => false,
            Update::Replace
            | Update::Retype
            | Update::Remove
            | Update::ReplacedUnforeseen
            | Update::RemovedUnforeseen => true,
        }
    }
}

/// A type, whether it holds data, a property that is updated in place, and one whose change
/// replaces the resource.
type Sort = (&'static str, bool, &'static str, &'static str);

const SORTS: [Sort; 5] = [
    ("AWS::DynamoDB::Table", true, "BillingMode", "TableName"),
    ("AWS::SQS::Queue", true, "VisibilityTimeout", "QueueName"),
    (
        "AWS::RDS::DBInstance",
        true,
        "AllocatedStorage",
        "DBInstanceIdentifier",
    ),
    ("AWS::SecretsManager::Secret", true, "Description", "Name"),
    ("AWS::CloudWatch::Alarm", false, "Threshold", "AlarmName"),
];

/// One generated resource: its sort, its update, and its deletion policy if it has one.
type Generated = (usize, Update, Option<&'static str>);

fn generated() -> impl Strategy<Value = Generated> {
    let update = prop_oneof![
        Just(Update::Add),
        Just(Update::Keep),
        Just(Update::InPlace),
        Just(Update::Replace),
        Just(Update::Retype),
        Just(Update::Remove),
        Just(Update::ReplacedUnforeseen),
        Just(Update::RemovedUnforeseen),
    ];
    let policy = prop_oneof![
        Just(None),
        Just(Some("Delete")),
        Just(Some("Retain")),
        Just(Some("Snapshot"))
    ];
    (0..SORTS.len(), update, policy)
}

/// Returns the changes of a stack, from its templates and from what CloudFormation says of them.
fn changes_of(resources: &[Generated]) -> Vec<Change> {
    let (mut before, mut after, mut said) = (Map::new(), Map::new(), Vec::new());
    for (index, (sort, update, policy)) in resources.iter().enumerate() {
        let (kind, _, in_place, replacing) = SORTS[*sort];
        let resource = |kind: &str, values: [&str; 2]| {
            let mut resource = json!({ "Type": kind, "Properties": {} });
            resource["Properties"][in_place] = json!(values[0]);
            resource["Properties"][replacing] = json!(values[1]);
            if let Some(policy) = policy {
                resource["DeletionPolicy"] = json!(policy);
                resource["UpdateReplacePolicy"] = json!(policy);
            }
            resource
        };
        let id = format!("R{index}");
        let old = resource(kind, ["1", "1"]);
        let new = match update {
            Update::Remove => None,
            Update::Add | Update::Keep | Update::ReplacedUnforeseen | Update::RemovedUnforeseen => {
                Some(old.clone())
            }
            Update::InPlace => Some(resource(kind, ["2", "1"])),
            Update::Replace => Some(resource(kind, ["1", "2"])),
            Update::Retype => Some(resource("AWS::SNS::Topic", ["1", "1"])),
        };
        if *update != Update::Add {
            before.insert(id.clone(), old);
        }
        if let Some(new) = new {
            after.insert(id.clone(), new);
        }
        let (removes, replaces) = match update {
            Update::RemovedUnforeseen => (true, None),
            Update::ReplacedUnforeseen => (false, Some(true)),
            Update::Add
            | Update::Keep
            | Update::InPlace
            | Update::Replace
            | Update::Retype
            | Update::Remove => continue,
        };
        said.push(Said {
            resource: id,
            kind: kind.to_owned(),
            removes,
            replaces,
            ..Said::default()
        });
    }
    let template = |resources| json!({ "Resources": Value::Object(resources) });
    consequence::merged(
        consequence::diff(&template(before), &template(after)),
        &said,
    )
}

/// Returns a plan that only differs from an empty one in the changes of its stacks.
fn plan_with(stacks: &[(&str, Vec<Change>)], named: &[String]) -> Plan {
    let now = OffsetDateTime::UNIX_EPOCH;
    let stacks = stacks.iter().map(|(slug, changes)| StackPlan {
        slug: (*slug).to_owned(),
        name: format!("brew-haven-prod-{slug}"),
        action: StackAction::Update,
        template_sha256: String::new(),
        live: "there".to_owned(),
        drift: Vec::new(),
        drift_unknown: None,
        change_set: None,
        waits_for: BTreeSet::new(),
        changes: changes.clone(),
        last_took_s: None,
    });
    Plan {
        format: FORMAT,
        environment: "prod".to_owned(),
        set: Vec::new(),
        account: "123456789012".to_owned(),
        region: "us-east-1".to_owned(),
        made_at: now,
        expires_at: now,
        named: named.to_vec(),
        stacks: stacks.collect(),
        forgotten: Vec::new(),
        parameters: BTreeMap::new(),
        findings: Vec::new(),
        cost: None,
        budget_usd: None,
        seal: String::new(),
    }
}

proptest! {
    /// No answer to a question is consent to lose data: a plan is refused before a question is
    /// asked, exactly while a stateful resource that it deletes or replaces is not named.
    #[test]
    fn yes_alone_never_deletes_or_replaces_a_stateful_resource(
        first in vec(generated(), 0..8),
        second in vec(generated(), 0..8),
    ) {
        let stacks = [("data", changes_of(&first)), ("messaging", changes_of(&second))];
        let generated = [("data", &first), ("messaging", &second)];
        let endangered: Vec<String> = generated
            .iter()
            .flat_map(|(slug, resources)| {
                resources
                    .iter()
                    .enumerate()
                    .filter(|(_, (sort, update, _))| SORTS[*sort].1 && update.endangers())
                    .map(move |(index, _)| format!("{slug}/R{index}"))
            })
            .collect();
        let yes_alone = plan_with(&stacks, &[]).check();
        prop_assert_eq!(yes_alone.is_ok(), endangered.is_empty(), "{:?}", yes_alone);
        prop_assert!(plan_with(&stacks, &endangered).check().is_ok());
        for (index, missing) in endangered.iter().enumerate() {
            let mut named = endangered.clone();
            named.remove(index);
            let refused = plan_with(&stacks, &named).check();
            let refused = refused.expect_err("one is not named").to_string();
            let flag = format!(" --allow {missing}");
            prop_assert!(refused.ends_with(&flag), "{}", refused);
        }
    }
}
