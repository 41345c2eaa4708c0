//! The account, its parameters and its exports, as they are now.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use aws_config::SdkConfig;
use aws_sdk_ssm::types::Parameter;
use chassis::config::{Environment as _, ProcessEnvironment};
use sha2::{Digest as _, Sha256};

use super::{Target, failed};
use crate::failed::{AwsFailure, Cause, quick};

/// In hexadecimal.
pub fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The account that these credentials are of.
pub async fn account(target: &Target) -> anyhow::Result<String> {
    // The first call of every command: a network that is down, or missing credentials, are told
    // within seconds.
    let mut asked = aws_sdk_sts::Client::new(&quick(&target.config))
        .get_caller_identity()
        .send()
        .await;
    if asked
        .as_ref()
        .is_err_and(|error| AwsFailure::of(error).cause == Cause::Throttled)
    {
        // AWS is there and wants patience.
        asked = aws_sdk_sts::Client::new(&target.config)
            .get_caller_identity()
            .send()
            .await;
    }
    let identity = asked.map_err(|error| {
        let profile = ProcessEnvironment
            .get("AWS_PROFILE")
            .filter(|_| !target.environment.local);
        let by = profile
            .map(|profile| format!(" by the profile {profile:?} (AWS_PROFILE)"))
            .unwrap_or_default();
        failed(format!("ask AWS who we are{by}"), &error)
    })?;
    identity
        .account
        .context("AWS did not say which account this is")
}

/// # Errors
/// When the settings say which account is meant, and it is another one.
pub async fn expected_account(target: &Target) -> anyhow::Result<String> {
    let (account, meant) = (
        account(target).await?,
        &target.environment.settings.account.id,
    );
    if !meant.is_empty() && *meant != account {
        bail!(
            "these credentials are of account {account}, and {} stands in {meant} (account.id): use other credentials",
            target.environment.name
        );
    }
    Ok(account)
}

/// The parameters of the environment, without decryption: a secret is never fetched, so it cannot
/// be printed.
pub async fn parameters(target: &Target) -> anyhow::Result<Vec<Parameter>> {
    parameters_of(&target.config, &target.environment.name).await
}

/// The same, of the environment with this name.
pub async fn parameters_of(
    config: &SdkConfig,
    environment: &str,
) -> anyhow::Result<Vec<Parameter>> {
    let client = aws_sdk_ssm::Client::new(config);
    let root = contract::parameter_root(environment);
    let mut parameters = Vec::new();
    let call = client
        .get_parameters_by_path()
        .path(root)
        .recursive(true)
        .with_decryption(false);
    let mut pages = call.into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| failed("read the parameters", &error))?;
        parameters.extend(page.parameters.unwrap_or_default());
    }
    Ok(parameters)
}

/// The version of each parameter of the environment, by name.
pub async fn parameter_versions(target: &Target) -> anyhow::Result<BTreeMap<String, i64>> {
    let parameters = parameters(target).await?;
    Ok(parameters
        .iter()
        .filter_map(|parameter| Some((parameter.name()?.to_owned(), parameter.version())))
        .collect())
}

/// The value of each export of the account and region, by name.
pub async fn exports(target: &Target) -> anyhow::Result<BTreeMap<String, String>> {
    let mut exports = BTreeMap::new();
    let mut pages = target.cloudformation.list_exports().into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| failed("list the exports", &error))?;
        exports.extend(
            page.exports
                .unwrap_or_default()
                .into_iter()
                .filter_map(|export| export.name.zip(export.value)),
        );
    }
    Ok(exports)
}
