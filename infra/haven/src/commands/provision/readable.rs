//! Checks that every role can read the parameters and secrets that the contract grants it. IAM
//! simulates the deployed roles, so changes by hand, permissions boundaries and the organization's
//! policies count.
//!
//! The simulation does not evaluate key policies. Our key policy delegates the decision to IAM.

use std::collections::{BTreeMap, BTreeSet};

use adapter_aws::call::{Call, SIMULATE_PRINCIPAL_POLICY};
use anyhow::{Context as _, bail};
use aws_config::SdkConfig;
use blueprint::{Environment, Shared, Stack};
use contract::parameter_root;
use contract::role::{ROLES, Role};
use provision::Target;
use provision::account::exports;
use provision::aws_failure::failed;
use provision::stack::resources;
use serde_json::{Value, json};

/// One read permission that a principal must have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Reading {
    /// The ARN of the IAM role.
    principal: String,
    action: &'static str,
    /// The ARN of the resource.
    resource: String,
    /// The name of the resource in messages.
    what: String,
    /// The service through which a key is used (`kms:ViaService`).
    via: Option<String>,
}

/// Simulates each read permission. Returns a summary with their number.
///
/// # Errors
/// When a permission is denied. The message lists each one with its roles.
pub async fn readable(target: &Target) -> anyhow::Result<String> {
    let environment = &target.environment;
    let compute = environment.stack_name("compute");
    let stacks = blueprint::stacks(environment);
    let starters = starters(&stacks, &compute);
    let physical: BTreeMap<String, String> = resources(&target.cloudformation, &compute)
        .await?
        .into_iter()
        .filter_map(|it| Some((it.logical_resource_id?, it.physical_resource_id?)))
        .collect();
    let starter = |role: &Role| physical.get(starters.get(role.slug)?).cloned();
    let readings = readings(environment, &exports(target).await?, starter)?;
    let count = readings.len();
    simulate(&target.config, &readings).await?;
    // The simulation of the local AWS ignores conditions, and the key policy grants use only under
    // one.
    let but = match environment.local {
        true => "; keys and the cache token are not checked on the local AWS",
        false => "",
    };
    Ok(format!(
        "{count} reads simulated with the deployed roles{but}"
    ))
}

/// Returns the logical id of the execution role that starts each role's container, by role.
fn starters(stacks: &[Stack], compute: &str) -> BTreeMap<String, String> {
    let compute = stacks.iter().find(|stack| stack.name == compute);
    let resources = compute
        .and_then(|stack| stack.template["Resources"].as_object())
        .into_iter()
        .flatten();
    let tasks = resources.filter(|(_, resource)| resource["Type"] == "AWS::ECS::TaskDefinition");
    let of = tasks.filter_map(|(_, task)| {
        let properties = &task["Properties"];
        let role = properties["ContainerDefinitions"][0]["Name"].as_str()?;
        Some((
            role.to_owned(),
            properties["ExecutionRoleArn"]["Fn::GetAtt"][0]
                .as_str()?
                .to_owned(),
        ))
    });
    of.collect()
}

/// Returns all required read permissions with the roles that need them. They come from the
/// contract, not from the policies under test. A permission that several roles need through one
/// execution role appears once.
fn readings(
    environment: &Environment,
    exports: &BTreeMap<String, String>,
    starter: impl Fn(&Role) -> Option<String>,
) -> anyhow::Result<BTreeMap<Reading, BTreeSet<&'static str>>> {
    let mut readings: BTreeMap<Reading, BTreeSet<&'static str>> = BTreeMap::new();
    let exported = |export: &str| {
        let exported = exports.get(export);
        exported.with_context(|| format!("no stack exports {export}"))
    };
    for role in ROLES {
        let export = blueprint::task_role_export(environment, role);
        let principal = exports
            .get(&export)
            .with_context(|| format!("the stack roles exports no {export}"))?;
        let place = Place::of(principal)
            .with_context(|| format!("{principal} is not the ARN of a role"))?;
        let mut add = |principal: &str, action, resource, what: &str, via| {
            let (principal, what) = (principal.to_owned(), what.to_owned());
            readings
                .entry(Reading {
                    principal,
                    action,
                    resource,
                    what,
                    via,
                })
                .or_default()
                .insert(role.slug);
        };
        let region = &environment.settings.account.region;
        let (partition, account) = (place.partition, place.account);
        // Roles read all parameters by path, which IAM authorizes by the ARN of the path.
        let root = parameter_root(&environment.name);
        if !role.parameters.is_empty() {
            add(
                principal,
                "ssm:GetParametersByPath",
                format!("arn:{partition}:ssm:{region}:{account}:parameter{root}"),
                &root,
                None,
            );
        }
        let secrets = secrets(environment, role);
        if secrets.is_empty() {
            continue;
        }
        let starter = starter(role)
            .with_context(|| format!("the stack compute has no role that starts {}", role.slug))?;
        let starter = format!("arn:{partition}:iam::{account}:role/{starter}");
        for (what, export) in secrets {
            let exported = exported(&export)?;
            // The local AWS exports the name of a secret instead of its ARN.
            let is_named = role.secrets.iter().any(|secret| secret.slug == what);
            let arn = match (exported.starts_with("arn:"), is_named) {
                (true, _) => exported.clone(),
                // The policy contains the ARN except for its last six random characters, so any six
                // match.
                (false, true) => format!(
                    "arn:{partition}:secretsmanager:{region}:{account}:secret:{exported}-000000"
                ),
                (false, false) => continue,
            };
            add(&starter, "secretsmanager:GetSecretValue", arn, &what, None);
        }
        if !environment.local {
            let key = exported(&environment.stack_name(Shared::SecretsKey.slug()))?.clone();
            let via = Some(format!("secretsmanager.{region}.amazonaws.com"));
            add(&starter, "kms:Decrypt", key, "the key of the secrets", via);
        }
    }
    Ok(readings)
}

/// Returns the secrets that a role receives at its start: the name in messages, and the export with
/// the ARN.
fn secrets(environment: &Environment, role: &Role) -> Vec<(String, String)> {
    let own = role.secrets.iter().map(|secret| {
        (
            secret.slug.to_owned(),
            blueprint::secret_export(environment, secret),
        )
    });
    let shared = |is_given: bool, what: &str, shared: Shared| {
        is_given.then(|| (what.to_owned(), environment.stack_name(shared.slug())))
    };
    own.chain(shared(
        role.database,
        "the database login",
        Shared::DatabaseSecret,
    ))
    .chain(shared(role.cache, "the cache token", Shared::CacheSecret))
    .collect()
}

/// The partition and the account in an ARN.
struct Place<'a> {
    partition: &'a str,
    account: &'a str,
}

impl Place<'_> {
    fn of(arn: &str) -> Option<Place<'_>> {
        let mut parts = arn.split(':');
        Some(Place {
            partition: parts.nth(1)?,
            account: parts.nth(2)?,
        })
    }
}

/// Makes one call per permission, because the local AWS evaluates only the first of several
/// resources.
async fn simulate(
    config: &SdkConfig,
    readings: &BTreeMap<Reading, BTreeSet<&'static str>>,
) -> anyhow::Result<()> {
    let call = Call::new(config, &SIMULATE_PRINCIPAL_POLICY);
    let mut denied = Vec::new();
    for (reading, roles) in readings {
        let context = reading.via.as_ref().map(|service| {
            json!({ "member": [{
                "ContextKeyName": "kms:ViaService",
                "ContextKeyValues": { "member": [service] },
                "ContextKeyType": "string",
            }] })
        });
        let simulation = json!({
            "PolicySourceArn": reading.principal,
            "ActionNames": { "member": [reading.action] },
            "ResourceArns": { "member": [reading.resource] },
            "ContextEntries": context,
        });
        let what = || format!("simulate what {} may do", reading.principal);
        let simulated = call.send(simulation).await;
        let simulated = simulated.map_err(|error| failed(what(), &error))?;
        let result = simulated["EvaluationResults"]["member"]
            .get(0)
            .context("IAM returned no result of its simulation")?;
        if result["EvalDecision"] != "allowed" {
            let roles: Vec<&str> = roles.iter().copied().collect();
            denied.push(format!(
                "{} may not read {}: {} {}",
                roles.join(", "),
                reading.what,
                reading.action,
                refusal(result)
            ));
        }
    }
    if denied.is_empty() {
        Ok(())
    } else {
        bail!("{}", denied.join("; "))
    }
}

/// Returns which policy denies the permission, as far as IAM reports it.
fn refusal(result: &Value) -> &'static str {
    if result["OrganizationsDecisionDetail"]["AllowedByOrganizations"] == "false" {
        "is denied by the organization"
    } else if result["PermissionsBoundaryDecisionDetail"]["AllowedByPermissionsBoundary"] == "false"
    {
        "is beyond the boundary of its role"
    } else if result["EvalDecision"] == "explicitDeny" {
        "is denied by a policy"
    } else {
        "is allowed by no policy"
    }
}

#[cfg(test)]
mod tests;
