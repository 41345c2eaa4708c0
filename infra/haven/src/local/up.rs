//! `haven up`: everything, from nothing to a shop that takes orders, and watched over until it is
//! told to stop.

use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adapter_postgres::Login;
use anyhow::{Context as _, bail};
use app::ports::Source as _;
use app::ports::access::{StaffToken, StaffTokens as _};
use app::use_cases::project::reproject;
use contract::parameter::{SECRETS, SIGNING_KEY};
use contract::role::{ROLES, Role};
use tokio::sync::Notify;
use worker::stores::{Store, SystemSource};

use super::children::{Keeper, Misconfigured, Program};
use super::database::Servers;
use super::emulator::{Emulator, Source, free_port};
use super::environment::Surroundings;
use super::facts::{Facts, RoleFacts};
use super::leftovers::{self, Ended as LeftoversEnded};
use super::phases::Phases;
use super::state::{Ground, State};
use super::stop::Stop;
use super::{containers, detach, emulator, emulator_state, ports, python, repair, seed, tool};
use crate::aws;
use crate::cli::Up;
use crate::operate::staff;
use crate::provision;
use crate::target::BadUsage;

/// The environment's name, in the stacks and in every role.
pub const ENVIRONMENT: &str = "local";
/// The simulated gateway is a process like a role, and not part of the contract: in AWS there is a
/// real one.
pub const GATEWAY: &str = "payment-gateway";
/// How long the gateway may take to stop before it is killed.
pub const GATEWAY_STOPS_WITHIN: Duration = Duration::from_secs(10);
/// What the log of a shop in the background has instead of the staff token.
pub const TOKEN_IN_FACTS: &str = "(staff_token in haven.json)";

/// Returns the staff token where standard output is a terminal. Anywhere else it is a log, and no
/// log holds a token.
pub fn shown_token(token: &str) -> &str {
    if std::io::stdout().is_terminal() {
        token
    } else {
        TOKEN_IN_FACTS
    }
}
/// All processes together get so long to become ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Runs until stopped. A local AWS that dies is started again, with everything that stands on it.
pub async fn up(mut options: Up) -> anyhow::Result<()> {
    if options.detach {
        return detach::detach(&options).await;
    }
    let stop = Stop::listen()?;
    let state = if options.take_lock {
        State::handed_over(&options.state)?
    } else {
        State::open(&options.state)?
    };
    stop.watch(state.ground()?);
    tool::record_in(state.records());
    let outcome = tokio::select! {
        outcome = until_stopped(&mut options, &state, &stop) => outcome,
        // Killed before the other future is dropped: that asks what runs to stop, and to save.
        why = async {
            let why = stop.at_once().await;
            state.records().kill_all();
            why
        } => {
            containers::kill(&state.records().containers()).await;
            Err(why)
        }
    };
    // Another directory may be in its place, with another shop.
    if !stop.is_lost() {
        // What a start had begun when it was broken off.
        state.records().until_gone().await;
        leftovers::end(&state).await;
        Facts::remove(state.folder());
    }
    outcome?;
    eprintln!("Stopped. `haven up` goes on where this left off.");
    Ok(())
}

async fn until_stopped(options: &mut Up, state: &State, stop: &Stop) -> anyhow::Result<()> {
    report_leftovers(&leftovers::end(state).await);
    Facts::remove(state.folder());
    // What the user chose comes first, and what the local AWS had before second: nobody else is
    // given either.
    if options.port != 0 {
        ports::claim(options.port)?;
    }
    emulator::reserve_port(state);
    if options.port == 0 {
        options.port = free_port()?;
    }
    loop {
        match session(options, state, stop).await? {
            Ended::Stopped => return Ok(()),
            Ended::AwsDied(how) => {
                eprintln!(
                    "  The local AWS ended ({how}). Starting it again and restoring its state."
                );
                // What was killed may have been Docker's client, and the container live on with the
                // state directory.
                containers::end_leftovers(state.folder()).await;
            }
        }
    }
}

fn report_leftovers(left: &LeftoversEnded) {
    if !left.names.is_empty() {
        eprintln!(
            "  Ended what an earlier `haven up` had left running: {}",
            left.names.join(", ")
        );
    }
    if left.lost_aws_state() {
        eprintln!("  {}", emulator_state::KILLED);
    }
}

enum Ended {
    Stopped,
    AwsDied(String),
}

/// One life of the local AWS and of everything that stands on it.
async fn session(options: &Up, state: &State, stop: &Stop) -> anyhow::Result<Ended> {
    eprintln!(
        "Brew Haven is starting (state in {})",
        state.folder().display()
    );
    let mut shop = Shop::default();
    let ended = tokio::select! {
        ended = shop.run(options, state) => ended,
        () = stop.asked() => Ok(Ended::Stopped),
    };
    if stop.is_asked() {
        state.write_stopping(&[]);
    }
    let unsaved = shop.stop(state).await;
    unsaved.iter().for_each(|unsaved| eprintln!("  {unsaved}"));
    if stop.is_asked() {
        state.write_stopping(&unsaved);
    }
    ended
}

/// What runs so far. A start that is broken off leaves in it what has to be stopped.
#[derive(Default)]
struct Shop {
    servers: Option<Servers>,
    emulator: Option<Emulator>,
    keeper: Option<Keeper>,
}

impl Shop {
    /// Starts everything, and returns when the local AWS has died.
    ///
    /// # Errors
    /// When something cannot be started, or a role refuses its configuration.
    async fn run(&mut self, options: &Up, state: &State) -> anyhow::Result<Ended> {
        let phases = Phases::new();
        let servers = self.servers.insert(
            phases
                .run("starting the database", async {
                    let servers = Servers::start(options, state).await?;
                    let line = servers.describe();
                    Ok((servers, line))
                })
                .await?,
        );
        let source = source(&phases, options, state).await?;
        emulator_state::restore(&phases, &source, state, servers.redis_url.as_deref()).await?;
        let emulator = self.emulator.insert(
            phases
                .run("starting the local AWS", async {
                    let emulator =
                        Emulator::start(&source, state, servers.redis_url.as_deref()).await?;
                    let line = format!("local AWS at {}", emulator.access.endpoint);
                    Ok((emulator, line))
                })
                .await?,
        );
        let keeper =
            start_roles(&phases, options, state, servers, emulator, &mut self.keeper).await?;
        tokio::select! {
            how = emulator.died() => Ok(Ended::AwsDied(how)),
            refused = keeper.misconfigured() => Err(misconfigured(&refused)),
        }
    }

    /// Stops what runs: consumers first, then what they consume from. Returns what could not be
    /// saved.
    async fn stop(&mut self, state: &State) -> Vec<String> {
        let mut unsaved = Vec::new();
        if let Some(keeper) = self.keeper.take() {
            keeper.stop().await;
        }
        if let Some(emulator) = self.emulator.take() {
            let log = emulator_state::Log::from_here(state);
            let stopped = emulator.stop().await;
            unsaved.extend(emulator_state::unsaved(&stopped));
            unsaved.extend(log.not_saved());
        }
        if let Some(servers) = self.servers.take() {
            servers.stop().await;
        }
        unsaved
    }
}

async fn source(phases: &Phases, options: &Up, state: &State) -> anyhow::Result<Source> {
    if options.containers {
        return Ok(Source::Image);
    }
    let install = async {
        let (python, installed) = python::ensure(&python::place(state.folder())).await?;
        let line = if installed {
            "Python environment made"
        } else {
            "Python environment found"
        };
        Ok((Source::Python(python), line.to_owned()))
    };
    phases
        .run("installing the local AWS (once, some 20 s)", install)
        .await
}

/// What a role wrote when it refused its configuration: to be shown, and not to be tried again.
fn misconfigured(refused: &Misconfigured) -> anyhow::Error {
    let Misconfigured { name, message } = refused;
    BadUsage::Said(format!(
        "{name} refuses its configuration and was not started again:\n{message}"
    ))
    .into()
}

async fn start_roles<'a>(
    phases: &Phases,
    options: &Up,
    state: &State,
    servers: &Servers,
    emulator: &Emulator,
    keeper: &'a mut Option<Keeper>,
) -> anyhow::Result<&'a mut Keeper> {
    let clients = aws::Aws::local(&emulator.access);
    let environment = blueprint::Environment::shop();
    phases
        .run("deploying the stacks", async {
            let deployed = provision::deploy(
                &clients.target(environment.clone()),
                &provision::Reporter::quiet(),
            )
            .await?;
            Ok(((), deployed.summary()))
        })
        .await?;
    let addresses = clients.addresses(ENVIRONMENT).await?;
    let secrets = clients.secrets(ENVIRONMENT).await?;
    phases
        .run("bringing the schema up to date", async {
            let migrated = servers.migrate().await?;
            Ok(((), migrated.describe()))
        })
        .await?;
    let store = Store::connect(&servers.database_url, &Login::default()).await?;
    emulator_state::record(state, &store).await?;
    let stock = clients.stock(&addresses, "haven up")?;
    phases
        .run("filling the shelves", async {
            clients.set_time_to_live(&addresses).await;
            clients.forget_leases(&addresses).await?;
            let seed::Seeded { added, all } = seed::seed_and_record(&stock, &store).await?;
            let repaired = repair::repair_and_record(&store, &stock).await?;
            reproject(&store, &clients.views(&addresses)?)
                .await
                .context("show the orders")?;
            let menu = match added.len() {
                0 => format!("menu of {all} products"),
                new => format!("menu of {all} products, {new} new"),
            };
            Ok(((), repaired.describe(menu)))
        })
        .await?;
    let signing_key = secrets
        .get(SIGNING_KEY.slug)
        .cloned()
        .context("the signing key was not deployed")?;
    let (staff_token, token) = staff::local_token(&store, &signing_key).await?;

    let (keeper, facts) = phases
        .run("starting the roles", async {
            let (started, facts) = start_processes(
                options,
                state,
                servers,
                emulator,
                addresses,
                secrets,
                staff_token,
            )?;
            let keeper = keeper.insert(started);
            let line = format!("payment gateway and {} roles ready", ROLES.len());
            tokio::select! {
                ready = wait_until_ready(&facts, state) => ready?,
                refused = keeper.misconfigured() => return Err(misconfigured(&refused)),
            }
            Ok(((keeper, facts), line))
        })
        .await?;
    announce_ready(&facts, state.folder(), phases.elapsed())?;
    tokio::spawn(renew_staff_token(
        facts,
        store,
        signing_key,
        token,
        state.folder().to_owned(),
    ));
    Ok(keeper)
}

/// The facts are written again whenever a process starts or dies.
type Shared = Arc<Mutex<Facts>>;

fn start_processes(
    options: &Up,
    state: &State,
    servers: &Servers,
    emulator: &Emulator,
    addresses: HashMap<String, String>,
    secrets: HashMap<&'static str, String>,
    staff_token: String,
) -> anyhow::Result<(Keeper, Shared)> {
    let executable = std::env::current_exe().context("find the haven executable")?;
    let storefront = format!("http://127.0.0.1:{}", options.port);
    let payment_port = free_port()?;
    let surroundings = Surroundings {
        storefront: format!("127.0.0.1:{}", options.port),
        public_url: storefront.clone(),
        aws: emulator.access.clone(),
        database_url: servers.database_url.clone(),
        outbox_database_url: servers.logins.outbox.clone(),
        redis_url: servers.redis_url.clone(),
        payment_url: format!("http://127.0.0.1:{payment_port}"),
        addresses,
        secrets,
    };
    let mut names = vec![(GATEWAY, format!("http://127.0.0.1:{payment_port}"))];
    for role in ROLES {
        names.push((role.slug, format!("http://127.0.0.1:{}", free_port()?)));
    }
    let facts = Facts {
        storefront,
        aws_endpoint: emulator.access.endpoint.clone(),
        region: emulator.access.region.clone(),
        aws_access_key_id: emulator.access.access_key_id.clone(),
        aws_secret_access_key: emulator.access.secret_access_key.clone(),
        database_url: servers.database_url.clone(),
        redis_url: servers.redis_url.clone(),
        payment_url: surroundings.payment_url.clone(),
        payment_api_key: surroundings.payment_api_key()?,
        staff_token,
        roles: names
            .iter()
            .map(|(name, health)| RoleFacts {
                name: (*name).to_owned(),
                pid: 0,
                health: health.clone(),
            })
            .collect(),
        pid: std::process::id(),
        aws_pid: emulator.pid(),
        ready: false,
    };
    let facts: Shared = Arc::new(Mutex::new(facts));

    let changed = Arc::new(Notify::new());
    let mut keeper = Keeper::new(state, {
        let changed = changed.clone();
        move || changed.notify_one()
    });
    keep_facts_current(facts.clone(), keeper.pids(), changed, state.ground()?);

    let mut keep =
        |name: &'static str, environment: BTreeMap<String, String>, stop_within: Duration| {
            let program = Program {
                name: name.to_owned(),
                path: executable.clone(),
                arguments: vec!["role".to_owned(), name.to_owned()],
                environment,
                stop_within,
            };
            keeper.keep(program);
        };
    let ledger = state.path("payment-ledger.jsonl").display().to_string();
    let gateway = surroundings.of_gateway(&format!("127.0.0.1:{payment_port}"), ledger)?;
    keep(GATEWAY, gateway, GATEWAY_STOPS_WITHIN);
    for (role, (_, health)) in ROLES.iter().zip(&names[1..]) {
        let environment = surroundings.of_role(role, health.trim_start_matches("http://"))?;
        keep(role.slug, environment, role.stop_timeout());
    }
    debug_assert!(
        SECRETS
            .iter()
            .all(|name| surroundings.secrets.contains_key(name.slug))
    );
    Ok((keeper, facts))
}

/// Keeps a good staff token in `haven.json` while the shop runs.
async fn renew_staff_token(
    facts: Shared,
    store: Store,
    signing_key: String,
    token: StaffToken,
    folder: std::path::PathBuf,
) {
    let issue = || {
        let (store, signing_key) = (store.clone(), signing_key.clone());
        async move { staff::local_token(&store, &signing_key).await }
    };
    let is_revoked = |id| {
        let store = store.clone();
        // A database that does not answer revokes nothing.
        async move {
            store
                .revoked_tokens(SystemSource.now())
                .await
                .is_ok_and(|revoked| revoked.contains(&id))
        }
    };
    let publish = |token: String| {
        let mut facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
        // Another start writes another token; a stop removes the file.
        if Facts::read(&folder)
            .ok()
            .is_none_or(|written| written.staff_token != facts.staff_token)
        {
            return false;
        }
        facts.staff_token = token;
        if let Err(error) = facts.write(&folder) {
            eprintln!("  {error:#}");
        }
        true
    };
    staff::keep_fresh(SystemSource, token, is_revoked, issue, publish).await;
}

fn keep_facts_current(
    facts: Shared,
    pids: Arc<Mutex<BTreeMap<String, u32>>>,
    changed: Arc<Notify>,
    ground: Ground,
) {
    tokio::spawn(async move {
        loop {
            changed.notified().await;
            let pids = pids.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mut facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
            for role in &mut facts.roles {
                role.pid = pids.get(&role.name).copied().unwrap_or_default();
            }
            // Another shop's file may be there by now.
            if let Err(error) = ground.check().and_then(|()| facts.write(ground.folder())) {
                eprintln!("  {error:#}");
            }
        }
    });
}

async fn wait_until_ready(facts: &Shared, state: &State) -> anyhow::Result<()> {
    let (roles, storefront) = {
        let facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
        (facts.roles.clone(), facts.storefront.clone())
    };
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(2))
        .build()
        .context("an HTTP client")?;
    let mut waiting: Vec<_> = roles.iter().collect();
    let begun = std::time::Instant::now();
    while begun.elapsed() < READY_WITHIN {
        let mut still = Vec::new();
        for role in waiting {
            let path = if role.name == GATEWAY {
                contract::HEALTH_PATH
            } else {
                contract::READY_PATH
            };
            let answer = client.get(format!("{}{path}", role.health)).send().await;
            if !answer.is_ok_and(|answer| answer.status().is_success()) {
                still.push(role);
            }
        }
        // The storefront reports what it depends on, and begins to listen a moment later.
        if still.is_empty() && listens(&storefront).await {
            return Ok(());
        }
        waiting = still;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut names: Vec<_> = waiting.iter().map(|role| role.name.as_str()).collect();
    if names.is_empty() {
        names.push(contract::role::STOREFRONT.slug);
    }
    let logs = state.path("logs");
    bail!(
        "not ready after {} s: {}; read {}",
        READY_WITHIN.as_secs(),
        names.join(", "),
        logs.display()
    )
}

async fn listens(url: &str) -> bool {
    tokio::net::TcpStream::connect(url.trim_start_matches("http://"))
        .await
        .is_ok()
}

fn announce_ready(facts: &Shared, folder: &Path, took: Duration) -> anyhow::Result<()> {
    let mut facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
    facts.ready = true;
    facts.write(folder)?;
    println!("\nReady after {:.1} s.\n", took.as_secs_f64());
    println!("  The shop         {}", facts.storefront);
    println!(
        "  The bar          {}/staff   (sign in with the staff token)",
        facts.storefront
    );
    println!("  Staff token      {}", shown_token(&facts.staff_token));
    println!("  Mails and texts  {}/staff/mailbox", facts.storefront);
    println!("  API              {}/openapi.json", facts.storefront);
    println!(
        "  Local AWS        {}   (eval \"$(haven env)\" for the aws command)",
        facts.aws_endpoint
    );
    println!("\nTry this next:");
    println!("  - order a flat white in the shop, and watch it reach the bar");
    println!(
        "  - kill a worker while an order is on its way:  kill -9 $(pgrep -f 'role order-worker')"
    );
    println!("  - see the stacks, roles and queues:            haven status");
    println!("\nCtrl-C stops everything; nothing is lost.");
    Ok(())
}

/// Whether a role of this name exists, for a clear error before anything is configured.
pub fn known_role(name: &str) -> bool {
    name == GATEWAY || Role::by_slug(name).is_some()
}
