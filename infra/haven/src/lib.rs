//! The `haven` command: everything that people do with the platform. Each kind of act has its own
//! module: `local` runs the platform on this machine, `provision` deploys it to AWS, `operate`
//! works on a running one, and `learn` shows the runbooks.

// This module is first, because its macros replace those of the standard library in all later ones.
#[macro_use]
pub mod output;

pub mod aws;
pub mod cli;
mod ending;
pub mod failed;
pub mod learn;
pub mod local;
pub mod operate;
pub mod provision;
mod role;
pub mod target;
mod terminal;

use std::process::ExitCode;

use anyhow::Context as _;
use chassis::config::{ProcessEnvironment, Reader};
use cli::{Command, Orders, Runbook, Staff};
use operate::notify::Notify;
use provision::config::Config;

const EX_FAILED: u8 = 1;
/// The exit code of a command that found changes or differences, so that a script can distinguish
/// this result from a failure.
const EX_NOT_WELL: u8 = 2;

/// Runs the command line. `ending` and `docs/interfaces.md` describe the exit codes.
pub fn main() -> ExitCode {
    let cli = match cli::parse() {
        Ok(cli) => cli,
        // clap returns help and version as errors. They are printed to standard output, and
        // succeed.
        Err(error) => {
            let printed = error.print();
            if error.use_stderr() {
                return ExitCode::from(chassis::EX_USAGE);
            }
            output::note(printed);
            return output::ending("haven", 0);
        }
    };
    // Many commands write secrets, account ids or customers' data.
    local::guard::close_new_files();
    match &cli.command {
        Command::Role { name } => return role::run(name),
        Command::Keep(keep) => return local::keep::run(keep),
        _ => {}
    }
    if let Ok(haven) = std::env::current_exe() {
        local::server::keep_with(haven);
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ran = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start a runtime")
        .and_then(|runtime| {
            // The watch needs its own task: a command that waits for the user's answer blocks its
            // thread.
            runtime.spawn(ending::watch_for_interrupt(&cli.command));
            runtime.block_on(run(cli.command))
        });
    let code = match ran {
        Ok(true) => 0,
        Ok(false) => EX_NOT_WELL,
        Err(error) => {
            eprintln!("haven: {}", terminal::text(&format!("{error:#}")));
            ending::code_of(&error)
        }
    };
    output::ending("haven", code)
}

/// Returns the login for migrations from `PGUSER`, `PGPASSWORD` and `PGSSLROOTCERT`. No argument
/// has a password, because every account of the machine can read arguments.
fn migration_login() -> migrations::Login {
    let reader = Reader::new(&ProcessEnvironment);
    migrations::Login {
        user: reader.optional("PGUSER"),
        password: reader.optional("PGPASSWORD"),
        root_certificates: reader.optional("PGSSLROOTCERT").map(Into::into),
    }
}

fn database_login() -> adapter_postgres::Login {
    let migrations::Login {
        user,
        password,
        root_certificates,
    } = migration_login();
    adapter_postgres::Login {
        user,
        password,
        root_certificates,
    }
}

async fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Up(options) => local::up::up(options).await?,
        Command::Down(folder) => local::down::down(&folder.state).await?,
        Command::Env(options) => operate::env::print(&options)?,
        Command::Role { .. } | Command::Keep(_) => unreachable!("it runs in a runtime of its own"),
        Command::Synth(options) => return provision::synth::print(&options),
        Command::Check(options) => return provision::check::print(&options),
        Command::Why(options) => return provision::why::print(&options),
        Command::Config {
            command: Config::Explain(options),
        } => return provision::config::explain(&options),
        Command::Outputs(options) => return provision::outputs::print(&options).await,
        Command::Completions(options) => return provision::completions::print(&options),
        Command::Cost(options) => return provision::cost::print(&options),
        Command::Plan(options) => return provision::plan_and_show(&options).await,
        Command::Apply(options) => return provision::apply_command(&options).await,
        Command::Deploy(options) => return provision::deploy_command(&options).await,
        Command::Promote(options) => return provision::promote(&options).await,
        Command::Rehearse(which) => return provision::rehearse(&which).await,
        Command::Smoke(options) => return operate::smoke::smoke(&options).await,
        Command::Diff(options) => return provision::diff_command(&options),
        Command::Doctor(options) => return provision::doctor::command(&options).await,
        Command::Bootstrap(options) => return provision::bootstrap::command(&options).await,
        Command::Drift(options) => return provision::drift::command(&options).await,
        Command::Status(options) => return operate::status::status(&options).await,
        Command::Destroy { target, allow, yes } => {
            return provision::destroy_command(&target, &allow, yes).await;
        }
        Command::Migrate { database_url } => {
            let report = migrations::migrate_as(&database_url, &migration_login()).await;
            let report = report.context("bring the schema up to date")?;
            match report.applied.as_slice() {
                [] => println!("The schema is up to date."),
                applied => applied.iter().for_each(|name| println!("applied {name}")),
            }
        }
        Command::Seed(folder) => operate::seed::command(&folder.state).await?,
        Command::Reconcile(options) => return operate::reconcile::command(&options).await,
        Command::Load(options) => return operate::load::load(&options).await,
        Command::Dlq { command } => return operate::dlq::command(&command).await,
        Command::Orders {
            command: Orders::Show(options),
        } => return operate::orders::show(&options).await,
        Command::Orders {
            command: Orders::Reproject(options),
        } => {
            operate::reproject::reproject(&options, migration_login()).await?;
        }
        Command::Staff {
            command: Staff::Token(options),
        } => {
            operate::staff::print_token(&options, database_login()).await?;
        }
        Command::Staff {
            command: Staff::Tokens { database, json },
        } => {
            operate::staff::print_tokens(&database, json, database_login()).await?;
        }
        Command::Staff {
            command: Staff::Revoke { id, database },
        } => {
            return operate::staff::revoke(&database, id, database_login()).await;
        }
        Command::Notify {
            command: Notify::Preview(options),
        } => operate::notify::preview::print(&options)?,
        Command::Notify {
            command: Notify::List(options),
        } => operate::notify::list::print(&options).await?,
        Command::Runbook {
            command: Runbook::List,
        } => learn::list(),
        Command::Runbook {
            command: Runbook::Show { id },
        } => learn::show(&id)?,
    }
    Ok(true)
}
