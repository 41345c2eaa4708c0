//! The command line: the commands, their options and their help texts.

use chassis::config::ProcessEnvironment;
use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::arguments::{StateFolder, Target, Which};
use crate::commands::completions;
use crate::commands::look::{config, env, notify, orders, outputs, status};
use crate::commands::operate::{dlq, reconcile, runbook, staff};
use crate::commands::provision::{
    apply, bootstrap, check, cost, deploy, destroy, diff, doctor, drift, plan, promote, rehearse,
    smoke, synth, why,
};
use crate::commands::run::{down, keep, load, migrate, seed, up};

/// Brew Haven: a coffee shop's order platform, run whole on a laptop or deployed to AWS.
#[derive(Debug, Parser)]
#[command(
    name = "haven",
    version,
    arg_required_else_help = true,
    after_help = "Start here:  haven up"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// Parses the command line. An empty environment variable counts as unset, because `NAME= haven` is
/// the only shell syntax that removes a variable for one command.
///
/// # Errors
/// When the command line is wrong, or asks for help or the version.
pub fn parse() -> Result<Cli, clap::Error> {
    let matches = without_empty_variables(Cli::command()).try_get_matches()?;
    Cli::from_arg_matches(&matches)
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
    /// Run the whole platform on this machine: local AWS, database, payment gateway, every role
    #[command(
        after_help = "Examples:\n  haven up\n  haven up --port 9000 --state /tmp/shop\n  haven up --postgres --redis\n  haven up --containers\n  haven up --detach && haven down"
    )]
    Up(up::Up),
    /// Stop a platform that was started with `haven up`
    #[command(after_help = "Example:  haven down --state .haven")]
    Down(StateFolder),
    /// Print the variables that make the aws command and any SDK use the local AWS of a running
    /// shop
    #[command(
        after_help = "Examples:\n  eval \"$(haven env)\"\n  eval \"$(haven env)\" && aws sqs list-queues\n  haven env --state /tmp/shop --json\n\nThe key pair is good until this `haven up` stops. It is a secret: whoever has it can read and change everything in the\nlocal AWS.\n\nPresigned URLs of S3 need Signature Version 4. boto3 and the aws command make them with version 2 by default:\n  boto3            boto3.client('s3', config=botocore.config.Config(signature_version='s3v4'))\n  the aws command  aws configure set default.s3.signature_version s3v4"
    )]
    Env(env::Env),
    /// Run one role in the foreground, configured by its environment, as its container would
    #[command(
        after_help = "Example:  HAVEN_ENV=local DATABASE_URL=sqlite://orders.db ... haven role order-worker\n\nWithout its settings it lists what is missing, and what each is for."
    )]
    Role {
        /// One of the worker roles, or payment-gateway
        name: String,
    },
    /// Run a server program that ends when its parent ends
    #[command(
        hide = true,
        after_help = "Example:  haven keep --within 30 -- redis-server --port 6379\n\nUsed by `haven up` itself."
    )]
    Keep(keep::Keep),
    /// Write the CloudFormation templates, one JSON file a stack
    #[command(
        after_help = "Examples:\n  haven synth local --out templates\n  haven synth prod --stack data\n  haven synth prod --json\n\nExit 2, with nothing written, when CloudFormation would refuse a template."
    )]
    Synth(synth::Synth),
    /// Hold the templates against CloudFormation's schemas and limits, our own policy and the
    /// contract; needs no account
    #[command(
        after_help = "Examples:\n  haven check\n  haven check prod --set database.backup_days=10\n  haven check --templates templates --json\n\nExit 2 when there is a finding. What is waived is listed with its reason and is none."
    )]
    Check(check::Check),
    /// Explain a resource: what it is for, who uses it, who may, what watches it, what a change of
    /// it would do
    #[command(
        after_help = "Examples:\n  haven why data/Database\n  haven why OrdersQueue\n  haven why orders                 (a queue, topic, table, role, secret or alarm of the contract)\n  haven why ConsumesOrders dev     (a statement of a policy)\n\nAsks nothing of AWS. Exit 2 when there is no such thing; what was probably meant is named."
    )]
    Why(why::Why),
    /// The settings of an environment
    #[command(after_help = "Example:  haven config explain prod")]
    Config {
        #[command(subcommand)]
        command: config::Config,
    },
    /// What the deployed stacks give out, and the addresses and settings in Parameter Store; never
    /// a secret
    #[command(
        after_help = "Examples:\n  haven outputs local\n  haven outputs prod queue/orders/url      (that value alone)\n  haven outputs dev --json\n\nExit 2 when nothing is deployed, or nothing has that name."
    )]
    Outputs(outputs::Outputs),
    /// Print a script that completes `haven` in a shell
    #[command(
        after_help = "Examples:\n  haven completions bash > ~/.local/share/bash-completion/completions/haven\n  haven completions zsh > ~/.zfunc/_haven"
    )]
    Completions(completions::Completions),
    /// What a month costs, computed from the templates; needs no account
    #[command(
        after_help = "Examples:\n  haven cost prod\n  haven cost dev staging prod\n  haven cost prod --budget 2500 --orders-a-day 5000\n  haven cost dev --set network.nat_gateways=2\n\nExit 2 when an environment costs more than --budget, or has resources without a price."
    )]
    Cost(cost::Cost),
    /// Show what a deployment would do, worst first, and seal it into a file for `haven apply`
    #[command(
        after_help = "Examples:\n  haven plan dev --out dev.plan.json\n  haven plan prod --allow data/Database --valid-for 2h\n\nExit 2 when the plan would be refused: something that holds data would go, and was not named."
    )]
    Plan(plan::PlanOf),
    /// Do what a plan says, and nothing else
    #[command(
        after_help = "Example:  haven apply dev.plan.json\n\nIt refuses a plan that was edited, has expired, was made for another account, or does not fit what stands there now."
    )]
    Apply(apply::Apply),
    /// Plan, ask, and apply; no change is success
    #[command(
        after_help = "Examples:\n  haven deploy local                 (to the local AWS that `haven up` runs; nothing is asked)\n  haven deploy dev\n  haven deploy dev --yes --allow data/Database\n\n`local` gets every stack, as far as the local AWS can hold it: what is left out, and why, is said at the end."
    )]
    Deploy(deploy::Deploy),
    /// Plan for one environment what was proven in another: the same code, the same image
    #[command(
        after_help = "Example:  haven promote staging prod --out prod.plan.json && haven apply prod.plan.json\n\nIt shows which settings differ, and refuses when the first does not run what this code makes."
    )]
    Promote(promote::Promote),
    /// Deploy an environment on a local AWS of its own, check it, and plan one failure
    #[command(
        after_help = "Example:  haven rehearse prod\n\nNeeds no account. Exit 2 when a step did not go as it must."
    )]
    Rehearse(Which),
    /// Check that what was deployed works
    #[command(
        after_help = "Examples:\n  haven smoke local\n  haven smoke prod --shop https://shop.example.com\n\nFor `local` a marked order goes through the whole chain. Exit 2 when a check does not hold."
    )]
    Smoke(smoke::Smoke),
    /// Compare the templates with those that were last deployed from here, without asking AWS
    #[command(
        after_help = "Example:  haven diff prod --set database.multi_az=false\n\nExit 2 when something differs."
    )]
    Diff(diff::Diff),
    /// Show what was changed by hand since the last deployment, and bring back what the templates
    /// say
    #[command(
        after_help = "Examples:\n  haven drift prod\n  haven drift prod --revert\n  haven drift local --revert --yes --json\n\nA revert goes back to the templates that were last deployed, not to what the code would make now.\nExit 0 when nothing differs, or no more; 2 when something does."
    )]
    Drift(drift::Drift),
    /// Say what is the matter with stacks, change sets and the account, with the one next command
    /// for each
    #[command(
        after_help = "Examples:\n  haven doctor prod\n  haven doctor dev --fix\n\nEach line is ok, look (nothing is broken, somebody should know) or wrong.\nExit 0 when nothing is wrong, 2 when something is."
    )]
    Doctor(doctor::Doctor),
    /// Prepare an account, once: the role that CloudFormation deploys with. It costs nothing
    #[command(
        after_help = "Example:  haven bootstrap dev\n\nOne stack, brew-haven-ENV-bootstrap: a role that only CloudFormation can take, for our stacks alone, which may do\nwhat AWS names for the resource types in our templates. Every change set but that of security uses it from then on.\nIt needs rights over IAM, may be run again at any time, and `haven destroy` leaves what it made.\nNo bucket is made: every template is small enough to be sent along (51,200 bytes)."
    )]
    Bootstrap(bootstrap::Bootstrap),
    /// Show the stacks, the roles and the queues
    #[command(after_help = "Examples:\n  haven status local --json\n  haven status prod")]
    Status(Target),
    /// Delete the stacks, and say what was kept
    #[command(after_help = "Example:  haven destroy local --yes")]
    Destroy(destroy::Destroy),
    /// Bring a database's schema up to date; never done by a service itself
    #[command(
        after_help = "Example:  DATABASE_URL=postgres://user:password@host/db haven migrate\n\nA login that the URL has not is taken from PGUSER and PGPASSWORD; with sslmode=verify-full in the URL, PGSSLROOTCERT\nnames the file of the roots that the server's certificate is checked against."
    )]
    Migrate(migrate::Migrate),
    /// Put the menu and its first stock into the products table; what is there is left alone
    #[command(after_help = "Example:  haven seed    (into the platform that `haven up` runs)")]
    Seed(StateFolder),
    /// Order at a steady rate from the platform that `haven up` runs, and report how long customers
    /// waited
    #[command(
        after_help = "Examples:\n  haven load --rate 20 --duration 30s\n  haven load --rate 20 --duration 30s --hot-product espresso --json\n  haven load --rate 17 --duration 10m --mix customers.toml\n  haven load --rate 20 --duration 1m --poison 1\n\nIt fills the shelves first. Exit 2 when an order was not accepted, or did not end as its customer's card and wish\ndemand, or was not told of within 30 s, or when\norders, money and stock disagree at the end (see `haven reconcile`).\n\nA mix: [[customer]] share = 90, products = 2, quantity = 1; [[customer]] share = 5, payment_token = \"tok_declined\";\n[[customer]] share = 5, cancels = true"
    )]
    Load(load::Load),
    /// Parked messages (dead letters): why they lie there, and back to work with them
    #[command(after_help = "Example:  haven dlq list")]
    Dlq {
        #[command(subcommand)]
        command: dlq::Dlq,
    },
    /// Orders, moment by moment
    #[command(after_help = "Example:  haven orders show 01954f0c-6b00-7000-8000-000000000047")]
    Orders {
        #[command(subcommand)]
        command: orders::Orders,
    },
    /// Compare orders, payments, the gateway's own ledger, holds on stock, stock and its ledger;
    /// changes nothing by itself
    #[command(
        after_help = "Examples:\n  haven reconcile\n  haven reconcile --json\n  haven reconcile --fix\n\nWorks on the platform that `haven up` runs, while it runs. An order that is on its way is no difference: one that awaits\nan answer and moved within the last minute, or that moved while it was looked at.\n--fix gives back units of orders that have ended, makes holds of sold orders sales, asks again what is overdue, and\nwrites down what the gateway did; it moves no money. What it did stands under `reconcile` in the order's history, or in\nthe stock's ledger.\nExit 0 when nothing differs, or no more; 2 when something does."
    )]
    Reconcile(reconcile::Reconcile),
    /// Staff tokens
    #[command(after_help = "Examples:\n  haven staff token --name Ana\n  haven staff tokens")]
    Staff {
        #[command(subcommand)]
        command: staff::Staff,
    },
    /// What customers and staff are told: how it reads, and how it fared
    #[command(after_help = "Examples:\n  haven notify preview\n  haven notify list --failed")]
    Notify {
        #[command(subcommand)]
        command: notify::Notify,
    },
    /// Runbooks, one for each alarm
    #[command(after_help = "Examples:\n  haven runbook list\n  haven runbook show queue-age")]
    Runbook {
        #[command(subcommand)]
        command: runbook::Runbook,
    },
}

/// Runs a command. Returns whether its result is good.
///
/// # Errors
/// When the command fails.
pub async fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Up(options) => up::command(options).await?,
        Command::Down(options) => down::command(&options).await?,
        Command::Env(options) => env::print(&options)?,
        Command::Role { .. } | Command::Keep(_) => unreachable!("it runs in a runtime of its own"),
        Command::Synth(options) => return synth::print(&options),
        Command::Check(options) => return check::print(&options),
        Command::Why(options) => return why::print(&options),
        Command::Config {
            command: config::Config::Explain(options),
        } => return config::explain(&options),
        Command::Outputs(options) => return outputs::print(&options).await,
        Command::Completions(options) => return completions::print(&options, Cli::command()),
        Command::Cost(options) => return cost::print(&options),
        Command::Plan(options) => return plan::command(&options).await,
        Command::Apply(options) => return apply::command(&options).await,
        Command::Deploy(options) => return deploy::command(&options).await,
        Command::Promote(options) => return promote::command(&options).await,
        Command::Rehearse(which) => return rehearse::command(&which).await,
        Command::Smoke(options) => return smoke::command(&options).await,
        Command::Diff(options) => return diff::command(&options),
        Command::Doctor(options) => return doctor::command(&options).await,
        Command::Bootstrap(options) => return bootstrap::command(&options).await,
        Command::Drift(options) => return drift::command(&options).await,
        Command::Status(options) => return status::command(&options).await,
        Command::Destroy(options) => return destroy::command(&options).await,
        Command::Migrate(options) => migrate::command(&options).await?,
        Command::Seed(options) => seed::command(&options.state).await?,
        Command::Reconcile(options) => return reconcile::command(&options).await,
        Command::Load(options) => return load::command(&options).await,
        Command::Dlq { command } => return dlq::command(&command).await,
        Command::Orders { command } => return orders::command(&command).await,
        Command::Staff { command } => return staff::command(&command).await,
        Command::Notify { command } => notify::command(&command).await?,
        Command::Runbook { command } => runbook::command(&command)?,
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_command_has_an_example() {
        fn look(command: &clap::Command, lacking: &mut Vec<String>) {
            for inner in command.get_subcommands() {
                if !inner
                    .get_after_help()
                    .is_some_and(|help| help.to_string().contains("haven "))
                {
                    lacking.push(format!("{} {}", command.get_name(), inner.get_name()));
                }
                look(inner, lacking);
            }
        }
        let mut lacking = Vec::new();
        look(&Cli::command(), &mut lacking);
        assert!(lacking.is_empty(), "{lacking:?}");
    }

    #[test]
    fn every_shell_is_offered_every_command() {
        for shell in clap_complete::Shell::value_variants() {
            let script = completions::script(*shell, &mut Cli::command()).expect("text");
            for command in Cli::command().get_subcommands() {
                assert!(
                    script.contains(command.get_name()),
                    "{shell}: {}",
                    command.get_name()
                );
            }
        }
    }
}
