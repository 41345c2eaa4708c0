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
use domain::text::printable;
use haven_console::error::Failure;
use haven_console::exit::Exit;
use haven_console::progress::Steps;
use haven_console::style::Meaning;
use haven_console::table::{Cell, Column, Table};
use haven_console::time::{absolute, relative};
use haven_console::verdict::Verdict;
use haven_console::width::{self, wrap};
use haven_console::{BadUsage, output, settings};
use platform::audit::{Act, operator};
use platform::facts::Facts;
use platform::staff_token::{issue, signing_key, subject};
use serde_json::{Value, json};
use time::Duration;
use uuid::Uuid;
use worker::stores::{Store, SystemSource};

use crate::arguments::{DATABASE_URL, InvalidValue, STATE, person};
use crate::login::database_login;

#[derive(Debug, Subcommand)]
pub enum Staff {
    /// Create a sign-in token for a member of staff
    #[command(
        after_help = "Examples:\n  haven staff token --name Ana --role barista\n  haven staff token --name Ana --role manager --hours 4\n\nThe token signs in to the staff pages and is the bearer token of the API. It is\nshown once, alone on standard output; only its id is recorded.\nUses the database of the local platform, or the one of --database-url. Without a\nlocal platform, HAVEN_SIGNING_KEY has the signing key."
    )]
    Token(Token),
    /// List the issued tokens, newest first
    #[command(
        after_help = "Examples:\n  haven staff tokens\n  DATABASE_URL=postgres://host/db haven staff tokens --json\n\nUses the database of the local platform, or the one of --database-url."
    )]
    Tokens(StaffDatabase),
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

fn staff_role(text: &str) -> Result<StaffRole, InvalidValue> {
    StaffRole::parse(text).map_err(|error| InvalidValue::new(error.message))
}

/// Runs a command.
///
/// # Errors
/// When there is no key, a name is not valid, no token has the id, or the database cannot be
/// reached.
pub async fn command(command: &Staff) -> anyhow::Result<Exit> {
    let login = database_login();
    let steps = Steps::new("staff");
    let _asking = steps.begin("Asking the database of staff tokens");
    match command {
        Staff::Token(options) => print_token(options, login).await,
        Staff::Tokens(database) => print_tokens(database, login).await,
        Staff::Revoke { id, database } => revoke(database, *id, login).await,
    }
}

/// Prints a new staff token, signed with `HAVEN_SIGNING_KEY` or with the key of the platform that
/// `haven up` runs. Standard output has the token alone.
///
/// # Errors
/// When there is no key, the name is not valid, or the database cannot be reached.
async fn print_token(options: &Token, login: Login) -> anyhow::Result<Exit> {
    let key = match ProcessEnvironment.get(SIGNING_KEY.variable) {
        Some(key) => key,
        None => {
            let missing = "HAVEN_SIGNING_KEY is not set";
            let facts = facts(&options.database.state, missing, "HAVEN_SIGNING_KEY")?;
            signing_key(&facts).await?
        }
    };
    let store = open(&options.database, login).await?;
    let asked = (
        options.name.as_str(),
        options.role,
        Duration::hours(i64::from(options.hours)),
    );
    let (text, token) = issue(&store, &key, &operator(), asked).await?;
    let now = SystemSource.now();
    let sentence = issued(&token, now);
    if settings::get().json {
        let mut document = document(&token, now);
        document["token"] = text.into();
        return Ok(Verdict::good(sentence).print_json("haven.staff-token/1", document));
    }
    output::always(text);
    let hint = settings::get().hint("The token is shown once. List all: `haven staff tokens`.");
    let text = format!("{sentence} {hint}");
    output::aside(wrap(&text, width::stderr_text(), "", ""));
    Ok(Exit::Done)
}

fn issued(token: &StaffToken, now: Timestamp) -> String {
    let (name, role) = (printable(&token.name), token.role.code());
    let expiry = expiry(token.expires_at, now);
    format!("Issued a token for {name} with the role {role}. Expiry: {expiry}.")
}

async fn open(database: &StaffDatabase, login: Login) -> anyhow::Result<Store> {
    let (url, login) = match &database.database_url {
        Some(url) => (url.clone(), login),
        None => {
            let missing = "DATABASE_URL is not set";
            let facts = facts(&database.state, missing, "DATABASE_URL")?;
            (facts.database_url, Login::default())
        }
    };
    Store::connect(&url, &login)
        .await
        .context("open the database of staff tokens")
}

/// Returns the facts of the running platform, which replace a missing variable.
fn facts(state: &Path, missing: &str, variable: &str) -> anyhow::Result<Facts> {
    Facts::read(state).map_err(|error| {
        // A directory that cannot be used, rather than one without a platform.
        if error.is::<BadUsage>() {
            return error;
        }
        let message = format!("{missing}, and no platform runs in {}", state.display());
        Failure::new(Exit::Failed, message)
            .tip(format!("run `haven up`, or set {variable}"))
            .because(error)
            .into()
    })
}

/// Prints all recorded tokens, newest first.
///
/// # Errors
/// When the database cannot be reached.
async fn print_tokens(database: &StaffDatabase, login: Login) -> anyhow::Result<Exit> {
    let tokens = open(database, login)
        .await?
        .staff_tokens()
        .await
        .context("read the staff tokens")?;
    let now = SystemSource.now();
    let verdict = of_list(&tokens, now);
    if settings::get().json {
        let tokens: Vec<Value> = tokens.iter().map(|token| document(token, now)).collect();
        return Ok(verdict.print_json("haven.staff-tokens/1", json!({ "tokens": tokens })));
    }
    if tokens.len() < 2 {
        return Ok(verdict.print());
    }
    let note = table(&tokens, now).print();
    println!();
    Ok(verdict.note(note).print())
}

fn table(tokens: &[StaffToken], now: Timestamp) -> Table {
    let mut table = Table::new([
        Column::text("Id"),
        Column::text("State"),
        Column::text("Role").optional(2),
        Column::text("Expiry").optional(1),
        Column::text("Name").shortened(),
    ]);
    for token in tokens {
        let state = state_of(token, now);
        let meaning = match state {
            "valid" => Meaning::Ok,
            _ => Meaning::Skip,
        };
        table.row([
            Cell::from(token.id.to_string()),
            meaning.cell(state),
            Cell::from(token.role.code()),
            Cell::from(expiry(token.expires_at, now)),
            Cell::from(printable(&token.name)),
        ]);
    }
    table
}

/// Returns the last line of the list. It is the whole list if there is at most one token.
fn of_list(tokens: &[StaffToken], now: Timestamp) -> Verdict {
    match tokens {
        [] => Verdict::neutral("No staff tokens.").next("haven staff token --name Ana"),
        [token] => Verdict::neutral(format!(
            "1 staff token: {} of {}, role {}, {}. Expiry: {}.",
            token.id,
            printable(&token.name),
            token.role.code(),
            state_of(token, now),
            expiry(token.expires_at, now)
        )),
        several => {
            let valid = several.iter().filter(|it| state_of(it, now) == "valid");
            let sentence = format!("{} staff tokens, {} valid.", several.len(), valid.count());
            Verdict::neutral(sentence)
        }
    }
}

/// Returns the time of an expiry: relative to now within a day, else absolute.
fn expiry(at: Timestamp, now: Timestamp) -> String {
    if at - now >= Duration::DAY || now - at >= Duration::DAY {
        absolute(at)
    } else if at > now {
        format!("in {}", relative(now, at))
    } else {
        format!("{} ago", relative(at, now))
    }
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

/// Revokes a token.
///
/// # Errors
/// A failure that exits with 2 when no token has the id. Another error when the database cannot be
/// reached.
async fn revoke(database: &StaffDatabase, id: Uuid, login: Login) -> anyhow::Result<Exit> {
    let store = open(database, login).await?;
    let before = store
        .revoke_token(id, SystemSource.now())
        .await
        .context("revoke the staff token")?
        .ok_or_else(|| no_token(id))?;
    let now = SystemSource.now();
    let state = |state: &str| json!({ "name": before.name, "state": state });
    let (was, is) = (state(state_of(&before, now)), state("revoked"));
    let act = Act::new(&operator(), "staff_token.revoke", subject(id));
    act.before(&was).after(&is).append(&store).await?;
    let verdict = Verdict::good(format!(
        "Revoked the staff token of {}. Every storefront refuses it within 2 seconds.",
        printable(&before.name)
    ));
    let document = json!({ "id": id, "name": before.name, "state": "revoked" });
    Ok(verdict.end("haven.staff-revoke/1", document, || {}))
}

fn no_token(id: Uuid) -> Failure {
    Failure::not_found(format!("no staff token has the id `{id}`"))
        .tip("list the tokens with `haven staff tokens`")
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::schemas::testing::valid;

    const NOW: Timestamp = datetime!(2026-11-29 08:00 UTC);

    fn token(name: &str, expires_at: Timestamp, is_revoked: bool) -> StaffToken {
        StaffToken {
            id: Uuid::from_u128(0x47),
            name: name.to_owned(),
            role: StaffRole::Barista,
            issued_at: datetime!(2026-11-28 08:00 UTC),
            expires_at,
            revoked_at: is_revoked.then_some(NOW),
        }
    }

    #[test]
    fn the_list_fits_every_width() {
        let tokens = [
            token("Ana of the shop", datetime!(2026-11-29 19:30 UTC), false),
            token("Zoe", datetime!(2026-11-29 07:00 UTC), false),
            token("Ben", datetime!(2026-12-24 07:00 UTC), true),
        ];
        let text = |columns: usize| {
            let text = table(&tokens, NOW).render(columns).text;
            for line in text.lines() {
                let width = haven_console::width::of_text(line);
                assert!(width <= columns && line == line.trim_end(), "{line:?}");
            }
            text
        };
        assert!(text(60).contains("Ana of"), "{}", text(60));
        assert!(text(80).contains("barista"), "{}", text(80));
        let wide = text(120);
        for part in ["in 11 h", "1 h ago", "2026-12-24 07:00 UTC", "revoked"] {
            assert!(wide.contains(part), "{part}: {wide}");
        }
        let verdict = of_list(&tokens, NOW);
        assert_eq!(verdict, Verdict::neutral("3 staff tokens, 1 valid."));
        let all: Vec<Value> = tokens.iter().map(|token| document(token, NOW)).collect();
        valid(verdict.document("haven.staff-tokens/1", json!({ "tokens": all })));
    }

    #[test]
    fn one_token_is_a_sentence_and_none_names_the_next_step() {
        let ana = token("Ana", datetime!(2026-11-29 19:30 UTC), false);
        assert_eq!(
            of_list(&[ana], NOW),
            Verdict::neutral(
                "1 staff token: 00000000-0000-0000-0000-000000000047 of Ana, role barista, valid. \
                 Expiry: in 11 h."
            )
        );
        let none = Verdict::neutral("No staff tokens.").next("haven staff token --name Ana");
        assert_eq!(of_list(&[], NOW), none);
    }

    #[test]
    fn an_unknown_id_is_an_answer() {
        let failure = no_token(Uuid::from_u128(1));
        assert_eq!((failure.exit.code(), failure.code), (2, "not_found"));
    }
}
