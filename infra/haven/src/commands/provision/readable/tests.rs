use adapter_aws::call::{IAM, Operation};
use platform::aws::Aws;
use provision::Reporter;
use provision::deploy::deploy;
use provision::testing::{Stub, stub};
use servers::local_aws;

use super::*;

const LIST_POLICIES: Operation = Operation::new(&IAM, "ListAttachedRolePolicies");
const DETACH_POLICY: Operation = Operation::new(&IAM, "DetachRolePolicy");

/// Returns every export that a reading can refer to.
fn exported(environment: &Environment) -> BTreeMap<String, String> {
    let stacks = blueprint::stacks(environment);
    let names = stacks.iter().flat_map(Stack::exports);
    names
        .map(|name| {
            (
                name.clone(),
                format!("arn:aws:any:us-east-1:111122223333:role/{name}"),
            )
        })
        .collect()
}

fn of_prod() -> BTreeMap<Reading, BTreeSet<&'static str>> {
    let prod = Environment::named("prod").expect("an embedded environment");
    let starters = starters(&blueprint::stacks(&prod), &prod.stack_name("compute"));
    readings(&prod, &exported(&prod), |role| {
        starters.get(role.slug).cloned()
    })
    .expect("everything is exported")
}

#[test]
fn the_simulation_covers_every_parameter_and_secret_of_each_role() {
    let readings = of_prod();
    for role in ROLES {
        let asked: BTreeSet<&str> = readings
            .iter()
            .filter(|(_, roles)| roles.contains(role.slug))
            .map(|(reading, _)| reading.what.as_str())
            .collect();
        let mut wanted: BTreeSet<&str> = BTreeSet::new();
        wanted.extend((!role.parameters.is_empty()).then_some("/brewhaven/prod"));
        wanted.extend(role.secrets.iter().map(|secret| secret.slug));
        wanted.extend(role.database.then_some("the database login"));
        wanted.extend(role.cache.then_some("the cache token"));
        for what in wanted {
            assert!(asked.contains(what), "{} and {what}: {asked:?}", role.slug);
        }
    }
    let keys: Vec<&Reading> = readings
        .keys()
        .filter(|reading| reading.action == "kms:Decrypt")
        .collect();
    assert!(!keys.is_empty());
    assert!(
        keys.iter()
            .all(|key| key.via.as_deref() == Some("secretsmanager.us-east-1.amazonaws.com")),
        "{keys:?}"
    );
}

/// Returns IAM's response to one simulation.
fn decision(decision: &str, more: &str) -> String {
    format!(
        "<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult><EvaluationResults><member>\
         <EvalActionName>any</EvalActionName><EvalDecision>{decision}</EvalDecision>{more}</member></EvaluationResults>\
         </SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
    )
}

#[tokio::test]
async fn a_denied_read_is_reported_with_its_role_and_the_policy() {
    let Stub { config, .. } = &stub(|_| decision("allowed", "")).await;
    simulate(config, &of_prod()).await.expect("all are allowed");

    let Stub { config, .. } = &stub(|form| {
        assert_eq!(form["Action"], "SimulatePrincipalPolicy");
        let (action, resource) = (form["ActionNames.member.1"].as_str(), &form["ResourceArns.member.1"]);
        if action == "kms:Decrypt" {
            assert_eq!(form["ContextEntries.member.1.ContextKeyName"], "kms:ViaService");
        }
        let bounded = "<PermissionsBoundaryDecisionDetail><AllowedByPermissionsBoundary>false</AllowedByPermissionsBoundary>\
                       </PermissionsBoundaryDecisionDetail>";
        match action {
            "ssm:GetParametersByPath" => decision("implicitDeny", ""),
            "kms:Decrypt" => decision("explicitDeny", ""),
            "secretsmanager:GetSecretValue" if resource.ends_with("cache-secret") => decision("implicitDeny", bounded),
            _ => decision("allowed", ""),
        }
    })
    .await;
    let error = simulate(config, &of_prod())
        .await
        .expect_err("some are denied")
        .to_string();
    for part in [
        "storefront may not read /brewhaven/prod: ssm:GetParametersByPath is allowed by no policy",
        "may not read the key of the secrets: kms:Decrypt is denied by a policy",
        "may not read the cache token: secretsmanager:GetSecretValue is beyond the boundary of its role",
    ] {
        assert!(error.contains(part), "{part}:\n{error}");
    }
    assert!(!error.contains("database login"), "{error}");
}

#[tokio::test]
async fn deployed_roles_may_read_and_a_role_without_its_policy_may_not() {
    let aws = local_aws().await;
    let target = Aws::local(&aws.access).target(Environment::local());
    deploy(&target, &Reporter::quiet())
        .await
        .expect("every stack is deployed");
    let found = readable(&target)
        .await
        .expect("every role may read its parameters and secrets");
    assert!(
        found.contains("are not checked on the local AWS"),
        "{found}"
    );

    let export = blueprint::task_role_export(
        &target.environment,
        Role::by_slug("sweeper").expect("a role"),
    );
    let arn = exports(&target).await.expect("exports")[&export].clone();
    let role = arn.rsplit('/').next().expect("a name");
    let attached = Call::new(&target.config, &LIST_POLICIES)
        .send(json!({ "RoleName": role }))
        .await
        .expect("its policies");
    let policies = attached["AttachedPolicies"]["member"].as_array();
    for policy in policies.expect("a list") {
        Call::new(&target.config, &DETACH_POLICY)
            .send(json!({ "RoleName": role, "PolicyArn": policy["PolicyArn"] }))
            .await
            .expect("the policy is detached");
    }
    let error = readable(&target)
        .await
        .expect_err("the sweeper may read nothing")
        .to_string();
    assert!(error.starts_with("sweeper may not read"), "{error}");
}
