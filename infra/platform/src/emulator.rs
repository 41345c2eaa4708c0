//! The local AWS: MiniStack, as a process or in a container, with its state in the state directory.
//!
//! MiniStack accepts every caller, so it listens on a Unix socket that only its owner can reach.
//! The signed front (crate `front`) listens on loopback and forwards requests that are signed with
//! the key pair of this run.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adapter_aws::{Clients, LocalAccess};
use anyhow::{Context as _, bail};
use chassis::config::ProcessEnvironment;
use front::{Front, Keys};
use tokio::net::TcpListener;

use crate::children::Program;
use crate::containers::{self, Container, Run};
pub use crate::ports::{free_port, is_free};
use crate::refusals;
use crate::server::{Server, Stopped, until};
use crate::socket::SocketDirectory;
use crate::state::State;
use crate::{ports, private_file};

/// The file with the last port of the signed front. The port stays the same, because queue URLs
/// contain it.
const PORT_FILE: &str = "aws-port";
const REGION: &str = "us-east-1";
/// The time to stop. MiniStack writes its state then.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// A Python program that serves MiniStack on a Unix socket.
const SERVE: &str = include_str!("../../../localstack/serve.py");
/// The paths of the socket directory and of Python inside the container.
const SOCKET_IN_CONTAINER: &str = "/data/socket";
const PYTHON_IN_CONTAINER: &str = "/opt/ministack/bin/python";

/// A running local AWS.
pub struct Emulator {
    pub access: LocalAccess,
    body: Body,
    front: Front,
    socket: SocketDirectory,
}

enum Body {
    Process(Server),
    Container(Container),
}

/// The installation that the local AWS is started from.
#[derive(Debug)]
pub enum Source {
    /// The interpreter of a Python environment.
    Python(PathBuf),
    /// A container image.
    Image,
}

/// Settings of a local AWS that tests change.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The accepted difference between the clock of a client and ours.
    pub clock_skew: Duration,
    /// Access key ids that are accepted beside the one of this run, with the same secret. MiniStack
    /// interprets an id of twelve digits as an account id.
    pub accounts: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            clock_skew: front::CLOCK_SKEW,
            accounts: Vec::new(),
        }
    }
}

impl Emulator {
    /// Starts the local AWS on its previous port, or on a free one. Its state does not depend on
    /// the source.
    ///
    /// # Errors
    /// When a part cannot be started, or does not answer in time.
    pub async fn start(
        source: &Source,
        state: &State,
        redis_url: Option<&str>,
    ) -> anyhow::Result<Emulator> {
        Emulator::start_with(source, state, redis_url, Settings::default()).await
    }

    /// Starts the local AWS as [`Emulator::start`] does, with the given settings.
    ///
    /// # Errors
    /// As [`Emulator::start`].
    pub async fn start_with(
        source: &Source,
        state: &State,
        redis_url: Option<&str>,
        settings: Settings,
    ) -> anyhow::Result<Emulator> {
        let listener = listen(state).await?;
        let port = listener.local_addr().context("the front's port")?.port();
        let socket = SocketDirectory::make(state)?;
        let keys = Keys::random();
        let mut options = front::Options::new(socket.path(), keys.clone());
        options.clock_skew = settings.clock_skew;
        let of_account = |id| Keys {
            access_key_id: id,
            secret_access_key: keys.secret_access_key.clone(),
        };
        options
            .keys
            .extend(settings.accounts.into_iter().map(of_account));
        options.on_refusal = Some(refusals::log(state)?);
        let front = Front::serve(listener, &options).context("serve the front of the local AWS")?;

        let folder = state.path("aws");
        private_file::private_folder(&folder)?;
        let mut environment = BTreeMap::new();
        let mut set = |key: &str, value: &str| environment.insert(key.to_owned(), value.to_owned());
        // MiniStack writes these two values into queue URLs, so they must be the address of the
        // front.
        set("GATEWAY_PORT", &port.to_string());
        set("MINISTACK_HOST", "127.0.0.1");
        set("PERSIST_STATE", "1");
        set("S3_PERSIST", "1");
        // These two services would listen on all interfaces without a password.
        set("IOT_MTLS_ENABLED", "0");
        set("SFTP_ENABLED", "0");
        if let Some((host, port)) = redis_url.and_then(host_and_port) {
            set("REDIS_HOST", &host);
            set("REDIS_PORT", &port);
        }
        let body = match source {
            Source::Python(python) => {
                Body::Process(start_process(python, environment, &folder, &socket, state)?)
            }
            Source::Image => {
                Body::Container(start_container(environment, folder, &socket, state).await?)
            }
        };
        let access = LocalAccess {
            endpoint: format!("http://127.0.0.1:{port}"),
            region: REGION.to_owned(),
            access_key_id: keys.access_key_id,
            secret_access_key: keys.secret_access_key,
        };
        let mut emulator = Emulator {
            access,
            body,
            front,
            socket,
        };
        if let Err(error) = emulator.wait_until_healthy().await {
            emulator.stop().await;
            return Err(error.context(state.log_hint("local-aws")));
        }
        Ok(emulator)
    }

    /// Returns the pid of the process, or `None` for a container, which is found by its label.
    pub fn pid(&self) -> Option<u32> {
        match &self.body {
            Body::Process(server) => server.id(),
            Body::Container(_) => None,
        }
    }

    /// Waits until the local AWS has ended by itself. Returns how it ended.
    pub async fn died(&mut self) -> String {
        match &mut self.body {
            Body::Process(server) => server.ended().await,
            Body::Container(container) => container.ended().await,
        }
    }

    /// Stops the local AWS, which then writes its state.
    pub async fn stop(self) -> Stopped {
        // Open connections would delay the stop.
        self.front.stop().await;
        let stopped = match self.body {
            Body::Process(server) => server.stop().await,
            Body::Container(container) => container.stop().await,
        };
        self.socket.remove();
        stopped
    }

    async fn wait_until_healthy(&mut self) -> anyhow::Result<()> {
        let clients = Clients::local(&self.access, Arc::new(|_| {}));
        let what = format!("the local AWS at {}", self.access.endpoint);
        let healthy = until(&what, || async {
            let path = "/_ministack/health";
            Ok(clients.inspect::<serde_json::Value>(path).await?)
        });
        tokio::select! {
            health = healthy => health.map(drop),
            how = self.died() => bail!("the local AWS ended while starting ({how})"),
        }
    }
}

fn start_process(
    python: &Path,
    mut environment: BTreeMap<String, String>,
    folder: &Path,
    socket: &SocketDirectory,
    state: &State,
) -> anyhow::Result<Server> {
    let temporary = folder.join("tmp");
    private_file::private_folder(&temporary)?;
    let mut set = |key: &str, value: String| environment.insert(key.to_owned(), value);
    set("STATE_DIR", folder.display().to_string());
    set("S3_DATA_DIR", folder.join("s3").display().to_string());
    set("PATH", ProcessEnvironment.search_path());
    set("HOME", folder.display().to_string());
    set("TMPDIR", temporary.display().to_string());
    // MiniStack removes all containers with its label when it starts, even those of another
    // MiniStack of the user. Without Docker it cannot.
    set(
        "DOCKER_HOST",
        format!("unix://{}", temporary.join("no-docker").display()),
    );
    let program = Program {
        name: "local-aws".to_owned(),
        path: python.to_owned(),
        arguments: serve(&socket.path().display().to_string()),
        environment,
        stop_within: STOP_WITHIN,
    };
    Server::start(&program, state)
}

/// Starts the container, without a network: its socket is in a directory of this machine.
async fn start_container(
    environment: BTreeMap<String, String>,
    folder: PathBuf,
    socket: &SocketDirectory,
    state: &State,
) -> anyhow::Result<Container> {
    let run = Run {
        image: &containers::AWS,
        publish: None,
        stop_within: STOP_WITHIN,
        environment,
        data: Some(folder),
        mounts: vec![(socket.directory().to_owned(), SOCKET_IN_CONTAINER)],
        // The image's own command listens on TCP.
        instead: ["as-owner", "/data", "ministack", PYTHON_IN_CONTAINER]
            .map(str::to_owned)
            .into(),
        arguments: serve(&format!("{SOCKET_IN_CONTAINER}/{}", SocketDirectory::FILE)),
    };
    Container::start(run, state).await
}

/// Returns the arguments with which Python serves MiniStack on a socket. In isolated mode (`-I`),
/// Python imports nothing from the current directory or from the paths in `PYTHON*` variables.
fn serve(socket: &str) -> Vec<String> {
    ["-I", "-u", "-c", SERVE, socket].map(str::to_owned).into()
}

/// Returns the variables that make an AWS SDK use the local AWS and never the real AWS.
pub(crate) fn sdk_environment(access: &LocalAccess) -> BTreeMap<String, String> {
    access
        .variables()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Reserves the previous port of the local AWS, so that no other server of this process gets it.
pub(crate) fn reserve_port(state: &State) {
    if let Some(port) = kept_port(state) {
        ports::give_aws(port);
    }
}

fn kept_port(state: &State) -> Option<u16> {
    std::fs::read_to_string(state.path(PORT_FILE))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Listens on the previous port, or on a free one if the previous port is in use.
async fn listen(state: &State) -> anyhow::Result<TcpListener> {
    /// The attempts, 50 ms apart. The front of a local AWS that has just died may still be closing
    /// its listener.
    const TRIES: usize = 20;
    if let Some(port) = kept_port(state).filter(|port| ports::give_aws(*port)) {
        for _ in 0..TRIES {
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                return Ok(listener);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let port = ports::free_port_of_aws()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.with_context(|| format!("listen on port {port} for the local AWS"))?;
    private_file::write(&state.path(PORT_FILE), port.to_string().as_bytes())?;
    Ok(listener)
}

fn host_and_port(redis_url: &str) -> Option<(String, String)> {
    let rest = redis_url.strip_prefix("redis://")?;
    let address = rest.rsplit('@').next()?.split('/').next()?;
    let (host, port) = address.split_once(':').unwrap_or((address, "6379"));
    Some((host.to_owned(), port.to_owned()))
}
