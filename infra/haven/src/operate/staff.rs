//! `haven staff token`.

use std::path::Path;

use anyhow::Context as _;
use app::ports::Source as _;
use contract::parameter::SIGNING_KEY;
use time::Duration;
use worker::stores::SystemSource;

use crate::aws::Aws;
use crate::local::facts::Facts;
use crate::local::up::ENVIRONMENT;

/// The token that `haven up` prints is good until the shop has long been thrown away.
pub const A_YEAR: Duration = Duration::days(365);

pub fn token(signing_key: &str, name: &str, role: &str, lifetime: Duration) -> String {
    storefront::staff::issue(signing_key, name, role, SystemSource.now() + lifetime)
}

/// With the key in `HAVEN_SIGNING_KEY`, else with that of the platform that `haven up` runs.
pub async fn print_token(name: &str, role: &str, hours: u16, state: &Path) -> anyhow::Result<()> {
    let key = match std::env::var(SIGNING_KEY.variable) {
        Ok(key) => key,
        Err(_) => {
            let facts = Facts::read(state).context("no HAVEN_SIGNING_KEY, and no platform that runs here")?;
            let secrets = Aws::local(&facts.aws_endpoint, &facts.region).secrets(ENVIRONMENT).await?;
            secrets.get(SIGNING_KEY.slug).cloned().context("the signing key was not deployed")?
        }
    };
    println!("{}", token(&key, name, role, Duration::hours(i64::from(hours))));
    Ok(())
}
