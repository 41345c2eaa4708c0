//! Names that stacks share: exports, and the ARNs of parameters and secrets.
//!
//! CloudFormation refuses to delete an export while another stack imports it.

use contract::address::Address;
use contract::parameter::Secret;
use contract::parameter_root;
use contract::role::Role;
use serde_json::{Value, json};
use strum::IntoStaticStr;

use crate::environment::Environment;
use crate::template::Template;

/// The domain of the sender of mails.
pub const MAIL_DOMAIN: &str = "brewhaven.example";

/// A value that one stack exports and others import, other than the addresses of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Shared {
    // Exported by `network`. The subnets are comma-separated lists: read them with `list`.
    Vpc,
    PublicSubnets,
    PrivateSubnets,
    IsolatedSubnets,
    /// Security group of the load balancer.
    BalancerGroup,
    /// Security group of every task.
    TaskGroup,
    /// Members may connect to the database, whose own group is the next variant.
    DatabaseClients,
    DatabaseGroup,
    /// Members may connect to the cache, whose own group is the next variant.
    CacheClients,
    CacheGroup,

    // Exported by `security`: ARNs of the keys, one per class of data.
    /// Orders and carts: database, cache, their backups.
    OrdersKey,
    /// Stock: tables and the stream of events.
    StockKey,
    /// Messages in transit: queues, topics, the bus.
    MessagesKey,
    SecretsKey,
    LogsKey,
    /// Buckets.
    StorageKey,
    /// Name of the queue for undeliverable messages of topics and rules. Exported by `messaging`.
    UndeliveredName,
    /// ARN of the permissions boundary of all roles.
    RoleBoundary,
    /// ARN of the role with which CloudFormation deploys the other stacks.
    DeployRole,

    // Exported by `data`.
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

    // Exported by `edge`.
    /// ARNs of the storefront's two target groups, and of the two listener rules that a blue/green
    /// deployment changes.
    StorefrontTargets,
    StorefrontOtherTargets,
    StorefrontRule,
    StorefrontTestRule,
    /// The dimension of metrics, `app/name/id`.
    BalancerName,
    /// The dimension of metrics, `targetgroup/name/id`.
    TargetsName,
    ApiName,

    // Exported by `compute`.
    ClusterName,
    ClusterArn,

    // Exported by `alarms`.
    /// Name of the composite alarm over the alarms that page.
    OrdersPage,
}

impl Shared {
    /// Returns the part of the export's name after the environment.
    pub fn slug(self) -> &'static str {
        self.into()
    }

    /// Returns the class of data of a key: `orders` for `orders-key`.
    pub fn data_class(self) -> &'static str {
        self.slug().trim_end_matches("-key")
    }

    /// Returns the import of the value.
    pub fn import(self, environment: &Environment) -> Value {
        json!({ "Fn::ImportValue": environment.stack_name(self.slug()) })
    }

    /// Returns the import of a list.
    pub fn list(self, environment: &Environment) -> Value {
        json!({ "Fn::Split": [",", self.import(environment)] })
    }

    /// Exports the value.
    pub fn export(self, template: &mut Template<'_>, value: Value) {
        let export = template.environment.stack_name(self.slug());
        template.export(self.slug(), &export, value);
    }

    /// Returns the import of a secret's ARN, which `parameters` exports.
    pub fn secret(environment: &Environment, secret: &Secret) -> Value {
        json!({ "Fn::ImportValue": secret_export(environment, secret) })
    }

    /// Exports a secret's ARN.
    pub fn export_secret(template: &mut Template<'_>, secret: &Secret, arn: Value) {
        let export = secret_export(template.environment, secret);
        template.export(&format!("{} secret", secret.slug), &export, arn);
    }

    /// Returns the import of a task role's ARN, which `roles` exports.
    pub fn task_role(environment: &Environment, role: &Role) -> Value {
        json!({ "Fn::ImportValue": task_role_export(environment, role) })
    }

    /// Exports a task role's ARN.
    pub fn export_task_role(template: &mut Template<'_>, role: &Role, arn: Value) {
        let export = task_role_export(template.environment, role);
        template.export(&format!("{} task role arn", role.slug), &export, arn);
    }
}

/// Returns the export name of a task role's ARN.
pub fn task_role_export(environment: &Environment, role: &Role) -> String {
    environment.stack_name(&format!("task-role-{}", role.slug))
}

/// Returns the export name of a secret's ARN.
pub fn secret_export(environment: &Environment, secret: &Secret) -> String {
    environment.stack_name(&format!("secret-{}", secret.slug))
}

/// Returns the export name of the value that a process finds by `address`.
pub fn export_of(environment: &Environment, address: Address) -> String {
    environment.stack_name(&address.parameter().replace('/', "-"))
}

/// Returns the export name of the ARN of the same resource, for policies.
pub fn export_of_arn(environment: &Environment, address: Address) -> String {
    let named = export_of(environment, address);
    match address {
        // The address of these resources is the ARN.
        Address::Topic(_) | Address::Stream(_) => named,
        Address::Queue(_) | Address::ParkingQueue(_) | Address::Bus(_) | Address::Table(_) => {
            format!("{named}-arn")
        }
    }
}

/// Exports the value that a process finds by `address`.
pub fn export_address(template: &mut Template<'_>, address: Address, value: Value) {
    let export = export_of(template.environment, address);
    template.export(&address.parameter(), &export, value);
}

/// Exports the ARN of the same resource, for policies.
pub fn export_arn(template: &mut Template<'_>, address: Address, arn: Value) {
    let export = export_of_arn(template.environment, address);
    template.export(&format!("{} arn", address.parameter()), &export, arn);
}

/// Returns the export name of a queue's name, which alarms need.
pub fn export_of_name(environment: &Environment, address: Address) -> String {
    format!("{}-name", export_of(environment, address))
}

/// Returns the ARN of a parameter as text for `Fn::Sub`.
pub fn parameter_arn(environment: &Environment, key: &str) -> String {
    let root = parameter_root(&environment.name);
    format!(
        "arn:${{AWS::Partition}}:ssm:${{AWS::Region}}:${{AWS::AccountId}}:parameter{root}/{key}"
    )
}

/// Returns the ARN of a secret as text for `Fn::Sub`.
pub fn secret_arn(environment: &Environment, slug: &str) -> String {
    let root = parameter_root(&environment.name);
    // Secrets Manager appends six random characters to the name.
    format!(
        "arn:${{AWS::Partition}}:secretsmanager:${{AWS::Region}}:${{AWS::AccountId}}:secret:{root}/{slug}-??????"
    )
}
