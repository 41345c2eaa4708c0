//! `haven staff`: issues, lists and revokes staff tokens.

use std::path::{Path, PathBuf};

use adapter_sql::Login;
use anyhow::Context as _;
use app::ports::Source as _;
use app::ports::access::{StaffToken, StaffTokens as _};
use app::use_cases::journey::time_text;
use chassis::config::{Environment as _, ProcessEnvironment};
use clap::{Args, Subcommand};
use contract::parameter::SIGNING_KEY;
use domain::Timestamp;
use domain::access::StaffRole;
use platform::audit;
use platform::aws::Aws;
use platform::environment::ENVIRONMENT;
use platform::facts::Facts;
use platform::staff_token::{issue, subject};
use serde_json::{Value, json};
use time::Duration;
use uuid::Uuid;
use worker::stores::{Store, SystemSource};

use crate::arguments::{DATABASE_URL, STATE, person};
use crate::login::database_login;

#[derive(Debug, Subcommand)]
pub enum Staff {
    /// Create a sign-in token for a member of staff
    #[command(
        after_help = "Examples:\n  haven staff token --name Ana --role barista\n  haven staff token --name Ana --role manager --hours 4\n\nThe token signs in to the staff pages and is the bearer token of the API. It is\nshown once; only its id is recorded.\nUses the database of the local platform, or the one of --database-url. Without a\nlocal platform, HAVEN_SIGNING_KEY has the signing key."
    )]
    Token(Token),
    /// List the issued tokens, newest first
    #[command(
        after_help = "Examples:\n  haven staff tokens\n  DATABASE_URL=postgres://host/db haven staff tokens --json\n\nUses the database of the local platform, or the one of --database-url."
    )]
    Tokens {
        #[command(flatten)]
        database: StaffDatabase,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token
    #[command(
        after_help = "Example:\n  haven staff revoke 01954f0c-6b00-7000-8000-000000000047\n\nEvery storefront refuses the token within 2 seconds. Uses the database of the\nlocal platform, or the one of --database-url.\nExit 2 if there is no token of this id."
    )]
    Revoke {
        /// Id of the token, as `haven staff tokens` shows it
        id: Uuid,
        #[command(flatten)]
        database: StaffDatabase,
    },
}

#[derive(Debug, Args)]
pub struct Token {
    /// Name of the person, recorded with every change
    #[arg(long, default_value = "staff", value_parser = person)]
    pub name: String,
    /// Role: admin, manager, barista, support or staff
    #[arg(long, default_value = "staff", value_parser = staff_role)]
    pub role: StaffRole,
    /// Lifetime in hours
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=8_760))]
    pub hours: u16,
    #[command(flatten)]
    pub database: StaffDatabase,
}

/// Where staff tokens are recorded.
#[derive(Debug, Args)]
pub struct StaffDatabase {
    /// The database of the tokens. Without it, that of the local platform.
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true, help = DATABASE_URL)]
    pub database_url: Option<String>,
    /// The state directory. Without a local platform, HAVEN_SIGNING_KEY has the key.
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

fn staff_role(text: &str) -> Result<StaffRole, String> {
    StaffRole::parse(text).map_err(|error| error.message)
}

/// Runs a command. Returns whether its result is good.
///
/// # Errors
/// When there is no key, a name is not valid, or the database cannot be reached.
pub async fn command(command: &Staff) -> anyhow::Result<bool> {
    let login = database_login();
    match command {
        Staff::Token(options) => print_token(options, login).await?,
        Staff::Tokens { database, json } => print_tokens(database, *json, login).await?,
        Staff::Revoke { id, database } => return revoke(database, *id, login).await,
    }
    Ok(true)
}

/// Prints a new staff token, signed with `HAVEN_SIGNING_KEY` or with the key of the platform that
/// `haven up` runs.
///
/// # Errors
/// When there is no key, the name is not valid, or the database cannot be reached.
async fn print_token(options: &Token, login: Login) -> anyhow::Result<()> {
    let key = match ProcessEnvironment.get(SIGNING_KEY.variable) {
        Some(key) => key,
        None => {
            let facts = Facts::read(&options.database.state)
                .context("no HAVEN_SIGNING_KEY, and no platform that runs here")?;
            local_key(&facts).await?
        }
    };
    let store = open(&options.database, login).await?;
    let asked = (
        options.name.as_str(),
        options.role,
        Duration::hours(i64::from(options.hours)),
    );
    let (text, _) = issue(&store, &key, &audit::operator(), asked).await?;
    println!("{text}");
    Ok(())
}

async fn local_key(facts: &Facts) -> anyhow::Result<String> {
    let secrets = Aws::local(&facts.aws_access()).secrets(ENVIRONMENT).await?;
    secrets
        .get(SIGNING_KEY.slug)
        .cloned()
        .context("the signing key was not deployed")
}

async fn open(database: &StaffDatabase, login: Login) -> anyhow::Result<Store> {
    let (url, login) = match &database.database_url {
        Some(url) => (url.clone(), login),
        None => (local_database(&database.state)?, Login::default()),
    };
    Store::connect(&url, &login)
        .await
        .context("open the shop's database")
}

fn local_database(state: &Path) -> anyhow::Result<String> {
    let facts = Facts::read(state).context(
        "staff tokens are recorded in the shop's database: set DATABASE_URL to it, or start a platform with `haven up`",
    )?;
    Ok(facts.database_url)
}

/// Prints all recorded tokens, newest first.
///
/// # Errors
/// When the database cannot be reached.
async fn print_tokens(database: &StaffDatabase, json: bool, login: Login) -> anyhow::Result<()> {
    let tokens = open(database, login)
        .await?
        .staff_tokens()
        .await
        .context("read the staff tokens")?;
    let now = SystemSource.now();
    if json {
        let tokens: Vec<Value> = tokens.iter().map(|token| document(token, now)).collect();
        println!("{:#}", json!({ "tokens": tokens }));
        return Ok(());
    }
    if tokens.is_empty() {
        println!("No staff token was issued yet.");
    }
    for token in &tokens {
        let (state, until) = (state_of(token, now), time_text(token.expires_at));
        println!(
            "{}  {:<8}  {:<7}  until {until}  {}",
            token.id,
            state,
            token.role.code(),
            token.name
        );
    }
    Ok(())
}

fn document(token: &StaffToken, now: Timestamp) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "role": token.role.code(),
        "state": state_of(token, now),
        "issued_at": time_text(token.issued_at),
        "expires_at": time_text(token.expires_at),
        "revoked_at": token.revoked_at.map(time_text),
    })
}

fn state_of(token: &StaffToken, now: Timestamp) -> &'static str {
    match token.revoked_at {
        Some(_) => "revoked",
        None if token.expires_at <= now => "expired",
        None => "valid",
    }
}

/// Revokes a token. Returns whether the token exists.
///
/// # Errors
/// When the database cannot be reached.
async fn revoke(database: &StaffDatabase, id: Uuid, login: Login) -> anyhow::Result<bool> {
    let store = open(database, login).await?;
    let Some(before) = store
        .revoke_token(id, SystemSource.now())
        .await
        .context("revoke the staff token")?
    else {
        eprintln!("There is no staff token {id}; `haven staff tokens` lists them.");
        return Ok(false);
    };
    let now = SystemSource.now();
    let state = |state: &str| json!({ "name": before.name, "state": state });
    let (was, is) = (state(state_of(&before, now)), state("revoked"));
    audit::append(
        &store,
        &audit::operator(),
        "staff_token.revoke",
        subject(id),
        Some(was),
        Some(is),
    )
    .await?;
    println!(
        "Revoked the staff token of {}. Every storefront refuses it within 2 seconds.",
        before.name
    );
    Ok(true)
}
