//! A listener on loopback for one client and one dependency.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::board::Faults;
use crate::dependency::Dependency;
use crate::link::Link;
use crate::{http_proxy, postgres, redis};

/// A running proxy. Its connections close when the value is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy for `client` on a free port of loopback. It forwards to the dependency at
    /// `upstream` (`host:port`).
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(
        faults: &Faults,
        client: &str,
        dependency: Dependency,
        upstream: &str,
    ) -> std::io::Result<Proxy> {
        Proxy::start_at(
            faults,
            client,
            dependency,
            upstream,
            SocketAddr::from(([127, 0, 0, 1], 0)),
        )
        .await
    }

    /// Starts a proxy at a given address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start_at(
        faults: &Faults,
        client: &str,
        dependency: Dependency,
        upstream: &str,
        at: SocketAddr,
    ) -> std::io::Result<Proxy> {
        let listener = TcpListener::bind(at).await?;
        let address = listener.local_addr()?;
        let (faults, client, upstream) = (faults.clone(), Arc::from(client), Arc::from(upstream));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                // Remove finished connections; their results do not matter.
                while connections.try_join_next().is_some() {}
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                let link = Link {
                    faults: faults.clone(),
                    client: Arc::clone(&client),
                    dependency,
                    connection: faults.next_connection(),
                    upstream: Arc::clone(&upstream),
                };
                connections.spawn(serve(link, stream));
            }
        });
        Ok(Proxy { address, task })
    }

    /// Returns the address that the proxy listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves one connection. Errors are ignored, because broken connections are the purpose of this
/// crate.
async fn serve(link: Link, client: TcpStream) {
    if link.faults.refuses(link.dependency, &link.client) {
        // With zero linger, the close sends a reset, as if no process listened.
        let _ = client.set_zero_linger();
        return;
    }
    let _ = client.set_nodelay(true);
    let _ = match link.dependency {
        Dependency::Aws | Dependency::Gateway | Dependency::Shop => {
            http_proxy::serve(&link, client).await
        }
        Dependency::Postgres => postgres::serve(&link, client).await,
        Dependency::Redis => redis::serve(&link, client).await,
    };
}
