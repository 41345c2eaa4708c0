//! `haven seed`: adds the missing products of the menu to a running platform.

use std::path::Path;

use adapter_sql::Login;
use anyhow::Context as _;
use haven_console::exit::Exit;
use haven_console::progress::Steps;
use haven_console::verdict::Verdict;
use platform::aws::Aws;
use platform::environment::ENVIRONMENT;
use platform::seed::{Seeded, seed_and_record};
use serde_json::json;
use worker::stores::Store;

use crate::target;

/// Adds the missing products and prints their number.
///
/// # Errors
/// When no platform is running in the state directory, or its database or products table cannot be
/// reached.
pub async fn command(state: &Path) -> anyhow::Result<Exit> {
    let facts = target::running(state)?;
    let steps = Steps::new("seed");
    let adding = steps.begin("Adding the menu and first stock");
    // Connect before anything is added, because the audit log must record the additions.
    let store = Store::connect(&facts.database_url, &Login::default())
        .await
        .context("open the shop's database")?;
    let aws = Aws::local(&facts.aws_access());
    let stock = aws.stock(&aws.addresses(ENVIRONMENT).await?, "haven seed")?;
    let Seeded { added, all } = seed_and_record(&stock, &store).await?;
    drop(adding);
    let verdict = Verdict::neutral(format!("{} of {all} products added.", added.len()));
    let added: Vec<String> = added.iter().map(ToString::to_string).collect();
    let fields = json!({ "added": added, "products": all });
    Ok(verdict.end("haven.seed/1", fields, || {}))
}
