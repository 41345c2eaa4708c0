//! A role's settings, read whole before anything is opened.

use std::collections::HashMap;
use std::net::SocketAddr;

use chassis::config::{AwsSettings, Environment, Problems, Reader, Secret, settings_for_aws};
use contract::role::Role;

const NO_BIND: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// What a role may need. A setting that the role does not need is empty.
#[derive(Debug, Clone)]
pub struct Config {
    pub aws: AwsSettings,
    pub database_url: Secret<String>,
    pub redis_url: Option<Secret<String>>,
    pub payment_url: String,
    pub webhook_secret: Secret<String>,
    pub signing_key: Secret<String>,
    /// The storefront's address.
    pub bind: SocketAddr,
    /// Where health and metrics are served.
    pub health_bind: SocketAddr,
    /// Where customers find the shop, without a slash at the end.
    pub public_url: String,
    pub mail_from: String,
    pub staff_mail: String,
    /// By variable: where CloudFormation put what the role may touch.
    pub addresses: HashMap<String, String>,
}

impl Config {
    /// # Errors
    /// Every problem at once, each with what the setting is for.
    pub fn load(role: &Role, environment: &impl Environment) -> Result<Config, Problems> {
        let reader = Reader::new(environment);
        let wanted = |needed: bool, key: &str, about: &str| {
            if needed { reader.required(key, about) } else { String::new() }
        };
        let aws = settings_for_aws(&reader);
        let database_url = wanted(role.database, "DATABASE_URL", "the orders: postgres://... or sqlite://...");
        if !database_url.is_empty()
            && !["postgres://", "postgresql://", "sqlite:"].iter().any(|kind| database_url.starts_with(kind))
        {
            reader.problem("DATABASE_URL", "the orders", "must begin with postgres:// or sqlite://");
        }
        let redis_url = if role.cache { reader.optional("REDIS_URL").map(Secret::new) } else { None };
        let payment_url = wanted(role.gateway, "PAYMENT_URL", "the payment gateway, such as http://127.0.0.1:8090");
        let secret = |known: &'static contract::parameter::Secret| {
            let needed = role.secrets.contains(&known);
            Secret::new(wanted(needed, known.variable, known.about))
        };
        let (webhook_secret, signing_key) =
            (secret(&contract::parameter::PAYMENT_WEBHOOK), secret(&contract::parameter::SIGNING_KEY));
        let default_bind = SocketAddr::from(([0, 0, 0, 0], 8080));
        let bind = reader.parsed("HAVEN_BIND", "the storefront's address, such as 127.0.0.1:8080", default_bind);
        let health_bind = reader.parsed("HAVEN_HEALTH_BIND", "the address of health and metrics", NO_BIND);
        let public_url = reader.optional("HAVEN_PUBLIC_URL").unwrap_or_else(|| format!("http://{bind}"));
        let mail_from =
            reader.optional("HAVEN_MAIL_FROM").unwrap_or_else(|| "Brew Haven <orders@brewhaven.example>".to_owned());
        let staff_mail = reader.optional("HAVEN_STAFF_MAIL").unwrap_or_else(|| "staff@brewhaven.example".to_owned());
        let addresses =
            role.addresses().into_iter().map(|address| (address.variable(), reader.address(address))).collect();
        reader.finish(Config {
            aws,
            database_url: Secret::new(database_url),
            redis_url,
            payment_url,
            webhook_secret,
            signing_key,
            bind,
            health_bind,
            public_url: public_url.trim_end_matches('/').to_owned(),
            mail_from,
            staff_mail,
            addresses,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use contract::role::ROLES;

    use super::*;

    #[test]
    fn a_role_without_settings_is_told_of_every_one() {
        for role in ROLES {
            let told = Config::load(role, &BTreeMap::new()).expect_err("nothing is set").to_string();
            assert!(told.contains("HAVEN_ENV") && told.contains("DATABASE_URL"), "{told}");
            for address in role.addresses() {
                assert!(told.contains(&address.variable()), "{}: {told}", role.slug);
            }
        }
    }
}
