//! A role's settings, read whole before anything is opened.

use std::collections::HashMap;
use std::net::{AddrParseError, SocketAddr};
use std::num::ParseIntError;
use std::path::PathBuf;

use adapter_postgres::Login;
use chassis::config::{AwsSettings, Environment, Problems, Reader, Secret, settings_for_aws};
use contract::role::Role;

use crate::grants::Grants;

const NO_BIND: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A busy office behind one address, and some more.
const ORDERS_PER_MINUTE_ON_AWS: u32 = 600;

/// Who must have a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    Always,
    /// A local platform has a stand-in for it; on AWS the stand-in would hide that it was
    /// forgotten.
    OnAws,
    Never,
}

/// Where a setting comes from on AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A value in the task definition.
    Task,
    /// In the task definition by reference: the process alone sees the value.
    Secret,
    /// A value in the image: it tells where one of the image's files is.
    Image,
    /// Nobody sets it there.
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

const EVERY_ROLE: fn(&Role) -> bool = |_| true;

const fn setting(variable: &'static str, about: &'static str, needed: Needed) -> Setting {
    Setting {
        variable,
        about,
        needed,
        origin: Origin::Task,
        of: EVERY_ROLE,
    }
}

impl Setting {
    const fn of(self, of: fn(&Role) -> bool) -> Setting {
        Setting { of, ..self }
    }

    const fn from(self, origin: Origin) -> Setting {
        Setting { origin, ..self }
    }
}

const ENVIRONMENT: Setting = setting("HAVEN_ENV", "read by chassis", Needed::Always);
const REGION: Setting = setting("AWS_REGION", "read by chassis", Needed::Always);
const ENDPOINT: Setting =
    setting("AWS_ENDPOINT_URL", "read by chassis", Needed::Never).from(Origin::Local);
const DATABASE_URL: Setting = setting(
    "DATABASE_URL",
    "the orders: postgres://... or sqlite://...",
    Needed::Always,
)
.of(|role| role.database);
const DATABASE_USER: Setting = setting(
    "PGUSER",
    "the database's user, where its URL has none",
    Needed::OnAws,
)
.of(|role| role.database)
.from(Origin::Secret);
const DATABASE_PASSWORD: Setting = setting("PGPASSWORD", "the user's password", Needed::OnAws)
    .of(|role| role.database)
    .from(Origin::Secret);
const DATABASE_ROOTS: Setting = setting(
    "PGSSLROOTCERT",
    "the file of the roots that RDS signs with",
    Needed::OnAws,
)
.of(|role| role.database)
.from(Origin::Image);
const DATABASE_SECRET: Setting = setting(
    "HAVEN_DATABASE_LOGIN_ARN",
    "the secret that the database's login is read from again",
    Needed::OnAws,
)
.of(|role| role.database);
const REDIS_URL: Setting = setting(
    "REDIS_URL",
    "the carts: redis://... or rediss://...",
    Needed::OnAws,
)
.of(|role| role.cache);
const REDIS_PASSWORD: Setting = setting(
    "REDIS_PASSWORD",
    "what clients of the cache show",
    Needed::OnAws,
)
.of(|role| role.cache)
.from(Origin::Secret);
const CACHE_SECRET: Setting = setting(
    "HAVEN_CACHE_LOGIN_ARN",
    "the secret that the cache's token is read from again",
    Needed::OnAws,
)
.of(|role| role.cache);
const PAYMENT_URL: Setting = setting(
    "PAYMENT_URL",
    "the payment gateway, such as http://127.0.0.1:8090",
    Needed::Always,
)
.of(|role| role.gateway);
const BIND: Setting = setting(
    "HAVEN_BIND",
    "the storefront's address, such as 127.0.0.1:8080",
    Needed::OnAws,
)
.of(|role| role.public);
const TRUSTED_PROXIES: Setting = setting(
    "HAVEN_TRUSTED_PROXIES",
    "how many proxies before it add to X-Forwarded-For, such as 1",
    Needed::OnAws,
)
.of(|role| role.public);
const ORDERS_PER_MINUTE: Setting = setting(
    "HAVEN_ORDERS_PER_MINUTE",
    "orders a minute from one address; 0 for no limit",
    Needed::Never,
)
.of(|role| role.public)
.from(Origin::Local);
/// Read by the health check too.
pub(crate) const HEALTH_BIND: Setting = setting(
    "HAVEN_HEALTH_BIND",
    "the address of health and metrics, such as 127.0.0.1:9000",
    Needed::OnAws,
);
const PUBLIC_URL: Setting = setting(
    "HAVEN_PUBLIC_URL",
    "where customers find the shop",
    Needed::OnAws,
)
.of(|role| role.mail);
const MAIL_FROM: Setting =
    setting("HAVEN_MAIL_FROM", "who e-mails are from", Needed::OnAws).of(|role| role.mail);
const STAFF_MAIL: Setting = setting(
    "HAVEN_STAFF_MAIL",
    "who is told of what staff must see",
    Needed::OnAws,
)
.of(|role| role.mail);

/// All but the contract's secrets and addresses, which are a list there.
const SETTINGS: [&Setting; 19] = [
    &ENVIRONMENT,
    &REGION,
    &ENDPOINT,
    &DATABASE_URL,
    &DATABASE_USER,
    &DATABASE_PASSWORD,
    &DATABASE_ROOTS,
    &DATABASE_SECRET,
    &REDIS_URL,
    &REDIS_PASSWORD,
    &CACHE_SECRET,
    &PAYMENT_URL,
    &BIND,
    &TRUSTED_PROXIES,
    &ORDERS_PER_MINUTE,
    &HEALTH_BIND,
    &PUBLIC_URL,
    &MAIL_FROM,
    &STAFF_MAIL,
];

/// Every variable that the configuration of a role reads on AWS, and where it comes from there:
/// what its task definition must give it, no more and no less.
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

/// What a role may need. A setting that the role does not need is empty.
#[derive(Debug, Clone)]
pub struct Config {
    pub aws: AwsSettings,
    pub database_url: Secret<String>,
    pub database_login: Login,
    /// Where the login is read again; without it a role whose login is refused leaves.
    pub database_secret: Option<String>,
    pub redis_url: Option<Secret<String>>,
    pub redis_password: Option<Secret<String>>,
    /// Where the cache's token is read again.
    pub cache_secret: Option<String>,
    pub payment_url: String,
    /// Those of the role, by variable.
    pub secrets: HashMap<&'static str, Secret<String>>,
    /// The storefront's address.
    pub bind: SocketAddr,
    pub trusted_proxies: usize,
    /// 0 for no limit.
    pub orders_per_minute: u32,
    /// Where health and metrics are served.
    pub health_bind: SocketAddr,
    /// Where customers find the shop, without a slash at the end.
    pub public_url: String,
    pub mail_from: String,
    pub staff_mail: String,
    /// What the role may use, and where CloudFormation put it.
    pub grants: Grants,
}

impl Config {
    /// # Errors
    /// Every problem at once, each with what the setting is for.
    pub fn load(role: &'static Role, environment: &impl Environment) -> Result<Config, Problems> {
        let reader = Reader::new(environment);
        let aws = settings_for_aws(&reader);
        // Where not even the environment is known, what only AWS needs is not asked for.
        let on_aws = !aws.is_local() && !aws.environment.is_empty();
        let read = |setting: &Setting| {
            if !(setting.of)(role) {
                return None;
            }
            let needed =
                setting.needed == Needed::Always || (setting.needed == Needed::OnAws && on_aws);
            let value = if needed {
                reader.required(setting.variable, setting.about)
            } else {
                reader.optional(setting.variable)?
            };
            Some(value).filter(|value| !value.is_empty())
        };
        let address = |setting: &Setting, default: SocketAddr| {
            let parsed = read(setting).map(|text| text.parse());
            parsed
                .unwrap_or(Ok(default))
                .unwrap_or_else(|error: AddrParseError| {
                    reader.problem(
                        setting.variable,
                        setting.about,
                        format!("is no address: {error}"),
                    );
                    default
                })
        };
        let number = |setting: &Setting, default: u32| {
            let parsed = read(setting).map(|text| text.parse());
            parsed
                .unwrap_or(Ok(default))
                .unwrap_or_else(|error: ParseIntError| {
                    reader.problem(
                        setting.variable,
                        setting.about,
                        format!("is no whole number: {error}"),
                    );
                    default
                })
        };
        let text =
            |setting: &Setting, default: &str| read(setting).unwrap_or_else(|| default.to_owned());
        let secrets = role
            .secrets
            .iter()
            .map(|known| (known.variable, reader.secret(known.variable, known.about)));
        let addresses = role
            .addresses()
            .into_iter()
            .map(|one| (one.variable(), reader.address(one)));
        let database_url = read(&DATABASE_URL).unwrap_or_default();
        let redis_url = read(&REDIS_URL);
        check_urls(&reader, on_aws, &database_url, redis_url.as_deref());
        let config = Config {
            database_url: Secret::new(database_url),
            database_login: Login {
                user: read(&DATABASE_USER),
                password: read(&DATABASE_PASSWORD),
                root_certificates: read(&DATABASE_ROOTS).map(PathBuf::from),
            },
            database_secret: read(&DATABASE_SECRET),
            redis_url: redis_url.map(Secret::new),
            redis_password: read(&REDIS_PASSWORD).map(Secret::new),
            cache_secret: read(&CACHE_SECRET),
            payment_url: read(&PAYMENT_URL).unwrap_or_default(),
            secrets: secrets.collect(),
            bind: address(&BIND, SocketAddr::from(([0, 0, 0, 0], 8080))),
            trusted_proxies: number(&TRUSTED_PROXIES, 0) as usize,
            // A laptop's load comes from one address, and is meant.
            orders_per_minute: number(
                &ORDERS_PER_MINUTE,
                if on_aws { ORDERS_PER_MINUTE_ON_AWS } else { 0 },
            ),
            health_bind: address(&HEALTH_BIND, NO_BIND),
            public_url: text(&PUBLIC_URL, "http://localhost:8080")
                .trim_end_matches('/')
                .to_owned(),
            mail_from: text(&MAIL_FROM, "Brew Haven <orders@brewhaven.example>"),
            staff_mail: text(&STAFF_MAIL, "staff@brewhaven.example"),
            grants: Grants::of(role, addresses.collect()),
            aws,
        };
        reader.finish(config)
    }
}

/// The kinds of URL that there is an adapter for; on AWS only those that prove who the server is
/// before it gets a password.
fn check_urls(reader: &Reader<'_>, on_aws: bool, database_url: &str, redis_url: Option<&str>) {
    let begins = |url: &str, kinds: &[&str]| kinds.iter().any(|kind| url.starts_with(kind));
    if !database_url.is_empty() {
        let (variable, about) = (DATABASE_URL.variable, "the orders");
        if !begins(database_url, &["postgres://", "postgresql://", "sqlite:"]) {
            reader.problem(variable, about, "must begin with postgres:// or sqlite://");
        } else if on_aws && !database_url.contains("sslmode=verify-full") {
            reader.problem(variable, about, "must end with ?sslmode=verify-full");
        }
    }
    if let Some(url) = redis_url {
        let kinds: &[&str] = if on_aws {
            &["rediss://"]
        } else {
            &["redis://", "rediss://"]
        };
        if !begins(url, kinds) {
            reader.problem(
                REDIS_URL.variable,
                "the carts",
                format!("must begin with {}", kinds.join(" or ")),
            );
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;
    use std::collections::{BTreeMap, BTreeSet};

    use contract::role::{ROLES, STOREFRONT};

    use super::*;

    /// Usable values for everything that the role reads on AWS.
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

    /// Remembers what it was asked for.
    struct Recording<'a>(&'a BTreeMap<String, String>, RefCell<BTreeSet<String>>);

    impl Environment for Recording<'_> {
        fn get(&self, key: &str) -> Option<String> {
            self.1.borrow_mut().insert(key.to_owned());
            Environment::get(self.0, key)
        }
    }

    #[test]
    fn a_role_reads_what_its_settings_say_and_nothing_else() {
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
    fn on_aws_each_setting_that_is_missing_is_told_and_no_stand_in_taken() {
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
    fn on_aws_no_password_goes_to_a_server_that_has_not_proved_itself() {
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
    fn no_secret_can_be_printed() {
        let config = Config::load(&STOREFRONT, &on_aws(&STOREFRONT)).expect("all is set");
        let printed = format!("{config:?}");
        assert!(
            printed.contains("barista") && !printed.contains("s3cret"),
            "{printed}"
        );
    }

    #[test]
    fn a_role_without_settings_is_told_of_every_one() {
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
