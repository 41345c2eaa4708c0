//! `haven migrate`: brings the schema of a database up to date.

use anyhow::Context as _;
use clap::Args;

use crate::arguments::DATABASE_URL;
use crate::login::migration_login;

#[derive(Debug, Args)]
pub struct Migrate {
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true, help = DATABASE_URL)]
    pub database_url: String,
}

/// Applies the missing migrations and prints their names.
///
/// # Errors
/// When the database cannot be reached, or a migration fails.
pub async fn command(options: &Migrate) -> anyhow::Result<()> {
    let report = migrations::migrate_as(&options.database_url, &migration_login()).await;
    let report = report.context("migrate the schema")?;
    match report.applied.as_slice() {
        [] => println!("The schema is up to date."),
        applied => applied.iter().for_each(|name| println!("applied {name}")),
    }
    Ok(())
}
