//! `haven orders reproject`: rebuilds the order view.

use adapter_sql::Login;
use anyhow::Context as _;
use app::use_cases::project;
use clap::Args;
use haven_console::BadUsage;
use haven_console::exit::Exit;
use haven_console::progress::Steps;
use haven_console::time::counted;
use haven_console::verdict::Verdict;
use platform::audit::{Act, operator};
use platform::environment::ENVIRONMENT;
use serde_json::json;
use worker::stores::Store;

use crate::arguments::{DATABASE_URL, Target};
use crate::login::database_login;
use crate::target;

#[derive(Debug, Args)]
pub struct Reproject {
    #[command(flatten)]
    pub target: Target,
    /// The database of the orders. Without it, that of the local platform.
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true, help = DATABASE_URL)]
    pub database_url: Option<String>,
}

/// Rebuilds the order view from the orders. The command can run at any time and any number of
/// times, because newer entries stay.
///
/// # Errors
/// When the database URL is missing, or the orders or the view cannot be reached.
pub async fn reproject(options: &Reproject) -> anyhow::Result<Exit> {
    let name = &options.target.which.environment;
    let (database_url, login) = match &options.database_url {
        Some(url) => (url.clone(), database_login()),
        None if name == ENVIRONMENT => (
            target::running(&options.target.place.state)?.database_url,
            Login::default(),
        ),
        None => {
            let why = format!("--database-url (or DATABASE_URL) is required for {name}");
            return Err(BadUsage(why).into());
        }
    };
    let steps = Steps::new("orders reproject");
    let rebuilding = steps.begin("Rebuilding the order view");
    let (aws, _) = target::resolve(&options.target).await?;
    let store = Store::connect(&database_url, &login)
        .await
        .context("open the database of orders")?;
    let views = aws.views(&aws.addresses(name).await?)?;
    let shown = project::reproject(&store, &views)
        .await
        .context("rebuild the order view")?;
    let after = json!({ "orders": shown });
    let act = Act::new(&operator(), "orders.reproject", "orders").after(&after);
    act.append(&store).await?;
    drop(rebuilding);
    let orders = counted(shown, "order");
    let verdict = Verdict::good(format!("Order view rebuilt: {orders}."));
    Ok(verdict.end("haven.reproject/1", after, || {}))
}
