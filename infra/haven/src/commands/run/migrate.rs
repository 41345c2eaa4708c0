//! `haven migrate`: brings the schema of a database up to date.

use anyhow::Context as _;
use clap::Args;
use haven_console::exit::Exit;
use haven_console::progress::Steps;
use haven_console::time::counted;
use haven_console::verdict::Verdict;
use serde_json::json;

use crate::arguments::DATABASE_URL;
use crate::login::migration_login;

#[derive(Debug, Args)]
pub struct Migrate {
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true, help = DATABASE_URL)]
    pub database_url: String,
}

/// Applies the missing migrations, and prints their names and number.
///
/// # Errors
/// When the database cannot be reached, or a migration fails.
pub async fn command(options: &Migrate) -> anyhow::Result<Exit> {
    let steps = Steps::new("migrate");
    let applying = steps.begin("Applying migrations");
    let report = migrations::migrate_as(&options.database_url, &migration_login()).await;
    drop(applying);
    let report = report.context("migrate the schema")?;
    let applied = &report.applied;
    let verdict = Verdict::good(match applied.len() {
        0 => "The schema is up to date.".to_owned(),
        count => format!("{} applied.", counted(count, "migration")),
    });
    Ok(
        verdict.end("haven.migrate/1", json!({ "applied": applied }), || {
            applied.iter().for_each(|name| println!("{name}"));
        }),
    )
}
