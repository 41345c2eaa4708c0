//! PostgreSQL and Redis for `haven up --postgres --redis`: at a URL, else from the machine's own binaries, else from
//! container images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chassis::config::ProcessEnvironment;
use tokio::process::Command;

use super::children::Program;
use super::containers::{Container, POSTGRES, REDIS, Run};
use super::emulator::free_port;
use super::keep::StopSignal;
use super::server::Server;
use super::state::State;
use crate::cli::Up;

const READY_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// The servers that hold what the platform keeps, and how to stop those that are ours.
pub struct Servers {
    pub database_url: String,
    pub redis_url: Option<String>,
    ours: Vec<Server>,
    containers: Vec<Container>,
}

impl Servers {
    pub async fn start(options: &Up, state: &State) -> anyhow::Result<Servers> {
        let mut servers = Servers {
            database_url: format!("sqlite://{}", state.path("orders.db").display()),
            redis_url: None,
            ours: Vec::new(),
            containers: Vec::new(),
        };
        let asked = |url: &Option<String>| url.clone().or_else(|| options.containers.then(String::new));
        if let Err(error) = servers.start_all(asked(&options.postgres), asked(&options.redis), options, state).await {
            servers.stop().await;
            return Err(error);
        }
        Ok(servers)
    }

    async fn start_all(
        &mut self,
        postgres: Option<String>,
        redis: Option<String>,
        options: &Up,
        state: &State,
    ) -> anyhow::Result<()> {
        match postgres {
            None => {}
            Some(url) if url.is_empty() => self.database_url = self.postgres(options.containers, state).await?,
            Some(url) => self.database_url = url,
        }
        match redis {
            None => {}
            Some(url) if url.is_empty() => self.redis_url = Some(self.redis(options.containers, state).await?),
            Some(url) => self.redis_url = Some(url),
        }
        Ok(())
    }

    /// What runs, for people; no password in it.
    pub fn describe(&self) -> String {
        let database = match self.database_url.split_once("://") {
            Some(("sqlite", path)) => format!("SQLite at {path}"),
            _ => "PostgreSQL".to_owned(),
        };
        let carts = if self.redis_url.is_some() { "Redis" } else { "the storefront's memory" };
        format!("{database}; carts in {carts}")
    }

    pub async fn stop(self) {
        for server in self.ours {
            server.stop().await;
        }
        for container in self.containers {
            container.stop().await;
        }
    }

    async fn postgres(&mut self, containers: bool, state: &State) -> anyhow::Result<String> {
        if let (false, Some(binaries)) = (containers, postgres_binaries()) {
            return self.own_postgres(&binaries, state).await;
        }
        let port = free_port()?;
        let run = Run {
            image: &POSTGRES,
            publish: (port, 5432),
            stop_within: STOP_WITHIN,
            environment: BTreeMap::from([("POSTGRES_PASSWORD".to_owned(), "haven".to_owned())]),
            data: Some(state.path("containers/postgres")),
        };
        let needs = "--postgres needs a URL, PostgreSQL's binaries (on Debian: apt install postgresql), or a container";
        self.run(run, state).await.context(if containers { "start PostgreSQL" } else { needs })?;
        let url = format!("postgres://haven:haven@127.0.0.1:{port}/haven");
        wait_for_postgres(&url).await.with_context(|| log_hint(state, "postgres"))?;
        Ok(url)
    }

    /// A private cluster in the state folder, on loopback alone.
    async fn own_postgres(&mut self, binaries: &Path, state: &State) -> anyhow::Result<String> {
        let folder = state.path("postgres");
        if !folder.join("PG_VERSION").exists() {
            let mut initdb = as_user(&binaries.join("initdb"));
            initdb.args(["--username=haven", "--auth=trust", "--encoding=UTF8", "--no-locale", "-D"]).arg(&folder);
            let made = initdb.stdin(Stdio::null()).output().await.context("start initdb")?;
            if !made.status.success() {
                bail!("initdb failed: {}", String::from_utf8_lossy(&made.stderr).trim());
            }
        }
        let port = free_port()?;
        let (path, mut arguments) = user_prefix(&binaries.join("postgres"));
        let own = ["-D", &folder.display().to_string(), "-p", &port.to_string(), "-h", "127.0.0.1", "-k", ""];
        arguments.extend(own.map(str::to_owned));
        self.ours.push(spawn("postgres", path, arguments, StopSignal::Int, state)?);
        let url = format!("postgres://haven@127.0.0.1:{port}/postgres");
        wait_for_postgres(&url).await.with_context(|| log_hint(state, "postgres"))?;
        Ok(url)
    }

    async fn redis(&mut self, containers: bool, state: &State) -> anyhow::Result<String> {
        let binary = on_path("redis-server").or_else(|| on_path("valkey-server"));
        let url = if let (false, Some(binary)) = (containers, binary) {
            let folder = state.path("redis");
            std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
            let port = free_port()?;
            let arguments =
                ["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir", &folder.display().to_string()];
            let arguments = arguments.map(str::to_owned).into();
            self.ours.push(spawn("redis", binary, arguments, StopSignal::Term, state)?);
            format!("redis://127.0.0.1:{port}")
        } else {
            let port = free_port()?;
            let (publish, environment) = ((port, 6379), BTreeMap::new());
            let run = Run { image: &REDIS, publish, stop_within: STOP_WITHIN, environment, data: None };
            let needs =
                "--redis needs a URL, redis-server on the PATH (on Debian: apt install redis-server), or a container";
            self.run(run, state).await.context(if containers { "start Redis" } else { needs })?;
            format!("redis://127.0.0.1:{port}")
        };
        until("Redis", || async {
            let carts = adapter_redis::RedisCarts::connect(&url).await.map_err(anyhow::Error::from)?;
            carts.ping().await.map_err(anyhow::Error::from)
        })
        .await
        .with_context(|| log_hint(state, "redis"))?;
        Ok(url)
    }

    async fn run(&mut self, run: Run<'_>, state: &State) -> anyhow::Result<()> {
        self.containers.push(Container::start(run, state).await?);
        Ok(())
    }
}

fn spawn(
    name: &str,
    path: PathBuf,
    arguments: Vec<String>,
    signal: StopSignal,
    state: &State,
) -> anyhow::Result<Server> {
    let environment = BTreeMap::from([("PATH".to_owned(), ProcessEnvironment.search_path())]);
    let program = Program { name: name.to_owned(), path, arguments, environment, stop_within: STOP_WITHIN };
    Server::start_with(&program, signal, state)
}

async fn wait_for_postgres(url: &str) -> anyhow::Result<()> {
    until("PostgreSQL", || async {
        adapter_postgres::PostgresStore::connect(url, 1).await.map(|_| ()).map_err(anyhow::Error::from)
    })
    .await
}

async fn until<F: Future<Output = anyhow::Result<()>>>(what: &str, ask: impl Fn() -> F) -> anyhow::Result<()> {
    let begun = std::time::Instant::now();
    loop {
        match ask().await {
            Ok(()) => return Ok(()),
            Err(error) if begun.elapsed() > READY_WITHIN => {
                return Err(error.context(format!("{what} did not answer within {} s", READY_WITHIN.as_secs())));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// PostgreSQL refuses to run as root. A user namespace gives it another user without giving the files away.
fn user_prefix(program: &Path) -> (PathBuf, Vec<String>) {
    if !rustix::process::geteuid().is_root() {
        return (program.to_owned(), Vec::new());
    }
    let arguments = ["--user", "--map-user=1000", "--map-group=1000", &program.display().to_string()];
    (PathBuf::from("unshare"), arguments.map(str::to_owned).into())
}

fn as_user(program: &Path) -> Command {
    let (path, arguments) = user_prefix(program);
    let mut command = Command::new(path);
    command.args(arguments);
    command
}

/// The folder of the newest PostgreSQL's own binaries.
fn postgres_binaries() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| folder.join("postgres").exists() && folder.join("initdb").exists())
        .collect();
    versions.sort();
    let packaged = versions.pop().map(|(_, folder)| folder);
    packaged.or_else(|| on_path("postgres")?.parent().map(Path::to_owned))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = ProcessEnvironment.get_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

fn log_hint(state: &State, process: &str) -> String {
    format!("its log is {}", state.path(&format!("logs/{process}.log")).display())
}
