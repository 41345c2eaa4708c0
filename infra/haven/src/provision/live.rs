//! The account, and what stands in its Parameter Store, as whoever plans must know them again.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use super::{Target, why};

/// In hexadecimal.
pub fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The account that these credentials are of.
pub async fn account(target: &Target) -> anyhow::Result<String> {
    let asked = aws_sdk_sts::Client::new(&target.config).get_caller_identity().send().await;
    let identity = asked.map_err(|error| anyhow::anyhow!("ask AWS who we are: {}", why(&error)))?;
    identity.account.context("AWS did not say which account this is")
}

/// # Errors
/// When the settings say which account is meant, and it is another one.
pub async fn expected_account(target: &Target) -> anyhow::Result<String> {
    let (account, meant) = (account(target).await?, &target.environment.settings.account.id);
    if !meant.is_empty() && *meant != account {
        bail!(
            "these credentials are of account {account}, and {} stands in {meant} (account.id): use other credentials",
            target.environment.name
        );
    }
    Ok(account)
}

/// The version of each parameter of the environment, by name.
pub async fn parameter_versions(target: &Target) -> anyhow::Result<BTreeMap<String, i64>> {
    let client = aws_sdk_ssm::Client::new(&target.config);
    let root = contract::parameter_root(&target.environment.name);
    let mut versions = BTreeMap::new();
    let mut pages = client.get_parameters_by_path().path(root).recursive(true).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| anyhow::anyhow!("read the parameters: {}", why(&error)))?;
        versions.extend(
            page.parameters().iter().filter_map(|parameter| Some((parameter.name()?.to_owned(), parameter.version()))),
        );
    }
    Ok(versions)
}
