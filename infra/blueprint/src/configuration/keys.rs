//! The settings of an environment, and the table of their keys: allowed values and meaning.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::json;
use strum::VariantNames;
use toml::de::{DeArray, DeValue};

use super::patterns::*;

use Kind::{Boolean, Integer, IntegerOf, Number, OneOf, Pair, Text, Texts};

/// A key of an environment file.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Group and name, such as `network.zones`, which is also the path of the field in [`Settings`].
    pub path: &'static str,
    /// The allowed values.
    pub kind: Kind,
    /// The meaning in one line, with the unit.
    pub about: &'static str,
}

/// The type and range of a key.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Text(Pattern),
    Integer {
        least: i64,
        most: i64,
    },
    IntegerOf(&'static [i64]),
    Number {
        least: f64,
        most: f64,
    },
    Boolean,
    OneOf(&'static [&'static str]),
    Texts {
        each: Pattern,
        most: usize,
    },
    /// Minimum and maximum, both within this range.
    Pair {
        least: i64,
        most: i64,
    },
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    Text(String),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    Texts(Vec<String>),
    Pair(i64, i64),
}

/// Values by key.
pub type Values = BTreeMap<&'static str, Value>;

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

/// Generates the settings and the key table from one list: each key is the field of the same name.
macro_rules! settings {
    ($(
        $(#[$purpose:meta])*
        $group:ident: $Group:ident {
            $($field:ident: $type:ty = $kind:expr, $about:literal;)*
        }
    )*) => {
        /// The settings of one environment, which can differ between environments.
        #[derive(Debug, Clone, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Settings {
            $($(#[$purpose])* pub $group: $Group,)*
        }

        $(
            $(#[$purpose])*
            #[derive(Debug, Clone, PartialEq, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $Group {
                $(#[doc = $about] pub $field: $type,)*
            }
        )*

        /// All keys.
        pub static KEYS: &[Key] = &[$($(Key {
            path: concat!(stringify!($group), ".", stringify!($field)),
            kind: $kind,
            about: $about,
        },)*)*];
    };
}

settings! {
    /// The AWS account and its tags.
    account: Account {
        id: String = Text(ACCOUNT_ID), "AWS account; checked before each deployment";
        region: String = Text(REGION), "AWS region; checked before each deployment";
        owner: String = Text(TAG), "Value of the tag Owner";
        cost_center: String = Text(TAG), "Value of the tag CostCenter";
    }
    /// The VPC.
    network: Network {
        cidr: String = Text(CIDR), "Address range of the VPC; must not overlap with connected networks";
        zones: u8 = Integer { least: 2, most: 3 }, "Availability zones";
        nat_gateways: u8 = Integer { least: 1, most: 3 }, "NAT gateways: 1, or one per zone";
        flow_log_days: u16 = IntegerOf(LOG_DAYS), "Days that flow logs are kept";
    }
    /// The orders database.
    database: Database {
        engine: Engine = OneOf(Engine::VARIANTS), "RDS for PostgreSQL, or Aurora PostgreSQL";
        engine_version: String = Text(ENGINE_VERSION), "Version of PostgreSQL";
        instance_class: String = Text(INSTANCE_CLASS), "Instance class of the database";
        // Range of gp3 volumes: AmazonRDS/latest/UserGuide/CHAP_Storage.html
        storage_gib: u32 = Integer { least: 20, most: 65_536 }, "Storage in GiB; Aurora ignores it";
        storage_max_gib: u32 = Integer { least: 22, most: 65_536 }, "Maximum to which storage grows automatically, in GiB; Aurora ignores it";
        multi_az: bool = Boolean, "A standby in another zone that takes over automatically";
        backup_days: u8 = Integer { least: 7, most: 35 }, "Days that automatic backups are kept";
    }
    /// The cart store.
    cache: Cache {
        node_type: String = Text(NODE_TYPE), "Node type of the cache";
        // At most five replicas per primary: AmazonElastiCache/latest/dg/Replication.html
        replicas: u8 = Integer { least: 1, most: 5 }, "Replicas beside the primary; failover needs one";
        snapshot_days: u8 = Integer { least: 1, most: 35 }, "Days that snapshots are kept";
    }
    /// The ECS services.
    compute: Compute {
        image_digest: String = Text(DIGEST), "Digest of the image of all roles; empty until an image is pushed";
        storefront_tasks: (u16, u16) = Pair { least: 1, most: 1_000 }, "Tasks of the storefront";
        worker_tasks: (u16, u16) = Pair { least: 1, most: 1_000 }, "Tasks of each worker role";
        backlog_per_task: u16 = Integer { least: 1, most: 10_000 }, "Waiting messages per worker task above which more tasks start";
        // ECS allows up to a day; an operator should not have to watch a deployment for more than
        // four hours.
        bake_minutes: u8 = Integer { least: 0, most: 240 }, "Minutes that old and new storefront tasks run side by side";
    }
    /// Everything between the internet and the storefront.
    edge: Edge {
        domain: String = Text(DOMAIN), "DNS name of the shop";
        hosted_zone_id: String = Text(HOSTED_ZONE), "Id of the Route 53 hosted zone of that name";
        // Default quota of an account in most regions: apigateway/latest/developerguide/limits.html
        rate: u32 = Integer { least: 1, most: 10_000 }, "Requests per second that the API accepts";
        burst: u32 = Integer { least: 1, most: 5_000 }, "Requests at once that the API accepts";
        daily_quota: u32 = Integer { least: 1, most: 100_000_000 }, "Requests per day of one API key";
        // waf/latest/APIReference/API_RateBasedStatement.html. A limit above ten million has no
        // effect.
        requests_per_address: u32 = Integer { least: 10, most: 10_000_000 }, "Requests from one address in five minutes before the firewall blocks it";
        // At most an hour: apigateway/latest/developerguide/api-gateway-caching.html
        cache_seconds: u16 = Integer { least: 0, most: 3_600 }, "Seconds that the menu is cached; 0 turns the cache off";
        cors_origins: Vec<String> = Texts { each: ORIGIN, most: 10 }, "Origins from which browsers may call the API";
    }
    /// Logs, alarms, traces and the budget.
    observability: Observability {
        log_days: u16 = IntegerOf(LOG_DAYS), "Days that logs are kept";
        alarm_email: String = Text(EMAIL), "E-mail address that receives alarms";
        budget_usd: u32 = Integer { least: 1, most: 1_000_000 }, "Budget in USD per month";
        trace_share: f64 = Number { least: 0.0, most: 1.0 }, "Share of requests that are traced";
    }
    /// AWS Backup.
    backup: Backup {
        // Continuous backups are kept for at most 35 days:
        // aws-backup/latest/devguide/point-in-time-recovery.html
        daily_days: u16 = Integer { least: 7, most: 35 }, "Days that daily backups are kept";
        // Backups stay in cold storage for at least 90 days:
        // aws-backup/latest/devguide/API_Lifecycle.html
        monthly_days: u16 = Integer { least: 90, most: 3_650 }, "Days that monthly backups are kept";
        copy_to_region: String = Text(OTHER_REGION), "Region that also receives the backups";
    }
    /// Expected use, for the cost estimate.
    usage: Usage {
        orders_per_month: u64 = Integer { least: 0, most: 1_000_000_000 }, "Orders per month, only for the cost estimate";
        page_views_per_order: u32 = Integer { least: 0, most: 10_000 }, "Page views per order, only for the cost estimate";
        gib_out_per_month: u32 = Integer { least: 0, most: 1_000_000 }, "GiB per month to the internet, only for the cost estimate";
        log_gib_per_month: u32 = Integer { least: 0, most: 1_000_000 }, "GiB of logs per month, only for the cost estimate";
    }
}

/// Retention periods of CloudWatch Logs:
/// AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
const LOG_DAYS: &[i64] = &[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

/// Returns settings with these values.
///
/// # Errors
/// Returns an error when a key has no value, or a value does not fit its field.
pub fn settings(values: &Values) -> serde_json::Result<Settings> {
    let mut groups = json!({});
    for (path, value) in values {
        let (group, field) = path.split_once('.').unwrap_or((path, ""));
        groups[group][field] = json!(value);
    }
    serde_json::from_value(groups)
}

/// Returns the key with this path.
pub fn key(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

impl Kind {
    /// Reads the value from TOML. Returns `None` for a value that is not allowed.
    pub fn read(&self, written: &DeValue<'_>) -> Option<Value> {
        let value = match self {
            Text(_) | OneOf(_) => Value::Text(written.as_str()?.to_owned()),
            Integer { .. } | IntegerOf(_) => Value::Integer(integer(written)?),
            Number { .. } => Value::Number(number(written)?),
            Boolean => Value::Boolean(written.as_bool()?),
            Texts { .. } => Value::Texts(texts(written.as_array()?)?),
            Pair { .. } => {
                let [least, most] = &**written.as_array()? else {
                    return None;
                };
                Value::Pair(integer(least.get_ref())?, integer(most.get_ref())?)
            }
        };
        self.admits(&value).then_some(value)
    }

    /// Reads the value from an argument or a variable, in which texts need no quotes and lists no
    /// brackets. Returns `None` for a value that is not allowed.
    pub fn read_plain(&self, text: &str) -> Option<Value> {
        let value = match self {
            Text(_) | OneOf(_) => Value::Text(text.to_owned()),
            Boolean => Value::Boolean(text.parse().ok()?),
            Integer { .. } | IntegerOf(_) => Value::Integer(plain_integer(text)?),
            Number { .. } => Value::Number(text.parse().ok()?),
            Texts { .. } => Value::Texts(
                items(text)
                    .map(|item| item.trim_matches('"').to_owned())
                    .collect(),
            ),
            Pair { .. } => {
                let mut numbers = items(text).map(plain_integer);
                let pair = Value::Pair(numbers.next()??, numbers.next()??);
                numbers.next().is_none().then_some(pair)?
            }
        };
        self.admits(&value).then_some(value)
    }

    /// Returns true if the value is allowed.
    pub fn admits(&self, value: &Value) -> bool {
        match (self, value) {
            (Text(pattern), Value::Text(text)) => (pattern.fits)(text),
            (OneOf(words), Value::Text(text)) => words.contains(&text.as_str()),
            (Integer { least, most }, Value::Integer(number)) => (least..=most).contains(&number),
            (IntegerOf(numbers), Value::Integer(number)) => numbers.contains(number),
            (Number { least, most }, Value::Number(number)) => (least..=most).contains(&number),
            (Boolean, Value::Boolean(_)) => true,
            (Texts { each, most }, Value::Texts(texts)) => {
                (1..=*most).contains(&texts.len()) && texts.iter().all(|text| (each.fits)(text))
            }
            (Pair { least, most }, Value::Pair(low, high)) => {
                least <= low && low <= high && high <= most
            }
            (
                Text(_)
                | OneOf(_)
                | Integer { .. }
                | IntegerOf(_)
                | Number { .. }
                | Boolean
                | Texts { .. }
                | Pair { .. },
                _,
            ) => false,
        }
    }

    /// Returns the allowed values for a message, with an example for texts.
    pub fn allowed(&self) -> String {
        match self {
            Text(_) | Texts { .. } => format!("{self}, such as {}", self.example()),
            OneOf(_) | Integer { .. } | IntegerOf(_) | Number { .. } | Boolean | Pair { .. } => {
                self.to_string()
            }
        }
    }

    /// Returns an allowed value that replaces a missing one.
    pub fn example(&self) -> Value {
        match self {
            Text(pattern) => Value::Text(pattern.example.to_owned()),
            OneOf(words) => Value::Text(words.first().copied().unwrap_or_default().to_owned()),
            Integer { least, .. } => Value::Integer(*least),
            IntegerOf(numbers) => Value::Integer(numbers.first().copied().unwrap_or_default()),
            Number { least, .. } => Value::Number(*least),
            Boolean => Value::Boolean(true),
            Texts { each, .. } => Value::Texts(vec![each.example.to_owned()]),
            Pair { least, .. } => Value::Pair(*least, *least),
        }
    }
}

/// The allowed values in words.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Text(pattern) => f.write_str(pattern.says),
            OneOf(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                f.write_str(&quoted.join(" or "))
            }
            Integer { least, most } => write!(f, "{} to {}", grouped(*least), grouped(*most)),
            IntegerOf(numbers) => {
                let numbers: Vec<_> = numbers.iter().map(i64::to_string).collect();
                write!(f, "one of {}", numbers.join(" "))
            }
            Number { least, most } => write!(f, "{least} to {most}"),
            Boolean => f.write_str("true or false"),
            Texts { each, most } => write!(f, "list of 1 to {most}, each {}", each.says),
            Pair { least, most } => write!(
                f,
                "[least, most], {} to {}",
                grouped(*least),
                grouped(*most)
            ),
        }
    }
}

/// The value in TOML.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // JSON escapes are valid in TOML.
        let quoted = |text: &String| serde_json::Value::from(text.as_str()).to_string();
        match self {
            Value::Text(text) => f.write_str(&quoted(text)),
            Value::Integer(number) => f.write_str(&grouped(*number)),
            Value::Number(number) => write!(f, "{number}"),
            Value::Boolean(value) => write!(f, "{value}"),
            Value::Texts(texts) => write!(
                f,
                "[{}]",
                texts.iter().map(quoted).collect::<Vec<_>>().join(", ")
            ),
            Value::Pair(least, most) => write!(f, "[{}, {}]", grouped(*least), grouped(*most)),
        }
    }
}

/// Formats a number with underscores between thousands, as TOML allows.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

fn integer(written: &DeValue<'_>) -> Option<i64> {
    let number = written.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// Reads a number, which may be an integer: `trace_share = 1`.
fn number(written: &DeValue<'_>) -> Option<f64> {
    match written {
        DeValue::Float(number) => number.as_str().parse().ok(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
        _ => None,
    }
}

fn texts(written: &DeArray<'_>) -> Option<Vec<String>> {
    written
        .iter()
        .map(|text| text.get_ref().as_str().map(str::to_owned))
        .collect()
}

fn plain_integer(text: &str) -> Option<i64> {
    text.replace('_', "").parse().ok()
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    let text = text.trim();
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    inner.split(',').map(str::trim)
}
