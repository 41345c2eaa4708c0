//! Parameter Store and Secrets Manager.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use app::ports::Unavailable;
use aws_sdk_ssm::Client;
use contract::address::Address;
use contract::parameter::{Parameter, Secret};
use contract::parameter_root;
use tokio::sync::Mutex;

use crate::Clients;

/// A tunable parameter is read again after so long: a change takes effect within a minute.
const REFRESH: Duration = Duration::from_secs(30);

/// Everything below a path, by what follows the path.
async fn below(client: &Client, root: &str) -> Result<HashMap<String, String>, Unavailable> {
    let mut found = HashMap::new();
    let mut next = None;
    loop {
        let page = client
            .get_parameters_by_path()
            .path(root)
            .recursive(true)
            .set_next_token(next)
            .send()
            .await
            .map_err(|error| Unavailable::new("parameters", crate::why(&error)))?;
        for parameter in page.parameters.unwrap_or_default() {
            if let (Some(name), Some(value)) = (parameter.name, parameter.value) {
                let key = name.strip_prefix(root).unwrap_or(&name).trim_start_matches('/').to_owned();
                found.insert(key, value);
            }
        }
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(found);
        }
    }
}

/// Where the template put every resource, by the variable that a role expects it in.
///
/// # Errors
/// When Parameter Store cannot be read, or a resource is not in it: the stacks are not deployed.
pub async fn addresses(clients: &Clients, environment: &str) -> Result<HashMap<String, String>, Unavailable> {
    let found = below(&clients.ssm(), &parameter_root(environment)).await?;
    let mut addresses = HashMap::new();
    for address in Address::all() {
        let value = found.get(&address.parameter());
        let missing = || Unavailable::new("parameters", format!("{} is not deployed", address.parameter()));
        addresses.insert(address.variable(), value.cloned().ok_or_else(missing)?);
    }
    Ok(addresses)
}

/// A secret's current value.
pub async fn secret(clients: &Clients, environment: &str, secret: &Secret) -> Result<String, Unavailable> {
    let id = format!("{}/{}", parameter_root(environment), secret.slug);
    let got = clients.secrets().get_secret_value().secret_id(&id).send().await;
    let got = got.map_err(|error| Unavailable::new("secrets", format!("{id}: {}", crate::why(&error))))?;
    got.secret_string.ok_or_else(|| Unavailable::new("secrets", format!("{id} holds no text")))
}

/// Tunable parameters, read live. When Parameter Store cannot be reached, the last value that was read stands, and
/// before the first one the default. Nobody waits for it but the first.
#[derive(Clone)]
pub struct ParameterReader {
    client: Client,
    root: String,
    read: Arc<RwLock<Read>>,
    /// Held by whoever reads now.
    reading: Arc<Mutex<()>>,
}

#[derive(Default)]
struct Read {
    at: Option<Instant>,
    values: HashMap<String, String>,
}

impl ParameterReader {
    pub fn new(clients: &Clients, environment: &str) -> ParameterReader {
        ParameterReader {
            client: clients.ssm(),
            root: parameter_root(environment),
            read: Arc::default(),
            reading: Arc::default(),
        }
    }

    pub async fn get(&self, parameter: &Parameter) -> String {
        match self.last_read() {
            None => {
                let _reading = self.reading.lock().await;
                if self.last_read().is_none() {
                    self.refresh().await;
                }
            }
            Some(at) if at.elapsed() > REFRESH => {
                if let Ok(_reading) = self.reading.try_lock() {
                    self.refresh().await;
                }
            }
            Some(_) => {}
        }
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        read.values.get(parameter.key).cloned().unwrap_or_else(|| parameter.default.to_owned())
    }

    fn last_read(&self) -> Option<Instant> {
        self.read.read().unwrap_or_else(PoisonError::into_inner).at
    }

    async fn refresh(&self) {
        let found = below(&self.client, &self.root).await;
        let mut read = self.read.write().unwrap_or_else(PoisonError::into_inner);
        match found {
            Ok(values) => read.values = values,
            Err(error) => tracing::warn!(error = %error, "Parameters cannot be read; the last ones stand"),
        }
        // After a failure too: it must not be asked by every message.
        read.at = Some(Instant::now());
    }
}
