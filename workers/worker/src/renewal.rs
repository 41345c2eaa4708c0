//! The secrets from which the logins of the database and the cache are read again.

use adapter_aws::Clients;
use adapter_sql::Login;
use app::ports::{Backend, StoreError};
pub use chassis::renewal::Renewal;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The secret that RDS keeps (Secrets Manager User Guide, "JSON structure of database credential
/// secrets").
#[derive(Deserialize)]
struct DatabaseSecret {
    username: String,
    password: String,
}

/// The secret of the cache, as its CloudFormation template writes it.
#[derive(Deserialize)]
struct CacheSecret {
    token: String,
}

/// Returns the renewal of the database's login from the secret `id`, which RDS keeps.
pub fn of_database(clients: Clients, id: String) -> Renewal<Login> {
    renewal(clients, id, |secret: DatabaseSecret| Login {
        user: Some(secret.username),
        password: Some(secret.password),
        root_certificates: None,
    })
}

/// Returns the renewal of the cache's password from the secret `id`, which holds its token.
pub fn of_cache(clients: Clients, id: String) -> Renewal<String> {
    renewal(clients, id, |secret: CacheSecret| secret.token)
}

fn renewal<S: DeserializeOwned + 'static, L: Send + 'static>(
    clients: Clients,
    id: String,
    login: fn(S) -> L,
) -> Renewal<L> {
    Renewal::new(move || {
        let (clients, id) = (clients.clone(), id.clone());
        async move {
            let text = adapter_aws::secret_text(&clients, &id).await?;
            // The parser's message is dropped, because it can contain a part of the secret.
            let no_login = |_| StoreError::new(Backend::Secrets, format!("{id} is not a login"));
            Ok(login(serde_json::from_str(&text).map_err(no_login)?))
        }
    })
}
