//! `haven seed`: adds the missing products of the menu to a running platform.

use std::path::Path;

use adapter_sql::Login;
use anyhow::Context as _;
use worker::stores::Store;

use platform::aws::Aws;
use platform::environment::ENVIRONMENT;
use platform::facts::Facts;
use platform::seed::{Seeded, seed_and_record};

/// Adds the missing products and prints their number.
///
/// # Errors
/// When no platform runs on the state directory, or its database or products table cannot be
/// reached.
pub async fn command(state: &Path) -> anyhow::Result<()> {
    let facts = Facts::read(state)?;
    // Connect before anything is added, because the audit log must record the additions.
    let store = Store::connect(&facts.database_url, &Login::default())
        .await
        .context("open the shop's database")?;
    let aws = Aws::local(&facts.aws_access());
    let stock = aws.stock(&aws.addresses(ENVIRONMENT).await?, "haven seed")?;
    let Seeded { added, all } = seed_and_record(&stock, &store).await?;
    println!(
        "{} of {all} products were added; the others were there",
        added.len()
    );
    Ok(())
}
