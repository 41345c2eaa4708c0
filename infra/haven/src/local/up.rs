//! `haven up`: everything, from nothing to a shop that takes orders, and watched over until it is told to stop.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adapter_postgres::Login;
use anyhow::{Context as _, bail};
use contract::parameter::{SECRETS, SIGNING_KEY};
use contract::role::{ROLES, Role};
use rustix::process::Signal;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::children::{self, Keeper, Program};
use super::database::Servers;
use super::emulator::{Emulator, Source, free_port};
use super::environment::Surroundings;
use super::facts::{Facts, RoleFacts};
use super::phases::Phases;
use super::state::State;
use app::use_cases::project::reproject;

use super::{containers, ports, python, repair, seed};
use crate::aws;
use crate::cli::Up;
use crate::operate::staff;
use crate::provision;

/// The environment's name, in the stacks and in every role.
pub const ENVIRONMENT: &str = "local";
/// The simulated gateway is a process like a role, and not part of the contract: in AWS there is a real one.
pub const GATEWAY: &str = "payment-gateway";
/// All processes together get so long to become ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Runs until stopped. A local AWS that dies is started again, with everything that stands on it.
pub async fn up(mut options: Up) -> anyhow::Result<()> {
    if options.detach {
        return detach(&options).await;
    }
    let state = State::open(&options.state)?;
    end_leftovers(state.folder()).await;
    match options.port {
        0 => options.port = free_port()?,
        port => ports::claim(port)?,
    }
    let stop = chassis::run::shutdown_signal().context("listen for signals")?;
    let outcome = until_stopped(&options, &state, &stop).await;
    // Processes end with our handles on them; the containers of a start that was broken off do not.
    containers::end_leftovers(state.folder()).await;
    Facts::remove(state.folder());
    outcome?;
    eprintln!("Stopped. `haven up` goes on where this left off.");
    Ok(())
}

async fn until_stopped(options: &Up, state: &State, stop: &CancellationToken) -> anyhow::Result<()> {
    loop {
        let outcome = tokio::select! {
            outcome = session(options, state, stop) => outcome,
            // While it is still starting there is nothing to be put down cleanly but children, which end with us.
            () = interrupted_early(stop, state.folder()) => Ok(Ended::Stopped),
        };
        match outcome? {
            Ended::Stopped => return Ok(()),
            Ended::AwsDied(how) => {
                eprintln!("  the local AWS died ({how}); starting again, and repairing what it forgot");
                // What was killed may have been Docker's client, and the container live on with the state folder.
                containers::end_leftovers(state.folder()).await;
            }
        }
    }
}

enum Ended {
    Stopped,
    AwsDied(String),
}

/// Resolves when a stop is asked for before the shop was ready.
async fn interrupted_early(stop: &CancellationToken, folder: &Path) {
    stop.cancelled().await;
    if Facts::read(folder).is_ok_and(|facts| facts.ready) {
        std::future::pending::<()>().await;
    }
}

/// One life of the local AWS and of everything that stands on it.
async fn session(options: &Up, state: &State, stop: &CancellationToken) -> anyhow::Result<Ended> {
    eprintln!("Brew Haven is starting (state in {})", state.folder().display());
    let phases = Phases::new();
    let servers = phases
        .run("starting the database", async {
            let servers = Servers::start(options, state).await?;
            let line = servers.describe();
            Ok((servers, line))
        })
        .await?;
    let started = start_on(&phases, options, state, &servers).await;
    let (mut emulator, keeper) = match started {
        Ok(started) => started,
        Err(error) => {
            servers.stop().await;
            return Err(error);
        }
    };
    let ended = tokio::select! {
        () = stop.cancelled() => Ended::Stopped,
        how = emulator.died() => Ended::AwsDied(how),
    };
    // Consumers first, then what they consume from.
    keeper.stop().await;
    if matches!(ended, Ended::Stopped) && !emulator.stop().await {
        eprintln!(
            "  the local AWS had to be killed: what it kept since its last clean stop is repaired at the next start"
        );
    }
    servers.stop().await;
    Ok(ended)
}

async fn start_on(
    phases: &Phases,
    options: &Up,
    state: &State,
    servers: &Servers,
) -> anyhow::Result<(Emulator, Keeper)> {
    let source = if options.containers {
        Source::Image
    } else {
        let install = async {
            let (program, installed) = python::ensure(&python::folder(state.folder())).await?;
            let line = if installed { "Python environment made" } else { "Python environment found" };
            Ok((Source::Program(program), line.to_owned()))
        };
        phases.run("installing the local AWS (once, some 20 s)", install).await?
    };
    let emulator = phases
        .run("starting the local AWS", async {
            let emulator = Emulator::start(&source, state, servers.redis_url.as_deref()).await?;
            let line = format!("local AWS at {}", emulator.endpoint);
            Ok((emulator, line))
        })
        .await?;
    match start_roles(phases, options, state, servers, &emulator).await {
        Ok(keeper) => Ok((emulator, keeper)),
        Err(error) => {
            emulator.stop().await;
            Err(error)
        }
    }
}

async fn start_roles(
    phases: &Phases,
    options: &Up,
    state: &State,
    servers: &Servers,
    emulator: &Emulator,
) -> anyhow::Result<Keeper> {
    let clients = aws::Aws::local(&emulator.endpoint, &emulator.region);
    let environment = blueprint::Environment::shop();
    phases
        .run("deploying the stacks", async {
            let deployed =
                provision::deploy(&clients.target(environment.clone()), &provision::Reporter::quiet()).await?;
            Ok(((), deployed.summary()))
        })
        .await?;
    let addresses = clients.addresses(ENVIRONMENT).await?;
    let secrets = clients.secrets(ENVIRONMENT).await?;
    phases
        .run("bringing the schema up to date", async {
            let report = migrations::migrate(&servers.database_url).await.context("bring the schema up to date")?;
            let line = match report.applied.len() {
                0 => "schema up to date".to_owned(),
                count => format!("{count} migrations applied"),
            };
            Ok(((), line))
        })
        .await?;
    let store = worker::stores::Store::connect(&servers.database_url, &Login::default()).await?;
    let stock = clients.stock(&addresses, "haven up")?;
    phases
        .run("filling the shelves", async {
            clients.set_time_to_live(&addresses).await;
            clients.forget_leases(&addresses).await?;
            let (added, all) = seed::seed(&stock, &worker::stores::SystemSource).await?;
            let repaired = repair::repair(&store, &stock, &worker::stores::SystemSource).await?;
            reproject(&store, &clients.views(&addresses)?).await.context("show the orders")?;
            let menu = if added == 0 {
                format!("menu of {all} products")
            } else {
                format!("menu of {all} products, {added} new")
            };
            Ok(((), repaired.describe(menu)))
        })
        .await?;
    let signing_key = secrets.get(SIGNING_KEY.slug).cloned().context("the signing key was not deployed")?;
    let (staff_token, token_ends) = staff::local_token(&servers.database_url, &signing_key).await?;
    drop(store);

    let (keeper, facts) = phases
        .run("starting the roles", async {
            let (keeper, facts) = start_processes(options, state, servers, emulator, addresses, secrets, staff_token)?;
            let line = format!("payment gateway and {} roles ready", ROLES.len());
            wait_until_ready(&facts, state).await?;
            Ok(((keeper, facts), line))
        })
        .await?;
    announce_ready(&facts, state.folder(), phases.elapsed())?;
    tokio::spawn(renew_staff_token(
        facts,
        servers.database_url.clone(),
        signing_key,
        token_ends,
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
        aws_endpoint: emulator.endpoint.clone(),
        region: emulator.region.clone(),
        database_url: servers.database_url.clone(),
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
        aws_endpoint: emulator.endpoint.clone(),
        region: emulator.region.clone(),
        database_url: servers.database_url.clone(),
        redis_url: servers.redis_url.clone(),
        payment_url: surroundings.payment_url.clone(),
        payment_api_key: surroundings.payment_api_key()?,
        staff_token,
        roles: names
            .iter()
            .map(|(name, health)| RoleFacts { name: (*name).to_owned(), pid: 0, health: health.clone() })
            .collect(),
        pid: std::process::id(),
        aws_pid: emulator.pid(),
        ready: false,
    };
    let facts: Shared = Arc::new(Mutex::new(facts));

    let changed = Arc::new(Notify::new());
    let mut keeper = Keeper::new({
        let changed = changed.clone();
        move || changed.notify_one()
    });
    keep_facts_current(facts.clone(), keeper.pids(), changed, state.folder().to_owned());

    let mut keep = |name: &'static str, environment: BTreeMap<String, String>, stop_within: Duration| {
        let program = Program {
            name: name.to_owned(),
            path: executable.clone(),
            arguments: vec!["role".to_owned(), name.to_owned()],
            environment,
            stop_within,
        };
        let folder = state.folder().to_owned();
        keeper.keep(program, move || State::log_in(&folder, name));
    };
    let ledger = state.path("payment-ledger.jsonl").display().to_string();
    let gateway = surroundings.of_gateway(&format!("127.0.0.1:{payment_port}"), ledger)?;
    keep(GATEWAY, gateway, Duration::from_secs(10));
    for (role, (_, health)) in ROLES.iter().zip(&names[1..]) {
        let environment = surroundings.of_role(role, health.trim_start_matches("http://"))?;
        keep(role.slug, environment, role.stop_timeout());
    }
    debug_assert!(SECRETS.iter().all(|name| surroundings.secrets.contains_key(name.slug)));
    Ok((keeper, facts))
}

/// Keeps a good staff token in `haven.json` while the shop runs.
async fn renew_staff_token(
    facts: Shared,
    database_url: String,
    signing_key: String,
    ends: domain::Timestamp,
    folder: std::path::PathBuf,
) {
    let issue = || {
        let (database_url, signing_key) = (database_url.clone(), signing_key.clone());
        async move { staff::local_token(&database_url, &signing_key).await }
    };
    let publish = |token: String| {
        let mut facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
        // Another start writes another token; a stop removes the file.
        if Facts::read(&folder).ok().is_none_or(|written| written.staff_token != facts.staff_token) {
            return false;
        }
        facts.staff_token = token;
        if let Err(error) = facts.write(&folder) {
            eprintln!("  {error:#}");
        }
        true
    };
    staff::keep_fresh(worker::stores::SystemSource, ends, issue, publish).await;
}

fn keep_facts_current(
    facts: Shared,
    pids: Arc<Mutex<BTreeMap<String, u32>>>,
    changed: Arc<Notify>,
    folder: std::path::PathBuf,
) {
    tokio::spawn(async move {
        loop {
            changed.notified().await;
            let pids = pids.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mut facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
            for role in &mut facts.roles {
                role.pid = pids.get(&role.name).copied().unwrap_or_default();
            }
            if let Err(error) = facts.write(&folder) {
                eprintln!("  {error:#}");
            }
        }
    });
}

async fn wait_until_ready(facts: &Shared, state: &State) -> anyhow::Result<()> {
    let roles = facts.lock().unwrap_or_else(PoisonError::into_inner).roles.clone();
    let client =
        reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build().context("an HTTP client")?;
    let mut waiting: Vec<_> = roles.iter().collect();
    let begun = std::time::Instant::now();
    while begun.elapsed() < READY_WITHIN {
        let mut still = Vec::new();
        for role in waiting {
            let path = if role.name == GATEWAY { contract::HEALTH_PATH } else { contract::READY_PATH };
            let answer = client.get(format!("{}{path}", role.health)).send().await;
            if !answer.is_ok_and(|answer| answer.status().is_success()) {
                still.push(role);
            }
        }
        if still.is_empty() {
            return Ok(());
        }
        waiting = still;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let names: Vec<_> = waiting.iter().map(|role| role.name.as_str()).collect();
    let logs = state.path("logs");
    bail!("not ready after {} s: {}; read {}", READY_WITHIN.as_secs(), names.join(", "), logs.display())
}

fn announce_ready(facts: &Shared, folder: &Path, took: Duration) -> anyhow::Result<()> {
    let mut facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
    facts.ready = true;
    facts.write(folder)?;
    println!("\nReady after {:.1} s.\n", took.as_secs_f64());
    println!("  The shop         {}", facts.storefront);
    println!("  The bar          {}/staff   (sign in with the staff token)", facts.storefront);
    println!("  Staff token      {}", facts.staff_token);
    println!("  E-mails sent     {}/_ministack/ses/messages", facts.aws_endpoint);
    println!("  Texts sent       {}/_ministack/sns/sms-messages", facts.aws_endpoint);
    println!("  API              {}/openapi.json", facts.storefront);
    println!("  Local AWS        {}", facts.aws_endpoint);
    println!("\nTry this next:");
    println!("  - order a flat white in the shop, and watch it reach the bar");
    println!("  - kill a worker while an order is on its way:  kill -9 $(pgrep -f 'role order-worker')");
    println!("  - see the stacks, roles and queues:            haven status");
    println!("\nCtrl-C stops everything; nothing is lost.");
    Ok(())
}

/// Starts itself again in the background, and returns when the shop is ready or could not be started.
async fn detach(options: &Up) -> anyhow::Result<()> {
    // Fails early, and in the foreground, where the state folder cannot be used.
    let state = State::open(&options.state)?;
    let log_path = state.path("logs/up.log");
    let log = state.log("up")?;
    let begins_at = log.metadata().map(|log| log.len()).unwrap_or_default();
    let folder = state.folder().to_owned();
    Facts::remove(&folder);
    drop(state);

    let arguments: Vec<_> = std::env::args_os().skip(1).filter(|argument| argument != "--detach").collect();
    let errors = log.try_clone().context("use one log twice")?;
    let mut child = tokio::process::Command::new(std::env::current_exe().context("find the haven executable")?)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .context("start haven in the background")?;
    let said = || {
        let bytes = std::fs::read(&log_path).unwrap_or_default();
        let from = usize::try_from(begins_at).unwrap_or_default().min(bytes.len());
        String::from_utf8_lossy(&bytes[from..]).into_owned()
    };
    loop {
        if let Some(status) = child.try_wait().context("watch haven in the background")? {
            bail!("it ended while starting ({status}):\n{}", said().trim());
        }
        if Facts::read(&folder).is_ok_and(|facts| facts.ready) {
            print!("{}", said());
            println!("Running in the background; stop it with: haven down --state {}", options.state.display());
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// `haven down`: asks whoever holds the state folder to stop, and waits until it has.
pub async fn down(folder: &Path) -> anyhow::Result<()> {
    let facts = match Facts::read(folder) {
        Ok(facts) => facts,
        Err(_) if !State::is_used(folder) => {
            end_leftovers(folder).await;
            println!("Nothing runs on {}.", folder.display());
            return Ok(());
        }
        Err(error) => {
            return Err(error.context("it is still starting: wait, or stop it with Ctrl-C where it was started"));
        }
    };
    if State::is_used(folder) {
        children::signal(facts.pid, Signal::TERM);
        /// The longest drain, the local AWS's own stop, and some air.
        const STOPPED_WITHIN: Duration = Duration::from_secs(90);
        let begun = std::time::Instant::now();
        while State::is_used(folder) {
            if begun.elapsed() > STOPPED_WITHIN {
                bail!("process {} has not stopped after {} s", facts.pid, STOPPED_WITHIN.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    } else {
        end_leftovers(folder).await;
    }
    println!("Stopped. `haven up` goes on where this left off.");
    Ok(())
}

/// Ends what a killed `haven up` left behind: consumers first, then what they consume from.
async fn end_leftovers(folder: &Path) {
    end_left_processes(folder).await;
    containers::end_leftovers(folder).await;
}

/// Only processes that are still what they were when it wrote them down.
async fn end_left_processes(folder: &Path) {
    let facts = Facts::read(folder).ok();
    let facts = facts.as_ref();
    let roles = facts.into_iter().flat_map(|facts| &facts.roles);
    let roles = roles.map(|role| (role.pid, format!("role\0{}", role.name)));
    let aws = facts.and_then(|facts| facts.aws_pid).map(|pid| (pid, "ministack".to_owned()));
    let servers = super::database::leftovers(folder);
    let left: Vec<u32> =
        roles.chain(aws).chain(servers).filter(|(pid, mark)| is_running(*pid, mark)).map(|(pid, _)| pid).collect();
    for pid in &left {
        children::signal(*pid, Signal::TERM);
    }
    for pid in left {
        let begun = std::time::Instant::now();
        while is_running(pid, "") {
            if begun.elapsed() > Duration::from_secs(30) {
                children::signal(pid, Signal::KILL);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Facts::remove(folder);
}

/// Whether the process is there, and its command line has the mark in it.
fn is_running(pid: u32, mark: &str) -> bool {
    pid != 0
        && std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| !line.is_empty() && String::from_utf8_lossy(&line).contains(mark))
}

/// Whether a role of this name exists, for a clear error before anything is configured.
pub fn known_role(name: &str) -> bool {
    name == GATEWAY || Role::by_slug(name).is_some()
}
