//! One Redis connection, on which each command is a call.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use crate::Fault;
use crate::link::Link;

const BULK_MAX: usize = 64 * 1024 * 1024;

pub(crate) async fn serve(link: &Link, client: TcpStream) -> Result<()> {
    let (from_client, mut to_client) = client.into_split();
    let mut from_client = BufReader::new(from_client);
    let (from_server, mut to_server) = link.connect().await?.into_split();
    let mut from_server = BufReader::new(from_server);
    loop {
        let mut command = Vec::new();
        if !value(&mut from_client, &mut command).await? {
            return Ok(());
        }
        let call = link.call(name(&command), &command);
        let possible = |fault: &Fault| !matches!(fault, Fault::Partial | Fault::Replay);
        let fault = link.admit(&call, &mut from_client, possible).await?;
        if let Some(Fault::Fail { code, .. }) = fault {
            to_client
                .write_all(format!("-{code} injected by a fault proxy\r\n").as_bytes())
                .await?;
            continue;
        }
        to_server.write_all(&command).await?;
        let mut reply = Vec::new();
        if !value(&mut from_server, &mut reply).await? {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        link.faults.executed(&call, true);
        link.release(&call, fault.as_ref(), &reply, true).await?;
        to_client.write_all(&reply).await?;
    }
}

/// Returns the command's first word in upper case.
fn name(command: &[u8]) -> String {
    let words = String::from_utf8_lossy(command);
    let mut lines = words.split("\r\n");
    let first = lines.next().unwrap_or_default();
    // A command is `*2`, `$3`, `GET`, ... on separate lines, or an inline command on a single line.
    let word = if first.starts_with('*') {
        lines.nth(1).unwrap_or_default()
    } else {
        first
    };
    word.split(' ')
        .next()
        .unwrap_or_default()
        .to_ascii_uppercase()
}

/// Reads one value of the protocol (RESP2 or RESP3) and appends its bytes to `raw`. Returns false
/// at the end of the connection.
async fn value(from: &mut BufReader<OwnedReadHalf>, raw: &mut Vec<u8>) -> Result<bool> {
    // The number of nested values that are still missing.
    let mut open = 1u64;
    while open > 0 {
        let begins = raw.len();
        if from.read_until(b'\n', raw).await? == 0 {
            return if begins == 0 {
                Ok(false)
            } else {
                Err(ErrorKind::UnexpectedEof.into())
            };
        }
        open -= 1;
        let line = String::from_utf8_lossy(&raw[begins..])
            .trim_end()
            .to_owned();
        let count = || {
            line.get(1..)
                .and_then(|count| count.parse::<i64>().ok())
                .unwrap_or(-1)
        };
        match line.as_bytes().first() {
            Some(b'$' | b'!' | b'=') if count() >= 0 => {
                let length = usize::try_from(count()).unwrap_or(usize::MAX);
                if length > BULK_MAX {
                    return Err(Error::new(
                        ErrorKind::InvalidData,
                        "a value longer than any that the platform stores",
                    ));
                }
                let at = raw.len();
                raw.resize(at + length + 2, 0);
                from.read_exact(&mut raw[at..]).await?;
            }
            Some(b'*' | b'~' | b'>') => open += u64::try_from(count()).unwrap_or_default(),
            // A map has keys and values. An attribute also precedes the value that it describes.
            Some(b'%') => open += 2 * u64::try_from(count()).unwrap_or_default(),
            Some(b'|') => open += 2 * u64::try_from(count()).unwrap_or_default() + 1,
            _ => {}
        }
    }
    Ok(true)
}
