//! The local AWS: MiniStack on loopback, as a process or in a container, its state kept in the state folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use chassis::config::ProcessEnvironment;

use super::children::Program;
use super::containers::{self, Container, Run};
use super::guard;
pub use super::ports::{free_port, is_free};
use super::server::Server;
use super::state::State;

/// Where it listens when nothing says otherwise. Kept in the state folder, since queue URLs carry the port.
const PORT_FILE: &str = "aws-port";
const REGION: &str = "us-east-1";
/// It starts in a fraction of a second; on a busy machine it may take longer.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// It writes its state when it is told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// A running local AWS.
pub struct Emulator {
    pub endpoint: String,
    pub region: String,
    body: Body,
}

enum Body {
    Process(Server),
    Container(Container),
}

/// What it is started from.
#[derive(Debug)]
pub enum Source {
    /// The interpreter of a Python environment.
    Python(PathBuf),
    /// A container image.
    Image,
}

impl Emulator {
    /// Starts it on the port it had before, or on a free one. Its state is the same whatever it is started from.
    pub async fn start(source: &Source, state: &State, redis_url: Option<&str>) -> anyhow::Result<Emulator> {
        let port = port(state)?;
        let folder = state.path("aws");
        guard::private_folder(&folder)?;
        let mut environment = BTreeMap::new();
        let mut set = |key: &str, value: String| environment.insert(key.to_owned(), value);
        // These two stand in the addresses that it gives out.
        set("GATEWAY_PORT", port.to_string());
        set("MINISTACK_HOST", "127.0.0.1".to_owned());
        set("PERSIST_STATE", "1".to_owned());
        set("S3_PERSIST", "1".to_owned());
        if let Some((host, port)) = redis_url.and_then(host_and_port) {
            set("REDIS_HOST", host);
            set("REDIS_PORT", port);
        }
        let body = match source {
            Source::Python(python) => Body::Process(start_process(python, environment, &folder, state)?),
            Source::Image => {
                let (publish, data) = ((port, port), Some(folder));
                let run = Run { image: &containers::AWS, publish, stop_within: STOP_WITHIN, environment, data };
                Body::Container(Container::start(run, state).await?)
            }
        };
        let endpoint = format!("http://127.0.0.1:{port}");
        let mut emulator = Emulator { endpoint, region: REGION.to_owned(), body };
        if let Err(error) = emulator.wait_until_healthy().await {
            emulator.stop().await;
            return Err(error.context(format!("its log is {}", state.path("logs/local-aws.log").display())));
        }
        Ok(emulator)
    }

    /// None for a container, which is found by its label.
    pub fn pid(&self) -> Option<u32> {
        match &self.body {
            Body::Process(server) => server.id(),
            Body::Container(_) => None,
        }
    }

    /// Returns when it has died by itself.
    pub async fn died(&mut self) -> String {
        match &mut self.body {
            Body::Process(server) => server.ended().await,
            Body::Container(container) => container.ended().await,
        }
    }

    /// Stops it cleanly, which is when it writes its state.
    pub async fn stop(self) -> bool {
        match self.body {
            Body::Process(server) => server.stop().await,
            Body::Container(container) => container.stop().await,
        }
    }

    async fn wait_until_healthy(&mut self) -> anyhow::Result<()> {
        let client =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build().context("an HTTP client")?;
        let url = format!("{}/_ministack/health", self.endpoint);
        let healthy = async {
            while !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let endpoint = self.endpoint.clone();
        tokio::select! {
            done = tokio::time::timeout(READY_WITHIN, healthy) => match done {
                Ok(()) => Ok(()),
                Err(_) => bail!("the local AWS did not answer at {endpoint} within {} s", READY_WITHIN.as_secs()),
            },
            how = self.died() => bail!("the local AWS ended while starting ({how})"),
        }
    }
}

fn start_process(
    python: &Path,
    mut environment: BTreeMap<String, String>,
    folder: &Path,
    state: &State,
) -> anyhow::Result<Server> {
    let mut set = |key: &str, value: String| environment.insert(key.to_owned(), value);
    // Without it it would listen on every interface.
    set("BIND_HOST", "127.0.0.1".to_owned());
    set("STATE_DIR", folder.display().to_string());
    set("S3_DATA_DIR", folder.join("s3").display().to_string());
    set("PATH", ProcessEnvironment.search_path());
    set("HOME", folder.display().to_string());
    let program = Program {
        name: "local-aws".to_owned(),
        path: python.to_owned(),
        // The script in `bin` names the folder where it was installed, which may have moved.
        arguments: ["-I", "-u", "-m", "ministack"].map(str::to_owned).into(),
        environment,
        stop_within: STOP_WITHIN,
    };
    Server::start(&program, state)
}

/// What an SDK needs to talk to it: never the real AWS.
pub fn sdk_environment(endpoint: &str, region: &str) -> BTreeMap<String, String> {
    [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", region),
        // The local AWS takes any; without them the SDK would ask the instance metadata address.
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn port(state: &State) -> anyhow::Result<u16> {
    let path = state.path(PORT_FILE);
    let kept = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
    if let Some(port) = kept.filter(|port| is_free(*port)) {
        return Ok(port);
    }
    let port = free_port()?;
    guard::write(&path, port.to_string().as_bytes())?;
    Ok(port)
}

fn host_and_port(redis_url: &str) -> Option<(String, String)> {
    let rest = redis_url.strip_prefix("redis://")?;
    let address = rest.rsplit('@').next()?.split('/').next()?;
    let (host, port) = address.split_once(':').unwrap_or((address, "6379"));
    Some((host.to_owned(), port.to_owned()))
}
