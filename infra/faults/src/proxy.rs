//! A listener on loopback for one client, in front of one dependency.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::{Faults, http_proxy, postgres, redis};

/// What stands behind a proxy, and so which language is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dependency {
    /// AWS over HTTP; calls are named `service.Operation`.
    Aws,
    /// PostgreSQL's wire protocol without TLS; calls are named by their SQL.
    Postgres,
    /// Redis's protocol; calls are named by their command.
    Redis,
    /// The payment gateway; calls are named by method and path.
    Gateway,
    /// The shop itself, for its customers; calls are named by method and path.
    Shop,
}

/// A proxy; it ends with the value, and so do its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

/// One connection of a client, and where its calls are to go.
pub(crate) struct Link {
    pub faults: Faults,
    pub client: Arc<str>,
    pub dependency: Dependency,
    pub connection: u64,
    pub upstream: Arc<str>,
}

impl Proxy {
    /// Listens on a free port on loopback, for `client`, in front of the dependency at `upstream`
    /// (`host:port`).
    ///
    /// # Errors
    /// When there is no port.
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

    /// Listens where it is told to.
    ///
    /// # Errors
    /// When the address cannot be had.
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
                // Those that have ended are let go of, whatever they ended with.
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

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection that breaks is what this crate is for: nobody needs to hear of it.
async fn serve(link: Link, client: TcpStream) {
    if link.faults.refuses(link.dependency, &link.client) {
        // Ends with a reset, as where nobody listens.
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

impl Link {
    pub(crate) async fn connect(&self) -> std::io::Result<TcpStream> {
        let upstream = TcpStream::connect(&*self.upstream).await?;
        upstream.set_nodelay(true)?;
        Ok(upstream)
    }
}

/// Waits until the caller gives up: it leaves, or sends what nobody asked for.
pub(crate) async fn until_left(client: &mut TcpStream) {
    use tokio::io::AsyncReadExt as _;
    let mut byte = [0; 1];
    while client.read(&mut byte).await.is_ok_and(|read| read > 0) {}
}
