//! What may differ between environments. Every field is one key of `infra/environments/*.toml`.

/// The settings of one environment.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub account: Account,
    pub network: Network,
    pub database: Database,
    pub cache: Cache,
    pub compute: Compute,
    pub edge: Edge,
    pub observability: Observability,
    pub backup: Backup,
    pub usage: Usage,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// Twelve digits; empty until somebody deploys there, and then asserted before anything is
    /// done.
    pub id: String,
    pub region: String,
    /// Tags for the bill and for whoever asks whose it is.
    pub owner: String,
    pub cost_center: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// The VPC's range, a /16.
    pub cidr: String,
    /// Availability zones: 2 or 3.
    pub zones: u8,
    /// NAT gateways: 1 (cheap, one zone's loss is everybody's) or one a zone.
    pub nat_gateways: u8,
    pub flow_log_days: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// RDS for PostgreSQL.
    Postgres,
    /// Aurora PostgreSQL: a writer, and readers when `multi_az`.
    Aurora,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Database {
    pub engine: Engine,
    /// Such as `16.9`.
    pub engine_version: String,
    /// Such as `db.t4g.medium`.
    pub instance_class: String,
    /// GiB; Aurora grows by itself and ignores it.
    pub storage_gib: u32,
    /// GiB up to which storage grows by itself.
    pub storage_max_gib: u32,
    pub multi_az: bool,
    /// Days that automatic backups are kept: 7 to 35.
    pub backup_days: u8,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Cache {
    /// Such as `cache.t4g.small`.
    pub node_type: String,
    /// Read replicas beside the primary: 1 to 5. One is the least that failover needs.
    pub replicas: u8,
    pub snapshot_days: u8,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Compute {
    /// The image of all roles, `sha256:...`; empty until one was pushed.
    pub image_digest: String,
    /// Tasks of the storefront, least and most.
    pub storefront_tasks: (u16, u16),
    /// Tasks of each worker role, least and most.
    pub worker_tasks: (u16, u16),
    /// Messages that one worker task may have behind it before more tasks are started.
    pub backlog_per_task: u16,
    /// Minutes that old and new storefront tasks run beside each other.
    pub bake_minutes: u8,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// The shop's name in DNS, such as `shop.brewhaven.example`.
    pub domain: String,
    /// The Route 53 hosted zone it is in, such as `Z0123456789ABCDEFGHIJ`.
    pub hosted_zone_id: String,
    /// Requests a second that the API lets through, and how many at once above that.
    pub rate: u32,
    pub burst: u32,
    /// Requests a day of one API key.
    pub daily_quota: u32,
    /// Requests of one address in five minutes before the firewall blocks it.
    pub requests_per_address: u32,
    /// Seconds that the menu may be answered from the cache; 0 is no cache.
    pub cache_seconds: u16,
    /// Origins that browsers may call the API from.
    pub cors_origins: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Observability {
    /// As CloudWatch Logs takes them: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, ...
    pub log_days: u16,
    /// Who is told of alarms.
    pub alarm_email: String,
    /// USD a month.
    pub budget_usd: u32,
    /// Share of requests that are traced, 0 to 1.
    pub trace_share: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Backup {
    pub daily_days: u16,
    pub monthly_days: u16,
    /// Where copies go too; empty for nowhere.
    pub copy_to_region: String,
}

/// What the shop does in a month, for the cost estimate alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    pub orders_per_month: u64,
    pub page_views_per_order: u32,
    pub gib_out_per_month: u32,
    pub log_gib_per_month: u32,
}
