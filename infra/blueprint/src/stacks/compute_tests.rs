use std::collections::{BTreeMap, BTreeSet};

use contract::address::Address;
use contract::role::{ORDER_WORKER, OUTBOX_RELAY, STOREFRONT};

use super::scaling::CPU_TARGET;
use super::*;
use crate::names::export_of_name;

fn environments() -> Vec<Environment> {
    let named = ["dev", "staging", "prod"].map(|name| Environment::named(name).expect("known"));
    named
        .into_iter()
        .map(|mut environment| {
            environment.settings.compute.image_digest = format!("sha256:{}", "a".repeat(64));
            environment
        })
        .collect()
}

fn prod() -> Environment {
    environments().remove(2)
}

fn resources(template: Template, kind: &str) -> BTreeMap<String, Value> {
    let json = template.into_json();
    let resources = json["Resources"].as_object().expect("resources");
    let alike = resources
        .iter()
        .filter(|(_, resource)| resource["Type"] == kind);
    alike
        .map(|(id, resource)| (id.clone(), resource["Properties"].clone()))
        .collect()
}

fn made(environment: &Environment, kind: &str) -> BTreeMap<String, Value> {
    resources(compute(environment), kind)
}

/// Returns the only resource of `kind` whose logical id consists of the role and `what`.
fn of_role(environment: &Environment, kind: &str, role: &Role, what: &str) -> Value {
    let words = format!("{}-{what}", role.slug);
    let id: String = words
        .split('-')
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect();
    made(environment, kind)
        .remove(&id)
        .unwrap_or_else(|| panic!("no {id}"))
}

fn task(environment: &Environment, role: &Role) -> Value {
    of_role(environment, "AWS::ECS::TaskDefinition", role, "task")
}

fn container(environment: &Environment, role: &Role) -> Value {
    task(environment, role)["ContainerDefinitions"][0].clone()
}

fn service_of(environment: &Environment, role: &Role) -> Value {
    of_role(environment, "AWS::ECS::Service", role, "service")
}

#[test]
fn every_role_has_a_task_a_service_and_a_task_role_of_its_own() {
    for environment in environments() {
        let mut task_roles = BTreeSet::new();
        for role in ROLES {
            let task = task(&environment, role);
            assert_eq!(
                task["ContainerDefinitions"].as_array().map(Vec::len),
                Some(1)
            );
            assert_eq!(task["TaskRoleArn"], Shared::task_role(&environment, role));
            assert_ne!(task["TaskRoleArn"], task["ExecutionRoleArn"]);
            task_roles.insert(task["TaskRoleArn"].to_string());
            assert_eq!(service_of(&environment, role)["ServiceName"], role.slug);
        }
        assert_eq!(task_roles.len(), ROLES.len());
    }
}

#[test]
fn a_policy_on_every_resource_has_a_reason() {
    for environment in environments() {
        let template = compute(&environment).into_json();
        for (id, resource) in template["Resources"].as_object().expect("resources") {
            if resource["Type"] == "AWS::IAM::ManagedPolicy" {
                let document = &resource["Properties"]["PolicyDocument"];
                let everything = document.to_string().contains("\"*\"");
                assert_eq!(
                    everything,
                    resource["Metadata"].get(ANY_RESOURCE).is_some(),
                    "{id}"
                );
            }
        }
    }
}

#[test]
fn stop_timeouts_are_the_drain_of_the_contract_plus_a_margin() {
    for role in ROLES {
        let timeout = container(&prod(), role)["StopTimeout"]
            .as_u64()
            .expect("seconds");
        assert_eq!(timeout, role.drain.as_secs() + 5, "{}", role.slug);
        assert!(timeout <= 120, "{}: Fargate waits no longer", role.slug);
    }
}

#[test]
fn secrets_come_by_reference_and_no_address_carries_a_login() {
    for environment in environments() {
        for role in ROLES {
            let container = container(&environment, role);
            for secret in container["Secrets"].as_array().expect("a list") {
                assert!(
                    secret["ValueFrom"].to_string().contains("Fn::ImportValue"),
                    "{}: {secret}",
                    role.slug
                );
                assert!(secret.get("Value").is_none(), "{}", role.slug);
            }
            for variable in container["Environment"].as_array().expect("a list") {
                let value = variable["Value"].to_string();
                let name = variable["Name"].as_str().expect("a name");
                // The ARN of a login is not secret.
                assert!(
                    name.ends_with("_LOGIN_ARN") || !value.contains("-secret"),
                    "{}: {variable}",
                    role.slug
                );
                assert!(
                    !name.ends_with("_URL") || !value.contains('@'),
                    "{}: {variable}",
                    role.slug
                );
            }
        }
        assert!(
            !compute(&environment)
                .into_json()
                .to_string()
                .contains("{{resolve:")
        );
    }
}

#[test]
fn images_are_referenced_by_digest() {
    for role in ROLES {
        let image = container(&prod(), role)["Image"]["Fn::Sub"]
            .as_str()
            .expect("a Sub")
            .to_owned();
        assert_eq!(
            image,
            format!("${{Images.RepositoryUri}}@sha256:{}", "a".repeat(64))
        );
    }
}

#[test]
fn tasks_are_private_and_have_only_the_client_groups_they_need() {
    for environment in environments() {
        for role in ROLES {
            let network =
                service_of(&environment, role)["NetworkConfiguration"]["AwsvpcConfiguration"]
                    .clone();
            assert_eq!(
                network["Subnets"],
                Shared::PrivateSubnets.list(&environment),
                "{}",
                role.slug
            );
            let groups = network["SecurityGroups"].as_array().expect("groups");
            assert!(groups.contains(&Shared::TaskGroup.import(&environment)));
            for (needed, group) in [
                (role.database, Shared::DatabaseClients),
                (role.cache, Shared::CacheClients),
            ] {
                assert_eq!(
                    groups.contains(&group.import(&environment)),
                    needed,
                    "{}: {group:?}",
                    role.slug
                );
            }
            let health = container(&environment, role)["Environment"].to_string();
            let address = if role.public {
                "0.0.0.0:8081"
            } else {
                "127.0.0.1:9000"
            };
            assert!(
                health.contains(address),
                "{}: health is for the container, and the balancer alone",
                role.slug
            );
            assert_eq!(
                container(&environment, role).get("PortMappings").is_some(),
                role.public,
                "{}",
                role.slug
            );
        }
    }
}

#[test]
fn only_the_storefront_has_blue_green_deployments() {
    for environment in environments() {
        for role in ROLES {
            let service = service_of(&environment, role);
            let strategy = service["DeploymentConfiguration"]["Strategy"].as_str();
            assert_eq!(
                strategy,
                role.public.then_some("BLUE_GREEN"),
                "{}",
                role.slug
            );
            assert_eq!(
                service.get("LoadBalancers").is_some(),
                role.public,
                "{}",
                role.slug
            );
        }
        let storefront = service_of(&environment, &STOREFRONT);
        let bake = &storefront["DeploymentConfiguration"]["BakeTimeInMinutes"];
        assert_eq!(*bake, json!(environment.settings.compute.bake_minutes));
        let balancer = &storefront["LoadBalancers"][0];
        let turned = &balancer["AdvancedConfiguration"];
        assert_eq!(
            balancer["TargetGroupArn"],
            Shared::StorefrontTargets.import(&environment)
        );
        assert_eq!(
            turned["AlternateTargetGroupArn"],
            Shared::StorefrontOtherTargets.import(&environment)
        );
        assert_eq!(
            turned["ProductionListenerRule"],
            Shared::StorefrontRule.import(&environment)
        );
        assert_eq!(
            turned["TestListenerRule"],
            Shared::StorefrontTestRule.import(&environment)
        );
    }
}

#[test]
fn scaling_has_the_limits_of_the_settings() {
    assert_eq!(
        (
            prod().settings.compute.storefront_tasks,
            prod().settings.compute.worker_tasks
        ),
        ((10, 100), (10, 100))
    );
    for environment in environments() {
        let compute = &environment.settings.compute;
        let targets = made(&environment, "AWS::ApplicationAutoScaling::ScalableTarget");
        let scaled: Vec<_> = ROLES
            .iter()
            .filter(|role| role.public || !role.consumes.is_empty())
            .collect();
        assert_eq!(targets.len(), scaled.len());
        for role in scaled {
            let target = of_role(
                &environment,
                "AWS::ApplicationAutoScaling::ScalableTarget",
                role,
                "scaling",
            );
            let (least, most) = if role.public {
                compute.storefront_tasks
            } else {
                compute.worker_tasks
            };
            assert_eq!(
                (&target["MinCapacity"], &target["MaxCapacity"]),
                (&json!(least), &json!(most)),
                "{}",
                role.slug
            );
            let service = service_of(&environment, role);
            assert!(
                service.get("DesiredCount").is_none(),
                "{}: a deployment would undo scaling",
                role.slug
            );
        }
    }
    let relay = service_of(&prod(), &OUTBOX_RELAY);
    assert_eq!(relay["DesiredCount"], 2, "everything waits for it");
}

#[test]
fn workers_scale_on_backlog_for_each_running_task_and_the_storefront_on_requests() {
    for environment in environments() {
        let policies = made(&environment, "AWS::ApplicationAutoScaling::ScalingPolicy");
        let configuration = |id: &str| {
            policies.get(id).expect("a policy")["TargetTrackingScalingPolicyConfiguration"].clone()
        };
        let backlog = configuration("OrderWorkerBacklogScaling");
        assert_eq!(
            backlog["TargetValue"],
            json!(environment.settings.compute.backlog_per_task)
        );
        let metrics = backlog["CustomizedMetricSpecification"]["Metrics"]
            .as_array()
            .expect("metrics")
            .clone();
        let known: Vec<_> = metrics
            .iter()
            .filter_map(|one| one["MetricStat"]["Metric"]["MetricName"].as_str())
            .collect();
        assert_eq!(
            known,
            ["ApproximateNumberOfMessagesVisible", "RunningTaskCount"]
        );
        let queue =
            &metrics[0]["MetricStat"]["Metric"]["Dimensions"][0]["Value"]["Fn::ImportValue"];
        let orders = export_of_name(&environment, Address::Queue(ORDER_WORKER.consumes[0]));
        assert_eq!(*queue, json!(orders));
        assert_eq!(
            metrics
                .iter()
                .filter(|one| one["ReturnData"] == true)
                .count(),
            1,
            "one number is followed"
        );
        let requests = configuration("StorefrontRequestsScaling");
        assert!(requests.to_string().contains("RequestCountPerTarget"));
        assert_eq!(
            configuration("StorefrontCpuScaling")["TargetValue"],
            CPU_TARGET
        );
        for role in ROLES.iter().filter(|role| !role.consumes.is_empty()) {
            let own = policies
                .values()
                .filter(|policy| policy["PolicyName"] == format!("{}-backlog", role.slug));
            assert_eq!(own.count(), role.consumes.len(), "{}", role.slug);
        }
    }
}

#[test]
fn before_the_first_image_nothing_is_started() {
    for name in ["dev", "staging", "prod"] {
        let environment = Environment::named(name).expect("known");
        assert!(
            environment.settings.compute.image_digest.is_empty(),
            "the setting's default"
        );
        for (id, service) in made(&environment, "AWS::ECS::Service") {
            assert_eq!(service["DesiredCount"], 0, "{id}");
        }
        for (id, target) in made(&environment, "AWS::ApplicationAutoScaling::ScalableTarget") {
            assert_eq!(
                (&target["MinCapacity"], &target["MaxCapacity"]),
                (&json!(0), &json!(0)),
                "{id}"
            );
        }
    }
}
