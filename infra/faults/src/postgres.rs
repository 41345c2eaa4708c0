//! One PostgreSQL connection, on which each statement is a call, up to the point at which the
//! client waits for the reply.
//!
//! Messages have the framing of the frontend/backend protocol: one byte for the kind, and four for
//! the length. The proxy refuses TLS (`N`), and the client continues without it.

use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::Fault;
use crate::board::Call;
use crate::link::Link;

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const MESSAGE_MAX: usize = 64 * 1024 * 1024;
/// The length of a call's name, enough to distinguish statements.
const NAME_MAX: usize = 80;

/// A message and its kind. Startup messages have no kind (0).
struct Frame {
    kind: u8,
    raw: Vec<u8>,
}

impl Frame {
    fn payload(&self) -> &[u8] {
        self.raw.get(5..).unwrap_or_default()
    }
}

pub(crate) async fn serve(link: &Link, client: TcpStream) -> Result<()> {
    let (from_client, mut to_client) = client.into_split();
    let mut from_client = BufReader::new(from_client);
    let startup = loop {
        let frame = startup(&mut from_client).await?;
        match frame
            .raw
            .get(4..8)
            .map(|code| u32::from_be_bytes([code[0], code[1], code[2], code[3]]))
        {
            Some(SSL_REQUEST | GSS_REQUEST) => to_client.write_all(b"N").await?,
            _ => break frame,
        }
    };
    let (from_server, mut to_server) = link.connect().await?.into_split();
    let mut from_server = BufReader::new(from_server);
    to_server.write_all(&startup.raw).await?;
    // The authentication is not a call: forward all messages until the server is ready for queries.
    loop {
        // `fill_buf` can be dropped safely. Dropping the read of a frame would lose its first part.
        tokio::select! {
            there = from_server.fill_buf() => {
                there?;
                let frame = frame(&mut from_server).await?;
                to_client.write_all(&frame.raw).await?;
                if frame.kind == b'Z' {
                    break;
                }
            }
            there = from_client.fill_buf() => {
                there?;
                let frame = frame(&mut from_client).await?;
                to_server.write_all(&frame.raw).await?;
            }
        }
    }
    let mut session = Session {
        link,
        from_client,
        to_client,
        from_server,
        to_server,
        statements: HashMap::new(),
        in_transaction: false,
    };
    session.run().await
}

struct Session<'a> {
    link: &'a Link,
    from_client: BufReader<OwnedReadHalf>,
    to_client: OwnedWriteHalf,
    from_server: BufReader<OwnedReadHalf>,
    to_server: OwnedWriteHalf,
    /// The SQL of prepared statements, by statement name.
    statements: HashMap<Vec<u8>, String>,
    in_transaction: bool,
}

impl Session<'_> {
    async fn run(&mut self) -> Result<()> {
        let mut request = Vec::new();
        let (mut name, mut executes) = (String::new(), false);
        loop {
            let frame = tokio::select! {
                biased;
                // The server can send notifications at any time.
                there = self.from_server.fill_buf(), if request.is_empty() => {
                    there?;
                    let told = frame(&mut self.from_server).await?;
                    self.to_client.write_all(&told.raw).await?;
                    continue;
                }
                there = self.from_client.fill_buf() => {
                    there?;
                    frame(&mut self.from_client).await?
                }
            };
            match frame.kind {
                b'P' => {
                    let (statement, rest) = text(frame.payload());
                    let (sql, _) = text(rest);
                    let sql = named(&String::from_utf8_lossy(sql));
                    name.clone_from(&sql);
                    self.statements.insert(statement.to_vec(), sql);
                }
                b'B' => {
                    let (_, rest) = text(frame.payload());
                    let (statement, _) = text(rest);
                    if let Some(sql) = self.statements.get(statement) {
                        name.clone_from(sql);
                    }
                }
                b'E' => executes = true,
                b'Q' => {
                    name = named(&String::from_utf8_lossy(text(frame.payload()).0));
                    executes = true;
                }
                b'X' => {
                    self.to_server.write_all(&frame.raw).await?;
                    return Ok(());
                }
                _ => {}
            }
            request.extend_from_slice(&frame.raw);
            if !matches!(frame.kind, b'Q' | b'S') {
                continue;
            }
            if executes {
                let call = self.link.call(std::mem::take(&mut name), &request);
                self.call(&call).await?;
            } else {
                // The client only prepares or describes a statement, which has no effect on data.
                let answer = self.ask(&request).await?;
                self.to_client.write_all(&answer.raw).await?;
            }
            request.clear();
            executes = false;
        }
    }

    /// Executes one call, with the fault of a rule applied.
    ///
    /// # Errors
    /// When the connection must be closed.
    async fn call(&mut self, call: &Call) -> Result<()> {
        let link = self.link;
        let possible = |fault: &Fault| !matches!(fault, Fault::Partial | Fault::Replay);
        let fault = link.admit(call, &mut self.from_client, possible).await?;
        if let Some(Fault::Fail { code, .. }) = fault {
            let failure = failure(code, self.in_transaction);
            return self.to_client.write_all(&failure).await;
        }
        let answer = self.ask(&call.body).await?;
        link.faults.executed(call, answer.something);
        link.release(call, fault.as_ref(), &answer.raw, answer.something)
            .await?;
        self.to_client.write_all(&answer.raw).await
    }

    /// Sends a request and reads the reply up to "ready for query".
    async fn ask(&mut self, request: &[u8]) -> Result<Reply> {
        self.to_server.write_all(request).await?;
        let (mut raw, mut something) = (Vec::new(), false);
        loop {
            let frame = frame(&mut self.from_server).await?;
            something |=
                frame.kind == b'D' || (frame.kind == b'C' && changed_something(frame.payload()));
            raw.extend_from_slice(&frame.raw);
            if frame.kind == b'Z' {
                self.in_transaction = frame.payload() != b"I";
                return Ok(Reply { raw, something });
            }
        }
    }
}

struct Reply {
    raw: Vec<u8>,
    something: bool,
}

/// Returns whether a command tag, such as `UPDATE 1` or `COMMIT`, reports anything but zero rows.
fn changed_something(tag: &[u8]) -> bool {
    !String::from_utf8_lossy(text(tag).0).ends_with(" 0")
}

/// Returns an error in the server's format. An open transaction is marked as failed, as after an
/// error of the server.
fn failure(code: &str, in_transaction: bool) -> Vec<u8> {
    let fields = format!("SERROR\0VERROR\0C{code}\0MInjected by a fault proxy\0\0");
    let mut raw = vec![b'E'];
    raw.extend_from_slice(
        &u32::try_from(fields.len() + 4)
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    raw.extend_from_slice(fields.as_bytes());
    raw.extend_from_slice(&[b'Z', 0, 0, 0, 5, if in_transaction { b'E' } else { b'I' }]);
    raw
}

/// Returns the statement in one line, cut to the length of a name.
fn named(sql: &str) -> String {
    let line: Vec<&str> = sql.split_whitespace().collect();
    line.join(" ").chars().take(NAME_MAX).collect()
}

/// Splits at the first zero byte.
fn text(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == 0) {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}

async fn startup(from: &mut BufReader<OwnedReadHalf>) -> Result<Frame> {
    let mut raw = vec![0; 4];
    from.read_exact(&mut raw).await?;
    rest(from, 0, raw).await
}

async fn frame(from: &mut BufReader<OwnedReadHalf>) -> Result<Frame> {
    let mut raw = vec![0; 5];
    from.read_exact(&mut raw).await?;
    rest(from, 1, raw).await
}

/// Reads the rest of a message whose head is `raw`. The length follows the kind and includes
/// itself.
async fn rest(from: &mut BufReader<OwnedReadHalf>, kind: usize, mut raw: Vec<u8>) -> Result<Frame> {
    let length =
        u32::from_be_bytes([raw[kind], raw[kind + 1], raw[kind + 2], raw[kind + 3]]) as usize;
    if !(4..MESSAGE_MAX).contains(&length) {
        return Err(Error::new(
            ErrorKind::InvalidData,
            "not PostgreSQL's protocol",
        ));
    }
    raw.resize(kind + length, 0);
    from.read_exact(&mut raw[kind + 4..]).await?;
    Ok(Frame {
        kind: if kind == 0 { 0 } else { raw[0] },
        raw,
    })
}
