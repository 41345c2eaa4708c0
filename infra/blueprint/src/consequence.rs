//! The consequences of a template change for the deployed resources, worst first.
//!
//! The consequences are computed from the two templates and the schema table, without an account.
//! CloudFormation's own change set can only make them worse.

mod severity;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use severity::{exposure, interruption, interrupts_only, zone_loss};

use crate::kind::{self, Kind};
use crate::references::{is_function, resources};
use crate::schema::{self, Effect};

/// The scale of consequences, from harmless to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// Only tags or descriptions change.
    Metadata,
    /// The resource is updated in place.
    InPlace,
    /// The resource is updated in place and unavailable for a while.
    Interruption,
    /// Tasks are replaced in batches.
    RollingReplacement,
    /// A new resource replaces the old one. The old one is empty, or is retained outside the stack.
    Replacement,
    /// Less capacity remains when an availability zone fails.
    ZoneLoss,
    /// A principal gets more permissions.
    IamBroadening,
    /// More can be reached over the network.
    NetworkExposure,
    /// Data is deleted.
    DataLoss,
}

impl Rung {
    /// Returns the consequence in words.
    pub const fn title(self) -> &'static str {
        match self {
            Rung::Metadata => "metadata only",
            Rung::InPlace => "in place",
            Rung::Interruption => "in place, with an interruption",
            Rung::RollingReplacement => "tasks are replaced in batches",
            Rung::Replacement => "replacement",
            Rung::ZoneLoss => "Less redundancy across zones",
            Rung::IamBroadening => "Wider permissions",
            Rung::NetworkExposure => "Wider network access",
            Rung::DataLoss => "DATA LOSS",
        }
    }
}

/// The action on a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The resource is created.
    Add,
    /// The resource is updated.
    Change,
    /// The resource is replaced.
    Replace,
    /// CloudFormation decides during the update whether it replaces the resource.
    MayReplace,
    /// The resource leaves the stack.
    Remove,
}

/// The change of one property. A missing value is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PropertyChange {
    /// Path of the property.
    pub path: String,
    /// The old value.
    pub before: Value,
    /// The new value.
    pub after: Value,
    /// The consequence of this change.
    pub rung: Rung,
}

/// The change of one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The logical id.
    pub resource: String,
    /// The resource type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The action.
    pub action: Action,
    /// The worst consequence.
    pub rung: Rung,
    /// The consequence as a sentence.
    pub consequence: String,
    /// True for a type that holds data: its removal or replacement must be allowed by name.
    pub stateful: bool,
    /// The changed properties.
    pub properties: Vec<PropertyChange>,
}

impl Change {
    /// Returns true if an operator must name the resource to allow the change: the change removes
    /// or replaces a resource that holds data. All commands use this rule.
    pub fn must_be_named(&self) -> bool {
        self.stateful
            && matches!(
                self.action,
                Action::Remove | Action::Replace | Action::MayReplace
            )
    }
}

/// Returns true for types whose content cannot be restored from the templates. Their removal or
/// replacement is refused unless an operator names the resource.
pub fn is_stateful(kind: &str) -> bool {
    const STATEFUL: [Kind; 18] = [
        kind::BACKUP_VAULT,
        kind::CLOUDTRAIL_TRAIL,
        kind::DYNAMODB_TABLE,
        kind::ECR_REPOSITORY,
        kind::ELASTICACHE_REPLICATION_GROUP,
        kind::EVENTS_ARCHIVE,
        kind::KMS_KEY,
        kind::KINESIS_STREAM,
        kind::LOG_GROUP,
        kind::RDS_CLUSTER,
        kind::RDS_INSTANCE,
        kind::ROUTE53_HOSTED_ZONE,
        kind::S3_BUCKET,
        kind::SES_EMAIL_IDENTITY,
        // A topic has an ARN that others know, and subscribers.
        kind::SNS_TOPIC,
        kind::SQS_QUEUE,
        kind::SECRET,
        kind::EC2_EIP,
    ];
    Kind::named(kind).is_some_and(|kind| STATEFUL.contains(&kind))
}

/// Returns the change of each resource, worst first. `before` is null for a stack that does not
/// exist.
pub fn diff(before: &Value, after: &Value) -> Vec<Change> {
    let mut changes: Vec<Change> = resources(after)
        .filter_map(|(id, resource)| match before["Resources"].get(id) {
            None => Some(added(id, resource)),
            Some(was) if kind(was) != kind(resource) => Some(retyped(id, was, resource)),
            Some(was) => changed(id, was, resource),
        })
        .collect();
    changes.extend(
        resources(before)
            .filter(|(id, _)| after["Resources"].get(id).is_none())
            .map(|(id, was)| removed(id, was)),
    );
    sort(&mut changes);
    changes
}

/// One resource in a change set of CloudFormation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said {
    /// The logical id.
    pub resource: String,
    /// The resource type.
    pub kind: String,
    /// True if CloudFormation deletes the resource.
    pub removes: bool,
    /// `Some(true)` if CloudFormation replaces the resource, `Some(false)` if it may.
    pub replaces: Option<bool>,
    /// The policy for the old resource: `Delete`, `Retain`, `Snapshot`, `ReplaceAndDelete`, ...;
    /// empty if the change set names none.
    pub policy: String,
    /// Changed properties as (path, before, after).
    pub properties: Vec<(String, Value, Value)>,
}

/// Combines the computed changes with those of a change set, worst first. Neither source makes a
/// consequence of the other milder.
pub fn merged(mut changes: Vec<Change>, said: &[Said]) -> Vec<Change> {
    for said in said {
        match changes
            .iter_mut()
            .find(|change| change.resource == said.resource)
        {
            Some(change) => worsen(change, said),
            None => {
                let mut change = unforeseen(said);
                worsen(&mut change, said);
                changes.push(change);
            }
        }
    }
    sort(&mut changes);
    changes
}

/// Returns the change of a resource whose template is unchanged: something that it refers to
/// changes.
fn unforeseen(said: &Said) -> Change {
    let properties = said.properties.iter().map(|(path, before, after)| {
        let rung = Rung::InPlace;
        PropertyChange {
            path: path.clone(),
            before: before.clone(),
            after: after.clone(),
            rung,
        }
    });
    let (action, rung) = (Action::Change, Rung::InPlace);
    let consequence = "is updated in place, because a resource that it refers to changes";
    let properties = properties.collect();
    change(
        &said.resource,
        &said.kind,
        action,
        rung,
        consequence,
        properties,
    )
}

fn change(
    id: &str,
    kind: &str,
    action: Action,
    rung: Rung,
    consequence: impl Into<String>,
    properties: Vec<PropertyChange>,
) -> Change {
    Change {
        resource: id.to_owned(),
        kind: kind.to_owned(),
        action,
        rung,
        consequence: consequence.into(),
        stateful: is_stateful(kind),
        properties,
    }
}

fn worsen(change: &mut Change, said: &Said) {
    let known = matches!(change.action, Action::Replace | Action::Remove);
    if said.removes && change.action != Action::Remove {
        change.action = Action::Remove;
        change.consequence = "is deleted, according to the change set".to_owned();
        change.rung = change.rung.max(if change.stateful {
            Rung::DataLoss
        } else {
            Rung::InPlace
        });
    } else if let (Some(surely), false) = (said.replaces, known || change.action == Action::Add)
        && (surely || !foresees(change, said))
    {
        change.action = if surely {
            Action::Replace
        } else {
            Action::MayReplace
        };
        let may = if surely { "is" } else { "may be" };
        change.consequence = format!("{may} replaced, according to the change set");
        change.rung = change.rung.max(Rung::Replacement);
    }
    if change.stateful
        && matches!(said.policy.as_str(), "Delete" | "ReplaceAndDelete")
        && change.rung < Rung::DataLoss
    {
        change.rung = Rung::DataLoss;
        change
            .consequence
            .push_str("; the old one is deleted with its data");
    }
}

/// Returns true if `change` has every property in `said` and the schema table covers them. Then the
/// "may replace" of a change set adds nothing. CloudFormation reports that for every resource that
/// depends on others, and for every change of some types.
fn foresees(change: &Change, said: &Said) -> bool {
    let ours = |path: &str| {
        change
            .properties
            .iter()
            .any(|property| path.split('.').next() == property.path.split('.').next())
    };
    change.action == Action::Change
        && !change.properties.is_empty()
        && schema::of(&change.kind).is_some()
        && said.properties.iter().all(|(path, ..)| ours(path))
}

fn sort(changes: &mut [Change]) {
    changes.sort_by(|a, b| {
        b.rung
            .cmp(&a.rung)
            .then_with(|| a.resource.cmp(&b.resource))
    });
}

fn kind(resource: &Value) -> &str {
    resource["Type"].as_str().unwrap_or_default()
}

fn added(id: &str, resource: &Value) -> Change {
    let kind = kind(resource);
    let mut properties = leaves(&Value::Null, &resource["Properties"], "");
    // Only properties that widen permissions or exposure are listed for a new resource. The
    // template shows the others.
    properties.retain_mut(|property| {
        let rung = exposure(kind, &property.path, &property.before, &property.after);
        property.rung = rung.unwrap_or(property.rung);
        rung.is_some()
    });
    let exposed = properties.iter().map(|property| property.rung).max();
    let consequence = if exposed == Some(Rung::NetworkExposure) {
        "created; reachable from the internet"
    } else {
        "created"
    };
    let rung = exposed.unwrap_or(Rung::InPlace);
    change(id, kind, Action::Add, rung, consequence, properties)
}

/// Returns the change of a resource that leaves the template, by its deletion policy.
fn removed(id: &str, was: &Value) -> Change {
    let kind = kind(was);
    let stateful = is_stateful(kind);
    let policy = was["DeletionPolicy"].as_str().unwrap_or("Delete");
    let (rung, consequence) = match (stateful, policy) {
        (_, "Retain" | "RetainExceptOnCreate") => (
            Rung::Replacement,
            "leaves the stack with its data and keeps costing money",
        ),
        (true, "Snapshot") => (
            Rung::DataLoss,
            "is deleted after a final snapshot, from which it can be restored",
        ),
        (true, _) => (Rung::DataLoss, "is deleted with its data"),
        (false, _) => (Rung::InPlace, "is deleted; it holds no data"),
    };
    change(id, kind, Action::Remove, rung, consequence, Vec::new())
}

fn retyped(id: &str, was: &Value, resource: &Value) -> Change {
    let mut change = removed(id, was);
    change.action = Action::Replace;
    change.consequence = format!(
        "changes its type to {}; the old one {}",
        kind(resource),
        change.consequence
    );
    change
}

fn changed(id: &str, was: &Value, resource: &Value) -> Option<Change> {
    let kind = kind(resource);
    let known = schema::of(kind);
    let mut action = Action::Change;
    let mut fails = false;
    let mut properties = leaves(&was["Properties"], &resource["Properties"], "");
    for property in &mut properties {
        let (path, before, after) = (&property.path, &property.before, &property.after);
        let effect = match known.map_or(Effect::MayReplace, |known| known.effect(&plain(path))) {
            Effect::MayReplace if interrupts_only(kind, path) => Effect::InPlace,
            effect => effect,
        };
        match effect {
            Effect::Replaces => action = Action::Replace,
            Effect::MayReplace if action == Action::Change => action = Action::MayReplace,
            Effect::Fails => fails = true,
            Effect::MayReplace | Effect::InPlace => {}
        }
        let mildest = match effect {
            Effect::Replaces | Effect::MayReplace | Effect::Fails => Rung::Replacement,
            Effect::InPlace if is_metadata(path, known.and_then(schema::Schema::tags)) => {
                Rung::Metadata
            }
            Effect::InPlace => interruption(kind, path).unwrap_or(Rung::InPlace),
        };
        let worse =
            exposure(kind, path, before, after).or_else(|| zone_loss(kind, path, before, after));
        property.rung = worse.map_or(mildest, |worse| worse.max(mildest));
    }
    for attribute in ["DeletionPolicy", "UpdateReplacePolicy"] {
        let rung = Rung::Metadata;
        let changes = leaves(&was[attribute], &resource[attribute], attribute).into_iter();
        properties.extend(changes.map(|change| PropertyChange { rung, ..change }));
    }
    let mut rung = properties.iter().map(|property| property.rung).max()?;
    let stateful = is_stateful(kind);
    let replaced = matches!(action, Action::Replace | Action::MayReplace);
    let kept = matches!(
        resource["UpdateReplacePolicy"].as_str(),
        Some("Retain" | "Snapshot")
    );
    if replaced && stateful && !kept {
        rung = Rung::DataLoss;
    }
    // Services follow a new revision of their task definition.
    if kind == kind::ECS_TASK_DEFINITION && rung <= Rung::Replacement {
        rung = Rung::RollingReplacement;
    }
    let may = if action == Action::MayReplace {
        "may be"
    } else {
        "is"
    };
    let because = properties
        .iter()
        .filter(|property| property.rung >= Rung::Replacement)
        .map(|p| p.path.as_str());
    let because = because.collect::<Vec<_>>().join(", ");
    let consequence = if fails {
        format!(
            "cannot be updated: CloudFormation refuses changes of {because}; create it under another logical id"
        )
    } else if kind == kind::ECS_TASK_DEFINITION {
        "gets a new revision; its tasks are replaced in batches".to_owned()
    } else if replaced && stateful {
        let old = match resource["UpdateReplacePolicy"].as_str() {
            Some("Retain") => "the old one stays outside the stack with its data",
            Some("Snapshot") => "a final snapshot of the old one remains",
            _ => "the old one is deleted with its data",
        };
        format!("{may} replaced by an EMPTY one because of {because}; {old}")
    } else if replaced {
        format!("{may} replaced because of {because}")
    } else {
        sentence(rung, kind).to_owned()
    };
    Some(change(id, kind, action, rung, consequence, properties))
}

fn sentence(rung: Rung, kind: &str) -> &'static str {
    match rung {
        Rung::Metadata => "changes only in name, tags or description",
        Rung::Interruption if kind.starts_with("AWS::RDS") => {
            "is updated and may restart or fail over; orders wait meanwhile"
        }
        Rung::Interruption => "is updated and unavailable for a while",
        Rung::RollingReplacement => "replaces its tasks in batches",
        Rung::ZoneLoss => "is updated and loses redundancy across availability zones",
        Rung::IamBroadening => "allows more than before",
        Rung::NetworkExposure => "is reachable from more sources than before",
        Rung::InPlace | Rung::Replacement | Rung::DataLoss => "is updated in place",
    }
}

/// Returns every place where two values differ, as if each were updated in place. Lists are compared
/// as a whole.
fn leaves(before: &Value, after: &Value, path: &str) -> Vec<PropertyChange> {
    if before == after {
        return Vec::new();
    }
    let is_plain = |value: &Value| value.is_object() && !is_function(value);
    if (is_plain(before) || before.is_null())
        && (is_plain(after) || after.is_null())
        && !(before.is_null() && after.is_null())
    {
        let empty = Map::new();
        let (old, new) = (
            before.as_object().unwrap_or(&empty),
            after.as_object().unwrap_or(&empty),
        );
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let inner = names.into_iter().flat_map(|name| {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            let part =
                |object: &Map<String, Value>| object.get(name).cloned().unwrap_or(Value::Null);
            leaves(&part(old), &part(new), &path)
        });
        return inner.collect();
    }
    vec![PropertyChange {
        path: path.to_owned(),
        before: before.clone(),
        after: after.clone(),
        rung: Rung::InPlace,
    }]
}

/// Returns the path without indexes, as in the schema table.
fn plain(path: &str) -> String {
    path.split('[')
        .map(|part| part.split_once(']').map_or(part, |(_, rest)| rest))
        .collect()
}

fn is_metadata(path: &str, tags: Option<&str>) -> bool {
    let first = path.split(['.', '[']).next().unwrap_or_default();
    tags == Some(first)
        || first.ends_with("Description")
        || first == "DisplayName"
        || first == "Comment"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(kind: &str, properties: Value) -> Value {
        json!({ "Resources": { "It": { "Type": kind, "Properties": properties } } })
    }

    fn only(before: &Value, after: &Value) -> Change {
        let mut changes = diff(before, after);
        assert_eq!(changes.len(), 1, "{changes:#?}");
        changes.remove(0)
    }

    fn of(kind: &str, before: Value, after: Value) -> Change {
        only(&template(kind, before), &template(kind, after))
    }

    #[test]
    fn equal_templates_have_no_changes() {
        let one = template("AWS::SQS::Queue", json!({ "VisibilityTimeout": 30 }));
        assert_eq!(diff(&one, &one), []);
    }

    #[test]
    fn each_change_has_its_rung() {
        let cases = [
            (
                "AWS::SQS::Queue",
                json!({ "Tags": [] }),
                json!({ "Tags": [{ "Key": "a", "Value": "b" }] }),
                Rung::Metadata,
            ),
            (
                "AWS::SQS::Queue",
                json!({ "VisibilityTimeout": 30 }),
                json!({ "VisibilityTimeout": 60 }),
                Rung::InPlace,
            ),
            (
                "AWS::RDS::DBInstance",
                json!({ "DBInstanceClass": "db.t4g.small" }),
                json!({ "DBInstanceClass": "db.t4g.large" }),
                Rung::Interruption,
            ),
            (
                "AWS::ECS::Service",
                json!({ "TaskDefinition": "a:1" }),
                json!({ "TaskDefinition": "a:2" }),
                Rung::RollingReplacement,
            ),
            (
                "AWS::ECS::TaskDefinition",
                json!({ "Cpu": "256" }),
                json!({ "Cpu": "512" }),
                Rung::RollingReplacement,
            ),
            (
                "AWS::EC2::Subnet",
                json!({ "CidrBlock": "10.0.0.0/24" }),
                json!({ "CidrBlock": "10.0.1.0/24" }),
                Rung::Replacement,
            ),
            (
                "AWS::RDS::DBInstance",
                json!({ "MultiAZ": true }),
                json!({ "MultiAZ": false }),
                Rung::ZoneLoss,
            ),
            (
                "AWS::ElastiCache::ReplicationGroup",
                json!({ "NumCacheClusters": 3 }),
                json!({ "NumCacheClusters": 2 }),
                Rung::ZoneLoss,
            ),
            (
                "AWS::EC2::SecurityGroup",
                json!({ "SecurityGroupIngress": [] }),
                json!({ "SecurityGroupIngress": [{ "IpProtocol": "tcp", "CidrIp": "0.0.0.0/0" }] }),
                Rung::NetworkExposure,
            ),
            (
                "AWS::RDS::DBInstance",
                json!({ "PubliclyAccessible": false }),
                json!({ "PubliclyAccessible": true }),
                Rung::NetworkExposure,
            ),
            (
                "AWS::RDS::DBInstance",
                json!({ "StorageEncrypted": true }),
                json!({ "StorageEncrypted": false }),
                Rung::DataLoss,
            ),
        ];
        for (kind, before, after, rung) in cases {
            let change = of(kind, before.clone(), after.clone());
            assert_eq!(change.rung, rung, "{kind} {before} -> {after}: {change:#?}");
            assert!(!change.consequence.is_empty());
        }
    }

    #[test]
    fn wider_policies_are_found_in_any_order_of_statements() {
        let policy = |statements: Value| json!({ "PolicyDocument": { "Statement": statements } });
        let allow =
            |actions: Value| json!({ "Effect": "Allow", "Action": actions, "Resource": "a" });
        let rung = |before: Value, after: Value| {
            of("AWS::IAM::ManagedPolicy", policy(before), policy(after)).rung
        };
        let (one, two) = (
            json!([allow(json!(["s:A"]))]),
            json!([allow(json!(["s:A", "s:B"]))]),
        );
        assert_eq!(rung(one.clone(), two.clone()), Rung::IamBroadening);
        assert_eq!(rung(two.clone(), one.clone()), Rung::InPlace);
        let split = json!([allow(json!("s:B")), allow(json!("s:A"))]);
        assert_eq!(
            rung(two, split),
            Rung::InPlace,
            "the same, written otherwise"
        );
        let denied =
            json!([allow(json!(["s:A"])), { "Effect": "Deny", "Action": "s:*", "Resource": "b" }]);
        assert_eq!(
            rung(denied, one),
            Rung::IamBroadening,
            "a denial that goes is a permission that comes"
        );
    }

    #[test]
    fn removal_and_replacement_of_stateful_resources_must_be_allowed_by_name() {
        let table = |extra: Value, name: &str| {
            let mut resource =
                json!({ "Type": "AWS::DynamoDB::Table", "Properties": { "TableName": name } });
            for (key, value) in extra.as_object().expect("an object") {
                resource[key] = value.clone();
            }
            json!({ "Resources": { "It": resource } })
        };
        let kept = json!({ "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain" });
        let replaced = only(&table(kept.clone(), "a"), &table(kept.clone(), "b"));
        assert_eq!(
            (replaced.action, replaced.rung, replaced.must_be_named()),
            (Action::Replace, Rung::Replacement, true)
        );
        assert!(
            replaced.consequence.contains("EMPTY")
                && replaced.consequence.contains("stays outside")
        );
        let lost = only(&table(json!({}), "a"), &table(json!({}), "b"));
        assert_eq!((lost.rung, lost.must_be_named()), (Rung::DataLoss, true));
        let nothing = json!({ "Resources": {} });
        let removed = only(&table(kept, "a"), &nothing);
        assert_eq!(
            (removed.action, removed.rung, removed.must_be_named()),
            (Action::Remove, Rung::Replacement, true)
        );
        let deleted = only(&table(json!({}), "a"), &nothing);
        assert_eq!(
            (deleted.rung, deleted.must_be_named()),
            (Rung::DataLoss, true)
        );
        let alarm = template("AWS::CloudWatch::Alarm", json!({}));
        assert!(!only(&alarm, &nothing).must_be_named());
    }

    #[test]
    fn the_worst_comes_first() {
        let before = json!({ "Resources": {
            "A": { "Type": "AWS::SQS::Queue", "Properties": { "DelaySeconds": 1 } },
            "B": { "Type": "AWS::S3::Bucket", "Properties": {} } } });
        let after = json!({ "Resources": { "A": { "Type": "AWS::SQS::Queue", "Properties": { "DelaySeconds": 2 } } } });
        let rungs: Vec<Rung> = diff(&before, &after)
            .into_iter()
            .map(|change| change.rung)
            .collect();
        assert_eq!(rungs, [Rung::DataLoss, Rung::InPlace]);
    }

    #[test]
    fn a_change_set_can_only_worsen_a_consequence() {
        let before = template(
            "AWS::DynamoDB::Table",
            json!({ "BillingMode": "PROVISIONED" }),
        );
        let after = template(
            "AWS::DynamoDB::Table",
            json!({ "BillingMode": "PAY_PER_REQUEST" }),
        );
        let said = |replaces, policy: &str| Said {
            resource: "It".to_owned(),
            kind: "AWS::DynamoDB::Table".to_owned(),
            replaces,
            policy: policy.to_owned(),
            ..Said::default()
        };
        let of = |said: Said| merged(diff(&before, &after), &[said]).remove(0);
        assert_eq!(
            (of(said(None, "")).rung, of(said(None, "")).must_be_named()),
            (Rung::InPlace, false)
        );
        let kept = of(said(Some(true), "ReplaceAndRetain"));
        assert_eq!(
            (kept.action, kept.rung, kept.must_be_named()),
            (Action::Replace, Rung::Replacement, true)
        );
        assert_eq!(
            of(said(Some(false), "")).action,
            Action::Change,
            "we know what this property does"
        );
        let mut elsewhere = said(Some(false), "");
        elsewhere.properties = vec![("KeySchema".to_owned(), Value::Null, Value::Null)];
        let maybe = of(elsewhere);
        assert_eq!(
            (maybe.action, maybe.must_be_named()),
            (Action::MayReplace, true),
            "we had not seen that one"
        );
        assert_eq!(
            of(said(Some(true), "ReplaceAndDelete")).rung,
            Rung::DataLoss
        );
        let lost = merged(diff(&before, &Value::Null), &[said(None, "Retain")]).remove(0);
        assert_eq!(
            (lost.action, lost.rung),
            (Action::Remove, Rung::DataLoss),
            "we foresaw worse"
        );
        let other = merged(Vec::new(), &[said(Some(true), "ReplaceAndDelete")]).remove(0);
        assert_eq!(
            (other.rung, other.must_be_named()),
            (Rung::DataLoss, true),
            "what only CloudFormation sees counts"
        );
    }

    #[test]
    fn a_new_public_resource_is_reported_as_exposure() {
        let ingress = json!({ "IpProtocol": "tcp", "CidrIp": "0.0.0.0/0" });
        let made = only(
            &Value::Null,
            &template("AWS::EC2::SecurityGroupIngress", ingress),
        );
        assert_eq!(
            (made.action, made.rung),
            (Action::Add, Rung::NetworkExposure)
        );
        let made = only(&Value::Null, &template("AWS::SQS::Queue", json!({})));
        assert_eq!((made.rung, made.properties.len()), (Rung::InPlace, 0));
    }
}
