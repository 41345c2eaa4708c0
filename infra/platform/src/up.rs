//! `haven up`: starts the whole platform, from an empty directory to a shop that takes orders, and
//! supervises it until it is asked to stop.

use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter_sql::Login;
use anyhow::{Context as _, bail};
use app::ports::Source as _;
use app::ports::access::{StaffToken, StaffTokens as _};
use app::use_cases::project::reproject;
use contract::parameter::{SECRETS, SIGNING_KEY};
use contract::role::ROLES;
use haven_console::time::duration;
use haven_console::verdict::Verdict;
use haven_console::{output, settings};
use serde_json::json;
use tokio::sync::Notify;
use worker::stores::{Store, SystemSource};

use crate::aws;
use crate::children::{Keeper, Program};
use crate::database::{ServerOptions, Servers};
use crate::emulator::{Emulator, Source, free_port};
use crate::environment::{ENVIRONMENT, GATEWAY, GATEWAY_STOPS_WITHIN, Surroundings};
use crate::facts::{Facts, RoleFacts};
use crate::leftovers::{self, Ended as LeftoversEnded};
use crate::mutex::locked;
use crate::phases::Phases;
use crate::staff_token;
use crate::state::{Ground, State};
use crate::stop::Stop;
use crate::{containers, emulator, emulator_state, ports, python, repair, seed, tool};

/// The first words of the screen of a platform that is ready.
pub const READY: &str = "Ready in";

/// The text that logs of a shop in the background contain instead of the staff token.
pub(crate) const TOKEN_IN_FACTS: &str = "(staff_token in haven.json)";

/// Returns the staff token if standard output is a terminal. Otherwise the output is a log, and
/// logs must not contain tokens.
pub(crate) fn shown_token(token: &str) -> &str {
    if std::io::stdout().is_terminal() {
        token
    } else {
        TOKEN_IN_FACTS
    }
}

/// The message at the end of a stop.
pub const STOPPED: &str = "Stopped. `haven up` picks up where you left off.";

/// The parts of a local platform, and its state directory.
#[derive(Debug, Clone)]
pub struct Options {
    /// The state directory.
    pub state: PathBuf,
    /// The storefront's port on loopback; 0 for any free one.
    pub port: u16,
    pub servers: ServerOptions,
    /// Take over the lock of the state directory, which is open as standard input.
    pub take_lock: bool,
}

/// The time in which all processes together must become ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Runs the platform until it is asked to stop. If the local AWS dies, restarts it and everything
/// that depends on it.
///
/// # Errors
/// When the state directory cannot be locked or is lost, or something cannot be started.
/// [`BadUsage`](haven_console::BadUsage) when a role refuses its configuration.
/// [`Interrupted`](super::Interrupted) after a second signal.
pub async fn up(mut options: Options) -> anyhow::Result<()> {
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
        // `kill_all` runs before the other future is dropped, because dropping it asks the
        // processes to stop and to save their state.
        why = async {
            let why = stop.at_once().await;
            state.records().kill_all();
            why
        } => {
            containers::kill(&state.records().containers()).await;
            Err(why)
        }
    };
    // If the directory was lost, another platform may use the path by now.
    if !stop.is_lost() {
        // An interrupted start can have started processes whose values were dropped with the
        // future.
        state.records().until_gone().await;
        leftovers::end(&state).await;
        Facts::remove(state.folder());
    }
    outcome?;
    output::aside(settings::get().hint(STOPPED));
    Ok(())
}

async fn until_stopped(options: &mut Options, state: &State, stop: &Stop) -> anyhow::Result<()> {
    report_leftovers(&leftovers::end(state).await);
    Facts::remove(state.folder());
    // Reserve the user's port first and the last port of the local AWS second, before any other
    // server can draw one of them.
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
                eprintln!("  The local AWS exited ({how}). Restarting it and restoring its state.");
                // If Docker's client was killed, its container can still run and use the state
                // directory.
                containers::end_leftovers(state.folder()).await;
            }
        }
    }
}

/// Prints which processes of an earlier `haven up` were ended.
fn report_leftovers(left: &LeftoversEnded) {
    if !left.names.is_empty() {
        eprintln!(
            "  Ended processes that an earlier `haven up` had left running: {}",
            left.names.join(", ")
        );
    }
    if left.lost_aws_state() {
        eprintln!("  {}", emulator_state::KILLED);
    }
}

/// Why a session has ended.
enum Ended {
    Stopped,
    AwsDied(String),
}

/// Runs the local AWS and everything that depends on it, once, until it dies or a stop is asked
/// for.
async fn session(options: &Options, state: &State, stop: &Stop) -> anyhow::Result<Ended> {
    let folder = state.folder().display();
    output::aside(format_args!("Starting Brew Haven (state: {folder})"));
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

/// The processes that run so far. After an interrupted start, they are the ones to stop.
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
    async fn run(&mut self, options: &Options, state: &State) -> anyhow::Result<Ended> {
        let phases = Phases::new();
        let servers = self.servers.insert(
            phases
                .run("Starting the database", async {
                    let servers = Servers::start(&options.servers, state).await?;
                    let line = servers.describe();
                    Ok((servers, line))
                })
                .await?,
        );
        let source = source(&phases, options, state).await?;
        emulator_state::restore(&phases, &source, state, servers.redis_url.as_deref()).await?;
        let emulator = self.emulator.insert(
            phases
                .run("Starting the local AWS", async {
                    let emulator =
                        Emulator::start(&source, state, servers.redis_url.as_deref()).await?;
                    let line = format!("Local AWS started at {}", emulator.access.endpoint);
                    Ok((emulator, line))
                })
                .await?,
        );
        let keeper =
            start_roles(&phases, options, state, servers, emulator, &mut self.keeper).await?;
        tokio::select! {
            how = emulator.died() => Ok(Ended::AwsDied(how)),
            refused = keeper.misconfigured() => Err(refused.into()),
        }
    }

    /// Stops what runs: consumers first, then the services that they consume from. Returns a
    /// sentence for everything that could not be saved.
    async fn stop(&mut self, state: &State) -> Vec<String> {
        let mut unsaved = Vec::new();
        if let Some(keeper) = self.keeper.take() {
            keeper.stop().await;
        }
        if let Some(emulator) = self.emulator.take() {
            let log = emulator_state::log_from_here(state);
            let stopped = emulator.stop().await;
            unsaved.extend(emulator_state::unsaved(&stopped));
            unsaved.extend(emulator_state::not_saved(&log));
        }
        if let Some(servers) = self.servers.take() {
            servers.stop().await;
        }
        unsaved
    }
}

async fn source(phases: &Phases, options: &Options, state: &State) -> anyhow::Result<Source> {
    if options.servers.containers {
        return Ok(Source::Image);
    }
    let install = async {
        let (python, installed) = python::ensure(&python::place(state.folder())).await?;
        let line = if installed {
            "Python environment created"
        } else {
            "Python environment found"
        };
        Ok((Source::Python(python), line.to_owned()))
    };
    phases
        .run("Installing the local AWS, once, in about 20 s", install)
        .await
}

/// Deploys the stacks, migrates the database, seeds and repairs the stock, and starts the roles.
/// Returns when all of them are ready.
async fn start_roles<'a>(
    phases: &Phases,
    options: &Options,
    state: &State,
    servers: &Servers,
    emulator: &Emulator,
    keeper: &'a mut Option<Keeper>,
) -> anyhow::Result<&'a mut Keeper> {
    let clients = aws::Aws::local(&emulator.access);
    phases
        .run("Deploying the stacks", async {
            let deployed = clients.deploy_shop().await?;
            Ok(((), format!("Stacks: {}", deployed.summary())))
        })
        .await?;
    let addresses = clients.addresses(ENVIRONMENT).await?;
    let secrets = clients.secrets(ENVIRONMENT).await?;
    phases
        .run("Applying migrations", async {
            let migrated = servers.migrate().await?;
            Ok(((), format!("Database: {}", migrated.describe())))
        })
        .await?;
    let store = Store::connect(&servers.database_url, &Login::default()).await?;
    emulator_state::record(state, &store).await?;
    let stock = clients.stock(&addresses, "haven up")?;
    phases
        .run("Adding the menu and checking the stock", async {
            clients.set_time_to_live(&addresses).await;
            clients.forget_leases(&addresses).await?;
            let seed::Seeded { added, all } = seed::seed_and_record(&stock, &store).await?;
            let repaired = repair::repair_and_record(&store, &stock).await?;
            reproject(&store, &clients.views(&addresses)?)
                .await
                .context("show the orders")?;
            let menu = match added.len() {
                0 => format!("Menu: {all} products"),
                new => format!("Menu: {all} products, {new} added"),
            };
            Ok(((), repaired.describe(menu)))
        })
        .await?;
    let signing_key = secrets
        .get(SIGNING_KEY.slug)
        .cloned()
        .context("the signing key was not deployed")?;
    let (staff_token, token) = staff_token::local_token(&store, &signing_key).await?;

    let (keeper, facts) = phases
        .run("Starting the roles", async {
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
            // The payment gateway is one more.
            let line = format!("Roles: {} ready", ROLES.len() + 1);
            tokio::select! {
                ready = wait_until_ready(&facts, state) => ready?,
                refused = keeper.misconfigured() => return Err(refused.into()),
            }
            Ok(((keeper, facts), line))
        })
        .await?;
    announce_ready(&facts, state.folder(), phases.elapsed(), options.take_lock)?;
    let folder = state.folder().to_owned();
    tokio::spawn(renew_staff_token(facts, store, signing_key, token, folder));
    Ok(keeper)
}

/// The content of `haven.json`, which is written again whenever a process starts or dies.
type Shared = Arc<Mutex<Facts>>;

/// Starts the payment gateway and all roles, and returns at once.
fn start_processes(
    options: &Options,
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
            keeper.keep(Program::role(&executable, name, environment, stop_within));
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

/// Renews the staff token in `haven.json` before it expires, until another start replaces the file
/// or a stop removes it.
async fn renew_staff_token(
    facts: Shared,
    store: Store,
    signing_key: String,
    token: StaffToken,
    folder: PathBuf,
) {
    let issue = || {
        let (store, signing_key) = (store.clone(), signing_key.clone());
        async move { staff_token::local_token(&store, &signing_key).await }
    };
    let is_revoked = |id| {
        let store = store.clone();
        // If the database does not answer, treat the token as valid.
        async move {
            store
                .revoked_tokens(SystemSource.now())
                .await
                .is_ok_and(|revoked| revoked.contains(&id))
        }
    };
    let publish = |token: String| {
        let mut facts = locked(&facts);
        // Another start writes its own token into the file, and a stop removes the file. Both end
        // the renewal.
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
    staff_token::keep_fresh(SystemSource, token, is_revoked, issue, publish).await;
}

/// Writes `haven.json` again with the current process ids after each notification on `changed`.
fn keep_facts_current(
    facts: Shared,
    pids: Arc<Mutex<BTreeMap<String, u32>>>,
    changed: Arc<Notify>,
    ground: Ground,
) {
    tokio::spawn(async move {
        loop {
            changed.notified().await;
            let pids = locked(&pids).clone();
            let mut facts = locked(&facts);
            for role in &mut facts.roles {
                role.pid = pids.get(&role.name).copied().unwrap_or_default();
            }
            // The state directory can have been replaced; do not overwrite the file of another
            // platform.
            if let Err(error) = ground.check().and_then(|()| facts.write(ground.folder())) {
                eprintln!("  {error:#}");
            }
        }
    });
}

/// Waits until every role is ready and the storefront accepts connections.
///
/// # Errors
/// When they are not ready after [`READY_WITHIN`]. The message names the roles that are not.
async fn wait_until_ready(facts: &Shared, state: &State) -> anyhow::Result<()> {
    let (roles, storefront) = {
        let facts = locked(facts);
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
        // The storefront's readiness covers its dependencies; it begins to listen a moment later.
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

/// Prints the addresses of the platform, and records that it is ready. In this order, because
/// [`detach`](super::detach) reads the screen once the record says that the platform is ready.
fn announce_ready(
    facts: &Shared,
    folder: &Path,
    took: Duration,
    in_background: bool,
) -> anyhow::Result<()> {
    let mut facts = locked(facts);
    let ready = format!("{READY} {}.", duration(took));
    let settings = settings::get();
    if settings.json {
        print_ready(&ready, &facts);
    } else if settings.quiet {
        output::always(ready);
    } else {
        println!("{}", ready_screen(&facts, &ready, in_background));
    }
    facts.ready = true;
    facts.write(folder)
}

/// Prints the JSON line of a platform that is ready. `ready` is the sentence for people.
pub(crate) fn print_ready(ready: &str, facts: &Facts) {
    let Facts {
        storefront,
        aws_endpoint,
        pid,
        ..
    } = facts;
    let fields = json!({ "storefront": storefront, "staff_board": format!("{storefront}/staff"),
        "mailbox": format!("{storefront}/staff/mailbox"), "api": format!("{storefront}/openapi.json"),
        "staff_token": shown_token(&facts.staff_token), "aws_endpoint": aws_endpoint, "pid": pid });
    Verdict::good(ready).print_result("haven.up/1", fields);
}

/// Returns the screen of a platform that is ready. [`detach`](super::detach) reads its first words.
fn ready_screen(facts: &Facts, ready: &str, in_background: bool) -> String {
    let stop = match in_background {
        true => "",
        false => " Ctrl-C stops the platform; orders and stock are kept.",
    };
    let (shop, aws) = (&facts.storefront, &facts.aws_endpoint);
    let token = shown_token(&facts.staff_token);
    let hint = |command: &str| settings::get().hint(command);
    format!(
        "\n{ready}{stop}\n\n  \
         Shop         {shop}\n  \
         Staff board  {shop}/staff\n  \
         Staff token  {token}\n  \
         Mailbox      {shop}/staff/mailbox\n  \
         API          {shop}/openapi.json\n  \
         Local AWS    {aws}\n\n\
         Use the local AWS with: eval \"$({})\"\n\
         Next: order a flat white in the shop, then {}",
        hint("haven env"),
        hint("haven status"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_of_a_ready_platform_fits_and_names_the_next_step() {
        let facts = serde_json::json!({
            "storefront": "http://127.0.0.1:8080", "aws_endpoint": "http://127.0.0.1:27312",
            "region": "us-east-1", "database_url": "", "redis_url": null, "payment_url": "",
            "staff_token": "token", "roles": [], "pid": 1, "aws_pid": null, "ready": true,
        });
        let facts: Facts = serde_json::from_value(facts).expect("facts");
        let screen = ready_screen(&facts, "Ready in 13.8 s.", false);
        assert!(
            screen.starts_with(
                "\nReady in 13.8 s. Ctrl-C stops the platform; orders and stock are kept.\n\n  \
                 Shop         http://127.0.0.1:8080\n  \
                 Staff board  http://127.0.0.1:8080/staff\n"
            ),
            "{screen}"
        );
        assert!(
            screen.ends_with("\nNext: order a flat white in the shop, then haven status"),
            "{screen}"
        );
        assert!(screen.lines().all(|line| line.len() <= 80), "{screen}");
        let background = ready_screen(&facts, "Ready in 1.0 s.", true);
        assert!(!background.contains("Ctrl-C"), "{background}");
    }
}
