//! `haven`: what people do with the platform, a folder for each kind of act.

pub mod aws;
pub mod cli;
pub mod learn;
pub mod local;
pub mod operate;
pub mod provision;
mod role;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Parser as _;
use cli::{Cli, Command, Runbook, Staff};
use local::facts::Facts;

/// "There are changes", "it is not well": a reading command's answer that a script can tell from failure.
const EX_NOT_WELL: u8 = 2;

/// Runs the command line: 0 done, 1 failed, 2 a check did not hold, 64 bad usage.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // Help and version are not errors.
            return if error.use_stderr() { ExitCode::from(chassis::EX_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    if let Command::Role { name } = &cli.command {
        return role::run(name);
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ran = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start a runtime")
        .and_then(|runtime| runtime.block_on(run(cli.command)));
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EX_NOT_WELL),
        Err(error) => {
            eprintln!("haven: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Up(options) => local::up::up(options).await?,
        Command::Down(folder) => local::up::down(&folder.state).await?,
        Command::Role { .. } => unreachable!("a role runs in a runtime of its own"),
        Command::Synth { environment, out } => {
            let environment = crate::environment(&environment)?;
            for (name, bytes) in provision::synth(&environment, out.as_deref())? {
                println!("{name:32} {bytes:>7} bytes");
            }
        }
        Command::Deploy(target) => {
            let (aws, environment) = local_target(&target)?;
            let reporter = provision::Reporter::new(target.json);
            let deployed = provision::deploy(&aws.target(environment.clone()), &reporter).await?;
            if target.json {
                println!("{}", serde_json::to_string(&deployed).context("write JSON")?);
            } else {
                println!("{}", deployed.summary());
                provision::print_left_out(&deployed.left_out);
            }
        }
        Command::Status(options) => return operate::status::status(&options).await,
        Command::Destroy { target, yes } => {
            let (aws, environment) = local_target(&target)?;
            if !yes && !confirmed(&environment.name)? {
                println!("Nothing was deleted.");
                return Ok(true);
            }
            let reporter = provision::Reporter::new(target.json);
            let destroyed = provision::destroy(&aws.target(environment), &reporter).await?;
            if target.json {
                println!("{}", serde_json::to_string(&destroyed).context("write JSON")?);
            } else {
                println!(
                    "{} stacks deleted; {} resources that hold data were kept",
                    destroyed.removed.len(),
                    destroyed.retained.len()
                );
                destroyed.retained.iter().for_each(|name| println!("  kept  {name}"));
            }
        }
        Command::Migrate { database_url } => {
            let report = migrations::migrate(&database_url).await.context("bring the schema up to date")?;
            match report.applied.as_slice() {
                [] => println!("The schema is up to date."),
                applied => applied.iter().for_each(|name| println!("applied {name}")),
            }
        }
        Command::Seed(folder) => {
            let facts = Facts::read(&folder.state)?;
            let aws = aws::Aws::local(&facts.aws_endpoint, &facts.region);
            let stock = aws.stock(&aws.addresses(local::up::ENVIRONMENT).await?)?;
            let (added, all) = local::seed::seed(&stock, &worker::stores::SystemSource).await?;
            println!("{added} of {all} products were added; the others were there");
        }
        Command::Load(options) => return operate::load::load(&options).await,
        Command::Staff { command: Staff::Token { name, role, hours, state } } => {
            operate::staff::print_token(&name, &role, hours, &state).await?;
        }
        Command::Runbook { command: Runbook::List } => learn::list(),
        Command::Runbook { command: Runbook::Show { id } } => learn::show(&id)?,
    }
    Ok(true)
}

/// # Errors
/// When there is no such environment; the ones there are are named.
pub fn environment(name: &str) -> anyhow::Result<blueprint::Environment> {
    blueprint::Environment::named(name)
        .with_context(|| format!("there is no environment {name:?}; there are local, dev, staging and prod"))
}

/// Only the local AWS can be deployed to yet: the other environments need stacks that come with the next release.
fn local_target(target: &cli::Target) -> anyhow::Result<(aws::Aws, blueprint::Environment)> {
    let environment = environment(&target.environment)?;
    if !environment.local {
        bail!("deploying {} is not there yet: it needs the network and compute stacks", environment.name);
    }
    let facts = Facts::read(&target.state);
    let endpoint = match (&target.endpoint, &facts) {
        (Some(endpoint), _) => endpoint.clone(),
        (None, Ok(facts)) => facts.aws_endpoint.clone(),
        (None, Err(_)) => bail!("no local AWS is known: start one with `haven up`, or give --endpoint URL"),
    };
    let region = facts.as_ref().map_or("us-east-1", |facts| facts.region.as_str());
    Ok((aws::Aws::local(&endpoint, region), environment))
}

fn confirmed(name: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("this deletes the stacks of {name}: say --yes");
    }
    eprint!("Delete the stacks of {name}? Type its name: ");
    let mut typed = String::new();
    std::io::stdin().read_line(&mut typed).context("read the answer")?;
    Ok(typed.trim() == name)
}
