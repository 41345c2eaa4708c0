//! The settings that can differ between environments. Every field is one key of
//! `infra/environments/*.toml`.

use serde::Deserialize;
use strum::VariantNames;

/// The settings of one environment.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The AWS account and its tags.
    pub account: Account,
    /// The VPC.
    pub network: Network,
    /// The orders database.
    pub database: Database,
    /// The cart store.
    pub cache: Cache,
    /// The ECS services.
    pub compute: Compute,
    /// Everything between the internet and the storefront.
    pub edge: Edge,
    /// Logs, alarms, traces and the budget.
    pub observability: Observability,
    /// AWS Backup.
    pub backup: Backup,
    /// Expected use, for the cost estimate.
    pub usage: Usage,
}

/// The AWS account of an environment.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Twelve digits, or empty until an account is chosen. `haven` checks a given id before it
    /// deploys.
    pub id: String,
    /// The AWS region.
    pub region: String,
    /// Value of the tag `Owner`.
    pub owner: String,
    /// Value of the tag `CostCenter`.
    pub cost_center: String,
}

/// The network of an environment.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Address range of the VPC, a /16.
    pub cidr: String,
    /// Number of availability zones: 2 or 3.
    pub zones: u8,
    /// Number of NAT gateways: 1, which is cheap but fails for all zones at once, or one per zone.
    pub nat_gateways: u8,
    /// Days that VPC flow logs are kept.
    pub flow_log_days: u16,
}

/// The database engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Engine {
    /// RDS for PostgreSQL.
    Postgres,
    /// Aurora PostgreSQL: a writer, and readers if `multi_az` is set.
    Aurora,
}

/// The orders database.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// The engine.
    pub engine: Engine,
    /// Version of the engine, such as `16.9`.
    pub engine_version: String,
    /// Instance class, such as `db.t4g.medium`.
    pub instance_class: String,
    /// Storage in GiB. Aurora grows automatically and ignores the value.
    pub storage_gib: u32,
    /// Maximum in GiB to which storage grows automatically.
    pub storage_max_gib: u32,
    /// Adds a standby, or Aurora readers, in another availability zone.
    pub multi_az: bool,
    /// Days that automatic backups are kept: 7 to 35.
    pub backup_days: u8,
}

/// The cart store.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Node type, such as `cache.t4g.small`.
    pub node_type: String,
    /// Number of read replicas beside the primary: 1 to 5. Failover needs at least one.
    pub replicas: u8,
    /// Days that snapshots are kept.
    pub snapshot_days: u8,
}

/// The ECS services.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compute {
    /// Digest of the image of all roles, `sha256:...`, or empty until an image was pushed.
    pub image_digest: String,
    /// Minimum and maximum number of storefront tasks.
    pub storefront_tasks: (u16, u16),
    /// Minimum and maximum number of tasks of each worker role.
    pub worker_tasks: (u16, u16),
    /// Number of waiting messages per worker task above which more tasks are started.
    pub backlog_per_task: u16,
    /// Minutes that old and new storefront tasks run side by side in a deployment.
    pub bake_minutes: u8,
}

/// Everything between the internet and the storefront.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// DNS name of the shop, such as `shop.brewhaven.example`.
    pub domain: String,
    /// Id of the Route 53 hosted zone of that name, such as `Z0123456789ABCDEFGHIJ`.
    pub hosted_zone_id: String,
    /// Requests per second that the API lets through.
    pub rate: u32,
    /// Additional requests that the API lets through at once.
    pub burst: u32,
    /// Requests per day of one API key.
    pub daily_quota: u32,
    /// Requests from one address in five minutes before the firewall blocks it.
    pub requests_per_address: u32,
    /// Seconds that the menu may be served from the cache; 0 turns the cache off.
    pub cache_seconds: u16,
    /// Origins from which browsers may call the API.
    pub cors_origins: Vec<String>,
}

/// Logs, alarms, traces and the budget.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observability {
    /// Days that logs are kept, one of the values of CloudWatch Logs: 1, 3, 5, 7, 14, 30, 60, 90,
    /// ...
    pub log_days: u16,
    /// E-mail address that receives alarms.
    pub alarm_email: String,
    /// Monthly budget in USD.
    pub budget_usd: u32,
    /// Share of requests that are traced, 0 to 1.
    pub trace_share: f64,
}

/// AWS Backup.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// Days that daily backups are kept.
    pub daily_days: u16,
    /// Days that monthly backups are kept.
    pub monthly_days: u16,
    /// Region that also receives the backups; empty for none.
    pub copy_to_region: String,
}

/// Expected use per month, for the cost estimate only.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Orders per month.
    pub orders_per_month: u64,
    /// Page views per order.
    pub page_views_per_order: u32,
    /// GiB sent to the internet per month.
    pub gib_out_per_month: u32,
    /// GiB of logs per month.
    pub log_gib_per_month: u32,
}
