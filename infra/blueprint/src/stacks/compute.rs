//! The ECS resources: the image repository, the cluster, and for each role a task definition, a
//! service and its scaling.
//!
//! One image contains all roles: a role's slug is the name of its binary in `/usr/local/bin`. Tasks
//! refer to the image by its digest.

mod scaling;

use contract::role::{ROLES, Role};
use contract::{STOREFRONT_HEALTH_PORT, STOREFRONT_PORT};
use serde_json::{Value, json};

use scaling::{Tasks, scaling, tasks};

use super::observability;
use super::roles::{iam_role, managed_policy, task_trust, trust};
use crate::environment::Environment;
use crate::kind;
use crate::names::{MAIL_DOMAIN, Shared, export_of};
use crate::roles::{self, Actor, PULL_IMAGES};
use crate::template::{Keep, LogicalId, Statement, Template, get_att, reference, sorted, sub};

/// The address of health checks and metrics inside the container. Only the storefront's is
/// reachable from outside.
const HEALTH_ADDRESS: &str = "127.0.0.1:9000";

/// Returns the health address of a role. The load balancer checks the storefront's health.
fn health_address(role: &Role) -> String {
    if role.public {
        format!("0.0.0.0:{STOREFRONT_HEALTH_PORT}")
    } else {
        HEALTH_ADDRESS.to_owned()
    }
}

/// A user and group that own no file of the image.
const USER: &str = "10001:10001";
/// Graviton costs a fifth less than X86_64 per vCPU and GiB (AWS Fargate Pricing). The database and
/// the cache run on it too.
const ARCHITECTURE: &str = "ARM64";
/// Name of the database in the data stack.
const DATABASE_NAME: &str = "brewhaven";
/// Metadata key of a policy: the reason why one of its statements has `*` as its resource.
const ANY_RESOURCE: &str = "AnyResource";

/// Returns the stack with the cluster and the services.
pub fn compute(environment: &Environment) -> Template<'_> {
    let mut template = Template::new(environment, "Brew Haven: ECS cluster, services and tasks");
    let images = images(&mut template);
    let cluster = cluster(&mut template);
    let logs: Vec<(&Role, LogicalId)> = ROLES
        .iter()
        .map(|role| (*role, role_logs(&mut template, role)))
        .collect();
    let starters = starters(&mut template, &images, &logs);
    for (role, logs) in &logs {
        let reasons = roles::reasons(role, environment, Actor::Starter);
        let Some(starter) = starters.iter().find(|starter| starter.reasons == reasons) else {
            continue;
        };
        let task = Task {
            image: &images,
            logs,
            starter: &starter.role,
        };
        let task = task_definition(&mut template, role, &task);
        let service = service(&mut template, role, &cluster, &task);
        scaling(&mut template, role, &cluster, &service);
    }
    template
}

/// Adds the repository of the image. Each environment has its own; promotion copies an image with
/// its digest.
fn images(template: &mut Template<'_>) -> LogicalId {
    let environment = template.environment;
    let rule = |priority: u32, about: &str, selection: Value| json!({ "rulePriority": priority, "description": about, "selection": selection, "action": { "type": "expire" } });
    let lifecycle = json!({ "rules": [
        rule(1, "Untagged", json!({
            "tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 7,
        })),
        // Far more images than any rollback needs.
        rule(2, "Old", json!({ "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 100 })),
    ] });
    let properties = json!({
        "ImageTagMutability": "IMMUTABLE",
        "ImageScanningConfiguration": { "ScanOnPush": true },
        "EncryptionConfiguration": { "EncryptionType": "KMS", "KmsKey": Shared::StorageKey.import(environment) },
        "LifecyclePolicy": { "LifecyclePolicyText": sorted(lifecycle).to_string() },
    });
    template.add_kept("images", kind::ECR_REPOSITORY, properties, Keep::Data)
}

fn cluster(template: &mut Template<'_>) -> LogicalId {
    let environment = template.environment;
    // A fixed name, because Container Insights writes to a log group with this name. Without our
    // log group it would create one without retention and without our key.
    let name = environment.stack_name("cluster");
    let logs = format!("/aws/ecs/containerinsights/{name}/performance");
    let insights = log_group(template, "insights logs", &logs);
    let properties = json!({
        "ClusterName": name,
        "ClusterSettings": [{ "Name": "containerInsights", "Value": "enabled" }],
        "CapacityProviders": ["FARGATE", "FARGATE_SPOT"],
        "DefaultCapacityProviderStrategy": [{ "CapacityProvider": "FARGATE", "Weight": 1 }],
    });
    let cluster = template.add("cluster", kind::ECS_CLUSTER, properties);
    template.after(&cluster, &[&insights]);
    Shared::ClusterName.export(template, reference(&cluster));
    Shared::ClusterArn.export(template, get_att(&cluster, "Arn"));
    cluster
}

/// Adds the log group of a role under a name that people can search. No change of its properties
/// requires a replacement.
fn role_logs(template: &mut Template<'_>, role: &Role) -> LogicalId {
    let name = observability::log_group(template.environment, role);
    log_group(template, &format!("{} logs", role.slug), &name)
}

fn log_group(template: &mut Template<'_>, words: &str, name: &str) -> LogicalId {
    let environment = template.environment;
    let properties = json!({
        "LogGroupName": name,
        "RetentionInDays": environment.settings.observability.log_days,
        "KmsKeyId": Shared::LogsKey.import(environment),
    });
    template.add_kept(words, kind::LOG_GROUP, properties, Keep::Data)
}

/// The execution role with which ECS starts tasks: it fetches the image, reads secrets and writes
/// logs. The process never has these permissions, so roles with the same secrets share one.
struct Starter {
    /// The reasons for the secrets that it may read.
    reasons: Vec<String>,
    role: LogicalId,
}

fn starters(
    template: &mut Template<'_>,
    images: &LogicalId,
    logs: &[(&'static Role, LogicalId)],
) -> Vec<Starter> {
    let environment = template.environment;
    let mut kinds: Vec<(Vec<String>, &Role, Vec<Value>)> = Vec::new();
    for (role, _) in logs {
        let reasons = roles::reasons(role, environment, Actor::Starter);
        if kinds.iter().any(|(known, ..)| *known == reasons) {
            continue;
        }
        let alike = logs
            .iter()
            .filter(|(other, _)| roles::reasons(other, environment, Actor::Starter) == reasons);
        let logs = alike.map(|(_, logs)| get_att(logs, "Arn")).collect();
        let statements = start_statements(environment, role, images, logs);
        kinds.push((reasons, role, statements));
    }
    // The common statements are in one shared policy, because the template is close to
    // CloudFormation's limit for inline templates.
    let everybodys = |statement: &&Value| {
        kinds
            .iter()
            .all(|(_, _, statements)| statements.contains(statement))
    };
    let first = kinds
        .iter()
        .take(1)
        .flat_map(|(_, _, statements)| statements);
    let common: Vec<Value> = first.filter(everybodys).cloned().collect();
    let shared = managed_policy(template, "start policy", &common);
    // The action has no resource type (Service Authorization Reference, Elastic Container
    // Registry).
    let reason = "ecr:GetAuthorizationToken is of the account, not of a repository";
    template.note(&shared, ANY_RESOURCE, reason);
    let mut starters = Vec::new();
    for (reasons, role, statements) in kinds {
        let own: Vec<_> = statements
            .into_iter()
            .filter(|statement| !common.contains(statement))
            .collect();
        let words = format!("{} start policy", role.slug);
        let own = managed_policy(template, &words, &own);
        let words = format!("{} start role", role.slug);
        let role = iam_role(template, &words, task_trust(), &[&shared, &own]);
        starters.push(Starter { reasons, role });
    }
    starters
}

fn start_statements(
    environment: &Environment,
    role: &Role,
    images: &LogicalId,
    logs: Vec<Value>,
) -> Vec<Value> {
    let image = vec![get_att(images, "Arn")];
    let login = ["ecr:GetAuthorizationToken"];
    let write = ["logs:CreateLogStream", "logs:PutLogEvents"];
    let more = [
        Statement::new("starts from the image", PULL_IMAGES, image),
        Statement::new("logs in to the registry", &login, vec![json!("*")]),
        Statement::new("writes the log", &write, logs),
    ];
    roles::statements_of(role, environment, Actor::Starter, &more)
}

/// Adds the role with which ECS shifts the storefront's traffic between target groups. It may
/// change nothing else of the load balancer.
fn traffic_role(template: &mut Template<'_>) -> LogicalId {
    let environment = template.environment;
    let import = |shared: Shared| shared.import(environment);
    let look = [
        "elasticloadbalancing:DescribeListeners",
        "elasticloadbalancing:DescribeRules",
        "elasticloadbalancing:DescribeTargetGroups",
        "elasticloadbalancing:DescribeTargetHealth",
    ];
    let turn = ["elasticloadbalancing:ModifyRule"];
    let rules = [Shared::StorefrontRule, Shared::StorefrontTestRule].map(import);
    let register = [
        "elasticloadbalancing:DeregisterTargets",
        "elasticloadbalancing:RegisterTargets",
    ];
    let targets = [Shared::StorefrontTargets, Shared::StorefrontOtherTargets].map(import);
    let statements = [
        Statement::new("looks at the balancer", &look, vec![json!("*")]),
        Statement::new("turns the traffic", &turn, rules.into()),
        Statement::new("registers tasks", &register, targets.into()),
    ];
    let statements: Vec<_> = statements.iter().map(roles::named).collect();
    let policy = managed_policy(template, "traffic policy", &statements);
    // These actions have no resource type (Service Authorization Reference, Elastic Load Balancing
    // V2).
    let reason = "The Describe actions of elasticloadbalancing support no resources";
    template.note(&policy, ANY_RESOURCE, reason);
    template.waive(&policy, &["IAM-2"], reason);
    let trust = trust("ecs.amazonaws.com");
    iam_role(template, "traffic role", trust, &[&policy])
}

/// The parts of a role's task definition.
struct Task<'a> {
    image: &'a LogicalId,
    logs: &'a LogicalId,
    starter: &'a LogicalId,
}

fn task_definition(template: &mut Template<'_>, role: &Role, task: &Task<'_>) -> LogicalId {
    let environment = template.environment;
    let binary = format!("/usr/local/bin/{}", role.slug);
    let image = sub(&format!(
        "${{{}.RepositoryUri}}@{}",
        task.image.as_str(),
        digest(environment)
    ));
    let mut container = json!({
        "Name": role.slug,
        "Image": image,
        "EntryPoint": [binary],
        "User": USER,
        "Privileged": false,
        "ReadonlyRootFilesystem": true,
        // The init process forwards signals and reaps orphaned processes.
        "LinuxParameters": { "InitProcessEnabled": true, "Capabilities": { "Drop": ["ALL"] } },
        "StopTimeout": role.stop_timeout().as_secs(),
        // The image has no shell and no curl, so the binary itself calls the running process.
        "HealthCheck": { "Command": ["CMD", binary, "health"], "Interval": 10, "StartPeriod": 30 },
        "Environment": variables(environment, role),
        "Secrets": secrets(environment, role),
        "LogConfiguration": {
            "LogDriver": "awslogs",
            "Options": {
                "awslogs-group": reference(task.logs),
                "awslogs-region": { "Ref": "AWS::Region" },
                "awslogs-stream-prefix": "task",
                // An undeliverable log must not block orders. AWS measured no loss with 25 MiB at 5
                // MB per second (AWS Containers Blog, "Preventing log loss with non-blocking
                // mode").
                "mode": "non-blocking",
                "max-buffer-size": "25m",
            },
        },
    });
    if role.public {
        container["PortMappings"] =
            json!([{ "ContainerPort": STOREFRONT_PORT, "Protocol": "tcp" }]);
    }
    let properties = json!({
        "Family": environment.stack_name(role.slug),
        "RequiresCompatibilities": ["FARGATE"],
        "RuntimePlatform": { "CpuArchitecture": ARCHITECTURE, "OperatingSystemFamily": "LINUX" },
        "NetworkMode": "awsvpc",
        "Cpu": role.cpu.to_string(),
        "Memory": role.memory_mib.to_string(),
        "TaskRoleArn": Shared::task_role(environment, role),
        "ExecutionRoleArn": get_att(task.starter, "Arn"),
        "ContainerDefinitions": [container],
    });
    let words = format!("{} task", role.slug);
    template.add(&words, kind::ECS_TASK_DEFINITION, properties)
}

/// Returns true if there is an image. Before the first image, services are created without tasks
/// and with a digest of zeros.
fn has_image(environment: &Environment) -> bool {
    !environment.settings.compute.image_digest.is_empty()
}

fn digest(environment: &Environment) -> String {
    if has_image(environment) {
        environment.settings.compute.image_digest.clone()
    } else {
        format!("sha256:{}", "0".repeat(64))
    }
}

/// Returns the environment variables that the role's configuration reads.
fn variables(environment: &Environment, role: &Role) -> Vec<Value> {
    let mut variables = Vec::new();
    let mut add =
        |name: &str, value: Value| variables.push(json!({ "Name": name, "Value": value }));
    let domain = &environment.settings.edge.domain;
    add("HAVEN_ENV", json!(environment.name));
    add("AWS_REGION", json!({ "Ref": "AWS::Region" }));
    add("HAVEN_HEALTH_BIND", json!(health_address(role)));
    if role.public {
        add("HAVEN_BIND", json!(format!("0.0.0.0:{STOREFRONT_PORT}")));
        // The load balancer. Requests through the API arrive with the address of its VPC link; the
        // API has limits of its own.
        add("HAVEN_TRUSTED_PROXIES", json!("1"));
    }
    if role.database {
        add("DATABASE_URL", database_url(environment));
        let login = Shared::DatabaseSecret.import(environment);
        add("HAVEN_DATABASE_LOGIN_ARN", login);
    }
    if role.cache {
        let host = Shared::CacheHost.import(environment);
        let url = json!({ "Fn::Join": ["", ["rediss://", host, ":6379"]] });
        add("REDIS_URL", url);
        let login = Shared::CacheSecret.import(environment);
        add("HAVEN_CACHE_LOGIN_ARN", login);
    }
    if role.gateway {
        add("PAYMENT_URL", json!(format!("https://payments.{domain}")));
    }
    if role.mail {
        add("HAVEN_PUBLIC_URL", json!(format!("https://{domain}")));
        // The only domain from which the task role may send.
        let from = format!("Brew Haven <orders@{MAIL_DOMAIN}>");
        add("HAVEN_MAIL_FROM", json!(from));
        let staff = format!("staff@{MAIL_DOMAIN}");
        add("HAVEN_STAFF_MAIL", json!(staff));
    }
    for address in role.addresses() {
        let value = json!({ "Fn::ImportValue": export_of(environment, address) });
        add(&address.variable(), value);
    }
    variables
}

/// Returns the database URL without a login. The image sets `PGSSLROOTCERT` to its copy of the RDS
/// root certificates. The login comes in `PGUSER` and `PGPASSWORD`, which PostgreSQL clients use
/// when the URL has none (PostgreSQL documentation, libpq "Environment Variables"; sqlx does the
/// same).
fn database_url(environment: &Environment) -> Value {
    let (host, port) = (
        Shared::DatabaseHost.import(environment),
        Shared::DatabasePort.import(environment),
    );
    let rest = format!("/{DATABASE_NAME}?sslmode=verify-full");
    json!({ "Fn::Join": ["", ["postgres://", host, ":", port, rest]] })
}

/// Returns the secrets by reference. ECS puts the values into the environment of the process, so no
/// template or task definition contains one.
fn secrets(environment: &Environment, role: &Role) -> Vec<Value> {
    let secret = |name: &str, from: Value| json!({ "Name": name, "ValueFrom": from });
    // One key of the current version of a secret (ECS Developer Guide, "Pass Secrets Manager
    // secrets through Amazon ECS environment variables").
    let part = |shared: Shared, key: &str| json!({ "Fn::Join": ["", [shared.import(environment), format!(":{key}::")]] });
    let own = role
        .secrets
        .iter()
        .map(|known| secret(known.variable, Shared::secret(environment, known)));
    let mut secrets: Vec<Value> = own.collect();
    if role.database {
        secrets.push(secret("PGUSER", part(Shared::DatabaseSecret, "username")));
        secrets.push(secret(
            "PGPASSWORD",
            part(Shared::DatabaseSecret, "password"),
        ));
    }
    if role.cache {
        secrets.push(secret("REDIS_PASSWORD", part(Shared::CacheSecret, "token")));
    }
    secrets
}

fn service(
    template: &mut Template<'_>,
    role: &Role,
    cluster: &LogicalId,
    task: &LogicalId,
) -> LogicalId {
    let environment = template.environment;
    let mut deployment = json!({
        "MinimumHealthyPercent": 100,
        "MaximumPercent": 200,
        "DeploymentCircuitBreaker": { "Enable": true, "Rollback": true },
    });
    let mut properties = json!({
        "ServiceName": role.slug,
        "Cluster": reference(cluster),
        "TaskDefinition": reference(task),
        "NetworkConfiguration": { "AwsvpcConfiguration": {
            "AssignPublicIp": "DISABLED",
            "SecurityGroups": groups(environment, role),
            "Subnets": Shared::PrivateSubnets.list(environment),
        } },
        "AvailabilityZoneRebalancing": "ENABLED",
        "EnableECSManagedTags": true,
        "EnableExecuteCommand": false,
        "PropagateTags": "SERVICE",
    });
    if role.public {
        let traffic = traffic_role(template);
        deployment["Strategy"] = json!("BLUE_GREEN");
        deployment["BakeTimeInMinutes"] = json!(environment.settings.compute.bake_minutes);
        properties["LoadBalancers"] = json!([{
            "ContainerName": role.slug,
            "ContainerPort": STOREFRONT_PORT,
            "TargetGroupArn": Shared::StorefrontTargets.import(environment),
            "AdvancedConfiguration": {
                "AlternateTargetGroupArn": Shared::StorefrontOtherTargets.import(environment),
                "ProductionListenerRule": Shared::StorefrontRule.import(environment),
                "TestListenerRule": Shared::StorefrontTestRule.import(environment),
                "RoleArn": get_att(&traffic, "Arn"),
            },
        }]);
        properties["HealthCheckGracePeriodSeconds"] = json!(60);
    }
    properties["DeploymentConfiguration"] = deployment;
    if may_be_interrupted(environment, role) {
        properties["CapacityProviderStrategy"] =
            json!([{ "CapacityProvider": "FARGATE_SPOT", "Weight": 1 }]);
    }
    match tasks(environment, role) {
        _ if !has_image(environment) => properties["DesiredCount"] = json!(0),
        Tasks::Fixed(count) => properties["DesiredCount"] = json!(count),
        // Left out, so that a deployment keeps the count that scaling has reached.
        Tasks::Scaled { .. } => {}
    }
    let words = format!("{} service", role.slug);
    template.add(&words, kind::ECS_SERVICE, properties)
}

/// Returns true if the role runs on Fargate Spot: workers outside production. AWS interrupts such
/// tasks with two minutes' notice, and every drain fits into that.
fn may_be_interrupted(environment: &Environment, role: &Role) -> bool {
    !environment.is_production() && !role.public
}

/// Returns the security groups of a role: the group of all tasks, and the client groups of the
/// services that it uses.
fn groups(environment: &Environment, role: &Role) -> Vec<Value> {
    let groups = [
        (true, Shared::TaskGroup),
        (role.database, Shared::DatabaseClients),
        (role.cache, Shared::CacheClients),
    ];
    let groups = groups.into_iter().filter(|(is_member, _)| *is_member);
    groups.map(|(_, group)| group.import(environment)).collect()
}

#[cfg(test)]
#[path = "compute_tests.rs"]
mod tests;
