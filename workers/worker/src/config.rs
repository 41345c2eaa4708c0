//! The settings of a role. All of them are read before the role opens a connection.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use adapter_sql::Login;
use anyhow::Context as _;
use chassis::config::{AwsSettings, Environment, Problems, Reader, Secret, settings_for_aws};
use contract::role::Role;

use crate::grants::Grants;

/// The kinds of values, in messages about values that cannot be parsed.
const ADDRESS: &str = "address";
const NUMBER: &str = "whole number";

/// The default address of the health endpoints of a local role, with a free port.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// The default address of a local storefront: this machine only. On AWS the task definition must
/// set the address.
const LOCAL_SHOP: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), contract::STOREFRONT_PORT);

/// The default limit of orders a minute for one address: a large office behind one address, with a
/// reserve.
const ORDERS_PER_MINUTE_ON_AWS: u32 = 600;

/// Whether a setting is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    Always,
    /// Required on AWS, where a default would hide a missing setting. A local platform has a
    /// default.
    OnAws,
    Never,
}

/// The source of a setting on AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A value in the task definition.
    Task,
    /// A reference in the task definition. Only the process gets the value.
    Secret,
    /// A value in the image: the path of a file of the image.
    Image,
    /// Not set on AWS.
    Local,
}

/// One setting, for the roles that have it.
#[derive(Debug)]
pub struct Setting {
    pub variable: &'static str,
    pub about: &'static str,
    needed: Needed,
    origin: Origin,
    of: fn(&Role) -> bool,
}

/// Every setting except the secrets and addresses, which the contract lists. A setting is one row:
/// whether it is required, its origin on AWS, the roles that have it, its variable and its meaning.
macro_rules! settings {
    ($($(#[$doc:meta])* $visible:vis $name:ident: $needed:ident $origin:ident, $of:expr
        => $variable:literal $about:literal;)*) => {
        $($(#[$doc])* $visible const $name: Setting = Setting {
            variable: $variable,
            about: $about,
            needed: Needed::$needed,
            origin: Origin::$origin,
            of: $of,
        };)*

        const SETTINGS: &[&Setting] = &[$(&$name),*];
    };
}

const EVERY_ROLE: fn(&Role) -> bool = |_| true;

settings! {
    ENVIRONMENT: Always Task, EVERY_ROLE => "HAVEN_ENV" "read by chassis";
    REGION: Always Task, EVERY_ROLE => "AWS_REGION" "read by chassis";
    ENDPOINT: Never Local, EVERY_ROLE => "AWS_ENDPOINT_URL" "read by chassis";
    DATABASE_URL: Always Task, |role| role.database
        => "DATABASE_URL" "the orders: postgres://... or sqlite://...";
    DATABASE_USER: OnAws Secret, |role| role.database
        => "PGUSER" "the database's user, if its URL has none";
    DATABASE_PASSWORD: OnAws Secret, |role| role.database => "PGPASSWORD" "the user's password";
    DATABASE_ROOTS: OnAws Image, |role| role.database
        => "PGSSLROOTCERT" "the file of the root certificates of RDS";
    DATABASE_SECRET: OnAws Task, |role| role.database
        => "HAVEN_DATABASE_LOGIN_ARN" "the secret that the database's login is read from again";
    REDIS_URL: OnAws Task, |role| role.cache
        => "REDIS_URL" "the carts: redis://... or rediss://...";
    REDIS_PASSWORD: OnAws Secret, |role| role.cache
        => "REDIS_PASSWORD" "the password of the cache";
    CACHE_SECRET: OnAws Task, |role| role.cache
        => "HAVEN_CACHE_LOGIN_ARN" "the secret that the cache's token is read from again";
    PAYMENT_URL: Always Task, |role| role.gateway
        => "PAYMENT_URL" "the payment gateway, such as http://127.0.0.1:8090";
    BIND: OnAws Task, |role| role.public
        => "HAVEN_BIND" "the storefront's address, such as 127.0.0.1:8080";
    TRUSTED_PROXIES: OnAws Task, |role| role.public
        => "HAVEN_TRUSTED_PROXIES" "the number of proxies that add to X-Forwarded-For, such as 1";
    ORDERS_PER_MINUTE: Never Local, |role| role.public
        => "HAVEN_ORDERS_PER_MINUTE" "orders a minute from one address; 0 for no limit";
    /// The address of the health endpoints. The health check reads it too.
    pub(crate) HEALTH_BIND: OnAws Task, EVERY_ROLE
        => "HAVEN_HEALTH_BIND" "the address of health and metrics, such as 127.0.0.1:9000";
    PUBLIC_URL: OnAws Task, |role| role.mail
        => "HAVEN_PUBLIC_URL" "the URL of the shop for customers";
    MAIL_FROM: OnAws Task, |role| role.mail => "HAVEN_MAIL_FROM" "the sender of emails";
    STAFF_MAIL: OnAws Task, |role| role.mail
        => "HAVEN_STAFF_MAIL" "the address for notifications to staff";
}

/// Returns every variable that a role reads on AWS, with its origin. The task definition must set
/// exactly these.
pub fn settings(role: &Role) -> Vec<(String, Origin)> {
    let ours = SETTINGS.iter().filter(|setting| (setting.of)(role));
    let ours = ours.map(|setting| (setting.variable.to_owned(), setting.origin));
    let secrets = role
        .secrets
        .iter()
        .map(|secret| (secret.variable.to_owned(), Origin::Secret));
    let addresses = role
        .addresses()
        .into_iter()
        .map(|address| (address.variable(), Origin::Task));
    ours.chain(secrets).chain(addresses).collect()
}

/// The configuration of one role: the common settings, and a struct for each concern of some roles.
/// A concern of other roles is absent, and its method returns an error.
#[derive(Debug, Clone)]
pub struct Config {
    pub aws: AwsSettings,
    pub health: HealthConfig,
    /// The secrets of the role, by variable.
    pub secrets: HashMap<&'static str, Secret<String>>,
    /// The rights of the role, and the addresses of its resources.
    pub grants: Grants,
    database: Option<DatabaseConfig>,
    cache: Option<CacheConfig>,
    gateway: Option<GatewayConfig>,
    http: Option<HttpConfig>,
    mail: Option<MailConfig>,
}

/// Liveness, readiness and metrics.
#[derive(Debug, Clone)]
pub struct HealthConfig {
    pub bind: SocketAddr,
}

#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    pub url: Secret<String>,
    pub login: Login,
    /// The secret from which a refused login is read again. Without the secret, the role exits when
    /// its login is refused.
    pub login_secret: Option<String>,
}

#[derive(Debug, Clone)]
pub struct CacheConfig {
    pub url: Secret<String>,
    pub password: Option<Secret<String>>,
    /// The secret from which a refused password is read again.
    pub password_secret: Option<String>,
}

/// The payment gateway.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    pub url: String,
}

/// The HTTP server of the storefront.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    pub bind: SocketAddr,
    pub trusted_proxies: usize,
    /// Maximum number of orders a minute from one address. 0 means no limit.
    pub orders_per_minute: u32,
}

#[derive(Debug, Clone)]
pub struct MailConfig {
    pub from: String,
    /// The address for notifications to staff.
    pub staff: String,
    /// The URL of the shop for customers, without a slash at the end.
    pub public_url: String,
}

impl Config {
    /// Loads the configuration of a role.
    ///
    /// # Errors
    /// Returns all problems at once, each with a description of its setting.
    pub fn load(role: &'static Role, environment: &impl Environment) -> Result<Config, Problems> {
        let reader = Reader::new(environment);
        let aws = settings_for_aws(&reader);
        let addresses = role
            .addresses()
            .into_iter()
            .map(|one| (one.variable(), reader.address(one)));
        let secrets = role
            .secrets
            .iter()
            .map(|known| (known.variable, reader.secret(known.variable, known.about)));
        let settings = RoleSettings {
            role,
            reader: &reader,
            // If the environment is unknown, settings that only AWS needs are not required.
            on_aws: !aws.is_local() && !aws.environment.is_empty(),
        };
        let config = Config {
            database: DatabaseConfig::read(&settings),
            cache: CacheConfig::read(&settings),
            gateway: GatewayConfig::read(&settings),
            secrets: secrets.collect(),
            http: HttpConfig::read(&settings),
            health: HealthConfig::read(&settings),
            mail: MailConfig::read(&settings),
            grants: Grants::of(role, addresses.collect()),
            aws,
        };
        reader.finish(config)
    }

    /// Returns the configuration of the database.
    ///
    /// # Errors
    /// Returns an error when the role may not use the database.
    pub fn database(&self) -> anyhow::Result<&DatabaseConfig> {
        self.grants.database()?;
        present(&self.database, &DATABASE_URL)
    }

    /// Returns the configuration of the cache, or `None` when a local platform runs without Redis.
    ///
    /// # Errors
    /// Returns an error when the role may not use the cache.
    pub fn cache(&self) -> anyhow::Result<Option<&CacheConfig>> {
        self.grants.cache()?;
        Ok(self.cache.as_ref())
    }

    /// Returns the configuration of the payment gateway.
    ///
    /// # Errors
    /// Returns an error when the role may not call the payment gateway.
    pub fn gateway(&self) -> anyhow::Result<&GatewayConfig> {
        self.grants.gateway()?;
        present(&self.gateway, &PAYMENT_URL)
    }

    /// Returns the configuration of the HTTP server.
    ///
    /// # Errors
    /// Returns an error when the role is not public.
    pub fn http(&self) -> anyhow::Result<&HttpConfig> {
        present(&self.http, &BIND)
    }

    /// Returns the configuration of mails.
    ///
    /// # Errors
    /// Returns an error when the role may not send e-mail.
    pub fn mail(&self) -> anyhow::Result<&MailConfig> {
        self.grants.mail()?;
        present(&self.mail, &MAIL_FROM)
    }
}

/// Returns a concern, or an error that names its main setting.
fn present<'a, T>(concern: &'a Option<T>, main: &Setting) -> anyhow::Result<&'a T> {
    concern
        .as_ref()
        .with_context(|| format!("the role has no setting {} ({})", main.variable, main.about))
}

/// Reads the settings of one role.
struct RoleSettings<'a> {
    role: &'static Role,
    reader: &'a Reader<'a>,
    on_aws: bool,
}

impl RoleSettings<'_> {
    /// Returns the value of a setting, or `None` if it is absent or of other roles. An absent
    /// setting that is required is a problem.
    fn text(&self, setting: &Setting) -> Option<String> {
        if !(setting.of)(self.role) {
            return None;
        }
        let needed =
            setting.needed == Needed::Always || (setting.needed == Needed::OnAws && self.on_aws);
        let value = if needed {
            self.reader.required(setting.variable, setting.about)
        } else {
            self.reader.optional(setting.variable)?
        };
        Some(value).filter(|value| !value.is_empty())
    }

    /// Returns the parsed value of a setting, as [`RoleSettings::text`]. A value that is not a
    /// valid `kind` is a problem and counts as absent.
    fn parsed<T>(&self, setting: &Setting, kind: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let text = self.text(setting)?;
        text.parse()
            .map_err(|error| self.problem(setting, format!("is no {kind}: {error}")))
            .ok()
    }

    fn problem(&self, setting: &Setting, wrong: impl Into<String>) {
        self.reader.problem(setting.variable, setting.about, wrong);
    }
}

impl HealthConfig {
    fn read(settings: &RoleSettings<'_>) -> HealthConfig {
        HealthConfig {
            bind: settings.parsed(&HEALTH_BIND, ADDRESS).unwrap_or(ANY_PORT),
        }
    }
}

impl DatabaseConfig {
    /// Reads the settings. Accepts only URLs with an adapter, and on AWS only URLs with which the
    /// client verifies the server before it sends a password.
    fn read(settings: &RoleSettings<'_>) -> Option<DatabaseConfig> {
        let url = settings.text(&DATABASE_URL);
        if let Some(url) = &url {
            if !begins(url, &["postgres://", "postgresql://", "sqlite:"]) {
                settings.problem(&DATABASE_URL, "must begin with postgres:// or sqlite://");
            } else if settings.on_aws && !url.contains("sslmode=verify-full") {
                settings.problem(&DATABASE_URL, "must end with ?sslmode=verify-full");
            }
        }
        // Read all settings before an absent one ends this function, so that one start reports
        // every problem.
        let login = Login {
            user: settings.text(&DATABASE_USER),
            password: settings.text(&DATABASE_PASSWORD),
            root_certificates: settings.text(&DATABASE_ROOTS).map(PathBuf::from),
        };
        let login_secret = settings.text(&DATABASE_SECRET);
        Some(DatabaseConfig {
            url: Secret::new(url?),
            login,
            login_secret,
        })
    }
}

impl CacheConfig {
    /// Reads the settings, with the checks of [`DatabaseConfig::read`].
    fn read(settings: &RoleSettings<'_>) -> Option<CacheConfig> {
        let url = settings.text(&REDIS_URL);
        let kinds: &[&str] = if settings.on_aws {
            &["rediss://"]
        } else {
            &["redis://", "rediss://"]
        };
        if url.as_ref().is_some_and(|url| !begins(url, kinds)) {
            settings.problem(
                &REDIS_URL,
                format!("must begin with {}", kinds.join(" or ")),
            );
        }
        let password = settings.text(&REDIS_PASSWORD).map(Secret::new);
        let password_secret = settings.text(&CACHE_SECRET);
        Some(CacheConfig {
            url: Secret::new(url?),
            password,
            password_secret,
        })
    }
}

impl GatewayConfig {
    fn read(settings: &RoleSettings<'_>) -> Option<GatewayConfig> {
        Some(GatewayConfig {
            url: settings.text(&PAYMENT_URL)?,
        })
    }
}

impl HttpConfig {
    fn read(settings: &RoleSettings<'_>) -> Option<HttpConfig> {
        // Local load tests send all orders from one address, so there is no limit.
        let orders_per_minute_default = if settings.on_aws {
            ORDERS_PER_MINUTE_ON_AWS
        } else {
            0
        };
        settings.role.public.then(|| HttpConfig {
            bind: settings.parsed(&BIND, ADDRESS).unwrap_or(LOCAL_SHOP),
            trusted_proxies: settings.parsed(&TRUSTED_PROXIES, NUMBER).unwrap_or(0_u32) as usize,
            orders_per_minute: settings
                .parsed(&ORDERS_PER_MINUTE, NUMBER)
                .unwrap_or(orders_per_minute_default),
        })
    }
}

impl MailConfig {
    fn read(settings: &RoleSettings<'_>) -> Option<MailConfig> {
        let text = |setting: &Setting, local: &str| {
            settings.text(setting).unwrap_or_else(|| local.to_owned())
        };
        settings.role.mail.then(|| MailConfig {
            from: text(&MAIL_FROM, "Brew Haven <orders@brewhaven.example>"),
            staff: text(&STAFF_MAIL, "staff@brewhaven.example"),
            public_url: text(&PUBLIC_URL, "http://localhost:8080")
                .trim_end_matches('/')
                .to_owned(),
        })
    }
}

fn begins(url: &str, kinds: &[&str]) -> bool {
    kinds.iter().any(|kind| url.starts_with(kind))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;
    use std::collections::{BTreeMap, BTreeSet};

    use contract::role::{ROLES, STOREFRONT};

    use super::*;

    /// Returns valid values of every variable that the role reads on AWS.
    pub(crate) fn on_aws(role: &Role) -> BTreeMap<String, String> {
        let settings = settings(role)
            .into_iter()
            .filter(|(_, origin)| *origin != Origin::Local);
        settings
            .map(|(variable, origin)| {
                let value = match variable.as_str() {
                    "DATABASE_URL" => "postgres://database:5432/brewhaven?sslmode=verify-full",
                    "REDIS_URL" => "rediss://cache:6379",
                    "PGUSER" => "barista",
                    "HAVEN_TRUSTED_PROXIES" => "1",
                    name if name.ends_with("_BIND") => "127.0.0.1:9000",
                    _ if origin == Origin::Secret => "s3cret",
                    _ => "value",
                };
                (variable, value.to_owned())
            })
            .collect()
    }

    /// Records the names of the variables that are read.
    struct Recording<'a>(&'a BTreeMap<String, String>, RefCell<BTreeSet<String>>);

    impl Environment for Recording<'_> {
        fn get(&self, key: &str) -> Option<String> {
            self.1.borrow_mut().insert(key.to_owned());
            Environment::get(self.0, key)
        }
    }

    #[test]
    fn a_role_reads_exactly_its_settings() {
        for role in ROLES {
            let environment = on_aws(role);
            let recording = Recording(&environment, RefCell::default());
            Config::load(role, &recording)
                .unwrap_or_else(|problems| panic!("{}: {problems}", role.slug));
            let said: BTreeSet<String> = settings(role)
                .into_iter()
                .map(|(variable, _)| variable)
                .collect();
            assert_eq!(recording.1.into_inner(), said, "{}", role.slug);
        }
    }

    #[test]
    fn on_aws_each_missing_setting_is_reported_and_no_default_applies() {
        for role in ROLES {
            for lacking in on_aws(role).keys() {
                let mut environment = on_aws(role);
                environment.remove(lacking);
                let told = Config::load(role, &environment)
                    .err()
                    .map(|problems| problems.to_string());
                assert!(
                    told.is_some_and(|told| told.contains(lacking)),
                    "{} starts without {lacking}",
                    role.slug
                );
            }
        }
    }

    #[test]
    fn a_local_storefront_listens_on_this_machine_only_unless_it_is_told_otherwise() {
        let mut environment = on_aws(&STOREFRONT);
        for (variable, value) in [
            ("HAVEN_ENV", "local"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ] {
            environment.insert(variable.to_owned(), value.to_owned());
        }
        let bind = |environment: &BTreeMap<String, String>| {
            let config = Config::load(&STOREFRONT, environment).expect("all is set");
            config.http.expect("it is public").bind
        };
        environment.insert("HAVEN_BIND".to_owned(), "0.0.0.0:80".to_owned());
        assert!(bind(&environment).ip().is_unspecified());
        environment.remove("HAVEN_BIND");
        assert!(bind(&environment).ip().is_loopback());
        assert_eq!(bind(&environment).port(), contract::STOREFRONT_PORT);
    }

    #[test]
    fn on_aws_no_password_is_sent_to_an_unverified_server() {
        for (variable, value) in [
            ("DATABASE_URL", "postgres://database/brewhaven"),
            (
                "DATABASE_URL",
                "postgres://database/brewhaven?sslmode=require",
            ),
            ("DATABASE_URL", "sqlite://orders.db"),
            ("REDIS_URL", "redis://cache:6379"),
        ] {
            let mut environment = on_aws(&STOREFRONT);
            environment.insert(variable.to_owned(), value.to_owned());
            let told = Config::load(&STOREFRONT, &environment)
                .expect_err(value)
                .to_string();
            assert!(told.contains(variable), "{value}: {told}");
        }
    }

    #[test]
    fn a_role_has_the_concerns_that_its_role_names_and_no_others() {
        for role in ROLES {
            let config = Config::load(role, &on_aws(role)).expect("all is set");
            let read = [
                config.database.is_some(),
                config.cache.is_some(),
                config.gateway.is_some(),
                config.http.is_some(),
                config.mail.is_some(),
            ];
            let named = [
                role.database,
                role.cache,
                role.gateway,
                role.public,
                role.mail,
            ];
            assert_eq!(read, named, "{}", role.slug);
        }
    }

    #[test]
    fn no_secret_can_be_printed() {
        let config = Config::load(&STOREFRONT, &on_aws(&STOREFRONT)).expect("all is set");
        let printed = format!("{config:?}");
        assert!(
            printed.contains("barista") && !printed.contains("s3cret"),
            "{printed}"
        );
    }

    #[test]
    fn a_role_without_settings_reports_each_of_them() {
        for role in ROLES {
            let told = Config::load(role, &BTreeMap::new())
                .expect_err("nothing is set")
                .to_string();
            assert!(
                told.contains("HAVEN_ENV") && told.contains("DATABASE_URL"),
                "{told}"
            );
            for address in role.addresses() {
                assert!(told.contains(&address.variable()), "{}: {told}", role.slug);
            }
        }
    }
}
