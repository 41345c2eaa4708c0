use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Map;

use super::*;

const KINDS: [(&str, bool); 4] = [
    ("AWS::DynamoDB::Table", true),
    ("AWS::SQS::Queue", true),
    ("AWS::RDS::DBInstance", true),
    ("AWS::CloudWatch::Alarm", false),
];
const POLICIES: [Option<&str>; 5] = [
    None,
    Some("Delete"),
    Some("Snapshot"),
    Some("Retain"),
    Some("RetainExceptOnCreate"),
];

/// Makes a deployed stack of resources, each with a type and a deletion policy.
fn doomed_stack(slug: &'static str, resources: &[(&str, Option<&str>)]) -> Doomed {
    let resources = resources.iter().enumerate().map(|(index, (kind, policy))| {
        let mut resource = json!({ "Type": kind, "Properties": {} });
        if let Some(policy) = policy {
            resource["DeletionPolicy"] = json!(policy);
        }
        (format!("R{index}"), resource)
    });
    let template = json!({ "Resources": resources.collect::<Map<String, Value>>() });
    Doomed {
        stack: Stack {
            slug,
            name: format!("brew-haven-dev-{slug}"),
            about: "A stack of a test",
            template: Value::Null,
            stateful: true,
            depends_on: Vec::new(),
        },
        changes: consequence::diff(&template, &json!({ "Resources": {} })),
        template,
    }
}

static DEV: LazyLock<Environment> =
    LazyLock::new(|| Environment::named("dev").expect("one of ours"));
static LOCAL: LazyLock<Environment> = LazyLock::new(Environment::local);

proptest! {
    // Each case reads the prices several times.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// `haven destroy` deletes data only if `--allow` names it, whatever the stacks have, and its
    /// dry run says exactly that.
    #[test]
    fn a_deletion_loses_only_the_data_that_was_named(
        resources in vec((0..KINDS.len(), 0..POLICIES.len(), any::<bool>()), 0..12)
    ) {
        let kinds: Vec<_> = resources
            .iter()
            .map(|(kind, policy, _)| (KINDS[*kind].0, POLICIES[*policy]))
            .collect();
        let doomed = [doomed_stack("data", &kinds)];
        let is_lost = |kind: usize, policy: usize| {
            KINDS[kind].1 && !POLICIES[policy].is_some_and(|policy| policy.starts_with("Retain"))
        };
        let named: Vec<String> = resources
            .iter()
            .enumerate()
            .filter(|(_, (_, _, is_named))| *is_named)
            .map(|(index, _)| format!("data/R{index}"))
            .collect();
        let lost: Vec<String> = resources
            .iter()
            .enumerate()
            .filter(|(_, (kind, policy, _))| is_lost(*kind, *policy))
            .map(|(index, _)| format!("data/R{index}"))
            .collect();
        for named in [Vec::new(), named] {
            let unnamed: BTreeSet<&String> =
                lost.iter().filter(|lost| !named.contains(lost)).collect();
            let named = Named::new(&named);
            let checked = check(&DEV, &doomed, &named);
            prop_assert_eq!(checked.is_ok(), unnamed.is_empty());
            let preview = preview(&DEV, &doomed, &named);
            let refused = preview.resources.iter().filter(|doom| doom.refused);
            let refused: BTreeSet<&String> = refused.map(|doom| &doom.resource).collect();
            prop_assert_eq!(refused, unnamed);
            prop_assert_eq!(preview.without_data + preview.resources.len(), resources.len());
            prop_assert!(check(&LOCAL, &doomed, &Named::default()).is_ok());
        }
    }
}

#[test]
fn what_is_kept_costs_its_fixed_price_and_its_storage_and_no_requests() {
    let kept = Some("Retain");
    let doomed = [doomed_stack(
        "data",
        &[
            ("AWS::KMS::Key", kept),
            ("AWS::KMS::Key", None),
            ("AWS::S3::Bucket", kept),
            ("AWS::SQS::Queue", kept),
        ],
    )];
    let stacks = [Stack {
        template: doomed[0].template.clone(),
        ..doomed[0].stack.clone()
    }];
    let estimate = cost::estimate(&stacks, &DEV, &DEV.settings.usage);
    let estimate = estimate.expect("prices");
    let line = |price: &str| {
        let lines = estimate.lines.iter();
        let found = lines
            .filter(|line| line.price == price)
            .map(|line| line.month);
        found.max().expect("a line")
    };
    let cost = kept_cost(&DEV, &doomed).expect("prices");
    let expected = [
        ("AWS::KMS::Key", line("key_month")),
        ("AWS::S3::Bucket", line("bucket_gib_month")),
    ];
    let expected = expected.map(|(kind, month)| (kind.to_owned(), month));
    assert_eq!(cost, BTreeMap::from(expected));
    assert_eq!(kept_cost(&LOCAL, &doomed), None);
}

#[test]
fn what_is_kept_of_prod_costs_something_and_is_less_than_prod() {
    let prod = Environment::named("prod").expect("one of ours");
    let prod = cost::running(&prod);
    let stacks = blueprint::stacks(&prod);
    let doomed: Vec<Doomed> = stacks
        .iter()
        .map(|stack| Doomed {
            changes: consequence::diff(&stack.template, &json!({ "Resources": {} })),
            template: stack.template.clone(),
            stack: stack.clone(),
        })
        .collect();
    let total = cost::estimate(&stacks, &prod, &prod.settings.usage).expect("prices");
    let kept: MicroUsd = kept_cost(&prod, &doomed)
        .expect("prices")
        .into_values()
        .sum();
    assert!(
        MicroUsd::default() < kept && kept < total.total,
        "{kept} of {}",
        total.total
    );
    let preview = preview(&prod, &doomed, &Named::default());
    assert_eq!(preview.stacks.len(), stacks.len());
    let database = preview
        .resources
        .iter()
        .find(|doom| doom.resource == "data/Database");
    assert_eq!(database.map(|doom| doom.fate), Some(Fate::Kept));
}
