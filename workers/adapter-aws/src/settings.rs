//! Addresses, live parameters and secrets from Parameter Store and Secrets Manager.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};

use app::ports::{Backend, StoreError};
use aws_sdk_secretsmanager::error::SdkError;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use aws_sdk_ssm::Client;
use contract::address::Address;
use contract::cause::{Cause, chain};
use contract::parameter::{PARAMETERS, Parameter, Secret};
use contract::parameter_root;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::Clients;

/// Age after which live parameters are read again: a change takes effect within a minute.
const REFRESH: Duration = Duration::from_secs(30);

/// Time limit of the first read. Afterwards the defaults apply until the next read.
const FIRST_WITHIN: Duration = Duration::from_secs(3);

/// Returns all parameters below a path, by the rest of their names.
async fn below(client: &Client, root: &str) -> Result<HashMap<String, String>, StoreError> {
    let mut found = HashMap::new();
    let call = client.get_parameters_by_path().path(root).recursive(true);
    let mut pages = call.into_paginator().send();
    while let Some(page) = pages.next().await {
        let page =
            page.map_err(|error| StoreError::new(Backend::Parameters, crate::cause(error)))?;
        for parameter in page.parameters.unwrap_or_default() {
            if let (Some(name), Some(value)) = (parameter.name, parameter.value) {
                let key = name
                    .strip_prefix(root)
                    .unwrap_or(&name)
                    .trim_start_matches('/')
                    .to_owned();
                found.insert(key, value);
            }
        }
    }
    Ok(found)
}

/// Returns the addresses of all resources, by the variables in which roles expect them.
///
/// # Errors
/// Returns `StoreError` when Parameter Store cannot be read, or when an address is missing because
/// the stacks are not deployed.
pub async fn addresses(
    clients: &Clients,
    environment: &str,
) -> Result<HashMap<String, String>, StoreError> {
    let found = below(&clients.ssm(), &parameter_root(environment)).await?;
    addresses_of(|name| found.get(name).cloned())
}

/// Returns the same addresses from parameters that were read already. `value` returns a parameter
/// by its name below the environment's root.
///
/// # Errors
/// Returns `StoreError` when an address is missing.
pub fn addresses_of(
    value: impl Fn(&str) -> Option<String>,
) -> Result<HashMap<String, String>, StoreError> {
    let found = Address::all().map(|address| {
        let name = address.parameter();
        let missing = || StoreError::new(Backend::Parameters, format!("{name} is not deployed"));
        Ok((address.variable(), value(&name).ok_or_else(missing)?))
    });
    found.collect()
}

/// Returns the current value of a secret.
///
/// # Errors
/// Returns `StoreError` when the secret cannot be read.
pub async fn secret(
    clients: &Clients,
    environment: &str,
    secret: &Secret,
) -> Result<String, StoreError> {
    secret_text(clients, &secret.id(environment)).await
}

/// Returns the accepted values of a secret: the current one, and the previous one if there is one.
///
/// # Errors
/// Returns `StoreError` when Secrets Manager cannot be read.
pub async fn secret_versions(
    clients: &Clients,
    environment: &str,
    known: &Secret,
) -> Result<Vec<String>, StoreError> {
    let id = known.id(environment);
    let current = secret_text(clients, &id).await?;
    let previous = clients
        .secrets()
        .get_secret_value()
        .secret_id(&id)
        .version_stage("AWSPREVIOUS")
        .send()
        .await;
    let previous = match previous {
        Ok(got) => got.secret_string,
        // The secret was never rotated.
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_resource_not_found_exception()) =>
        {
            None
        }
        Err(error) => {
            return Err(not_read(&id, error));
        }
    };
    Ok(std::iter::once(current).chain(previous).collect())
}

/// Returns the current value of the secret with this name or ARN.
///
/// # Errors
/// Returns `StoreError` when Secrets Manager cannot be read, or when the value is not text.
pub async fn secret_text(clients: &Clients, id: &str) -> Result<String, StoreError> {
    let got = clients
        .secrets()
        .get_secret_value()
        .secret_id(id)
        .send()
        .await;
    let got = got.map_err(|error| not_read(id, error))?;
    got.secret_string
        .ok_or_else(|| StoreError::new(Backend::Secrets, format!("{id} has no text value")))
}

fn not_read(id: &str, error: SdkError<GetSecretValueError>) -> StoreError {
    StoreError::new(Backend::Secrets, Cause::about(id, crate::cause(error)))
}

/// Reads live parameters. While Parameter Store cannot be read, the last values apply, or the
/// defaults if there are none.
///
/// Only the first `get` waits for a read, and only for a short time. A longer wait could exceed the
/// handler's time limit, which would count as a failure of the message.
#[derive(Clone)]
pub struct ParameterReader {
    client: Client,
    root: String,
    read: Arc<RwLock<Read>>,
    /// Locked by the task that reads.
    reading: Arc<Mutex<()>>,
    refresh_every: Duration,
}

#[derive(Default)]
struct Read {
    at: Option<Instant>,
    values: HashMap<String, String>,
}

impl ParameterReader {
    /// Creates a reader of the environment's parameters.
    pub fn new(clients: &Clients, environment: &str) -> ParameterReader {
        ParameterReader {
            client: clients.ssm(),
            root: parameter_root(environment),
            read: Arc::default(),
            reading: Arc::default(),
            refresh_every: REFRESH,
        }
    }

    /// Sets the refresh interval instead of 30 seconds.
    #[must_use]
    pub fn refreshed_every(self, period: Duration) -> ParameterReader {
        ParameterReader {
            refresh_every: period,
            ..self
        }
    }

    /// Returns the value of a parameter. Starts a refresh in the background when the values are too
    /// old.
    pub async fn get(&self, parameter: &Parameter) -> String {
        match self.last_read() {
            None => {
                let _reading = self.reading.lock().await;
                if self.last_read().is_none()
                    && timeout(FIRST_WITHIN, self.refresh()).await.is_err()
                {
                    tracing::warn!("Parameters were not read in time; the defaults apply");
                    self.write().at = Some(Instant::now());
                }
            }
            Some(at) if at.elapsed() > self.refresh_every => {
                if let Ok(reading) = self.reading.clone().try_lock_owned() {
                    let reader = self.clone();
                    tokio::spawn(async move {
                        reader.refresh().await;
                        drop(reading);
                    });
                }
            }
            Some(_) => {}
        }
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        read.values
            .get(parameter.key)
            .cloned()
            .unwrap_or_else(|| parameter.default.to_owned())
    }

    fn last_read(&self) -> Option<Instant> {
        self.read.read().unwrap_or_else(PoisonError::into_inner).at
    }

    fn write(&self) -> RwLockWriteGuard<'_, Read> {
        self.read.write().unwrap_or_else(PoisonError::into_inner)
    }

    async fn refresh(&self) {
        let found = below(&self.client, &self.root).await;
        let mut read = self.write();
        match found {
            Ok(values) => {
                read.values = values
                    .into_iter()
                    .filter(|(key, _)| is_parameter(key))
                    .collect()
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "Parameters cannot be read; the last values stay in use")
            }
        }
        // The time is set after a failure too, so that not every message starts a read.
        read.at = Some(Instant::now());
    }
}

/// Returns true for the name of a live parameter. Addresses are below the same root.
fn is_parameter(key: &str) -> bool {
    PARAMETERS.iter().any(|parameter| parameter.key == key)
}
