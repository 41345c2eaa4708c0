//! Reads the account, its parameters and its exports.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use aws_config::SdkConfig;
use aws_sdk_ssm::types::Parameter;
use chassis::config::{Environment as _, ProcessEnvironment};

use crate::aws_failure::{AwsFailure, Cause, failed, failure_to, quick};
use crate::target::Target;

/// Returns the id of the account that the credentials belong to.
///
/// # Errors
/// When AWS does not answer, or refuses the credentials.
pub async fn account(target: &Target) -> anyhow::Result<String> {
    // This is the first call of every command. It gives up after 20 seconds, so that a network
    // failure or missing credentials are reported quickly.
    let ask = async |config: &SdkConfig| {
        let client = aws_sdk_sts::Client::new(config);
        client.get_caller_identity().send().await
    };
    let mut asked = ask(&quick(&target.config)).await;
    if asked
        .as_ref()
        .is_err_and(|error| AwsFailure::of(error).cause == Cause::Throttled)
    {
        // AWS answers but throttles: use the normal retries.
        asked = ask(&target.config).await;
    }
    let identity = asked.map_err(|error| {
        let profile = ProcessEnvironment
            .get("AWS_PROFILE")
            .filter(|_| !target.environment.local);
        let by = profile
            .map(|profile| format!(" by the profile {profile:?} (AWS_PROFILE)"))
            .unwrap_or_default();
        failed(
            format!("read the AWS account of the credentials{by}"),
            &error,
        )
    })?;
    identity
        .account
        .context("GetCallerIdentity returned no account")
}

/// Returns the account id, after a comparison with the settings.
///
/// # Errors
/// When the settings name another account, or as [`account`].
pub async fn expected_account(target: &Target) -> anyhow::Result<String> {
    let (account, meant) = (
        account(target).await?,
        &target.environment.settings.account.id,
    );
    if !meant.is_empty() && *meant != account {
        bail!(
            "these credentials are of account {account}, and {} belongs in account {meant} (account.id): use credentials of that account",
            target.environment.name
        );
    }
    Ok(account)
}

/// Returns the parameters of the environment without decryption. Secrets are never fetched, so they
/// cannot be printed.
///
/// # Errors
/// When Parameter Store does not answer.
pub async fn parameters(target: &Target) -> anyhow::Result<Vec<Parameter>> {
    parameters_of(&target.config, &target.environment.name).await
}

/// Returns the parameters of an environment by its name, without decryption.
///
/// # Errors
/// When Parameter Store does not answer.
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
        let page = page.map_err(failure_to("read the parameters"))?;
        parameters.extend(page.parameters.unwrap_or_default());
    }
    Ok(parameters)
}

/// Returns the version of each parameter of the environment, by name.
///
/// # Errors
/// When Parameter Store does not answer.
pub async fn parameter_versions(target: &Target) -> anyhow::Result<BTreeMap<String, i64>> {
    let parameters = parameters(target).await?;
    Ok(parameters
        .iter()
        .filter_map(|parameter| Some((parameter.name()?.to_owned(), parameter.version())))
        .collect())
}

/// Returns the value of each export of the account in this region, by name.
///
/// # Errors
/// When CloudFormation does not answer.
pub async fn exports(target: &Target) -> anyhow::Result<BTreeMap<String, String>> {
    let call = target.cloudformation.list_exports();
    let exports = call.into_paginator().items().send().try_collect().await;
    let exports = exports.map_err(failure_to("list the exports"))?.into_iter();
    Ok(exports
        .filter_map(|export| export.name.zip(export.value))
        .collect())
}
