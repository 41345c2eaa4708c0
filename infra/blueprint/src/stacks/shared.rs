//! What one stack makes and others use, beside the addresses of the contract. A name is an export
//! of the stack that makes it, so that CloudFormation refuses to take it away while somebody uses
//! it.

use contract::parameter::Secret;
use contract::role::Role;
use serde_json::{Value, json};

use crate::Environment;
use crate::template::Template;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shared {
    // Made by `network`. The subnets are lists, joined with commas: take them with `list`.
    Vpc,
    PublicSubnets,
    PrivateSubnets,
    IsolatedSubnets,
    /// Security group of the load balancer.
    BalancerGroup,
    /// Security group of every task.
    TaskGroup,
    /// Whoever is in it may talk to the database, whose own group is the next.
    DatabaseClients,
    DatabaseGroup,
    /// Whoever is in it may talk to the cache, whose own group is the next.
    CacheClients,
    CacheGroup,

    // Made by `security`: ARNs of the keys, one a class of data.
    /// Orders and carts: database, cache, their backups.
    OrdersKey,
    /// Stock: tables and the stream of events.
    StockKey,
    /// Messages on their way: queues, topics, the bus.
    MessagesKey,
    SecretsKey,
    LogsKey,
    /// Buckets.
    StorageKey,
    /// Name of the queue of what topics and rules could not hand over. Made by `messaging`.
    UndeliveredName,
    /// ARN of the policy that no role of ours can go beyond.
    RoleBoundary,
    /// ARN of the role that CloudFormation takes for the other stacks.
    DeployRole,

    // Made by `data`.
    DatabaseHost,
    DatabasePort,
    /// ARN of the secret with `username` and `password`.
    DatabaseSecret,
    DatabaseIdentifier,
    CacheHost,
    /// ARN of the secret with the cache's AUTH token under `token`.
    CacheSecret,
    /// Id of the replication group.
    CacheIdentifier,
    /// Names of the buckets.
    LogsBucket,
    AuditBucket,
    LakeBucket,

    // Made by `edge`.
    /// ARNs: the storefront's two target groups and the two listener rules that its blue/green
    /// deployment turns.
    StorefrontTargets,
    StorefrontOtherTargets,
    StorefrontRule,
    StorefrontTestRule,
    /// `app/name/id`, as metrics know it.
    BalancerName,
    /// `targetgroup/name/id`, as metrics know it.
    TargetsName,
    ApiName,

    // Made by `compute`.
    ClusterName,
    ClusterArn,

    // Made by `alarms`.
    /// Name of the composite alarm over those that call for a look now.
    OrdersPage,
}

impl Shared {
    pub const fn slug(self) -> &'static str {
        match self {
            Shared::Vpc => "vpc",
            Shared::PublicSubnets => "public-subnets",
            Shared::PrivateSubnets => "private-subnets",
            Shared::IsolatedSubnets => "isolated-subnets",
            Shared::BalancerGroup => "balancer-group",
            Shared::TaskGroup => "task-group",
            Shared::DatabaseClients => "database-clients",
            Shared::DatabaseGroup => "database-group",
            Shared::CacheClients => "cache-clients",
            Shared::CacheGroup => "cache-group",
            Shared::OrdersKey => "orders-key",
            Shared::StockKey => "stock-key",
            Shared::MessagesKey => "messages-key",
            Shared::SecretsKey => "secrets-key",
            Shared::LogsKey => "logs-key",
            Shared::StorageKey => "storage-key",
            Shared::UndeliveredName => "undelivered-name",
            Shared::RoleBoundary => "role-boundary",
            Shared::DeployRole => "deploy-role",
            Shared::DatabaseHost => "database-host",
            Shared::DatabasePort => "database-port",
            Shared::DatabaseSecret => "database-secret",
            Shared::DatabaseIdentifier => "database-identifier",
            Shared::CacheHost => "cache-host",
            Shared::CacheSecret => "cache-secret",
            Shared::CacheIdentifier => "cache-identifier",
            Shared::LogsBucket => "logs-bucket",
            Shared::AuditBucket => "audit-bucket",
            Shared::LakeBucket => "lake-bucket",
            Shared::StorefrontTargets => "storefront-targets",
            Shared::StorefrontOtherTargets => "storefront-other-targets",
            Shared::StorefrontRule => "storefront-rule",
            Shared::StorefrontTestRule => "storefront-test-rule",
            Shared::BalancerName => "balancer-name",
            Shared::TargetsName => "targets-name",
            Shared::ApiName => "api-name",
            Shared::ClusterName => "cluster-name",
            Shared::ClusterArn => "cluster-arn",
            Shared::OrdersPage => "orders-page",
        }
    }

    /// The value, in another stack.
    pub fn import(self, environment: &Environment) -> Value {
        json!({ "Fn::ImportValue": environment.stack_name(self.slug()) })
    }

    /// A list, in another stack.
    pub fn list(self, environment: &Environment) -> Value {
        json!({ "Fn::Split": [",", self.import(environment)] })
    }

    /// Makes the value known, in the stack that makes it.
    pub fn export(self, template: &mut Template, environment: &Environment, value: Value) {
        template.export(self.slug(), &environment.stack_name(self.slug()), value);
    }

    /// The ARN of one of the contract's secrets, which `parameters` makes.
    pub fn secret(environment: &Environment, secret: &Secret) -> Value {
        json!({ "Fn::ImportValue": secret_export(environment, secret) })
    }

    /// Makes a secret's ARN known, in the stack that makes it.
    pub fn export_secret(
        template: &mut Template,
        environment: &Environment,
        secret: &Secret,
        arn: Value,
    ) {
        template.export(
            &format!("{} secret", secret.slug),
            &secret_export(environment, secret),
            arn,
        );
    }

    /// The ARN of a role's task role, which `roles` makes.
    pub fn task_role(environment: &Environment, role: &Role) -> Value {
        json!({ "Fn::ImportValue": task_role_export(environment, role) })
    }

    /// Makes a task role's ARN known, in the stack that makes it.
    pub fn export_task_role(
        template: &mut Template,
        environment: &Environment,
        role: &Role,
        arn: Value,
    ) {
        template.export(
            &format!("{} task role arn", role.slug),
            &task_role_export(environment, role),
            arn,
        );
    }
}

/// Under this name the ARN of a role's task role is exported.
pub fn task_role_export(environment: &Environment, role: &Role) -> String {
    environment.stack_name(&format!("task-role-{}", role.slug))
}

/// Under this name the ARN of a secret is exported.
pub fn secret_export(environment: &Environment, secret: &Secret) -> String {
    environment.stack_name(&format!("secret-{}", secret.slug))
}
