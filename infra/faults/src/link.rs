//! One connection of a client through a proxy.

use std::io::{ErrorKind, Result};
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;

use crate::board::{Call, Faults};
use crate::dependency::Dependency;
use crate::{Fault, Moment};

/// One connection of a client, and the address that its calls go to.
pub(crate) struct Link {
    pub faults: Faults,
    pub client: Arc<str>,
    pub dependency: Dependency,
    pub connection: u64,
    pub upstream: Arc<str>,
}

impl Link {
    pub(crate) async fn connect(&self) -> Result<TcpStream> {
        let upstream = TcpStream::connect(&*self.upstream).await?;
        upstream.set_nodelay(true)?;
        Ok(upstream)
    }

    pub(crate) fn call(&self, name: String, body: &[u8]) -> Call {
        Call {
            number: self.faults.next_call(),
            client: self.client.clone(),
            dependency: self.dependency,
            connection: self.connection,
            name,
            body: body.into(),
            at: Instant::now(),
        }
    }

    /// Asks the hook and the rules about a call before it is sent, and applies the faults that are
    /// the same in every protocol. Returns the fault that the protocol must apply itself.
    ///
    /// # Errors
    /// When the connection must be closed.
    pub(crate) async fn admit(
        &self,
        call: &Call,
        client: &mut (impl AsyncRead + Unpin),
        possible: impl Fn(&Fault) -> bool,
    ) -> Result<Option<Fault>> {
        if !self.faults.goes_on(call, Moment::Before).await {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        let fault = self.faults.fault_for(call, possible);
        match &fault {
            Some(Fault::Cut | Fault::Refuse) => return Err(ErrorKind::ConnectionAborted.into()),
            Some(Fault::Hang) => {
                until_left(client).await;
                return Err(ErrorKind::ConnectionAborted.into());
            }
            Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
            Some(Fault::Fail { .. } | Fault::DropReply | Fault::Partial | Fault::Replay) | None => {
            }
        }
        Ok(fault)
    }

    /// Asks the hook whether the client gets the reply to its call.
    ///
    /// # Errors
    /// When the connection must be closed, by the hook or by [`Fault::DropReply`].
    pub(crate) async fn release(
        &self,
        call: &Call,
        fault: Option<&Fault>,
        reply: &[u8],
        something: bool,
    ) -> Result<()> {
        let after = Moment::After { reply, something };
        if !self.faults.goes_on(call, after).await || fault == Some(&Fault::DropReply) {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

/// Waits until the caller gives up and closes the connection. Data that arrives meanwhile is
/// discarded.
async fn until_left(client: &mut (impl AsyncRead + Unpin)) {
    let mut byte = [0; 1];
    while client.read(&mut byte).await.is_ok_and(|read| read > 0) {}
}
