//! One connection of a client through a proxy.

use std::sync::Arc;

use tokio::net::TcpStream;

use crate::board::Faults;
use crate::dependency::Dependency;

/// One connection of a client, and the address that its calls go to.
pub(crate) struct Link {
    pub faults: Faults,
    pub client: Arc<str>,
    pub dependency: Dependency,
    pub connection: u64,
    pub upstream: Arc<str>,
}

impl Link {
    pub(crate) async fn connect(&self) -> std::io::Result<TcpStream> {
        let upstream = TcpStream::connect(&*self.upstream).await?;
        upstream.set_nodelay(true)?;
        Ok(upstream)
    }
}

/// Waits until the caller gives up and closes the connection. Data that arrives meanwhile is
/// discarded.
pub(crate) async fn until_left(client: &mut TcpStream) {
    use tokio::io::AsyncReadExt as _;
    let mut byte = [0; 1];
    while client.read(&mut byte).await.is_ok_and(|read| read > 0) {}
}
