//! A proxy that forwards every call to AWS and drops some of the answers.

use std::sync::{Arc, Mutex};

use adapter_aws::LocalAccess;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone)]
pub struct Lossy {
    /// The access with the endpoint of the proxy.
    pub access: LocalAccess,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// A part of the request head, and the number of answers to such requests that are dropped.
    losing: Option<(&'static str, usize)>,
    /// All requests, head and body.
    seen: Vec<String>,
}

impl Lossy {
    pub async fn before(access: &LocalAccess) -> Lossy {
        let upstream = access
            .endpoint
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let lossy = Lossy {
            access: LocalAccess {
                endpoint,
                ..access.clone()
            },
            state: Arc::default(),
        };
        let proxy = lossy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (proxy, upstream) = (proxy.clone(), upstream.clone());
                tokio::spawn(async move { proxy.serve(client, &upstream).await });
            }
        });
        lossy
    }

    pub fn lose(&self, call: &'static str, times: usize) {
        self.state.lock().expect("not poisoned").losing = Some((call, times));
    }

    /// Returns the bodies of the requests whose head contains `call`.
    pub fn sent(&self, call: &str) -> Vec<String> {
        let state = self.state.lock().expect("not poisoned");
        let bodies = state
            .seen
            .iter()
            .filter_map(|sent| sent.split_once("\r\n\r\n"));
        bodies
            .filter(|(head, _)| head.contains(call))
            .map(|(_, body)| body.to_owned())
            .collect()
    }

    async fn serve(&self, mut client: TcpStream, upstream: &str) -> Option<()> {
        let mut server = TcpStream::connect(upstream).await.ok()?;
        loop {
            let request = message(&mut client).await?;
            let text = String::from_utf8_lossy(&request).into_owned();
            server.write_all(&request).await.ok()?;
            let answer = message(&mut server).await?;
            let lost = {
                let mut state = self.state.lock().expect("not poisoned");
                let head = text.split("\r\n\r\n").next().unwrap_or_default().to_owned();
                state.seen.push(text);
                match &mut state.losing {
                    Some((call, times)) if *times > 0 && head.contains(*call) => {
                        *times -= 1;
                        true
                    }
                    _ => false,
                }
            };
            if lost {
                // The call was executed, and its answer is dropped.
                return None;
            }
            client.write_all(&answer).await.ok()?;
        }
    }
}

/// Reads one HTTP message with a length or in chunks.
async fn message(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).to_lowercase();
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let body = read.len() - end - 4;
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let whole = match length {
                Some(length) => body >= length,
                None if text.contains("transfer-encoding: chunked") => read.ends_with(b"0\r\n\r\n"),
                None => true,
            };
            if whole {
                return Some(read);
            }
        }
        if from.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}
