//! The command line: the commands, their options and their help texts.

use std::ffi::OsString;

use chassis::config::ProcessEnvironment;
use clap::error::ErrorKind;
use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use haven_console::error::Failure;
use haven_console::exit::Exit;
use haven_console::settings::{self, Settings};
use haven_console::{help, output, width};

use crate::arguments::{StateFolder, Target};
use crate::commands::completions;
use crate::commands::look::{config, env, logs, notify, orders, outputs, status};
use crate::commands::operate::{dlq, reconcile, runbook, staff};
use crate::commands::provision::{
    apply, bootstrap, check, cost, deploy, destroy, diff, doctor, drift, plan, promote, rehearse,
    smoke, synth, why,
};
use crate::commands::run::{down, keep, load, migrate, open, seed, up};

pub mod global;
mod screens;
#[cfg(test)]
mod tests;
pub mod topics;

/// Brew Haven: a coffee-shop order platform, on this machine or on AWS
#[derive(Debug, Parser)]
#[command(
    name = "haven",
    version = env!("HAVEN_VERSION"),
    propagate_version = true,
    after_help = "Help for a command: haven help plan. Exit codes: haven help exit-codes.\nSchemas of the JSON output: haven help json."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// Returns the whole command line, with help for a width.
fn command_line(columns: usize) -> clap::Command {
    let folder = std::env::current_dir().unwrap_or_default();
    let command = global::complete(Cli::command(), &global::nearest_state(&folder));
    help::grouped(without_empty_variables(command), &screens::GROUPS, columns)
}

/// Returns the screen of `haven` without arguments.
pub fn first_screen() -> String {
    help::first_screen(
        &Cli::command(),
        &screens::FIRST,
        "plan",
        width::stdout_text(),
    )
}

/// Parses a command line. An empty environment variable counts as unset, because `NAME= haven` is
/// the only shell syntax that removes a variable for one command.
///
/// # Errors
/// When the command line is wrong, or asks for help or the version.
pub fn parse(arguments: &[OsString]) -> Result<(Command, Settings), clap::Error> {
    let mut command = command_line(width::stdout_text());
    let matches = command.try_get_matches_from_mut(arguments)?;
    if let Some(environment) = global::ignored_environment(&matches) {
        let why = format!("this command works on the local platform only, not on `{environment}`");
        return Err(command.error(ErrorKind::ArgumentConflict, why));
    }
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    Ok((cli.command, global::settings(&matches)))
}

/// Prints help, the version, or what is wrong with a command line. Returns the exit code.
pub fn explain(error: &clap::Error, arguments: &[OsString]) -> Exit {
    if !error.use_stderr() {
        output::note(error.print());
        return Exit::Done;
    }
    if arguments.iter().any(|flag| flag == "--json") {
        let json = Settings {
            json: true,
            ..settings::get()
        };
        settings::set(json);
        let text = error.render().to_string();
        let mut paragraphs = text.split("\n\n");
        let message = paragraphs.next().unwrap_or_default();
        // Instead of an error, clap prints the help of a group without a command.
        let message = message.strip_prefix("error: ");
        let mut failure = Failure::usage(message.unwrap_or("a command is missing"));
        failure.tip =
            paragraphs.find_map(|text| Some(text.trim().strip_prefix("tip: ")?.to_owned()));
        return failure.print();
    }
    // There is no other place to report a failed write to.
    let _ = error.print();
    Exit::Usage
}

fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &Arg| {
        let name = arg.get_env().and_then(|name| name.to_str());
        name.is_some_and(|name| ProcessEnvironment.get_os(name).is_none())
    };
    let command = command.mut_args(|arg| {
        if is_empty(&arg) {
            arg.env(None::<&str>)
        } else {
            arg
        }
    });
    command.mut_subcommands(without_empty_variables)
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the platform on this machine
    #[command(
        after_help = "Examples:\n  haven up\n  haven up --port 9000 --state /tmp/shop\n  haven up --postgres --redis --detach\n\nRuns the local AWS, the database, the payment gateway and every role. The first\nstart also creates a Python environment for the local AWS.\nCtrl-C stops the platform; orders and stock are kept.\n\n--postgres and --redis use the server at a URL. Without one, they start a server\nfrom the programs of this machine, else in a container. @FILE reads the URL from\na file. --containers uses the images that localstack/images/build makes, except\nwhere a URL is given."
    )]
    Up(up::Up),
    /// Stop the platform; data is kept
    #[command(
        after_help = "Examples:\n  haven down\n  haven down --state /tmp/shop\n\nAlso ends processes that a killed `haven up` left behind."
    )]
    Down(StateFolder),
    /// Open a page of the shop in the browser
    #[command(
        after_help = "Examples:\n  haven open\n  haven open staff\n  haven open mail --json\n\nAlways prints the address. That of the staff board and of the mailbox is a link\nthat signs in once, within 60 seconds, with the role staff.\n`haven staff tokens` lists the sessions, and `haven staff revoke` ends one."
    )]
    Open(open::Open),
    /// Print the variables with which SDKs use the local AWS
    #[command(
        after_help = "Examples:\n  eval \"$(haven env)\"\n  eval \"$(haven env)\" && aws sqs list-queues\n  haven env --state /tmp/shop --json\n\nThe aws command and any AWS SDK read these variables. The key pair is valid\nuntil this `haven up` stops. Keep it secret: it can read and change everything\nin the local AWS.\n\nPresigned URLs of S3 need Signature Version 4; boto3 and the aws command use\nversion 2 by default. For boto3, create the client with\n  boto3.client('s3', config=botocore.config.Config(signature_version='s3v4'))\nFor the aws command, run once\n  aws configure set default.s3.signature_version s3v4"
    )]
    Env(StateFolder),
    /// Run one role in the foreground, as its container does
    #[command(
        after_help = "Example:\n  HAVEN_ENV=local DATABASE_URL=sqlite://orders.db haven role order-worker\n\nThe role reads its settings from the environment. Missing settings are listed,\neach with its purpose."
    )]
    Role {
        /// One of the worker roles, or payment-gateway
        name: String,
    },
    /// Run a server program that ends when its parent ends
    #[command(
        hide = true,
        after_help = "Example:\n  haven keep --within 30 -- redis-server --port 6379\n\nUsed by `haven up` itself."
    )]
    Keep(keep::Keep),
    /// Write the CloudFormation templates
    #[command(
        after_help = "Examples:\n  haven synth local --out templates\n  haven synth prod --stack data\n  haven synth prod --json\n\nEach stack is one JSON file.\nExit 2, with nothing written, if CloudFormation would refuse a template."
    )]
    Synth(synth::Synth),
    /// Validate templates against schemas, limits and policy
    #[command(
        after_help = "Examples:\n  haven check\n  haven check prod --set database.backup_days=10\n  haven check --templates templates --json\n\nNeeds no account. Without ENV, all environments are checked. Waived findings\nare listed with their reason and do not count.\nExit 2 if there is a finding."
    )]
    Check(check::Check),
    /// Explain a resource: purpose, users, permissions, changes
    #[command(
        after_help = "Examples:\n  haven why data/Database --env prod\n  haven why orders\n  haven why ConsumesOrders --env prod\n\nRESOURCE is a logical id, STACK/LogicalId, the Sid of a policy statement, or the\nname of a queue, topic, table, role, secret or alarm. Makes no call to AWS.\nExit 2 if nothing has that name; a similar name is suggested."
    )]
    Why(why::Why),
    /// Show each setting: value, source, allowed range
    #[command(after_help = "Example:\n  haven config explain prod")]
    Config {
        #[command(subcommand)]
        command: config::Config,
    },
    /// Print stack outputs and parameters; never secrets
    #[command(
        alias = "output",
        after_help = "Examples:\n  haven outputs\n  haven outputs prod queue/orders/url\n  haven outputs dev --json\n\nWith OUTPUT, prints that value alone.\nExit 2 if nothing is deployed, or nothing has that name."
    )]
    Outputs(outputs::Outputs),
    /// Print a shell completion script
    #[command(
        after_help = "Examples:\n  haven completions bash > ~/.local/share/bash-completion/completions/haven\n  haven completions zsh > ~/.zfunc/_haven"
    )]
    Completions(completions::Completions),
    /// Estimate the monthly cost from the templates
    #[command(
        after_help = "Examples:\n  haven cost prod\n  haven cost dev staging prod\n  haven cost prod --budget 2500 --orders-a-day 5000\n\nNeeds no account. Without ENV, all environments on AWS are compared.\nExit 2 if an environment costs more than --budget, or has resources without a\nprice."
    )]
    Cost(cost::Cost),
    /// Show what a deployment would change; --out saves it
    #[command(
        after_help = "Examples:\n  haven plan dev --out dev.plan.json\n  haven plan prod --allow data/Database --valid-for 2h\n\nExit 2 if the plan is refused: it deletes or replaces a stateful resource that\n--allow does not name, or it costs more than --budget."
    )]
    Plan(plan::PlanOf),
    /// Apply a saved plan, exactly
    #[command(
        after_help = "Examples:\n  haven apply dev.plan.json\n  haven apply prod.plan.json --confirm 123456789012\n\nRefuses a plan that was edited, has expired, was made for another account, or\nno longer fits the deployed stacks. A plan for prod needs the account id, typed\nor by --confirm."
    )]
    Apply(apply::Apply),
    /// Plan, ask and apply
    #[command(
        after_help = "Examples:\n  haven deploy dev\n  haven deploy dev --yes --allow data/Database\n  haven deploy prod --confirm 123456789012\n\nExits 0 if nothing changes. prod needs its account id, typed or by --confirm:\n--yes is not enough.\n`local` deploys every stack to the local AWS of\n`haven up` without a question; resources that the local AWS does not support\nare left out and listed at the end."
    )]
    Deploy(deploy::Deploy),
    /// Plan for one environment the release that runs in another
    #[command(
        after_help = "Example:\n  haven promote staging prod --out prod.plan.json\n\nPlans the same code and image. Shows the settings that differ, and refuses if\nthe first environment does not run the templates of this code."
    )]
    Promote(promote::Promote),
    /// Deploy to a local AWS, test, break and recover
    #[command(
        after_help = "Example:\n  haven rehearse prod\n\nUses a local AWS of its own and needs no account.\nExit 2 if a step fails."
    )]
    Rehearse(rehearse::Rehearse),
    /// Test a deployed environment with a marked order
    #[command(
        after_help = "Examples:\n  haven smoke\n  haven smoke prod --shop https://shop.example.com\n\nOn `local`, the marked order passes through all services.\nExit 2 if a check fails."
    )]
    Smoke(smoke::Smoke),
    /// Compare templates with the last deployment, offline
    #[command(
        after_help = "Example:\n  haven diff prod --set database.multi_az=false\n\nCompares with the templates that were last deployed from this state directory.\nExit 2 if something differs."
    )]
    Diff(diff::Diff),
    /// Show changes made outside CloudFormation; --revert undoes
    #[command(
        after_help = "Examples:\n  haven drift prod\n  haven drift prod --revert\n  haven drift local --revert --yes --json\n\nA revert restores the templates that were last deployed, not those that this\ncode would make.\nExit 0 if nothing differs, or no longer; 2 if something does."
    )]
    Drift(drift::Drift),
    /// Diagnose credentials, account, quotas and stacks
    #[command(
        after_help = "Examples:\n  haven doctor prod\n  haven doctor dev --fix\n\nEach problem has a command that helps. --fix deletes change sets of haven that\nwere never executed, and empty stacks that wait for them. A saved plan that uses\none must be made again.\nExit 0 if nothing is wrong, 2 if something is."
    )]
    Doctor(doctor::Doctor),
    /// Prepare an account: create CloudFormation's role
    #[command(
        after_help = "Example:\n  haven bootstrap dev\n\nCreates one stack, brew-haven-ENV-bootstrap, which costs nothing. Its role can\nbe assumed by CloudFormation only, for our stacks only, and has the permissions\nthat the resource types in our templates need. All change sets but those of\nsecurity use it. Needs IAM permissions, can be repeated at any time, and is not\ndeleted by `haven destroy`. No bucket is created: each template is below the\n51,200 bytes that an API call accepts."
    )]
    Bootstrap(Target),
    /// Show whether everything is healthy
    #[command(after_help = "Examples:\n  haven status\n  haven status prod\n  haven status --json")]
    Status(Target),
    /// Show log lines; -f follows
    #[command(
        alias = "log",
        after_help = "Examples:\n  haven logs --since 15m --level warn\n  haven logs order-worker -f --env dev\n  haven logs --order 01934d3c-2a00-7000-8000-000000000002\n\nReads the logs of the roles and of the payment gateway in the state directory,\noldest line first, in UTC. -v adds the date, the target and the span of a line.\nThe logs of an environment on AWS come from CloudWatch Logs, those of the last\nhour without --since. With --json, each line is one object, and the last one has\nthe event `result`."
    )]
    Logs(logs::Logs),
    /// Delete the stacks; keep data unless it is named
    #[command(
        after_help = "Examples:\n  haven destroy dev --dry-run\n  haven destroy dev --allow data/Database --yes\n  haven destroy prod --confirm 123456789012\n\nThe deletion policy of a resource decides whether it stays. --dry-run lists what\nstays, and its cost. Data that would be lost needs --allow. prod needs its\naccount id, typed or by --confirm: --yes is not enough.\nExit 2 if --dry-run finds that the deletion would be refused."
    )]
    Destroy(destroy::Destroy),
    /// Apply database migrations
    #[command(
        after_help = "Example:\n  DATABASE_URL=postgres://user@host/db haven migrate\n\nThe URL starts with postgres:// or sqlite://. If it has no login, PGUSER and\nPGPASSWORD are used. With sslmode=verify-full in the URL, PGSSLROOTCERT names\nthe file of root certificates. Services never apply migrations themselves."
    )]
    Migrate(migrate::Migrate),
    /// Add the menu and first stock
    #[command(
        after_help = "Example:\n  haven seed\n\nChanges the running platform. Existing products stay as they are."
    )]
    Seed(StateFolder),
    /// Send orders at a steady rate and measure the result
    #[command(
        after_help = "Examples:\n  haven load --rate 20 --duration 30s\n  haven load --rate 20 --hot-product espresso --json\n  haven load --rate 17 --duration 10m --mix customers.toml\n\nNeeds a running platform, and restocks it first.\nExit 2 if an order was not accepted, did not end as its customer expects, was\nnot confirmed by a notification within 30 s, or if orders, money and stock\ndisagree at the end (see `haven reconcile`).\n\nA mix is a TOML file such as\n  [[customer]]\n  share = 90\n  products = 2\n  quantity = 1\n  [[customer]]\n  share = 5\n  payment_token = \"tok_declined\"\n  [[customer]]\n  share = 5\n  cancels = true"
    )]
    Load(load::Load),
    /// List, show and redrive dead letters
    #[command(after_help = "Example:\n  haven dlq list")]
    Dlq {
        #[command(subcommand)]
        command: dlq::Dlq,
    },
    /// List orders, or show one order's timeline
    #[command(alias = "order", after_help = "Example:\n  haven orders show A-047")]
    Orders {
        #[command(subcommand)]
        command: orders::Orders,
    },
    /// Compare orders, payments and stock; --fix repairs
    #[command(
        after_help = "Examples:\n  haven reconcile\n  haven reconcile --json\n  haven reconcile --fix\n\nAlso compares the payment gateway's ledger and the stock ledger, on a running\nplatform. An order in progress is no difference: it waits for a response and\nmoved within the last minute, or it moved during the comparison.\n--fix releases the stock of ended orders, completes the reservations of sold\norders, repeats overdue requests, and records what the gateway did. It moves no\nmoney. The order timeline and the stock ledger show each repair as `reconcile`.\nExit 0 if nothing differs, or no longer; 2 if something does."
    )]
    Reconcile(reconcile::Reconcile),
    /// Issue, list and revoke staff tokens
    #[command(after_help = "Examples:\n  haven staff token --name Ana\n  haven staff tokens")]
    Staff {
        #[command(subcommand)]
        command: staff::Staff,
    },
    /// List or preview notifications
    #[command(after_help = "Examples:\n  haven notify preview\n  haven notify list --failed")]
    Notify {
        #[command(subcommand)]
        command: notify::Notify,
    },
    /// List and show runbooks
    #[command(
        alias = "runbooks",
        after_help = "Examples:\n  haven runbook list\n  haven runbook show queue-age"
    )]
    Runbook {
        #[command(subcommand)]
        command: runbook::Runbook,
    },
}

/// Runs a command. Returns its exit code.
///
/// # Errors
/// When the command fails.
pub async fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Up(options) => up::command(options).await,
        Command::Down(options) => down::command(&options).await,
        Command::Open(options) => open::command(&options).await,
        Command::Env(options) => env::print(&options),
        Command::Role { .. } | Command::Keep(_) => unreachable!("it runs in a runtime of its own"),
        Command::Synth(options) => synth::print(&options),
        Command::Check(options) => check::print(&options),
        Command::Why(options) => why::print(&options),
        Command::Config {
            command: config::Config::Explain(options),
        } => config::explain(&options),
        Command::Outputs(options) => outputs::print(&options).await,
        Command::Completions(options) => {
            completions::print(&options, command_line(width::stdout_text()))
        }
        Command::Cost(options) => cost::print(&options),
        Command::Plan(options) => plan::command(&options).await,
        Command::Apply(options) => apply::command(&options).await,
        Command::Deploy(options) => deploy::command(&options).await,
        Command::Promote(options) => promote::command(&options).await,
        Command::Rehearse(options) => rehearse::command(&options).await,
        Command::Smoke(options) => smoke::command(&options).await,
        Command::Diff(options) => diff::command(&options),
        Command::Doctor(options) => doctor::command(&options).await,
        Command::Bootstrap(options) => bootstrap::command(&options).await,
        Command::Drift(options) => drift::command(&options).await,
        Command::Status(options) => status::command(&options).await,
        Command::Logs(options) => logs::command(&options).await,
        Command::Destroy(options) => destroy::command(&options).await,
        Command::Migrate(options) => migrate::command(&options).await,
        Command::Seed(options) => seed::command(&options.state).await,
        Command::Reconcile(options) => reconcile::command(&options).await,
        Command::Load(options) => load::command(&options).await,
        Command::Dlq { command } => dlq::command(&command).await,
        Command::Orders { command } => orders::command(&command).await,
        Command::Staff { command } => staff::command(&command).await,
        Command::Notify { command } => notify::command(&command).await,
        Command::Runbook { command } => runbook::command(&command),
    }
}
