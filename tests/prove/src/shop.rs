//! A shop of real processes, each behind its own fault proxies. The code of `haven up` starts the
//! servers; this module starts, kills and restarts the roles.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adapter_aws::{Clients, DynamoStock};
use adapter_sql::Login;
use anyhow::{Context as _, bail};
use contract::role::{OUTBOX_RELAY, ROLES, Role};
use faults::{Dependency, Faults, Proxy};
use platform::aws::Aws;
use platform::children::{self, Program};
use platform::database::{ServerOptions, Servers};
use platform::emulator::{Emulator, Settings, Source, free_port};
use platform::environment::{ENVIRONMENT, GATEWAY, GATEWAY_STOPS_WITHIN, Surroundings};
use platform::state::State;
use platform::{python, seed, staff_token};
use strum::IntoStaticStr;
use tokio::process::Child;
use uuid::Uuid;
use worker::stores::{Store, SystemSource};

use crate::views::Views;

/// How long a role may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Where orders are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Database {
    Sqlite,
    Postgres,
}

impl Database {
    /// Returns the database's name on the command line.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The current process of a role. Shared with hooks, which kill it.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    pub pid: u32,
    pub since: Instant,
    /// Whether the process was killed and not started again yet.
    pub dead: bool,
}

/// The current process of each role.
pub type Lives = Arc<Mutex<HashMap<&'static str, Life>>>;

struct Process {
    program: Program,
    health: String,
    child: Child,
}

/// A running shop.
pub struct Shop {
    pub faults: Faults,
    pub views: Views,
    pub aws: Clients,
    pub stock: DynamoStock,
    pub surroundings: Surroundings,
    /// The URL for customers, which passes through a fault proxy.
    pub url: String,
    pub staff_token: String,
    pub http: reqwest::Client,
    pub lives: Lives,
    pub database: Database,
    /// The URL of the database without a proxy, for faults in the database itself.
    pub database_url: String,
    /// The same URL with the superuser's login.
    pub admin_database_url: String,
    pub redis_url: Option<String>,
    processes: Mutex<BTreeMap<&'static str, Process>>,
    gateway: Child,
    emulator: Emulator,
    servers: Servers,
    /// Servers that were started again after a fault stopped them.
    adopted: Mutex<Vec<Child>>,
    _proxies: Vec<Proxy>,
    state: State,
    folder: PathBuf,
}

impl Shop {
    /// Starts a shop with an empty state directory.
    ///
    /// # Errors
    /// Returns an error if a server or a role does not start.
    pub async fn open(database: Database, seed: u64) -> anyhow::Result<Shop> {
        let folder = std::env::temp_dir().join(format!("haven-prove-{}", Uuid::now_v7()));
        let state = State::open(&folder)?;
        let postgres = (database == Database::Postgres).then(String::new);
        let redis = postgres.clone();
        let options = ServerOptions {
            postgres,
            redis,
            containers: false,
        };
        let servers = Servers::start(&options, &state).await?;
        let (python, _) = python::ensure(&servers::python_place()).await?;
        // Some faults set the clocks of processes wrong by up to two hours. Without a tolerance,
        // AWS would reject their signatures, and the effect on orders would not show.
        let settings = Settings {
            clock_skew: Duration::from_secs(3 * 3600),
            ..Settings::default()
        };
        let emulator =
            Emulator::start_with(&Source::Python(python), &state, None, settings).await?;
        let aws = Aws::local(&emulator.access);
        aws.deploy_shop().await?;
        let (addresses, secrets) = (
            aws.addresses(ENVIRONMENT).await?,
            aws.secrets(ENVIRONMENT).await?,
        );
        servers.migrate().await?;
        let stock = aws.stock(&addresses, "prove")?;
        seed::seed(&stock, &SystemSource, &mut seed::Seeded::default()).await?;

        let faults = Faults::new(seed);
        faults.sign_with(servers::signer(&emulator.access));
        let payment = format!("127.0.0.1:{}", free_port()?);
        let storefront = format!("127.0.0.1:{}", free_port()?);
        let customers = Proxy::start(&faults, "storefront", Dependency::Shop, &storefront).await?;
        let url = format!("http://{}", customers.address());
        let surroundings = Surroundings {
            storefront,
            public_url: url.clone(),
            aws: emulator.access.clone(),
            database_url: servers.database_url.clone(),
            outbox_database_url: servers.logins.outbox.clone(),
            redis_url: servers.redis_url.clone(),
            payment_url: format!("http://{payment}"),
            addresses,
            secrets,
        };
        let ledger = state.path("payment-ledger.jsonl").display().to_string();
        let executable = std::env::current_exe().context("find this program")?;
        let gateway = Program::role(
            &executable,
            GATEWAY,
            surroundings.of_gateway(&payment, ledger)?,
            GATEWAY_STOPS_WITHIN,
        );
        let gateway = children::spawn(&gateway, state.log(GATEWAY)?)?;
        let store = Store::connect(&servers.database_url, &Login::default()).await?;
        let mut shop = Shop {
            // The faults in the database need its superuser.
            views: Views::connect(&servers.logins.admin).await?,
            aws: Clients::local(&emulator.access, Arc::new(|_| {})),
            stock,
            staff_token: staff_token::local_token(&store, &surroundings.signing_key()?)
                .await?
                .0,
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(10))
                .build()?,
            database_url: servers.database_url.clone(),
            admin_database_url: servers.logins.admin.clone(),
            redis_url: servers.redis_url.clone(),
            faults,
            url,
            surroundings,
            lives: Arc::default(),
            database,
            processes: Mutex::default(),
            gateway,
            emulator,
            servers,
            adopted: Mutex::default(),
            _proxies: vec![customers],
            state,
            folder,
        };
        for role in ROLES {
            shop.add(role).await?;
        }
        for role in ROLES {
            shop.until_ready(role.slug).await?;
        }
        Ok(shop)
    }

    /// Starts a role behind its own proxies.
    async fn add(&mut self, role: &'static Role) -> anyhow::Result<()> {
        let mut seen = self.surroundings.clone();
        let upstream = |url: &str| {
            let rest = url.split("://").nth(1).unwrap_or(url);
            rest.split('@')
                .next_back()
                .unwrap_or(rest)
                .split('/')
                .next()
                .unwrap_or(rest)
                .to_owned()
        };
        seen.aws.endpoint = self
            .between(role.slug, Dependency::Aws, &seen.aws.endpoint, upstream)
            .await?;
        if seen.database_url.starts_with("postgres") {
            seen.database_url = self
                .between(
                    role.slug,
                    Dependency::Postgres,
                    &seen.database_url,
                    upstream,
                )
                .await?;
            if role.slug == OUTBOX_RELAY.slug {
                let [proxied, own] =
                    [&seen.database_url, &seen.outbox_database_url].map(|url| upstream(url));
                seen.outbox_database_url = seen.outbox_database_url.replace(&own, &proxied);
            }
        }
        if let Some(url) = seen.redis_url.take() {
            seen.redis_url = Some(
                self.between(role.slug, Dependency::Redis, &url, upstream)
                    .await?,
            );
        }
        seen.payment_url = self
            .between(role.slug, Dependency::Gateway, &seen.payment_url, upstream)
            .await?;
        let health = format!("127.0.0.1:{}", free_port()?);
        let program = Program::role(
            &std::env::current_exe().context("find this program")?,
            role.slug,
            seen.of_role(role, &health)?,
            role.stop_timeout(),
        );
        let child = self.spawn(role.slug, &program)?;
        self.processes().insert(
            role.slug,
            Process {
                program,
                health,
                child,
            },
        );
        Ok(())
    }

    async fn between(
        &mut self,
        client: &str,
        dependency: Dependency,
        url: &str,
        upstream: impl Fn(&str) -> String,
    ) -> anyhow::Result<String> {
        let upstream = upstream(url);
        let proxy = Proxy::start(&self.faults, client, dependency, &upstream)
            .await
            .context("start a fault proxy")?;
        let through = url.replace(&upstream, &proxy.address().to_string());
        self._proxies.push(proxy);
        Ok(through)
    }

    fn spawn(&self, name: &'static str, program: &Program) -> anyhow::Result<Child> {
        let child = children::spawn(program, self.state.log(name)?)?;
        let life = Life {
            pid: child.id().unwrap_or_default(),
            since: Instant::now(),
            dead: false,
        };
        self.lives
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, life);
        Ok(child)
    }

    /// Returns the current process of a role.
    pub fn life(&self, role: &str) -> Option<Life> {
        self.lives
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(role)
            .copied()
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<&'static str, Process>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a role again that was killed or asked to stop, and waits until it is ready. Waiting
    /// can take as long as a long poll. The new process also gets `environment`. Returns how the
    /// old process ended.
    ///
    /// # Errors
    /// Returns an error if the role does not exist or does not become ready.
    pub async fn start_again(
        &self,
        role: &str,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<String> {
        let (role, ended) = self.replace(role, environment).await?;
        self.until_ready(role).await?;
        Ok(ended)
    }

    /// Does the same as [`Shop::start_again`], but does not wait until the role is ready.
    ///
    /// # Errors
    /// Returns an error if the role does not exist or cannot be started.
    pub async fn replace(
        &self,
        role: &str,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<(&'static str, String)> {
        let taken = self.processes().remove_entry(role);
        let Some((role, mut process)) = taken else {
            bail!("there is no role {role}")
        };
        let within = process.program.stop_within;
        let ended = match tokio::time::timeout(within, process.child.wait()).await {
            Ok(status) => {
                status.map_or_else(|error| error.to_string(), |status| status.to_string())
            }
            Err(_) => {
                process
                    .child
                    .kill()
                    .await
                    .context("kill a role that does not stop")?;
                format!("killed after {} s", within.as_secs())
            }
        };
        let mut program = process.program.clone();
        program.environment.extend(
            environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        process.child = self.spawn(role, &program)?;
        self.processes().insert(role, process);
        Ok((role, ended))
    }

    /// Starts every role again that has exited, as `haven up` and ECS do. Returns their names.
    ///
    /// # Errors
    /// Returns an error if a role cannot be started.
    pub fn revive(&self) -> anyhow::Result<Vec<&'static str>> {
        let mut dead = Vec::new();
        for (role, process) in self.processes().iter_mut() {
            if process
                .child
                .try_wait()
                .context("look at a role")?
                .is_some()
            {
                process.child = self.spawn(role, &process.program)?;
                dead.push(*role);
            }
        }
        Ok(dead)
    }

    /// Returns PostgreSQL's data directory, or `None` for a shop on SQLite.
    pub fn postgres_folder(&self) -> Option<PathBuf> {
        (self.database == Database::Postgres).then(|| self.state.path("postgres"))
    }

    /// Opens the log file of a process.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened.
    pub fn log(&self, name: &str) -> anyhow::Result<File> {
        self.state.log(name)
    }

    /// Keeps a server that was started again until the shop is closed.
    pub fn adopt(&self, server: Child) {
        self.adopted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(server);
    }

    /// Sends a signal to a role's current process.
    pub fn signal(&self, role: &str, signal: rustix::process::Signal) {
        if let Some(life) = self.life(role) {
            children::signal(life.pid, signal);
        }
    }

    /// Returns whether a role's readiness probe succeeds.
    pub async fn is_ready(&self, role: &str) -> bool {
        let Some(health) = self
            .processes()
            .get(role)
            .map(|process| process.health.clone())
        else {
            return false;
        };
        let asked = self
            .http
            .get(format!("http://{health}{}", contract::READY_PATH))
            .send()
            .await;
        asked.is_ok_and(|answer| answer.status().is_success())
    }

    /// Waits until a role is ready, and starts it again if it exits meanwhile.
    ///
    /// # Errors
    /// Returns an error with the path of the role's log if the role is not ready in time.
    pub async fn until_ready(&self, role: &'static str) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.is_ready(role).await {
            if begun.elapsed() > READY_WITHIN {
                bail!(
                    "{role} is not ready: read {}",
                    self.state.path(&format!("logs/{role}.log")).display()
                );
            }
            // The role may have exited because a dependency is missing.
            self.revive()?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Stops all processes. Keeps the state directory if `keep` asks for logs.
    pub async fn close(mut self, keep: Keep) {
        self.faults.unwatch();
        self.faults.clear();
        let processes = std::mem::take(&mut *self.processes());
        for mut process in processes.into_values() {
            let _ = process.child.kill().await;
        }
        let _ = self.gateway.kill().await;
        self.emulator.stop().await;
        self.servers.stop().await;
        let adopted =
            std::mem::take(&mut *self.adopted.lock().unwrap_or_else(PoisonError::into_inner));
        for mut server in adopted {
            children::stop(&mut server, Duration::from_secs(10)).await;
        }
        drop(self.state);
        match keep {
            Keep::Nothing => drop(std::fs::remove_dir_all(&self.folder)),
            Keep::Logs => haven_console::eprintln!(
                "what the processes said is in {}",
                self.folder.join("logs").display()
            ),
        }
    }
}

/// What remains of a closed shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    Nothing,
    Logs,
}
