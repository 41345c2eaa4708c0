//! The table of gaps is complete, and every gap is needed.

use serde_json::json;

use super::*;
use crate::stacks::on_aws;
use crate::{Engine, Environment, left_out, stacks};

/// The types that MiniStack 1.5.33 can create from our templates.
const MADE: &[&str] = &[
    "AWS::ApiGateway::Account",
    "AWS::ApiGateway::ApiKey",
    "AWS::ApiGateway::BasePathMapping",
    "AWS::ApiGateway::Deployment",
    "AWS::ApiGateway::DomainName",
    "AWS::ApiGateway::GatewayResponse",
    "AWS::ApiGateway::Method",
    "AWS::ApiGateway::Model",
    "AWS::ApiGateway::RequestValidator",
    "AWS::ApiGateway::Resource",
    "AWS::ApiGateway::RestApi",
    "AWS::ApiGateway::Stage",
    "AWS::ApiGateway::UsagePlan",
    "AWS::ApiGateway::UsagePlanKey",
    "AWS::Backup::BackupPlan",
    "AWS::Backup::BackupVault",
    "AWS::CertificateManager::Certificate",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::DynamoDB::Table",
    "AWS::EC2::InternetGateway",
    "AWS::EC2::Route",
    "AWS::EC2::RouteTable",
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::Subnet",
    "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::EC2::VPC",
    "AWS::EC2::VPCEndpoint",
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::ECR::Repository",
    "AWS::ECS::Cluster",
    "AWS::ECS::Service",
    "AWS::ECS::TaskDefinition",
    "AWS::ElastiCache::ParameterGroup",
    "AWS::ElastiCache::ReplicationGroup",
    "AWS::ElastiCache::SubnetGroup",
    "AWS::ElasticLoadBalancingV2::Listener",
    "AWS::ElasticLoadBalancingV2::ListenerRule",
    "AWS::ElasticLoadBalancingV2::LoadBalancer",
    "AWS::ElasticLoadBalancingV2::TargetGroup",
    "AWS::Events::EventBus",
    "AWS::Events::Rule",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::Role",
    "AWS::KMS::Alias",
    "AWS::KMS::Key",
    "AWS::Logs::LogGroup",
    "AWS::RDS::DBCluster",
    "AWS::RDS::DBClusterParameterGroup",
    "AWS::RDS::DBInstance",
    "AWS::RDS::DBParameterGroup",
    "AWS::RDS::DBSubnetGroup",
    "AWS::S3::Bucket",
    "AWS::S3::BucketPolicy",
    "AWS::SES::EmailIdentity",
    "AWS::SNS::Subscription",
    "AWS::SNS::Topic",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::Queue",
    "AWS::SQS::QueuePolicy",
    "AWS::SSM::Parameter",
    "AWS::SecretsManager::Secret",
    "AWS::WAFv2::WebACL",
];

/// Returns the stacks of every environment, with both database engines.
fn all() -> Vec<Stack> {
    let environments = ["local", "dev", "staging", "prod"]
        .into_iter()
        .filter_map(Environment::named);
    let both = environments.flat_map(|environment| {
        [Engine::Postgres, Engine::Aurora].map(|engine| {
            let mut environment = environment.clone();
            environment.settings.database.engine = engine;
            on_aws(&environment)
        })
    });
    both.flatten().collect()
}

fn resources(stack: &Stack) -> impl Iterator<Item = (&String, &Value)> {
    stack.template["Resources"]
        .as_object()
        .expect("resources")
        .iter()
}

#[test]
fn every_type_is_either_created_by_the_local_aws_or_left_out_with_a_reason() {
    let used: BTreeSet<String> = all()
        .iter()
        .flat_map(resources)
        .map(|(_, resource)| resource["Type"].as_str().expect("a type").to_owned())
        .collect();
    let made: BTreeSet<String> = MADE.iter().map(|kind| (*kind).to_owned()).collect();
    let left_out = |kind: &str| {
        gaps().any(|(gap, _)| matches!(gap, Gap::Type(left_out) if left_out.as_str() == kind))
    };
    for kind in &used {
        assert!(
            made.contains(kind) != left_out(kind),
            "{kind}: deploy it to the local AWS, then name it in MADE or, with a reason, in GAPS"
        );
    }
    let idle: Vec<_> = made.difference(&used).collect();
    assert!(
        idle.is_empty(),
        "no template has {idle:?}: take them out of MADE"
    );
}

#[test]
fn every_entry_of_the_table_is_used() {
    let stacks = all();
    for (gap, why) in gaps() {
        let hits = |stack: &Stack, id: &str, resource: &Value| match gap {
            Gap::Type(_) | Gap::With(..) => gap.takes(resource),
            Gap::Idle(_) | Gap::Unwritten(..) => true,
            Gap::Property(_, path) => cut(&mut resource["Properties"].clone(), path),
            Gap::Attribute(_, name, _) => replace(
                &mut stack.template.clone(),
                &json!({ "Fn::GetAtt": [id, name] }),
                &Value::Null,
            ),
        };
        let mut found = stacks
            .iter()
            .flat_map(|stack| resources(stack).map(move |(id, resource)| (stack, id, resource)));
        let used = found.any(|(stack, id, resource)| {
            resource["Type"] == gap.kind() && hits(stack, id, resource)
        });
        assert!(used, "nothing needs {gap:?} now");
        assert!(!why.is_empty());
    }
}

#[test]
fn every_local_omission_is_listed_and_aws_has_none() {
    for environment in ["dev", "staging", "prod"]
        .into_iter()
        .filter_map(Environment::named)
    {
        assert_eq!(left_out(&environment), []);
        assert_eq!(stacks(&environment), on_aws(&environment));
    }
    let local = Environment::local();
    let (wanted, made, told) = (on_aws(&local), stacks(&local), left_out(&local));
    for stack in &wanted {
        let there = made.iter().find(|made| made.slug == stack.slug);
        for (id, resource) in resources(stack) {
            let now = there.and_then(|there| there.template["Resources"].get(id));
            let told: Vec<_> = told
                .iter()
                .filter(|told| told.stack == stack.slug && told.resources.contains(id))
                .collect();
            match now {
                None => assert!(
                    told.iter()
                        .any(|told| told.how == How::LeftOut && !told.why.is_empty()),
                    "{id}"
                ),
                Some(now) => {
                    assert!(
                        now["Properties"] == resource["Properties"] || !told.is_empty(),
                        "{id}"
                    );
                    assert!(told.iter().all(|told| told.how != How::LeftOut), "{id}");
                }
            }
        }
    }
}

#[test]
fn the_stacks_of_haven_up_are_those_of_a_local_deployment() {
    let (shop, whole) = (stacks(&Environment::shop()), stacks(&Environment::local()));
    let slugs: BTreeSet<_> = shop.iter().map(|stack| stack.slug).collect();
    assert_eq!(
        slugs,
        BTreeSet::from(["alarms", "data", "messaging", "parameters"])
    );
    for stack in shop {
        assert!(
            whole.contains(&stack),
            "{} must not change between haven up and haven deploy local",
            stack.name
        );
    }
}

fn stack(slug: &'static str, template: Value) -> Stack {
    Stack {
        slug,
        name: slug.to_owned(),
        about: "",
        template,
        stateful: false,
        depends_on: Vec::new(),
    }
}

#[test]
fn dependents_of_omitted_resources_are_omitted_across_stacks() {
    let network = stack(
        "network",
        json!({
            "Resources": {
                "Nat": { "Type": "AWS::EC2::NatGateway", "Properties": {} },
                "Route": { "Type": "AWS::EC2::Route", "Properties": { "NatGatewayId": { "Ref": "Nat" } } },
                "Note": { "Type": "AWS::SSM::Parameter", "Properties": { "Value": { "Fn::Sub": "by ${Route} of ${AWS::Region}" } } },
                "Queue": { "Type": "AWS::SQS::Queue", "Properties": {}, "DependsOn": ["Route"] },
            },
            "Outputs": {
                "Address": { "Value": { "Fn::GetAtt": ["Nat", "Address"] }, "Export": { "Name": "nat" } },
                "Queue": { "Value": { "Ref": "Queue" }, "Export": { "Name": "queue" } },
            },
        }),
    );
    let user = stack(
        "user",
        json!({ "Resources": {
            "Gone": { "Type": "AWS::SSM::Parameter", "Properties": { "Value": { "Fn::ImportValue": "nat" } } },
            "Stays": { "Type": "AWS::SSM::Parameter", "Properties": { "Value": { "Fn::ImportValue": "queue" } } },
        } }),
    );
    let empty = stack(
        "empty",
        json!({ "Resources": { "Address": { "Type": "AWS::EC2::EIP", "Properties": {} } } }),
    );
    let (stacks, left_out) = localize(vec![network, user, empty]);
    assert_eq!(stacks.len(), 2);
    assert_eq!(
        stacks[0].template,
        json!({
            "Resources": { "Queue": { "Type": "AWS::SQS::Queue", "Properties": {} } },
            "Outputs": { "Queue": { "Value": { "Ref": "Queue" }, "Export": { "Name": "queue" } } },
        })
    );
    assert_eq!(
        resources(&stacks[1]).map(|(id, _)| id).collect::<Vec<_>>(),
        ["Stays"]
    );
    let told: Vec<(&str, &str, &str)> = left_out
        .iter()
        .map(|left_out| {
            (
                left_out.stack,
                left_out.resources[0].as_str(),
                left_out.why.as_str(),
            )
        })
        .collect();
    assert!(
        told.contains(&("network", "Route", "it depends on Nat, which is left out")),
        "{told:?}"
    );
    assert!(
        told.contains(&("network", "Note", "it depends on Route, which is left out")),
        "{told:?}"
    );
    assert!(
        told.contains(&("user", "Gone", "it depends on nat, which is left out")),
        "{told:?}"
    );
    assert_eq!(told.len(), 5);
}
