//! The command line: the commands, their options and their help texts.

use std::path::PathBuf;
use std::time::Duration;

use chassis::config::ProcessEnvironment;
use clap::{Arg, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use domain::access::StaffRole;
use domain::ids::{OrderId, OrderNumber};
use uuid::Uuid;

/// The default state directory.
pub const STATE: &str = ".haven";

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
    Up(Up),
    /// Stop a platform that was started with `haven up`
    #[command(after_help = "Example:  haven down --state .haven")]
    Down(StateFolder),
    /// Print the variables that make the aws command and any SDK use the local AWS of a running
    /// shop
    #[command(
        after_help = "Examples:\n  eval \"$(haven env)\"\n  eval \"$(haven env)\" && aws sqs list-queues\n  haven env --state /tmp/shop --json\n\nThe key pair is good until this `haven up` stops. It is a secret: whoever has it can read and change everything in the\nlocal AWS.\n\nPresigned URLs of S3 need Signature Version 4. boto3 and the aws command make them with version 2 by default:\n  boto3            boto3.client('s3', config=botocore.config.Config(signature_version='s3v4'))\n  the aws command  aws configure set default.s3.signature_version s3v4"
    )]
    Env(crate::operate::env::Env),
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
    Keep(crate::local::keep::Keep),
    /// Write the CloudFormation templates, one JSON file a stack
    #[command(
        after_help = "Examples:\n  haven synth local --out templates\n  haven synth prod --stack data\n  haven synth prod --json\n\nExit 2, with nothing written, when CloudFormation would refuse a template."
    )]
    Synth(crate::provision::synth::Synth),
    /// Hold the templates against CloudFormation's schemas and limits, our own policy and the
    /// contract; needs no account
    #[command(
        after_help = "Examples:\n  haven check\n  haven check prod --set database.backup_days=10\n  haven check --templates templates --json\n\nExit 2 when there is a finding. What is waived is listed with its reason and is none."
    )]
    Check(crate::provision::check::Check),
    /// Explain a resource: what it is for, who uses it, who may, what watches it, what a change of
    /// it would do
    #[command(
        after_help = "Examples:\n  haven why data/Database\n  haven why OrdersQueue\n  haven why orders                 (a queue, topic, table, role, secret or alarm of the contract)\n  haven why ConsumesOrders dev     (a statement of a policy)\n\nAsks nothing of AWS. Exit 2 when there is no such thing; what was probably meant is named."
    )]
    Why(crate::provision::why::Why),
    /// The settings of an environment
    #[command(after_help = "Example:  haven config explain prod")]
    Config {
        #[command(subcommand)]
        command: crate::provision::config::Config,
    },
    /// What the deployed stacks give out, and the addresses and settings in Parameter Store; never
    /// a secret
    #[command(
        after_help = "Examples:\n  haven outputs local\n  haven outputs prod queue/orders/url      (that value alone)\n  haven outputs dev --json\n\nExit 2 when nothing is deployed, or nothing has that name."
    )]
    Outputs(crate::provision::outputs::Outputs),
    /// Print a script that completes `haven` in a shell
    #[command(
        after_help = "Examples:\n  haven completions bash > ~/.local/share/bash-completion/completions/haven\n  haven completions zsh > ~/.zfunc/_haven"
    )]
    Completions(crate::provision::completions::Completions),
    /// What a month costs, computed from the templates; needs no account
    #[command(
        after_help = "Examples:\n  haven cost prod\n  haven cost dev staging prod\n  haven cost prod --budget 2500 --orders-a-day 5000\n  haven cost dev --set network.nat_gateways=2\n\nExit 2 when an environment costs more than --budget, or has resources without a price."
    )]
    Cost(crate::provision::cost::Cost),
    /// Show what a deployment would do, worst first, and seal it into a file for `haven apply`
    #[command(
        after_help = "Examples:\n  haven plan dev --out dev.plan.json\n  haven plan prod --allow data/Database --valid-for 2h\n\nExit 2 when the plan would be refused: something that holds data would go, and was not named."
    )]
    Plan(PlanOf),
    /// Do what a plan says, and nothing else
    #[command(
        after_help = "Example:  haven apply dev.plan.json\n\nIt refuses a plan that was edited, has expired, was made for another account, or does not fit what stands there now."
    )]
    Apply(Apply),
    /// Plan, ask, and apply; no change is success
    #[command(
        after_help = "Examples:\n  haven deploy local                 (to the local AWS that `haven up` runs; nothing is asked)\n  haven deploy dev\n  haven deploy dev --yes --allow data/Database\n\n`local` gets every stack, as far as the local AWS can hold it: what is left out, and why, is said at the end."
    )]
    Deploy(Deploy),
    /// Plan for one environment what was proven in another: the same code, the same image
    #[command(
        after_help = "Example:  haven promote staging prod --out prod.plan.json && haven apply prod.plan.json\n\nIt shows which settings differ, and refuses when the first does not run what this code makes."
    )]
    Promote(Promote),
    /// Deploy an environment on a local AWS of its own, check it, and plan one failure
    #[command(
        after_help = "Example:  haven rehearse prod\n\nNeeds no account. Exit 2 when a step did not go as it must."
    )]
    Rehearse(Which),
    /// Check that what was deployed works
    #[command(
        after_help = "Examples:\n  haven smoke local\n  haven smoke prod --shop https://shop.example.com\n\nFor `local` a marked order goes through the whole chain. Exit 2 when a check does not hold."
    )]
    Smoke(Smoke),
    /// Compare the templates with those that were last deployed from here, without asking AWS
    #[command(
        after_help = "Example:  haven diff prod --set database.multi_az=false\n\nExit 2 when something differs."
    )]
    Diff(Diff),
    /// Show what was changed by hand since the last deployment, and bring back what the templates
    /// say
    #[command(
        after_help = "Examples:\n  haven drift prod\n  haven drift prod --revert\n  haven drift local --revert --yes --json\n\nA revert goes back to the templates that were last deployed, not to what the code would make now.\nExit 0 when nothing differs, or no more; 2 when something does."
    )]
    Drift(crate::provision::drift::Drift),
    /// Say what is the matter with stacks, change sets and the account, with the one next command
    /// for each
    #[command(
        after_help = "Examples:\n  haven doctor prod\n  haven doctor dev --fix\n\nEach line is ok, look (nothing is broken, somebody should know) or wrong.\nExit 0 when nothing is wrong, 2 when something is."
    )]
    Doctor(crate::provision::doctor::Doctor),
    /// Prepare an account, once: the role that CloudFormation deploys with. It costs nothing
    #[command(
        after_help = "Example:  haven bootstrap dev\n\nOne stack, brew-haven-ENV-bootstrap: a role that only CloudFormation can take, for our stacks alone, which may do\nwhat AWS names for the resource types in our templates. Every change set but that of security uses it from then on.\nIt needs rights over IAM, may be run again at any time, and `haven destroy` leaves what it made.\nNo bucket is made: every template is small enough to be sent along (51,200 bytes)."
    )]
    Bootstrap(crate::provision::bootstrap::Bootstrap),
    /// Show the stacks, the roles and the queues
    #[command(after_help = "Examples:\n  haven status local --json\n  haven status prod")]
    Status(Target),
    /// Delete the stacks, and say what was kept
    #[command(after_help = "Example:  haven destroy local --yes")]
    Destroy {
        #[command(flatten)]
        target: Target,
        /// Let this one be deleted though it holds data, such as data/Database; may be given again
        #[arg(long, value_name = "STACK/RESOURCE", value_parser = stack_and_resource)]
        allow: Vec<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Bring a database's schema up to date; never done by a service itself
    #[command(
        after_help = "Example:  DATABASE_URL=postgres://user:password@host/db haven migrate\n\nA login that the URL has not is taken from PGUSER and PGPASSWORD; with sslmode=verify-full in the URL, PGSSLROOTCERT\nnames the file of the roots that the server's certificate is checked against."
    )]
    Migrate {
        /// postgres://... or sqlite://...
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
    },
    /// Put the menu and its first stock into the products table; what is there is left alone
    #[command(after_help = "Example:  haven seed    (into the platform that `haven up` runs)")]
    Seed(StateFolder),
    /// Order at a steady rate from the platform that `haven up` runs, and report how long customers
    /// waited
    #[command(
        after_help = "Examples:\n  haven load --rate 20 --duration 30s\n  haven load --rate 20 --duration 30s --hot-product espresso --json\n  haven load --rate 17 --duration 10m --mix customers.toml\n  haven load --rate 20 --duration 1m --poison 1\n\nIt fills the shelves first. Exit 2 when an order was not accepted, or did not end as its customer's card and wish\ndemand, or was not told of within 30 s, or when\norders, money and stock disagree at the end (see `haven reconcile`).\n\nA mix: [[customer]] share = 90, products = 2, quantity = 1; [[customer]] share = 5, payment_token = \"tok_declined\";\n[[customer]] share = 5, cancels = true"
    )]
    Load(Load),
    /// Parked messages (dead letters): why they lie there, and back to work with them
    #[command(after_help = "Example:  haven dlq list")]
    Dlq {
        #[command(subcommand)]
        command: crate::operate::dlq::Dlq,
    },
    /// Orders, moment by moment
    #[command(after_help = "Example:  haven orders show 01954f0c-6b00-7000-8000-000000000047")]
    Orders {
        #[command(subcommand)]
        command: Orders,
    },
    /// Compare orders, payments, the gateway's own ledger, holds on stock, stock and its ledger;
    /// changes nothing by itself
    #[command(
        after_help = "Examples:\n  haven reconcile\n  haven reconcile --json\n  haven reconcile --fix\n\nWorks on the platform that `haven up` runs, while it runs. An order that is on its way is no difference: one that awaits\nan answer and moved within the last minute, or that moved while it was looked at.\n--fix gives back units of orders that have ended, makes holds of sold orders sales, asks again what is overdue, and\nwrites down what the gateway did; it moves no money. What it did stands under `reconcile` in the order's history, or in\nthe stock's ledger.\nExit 0 when nothing differs, or no more; 2 when something does."
    )]
    Reconcile(Reconcile),
    /// Staff tokens
    #[command(after_help = "Examples:\n  haven staff token --name Ana\n  haven staff tokens")]
    Staff {
        #[command(subcommand)]
        command: Staff,
    },
    /// What customers and staff are told: how it reads, and how it fared
    #[command(after_help = "Examples:\n  haven notify preview\n  haven notify list --failed")]
    Notify {
        #[command(subcommand)]
        command: crate::operate::notify::Notify,
    },
    /// Runbooks, one for each alarm
    #[command(after_help = "Examples:\n  haven runbook list\n  haven runbook show queue-age")]
    Runbook {
        #[command(subcommand)]
        command: Runbook,
    },
}

#[derive(Debug, Args)]
pub struct StateFolder {
    /// The state folder
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub struct Up {
    /// The state folder
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
    /// The storefront's port on loopback; 0 for any free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Return once everything is ready; stop it with `haven down`
    #[arg(long)]
    pub detach: bool,
    /// PostgreSQL instead of SQLite: at the URL (or @FILE with it, or HAVEN_POSTGRES_URL), else
    /// from the machine's own binaries, else from a container
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    pub postgres: Option<String>,
    /// Carts in Redis: at the URL (or @FILE with it, or HAVEN_REDIS_URL), else from the machine's
    /// own binary, else from a container
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    pub redis: Option<String>,
    /// The local AWS, PostgreSQL and Redis in containers (from localstack/images/build); a URL goes
    /// before a container
    #[arg(long)]
    pub containers: bool,
    /// Take over the lock of the state directory, which is open as standard input (used by
    /// --detach)
    #[arg(long, hide = true)]
    pub take_lock: bool,
}

/// An environment as its files describe it: all that a command needs which asks no AWS.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// The environment: local, dev, staging or prod, or one of --environments
    #[arg(default_value = "local")]
    pub environment: String,
    #[command(flatten)]
    pub settings: Settings,
    /// JSON instead of text: one document, or one object a line for what takes time
    #[arg(long)]
    pub json: bool,
}

/// Where the settings of an environment are from, and what stands instead of some.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Another value for a setting, such as network.zones=2; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// A folder with base.toml and a file for each environment, instead of the ones that haven was
    /// built with
    #[arg(long, value_name = "DIR", env = "HAVEN_ENVIRONMENTS")]
    pub environments: Option<PathBuf>,
}

impl Settings {
    /// Returns the environment of this name with these settings.
    pub fn of(&self, environment: &str, json: bool) -> Which {
        Which {
            environment: environment.to_owned(),
            settings: self.clone(),
            json,
        }
    }
}

/// An environment, and the account it stands in.
#[derive(Debug, Clone, Args)]
pub struct Target {
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub place: Place,
}

/// Where AWS is, and what we remember of it.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// The AWS endpoint; for `local` that of the platform that `haven up` runs
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL", value_parser = http_url)]
    pub endpoint: Option<String>,
    /// The state folder of `haven up`; what was deployed is remembered there too
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

#[derive(Debug, Args)]
pub struct PlanOf {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub guard: Guard,
    #[command(flatten)]
    pub file: PlanFile,
}

/// What becomes of a plan.
#[derive(Debug, Clone, Args)]
pub struct PlanFile {
    /// Where the plan goes; without it, it is only shown
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// For how long it may be applied, such as 30m or 8h
    #[arg(long, default_value = "8h", value_parser = duration)]
    pub valid_for: Duration,
}

/// What a plan is held to.
#[derive(Debug, Clone, Args)]
pub struct Guard {
    /// Let this one be removed or replaced though it holds data, such as data/Database; may be
    /// given again
    #[arg(long, value_name = "STACK/RESOURCE", value_parser = stack_and_resource)]
    pub allow: Vec<String>,
    /// The most that a month may cost, USD
    #[arg(long, value_name = "USD", value_parser = crate::provision::cost::budget)]
    pub budget: Option<f64>,
    /// Do not look for what was changed by hand since the last deployment; on AWS that takes a
    /// minute or two
    #[arg(long)]
    pub no_drift: bool,
}

/// Checks the name of a resource, such as `data/Database`. For clap.
///
/// # Errors
/// When the text is not one stack and one resource with a slash between them.
pub fn stack_and_resource(text: &str) -> Result<String, String> {
    let plain = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
    };
    match text.split_once('/') {
        Some((stack, resource)) if plain(stack) && plain(resource) => Ok(text.to_owned()),
        _ => Err("must be one resource, as a plan names it, such as data/Database".to_owned()),
    }
}

#[derive(Debug, Args)]
pub struct Apply {
    /// The file that `haven plan --out` wrote
    pub plan: PathBuf,
    /// The folder of environment files that the plan was made with, if it was
    #[arg(long, value_name = "DIR", env = "HAVEN_ENVIRONMENTS")]
    pub environments: Option<PathBuf>,
    #[command(flatten)]
    pub place: Place,
    /// One JSON object a line instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Deploy {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub guard: Guard,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct Promote {
    /// Where it was proven
    pub from: String,
    /// Where it goes
    pub to: String,
    /// Those of --set are for the second.
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub guard: Guard,
    #[command(flatten)]
    pub file: PlanFile,
    #[command(flatten)]
    pub place: Place,
    /// JSON instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Smoke {
    #[command(flatten)]
    pub target: Target,
    /// The shop's address, if it is not the domain of the settings
    #[arg(long, value_name = "URL", value_parser = http_url)]
    pub shop: Option<String>,
}

#[derive(Debug, Args)]
pub struct Diff {
    #[command(flatten)]
    pub which: Which,
    /// The folder with the templates to compare with, as `haven synth --out` writes them
    #[arg(long, value_name = "DIR")]
    pub against: Option<PathBuf>,
    /// The folder where deployments are remembered
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

#[derive(Debug, Args)]
pub struct Load {
    /// Orders a second
    #[arg(long, default_value_t = 20.0, value_parser = rate)]
    pub rate: f64,
    /// For how long, such as 30s, 5m or 500ms
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub duration: Duration,
    /// Everybody wants the same product: this one, or the first of the menu
    #[arg(long, value_name = "PRODUCT_ID", num_args = 0..=1, default_missing_value = "")]
    pub hot_product: Option<String>,
    /// Who comes: a TOML file of [[customer]] with share, products, quantity, payment_token and
    /// cancels
    #[arg(long, value_name = "FILE")]
    pub mix: Option<PathBuf>,
    /// So many of a hundred messages for the order and payment workers are unreadable; they end up
    /// parked
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    pub poison: f64,
    /// The state folder of `haven up`
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Reconcile {
    /// Repair what is safe to repair, and compare again
    #[arg(long)]
    pub fix: bool,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// The state folder of `haven up`
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

/// Checks a URL and removes trailing slashes. For clap. Without a scheme, `localhost:4566` would
/// parse as a URL with the scheme `localhost`.
///
/// # Errors
/// When the text is not an HTTP or HTTPS URL with a host.
pub fn http_url(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).ok();
    match url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => Err(format!(
            "must be a URL with scheme and host, such as http://127.0.0.1:4566, and is {text:?}"
        )),
    }
}

/// The highest rate in orders per second. One process cannot simulate more customers at their due
/// times.
const RATE_MAX: f64 = 1_000.0;

fn percent(text: &str) -> Result<f64, String> {
    const MOST: f64 = 50.0;
    let percent: Option<f64> = text
        .parse()
        .ok()
        .filter(|percent| (0.0..=MOST).contains(percent));
    percent.ok_or_else(|| format!("must be a number of percent, from 0 to {MOST}"))
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text
        .parse()
        .ok()
        .filter(|rate| *rate > 0.0 && *rate <= RATE_MAX);
    rate.ok_or_else(|| {
        format!("must be a number of orders a second, above 0 and at most {RATE_MAX}")
    })
}

/// Parses an order id. For clap.
///
/// # Errors
/// When the text is not a UUID.
pub fn order_id(text: &str) -> Result<OrderId, String> {
    text.parse().map_err(|_| {
        "must be an order's id, such as 01954f0c-6b00-7000-8000-000000000047".to_owned()
    })
}

fn order_name(text: &str) -> Result<OrderName, String> {
    let number = OrderNumber::parse(text).map(OrderName::Number);
    number
        .map_or_else(|| order_id(text).map(OrderName::Id), Ok)
        .map_err(|wrong| format!("{wrong}, or a number, such as A-047"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let at = text
        .find(|letter: char| letter.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let unit_s = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("must be a number and a unit: ms, s, m or h, such as 30s".to_owned()),
    };
    let seconds = number.parse().ok().map(|number: f64| number * unit_s);
    let seconds = seconds.filter(|seconds| *seconds > 0.0 && *seconds <= 24.0 * 3600.0);
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "must be above 0 and at most 24h".to_owned())
}

#[derive(Debug, Subcommand)]
pub enum Orders {
    /// All that is recorded about one order, in one line of time, and what it waits for
    #[command(
        after_help = "Examples:\n  haven orders show 01934d3c-2a00-7000-8000-000000000002\n  haven orders show A-047\n  haven orders show 01934d3c-2a00-7000-8000-000000000002 --json\n\nHistory, money, stock, messages with their deliveries, notices, parked messages, and the roles' log lines.\nExit 2 when there is no such order."
    )]
    Show(Show),
    /// Make the view that customers' lists are read from again, from the orders themselves
    #[command(
        after_help = "Examples:\n  haven orders reproject\n  DATABASE_URL=postgres://host/db haven orders reproject prod --json\n\nIt may run beside the platform, and again: what is newer stays. A login that the URL has not is taken from PGUSER and PGPASSWORD."
    )]
    Reproject(Reproject),
}

#[derive(Debug, Args)]
pub struct Show {
    /// The order's id, or its number: numbers restart each day, and the newest order is meant
    #[arg(value_name = "ID|NUMBER", value_parser = order_name)]
    pub order: OrderName,
    /// The state folder of `haven up`
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// The id or the number of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderName {
    Id(OrderId),
    Number(OrderNumber),
}

#[derive(Debug, Args)]
pub struct Reproject {
    #[command(flatten)]
    pub target: Target,
    /// The database of the orders, postgres://...; for `local` that of the platform that `haven up`
    /// runs
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Staff {
    /// Print a token for a member of staff: the bearer token of the API, and the sign-in of the
    /// staff pages
    #[command(
        after_help = "Examples:\n  haven staff token --name Ana --role barista\n  haven staff token --name Ana --role manager --hours 4\n\nThe token is recorded by its id, never by its text. The text is shown once. Roles: admin, manager, barista, support, staff."
    )]
    Token(StaffToken),
    /// List the tokens that were issued, newest first
    #[command(
        after_help = "Examples:\n  haven staff tokens\n  DATABASE_URL=postgres://host/db haven staff tokens --json"
    )]
    Tokens {
        #[command(flatten)]
        database: StaffDatabase,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token: every storefront refuses it within 2 seconds
    #[command(
        after_help = "Example:  haven staff revoke 01954f0c-6b00-7000-8000-000000000047\n\nExit 2 when there is no token of this id."
    )]
    Revoke {
        /// The token's id, as `haven staff tokens` shows it
        id: Uuid,
        #[command(flatten)]
        database: StaffDatabase,
    },
}

#[derive(Debug, Args)]
pub struct StaffToken {
    /// Who it is for; stands in the history of every order they change
    #[arg(long, default_value = "staff", value_parser = crate::operate::audit::person)]
    pub name: String,
    /// What they may do: admin, manager, barista, support or staff
    #[arg(long, default_value = "staff", value_parser = staff_role)]
    pub role: StaffRole,
    /// How long it is good for, in hours
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=8_760))]
    pub hours: u16,
    #[command(flatten)]
    pub database: StaffDatabase,
}

/// Where staff tokens are recorded.
#[derive(Debug, Args)]
pub struct StaffDatabase {
    /// The shop's database, postgres://...; without it that of the platform that `haven up` runs
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// The state folder of `haven up`; elsewhere the key is read from HAVEN_SIGNING_KEY
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

fn staff_role(text: &str) -> Result<StaffRole, String> {
    StaffRole::parse(text).map_err(|error| error.message)
}

#[derive(Debug, Subcommand)]
pub enum Runbook {
    /// The runbooks there are
    #[command(after_help = "Example:  haven runbook list")]
    List,
    /// Print one
    #[command(after_help = "Example:  haven runbook show queue-age")]
    Show {
        /// Its name, as the alarm gives it
        id: String,
    },
}

#[cfg(test)]
mod tests {
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
    fn an_endpoint_has_a_scheme_and_a_host() {
        assert_eq!(
            http_url("http://127.0.0.1:4566/"),
            Ok("http://127.0.0.1:4566".to_owned())
        );
        assert_eq!(
            http_url("https://[::1]:1"),
            Ok("https://[::1]:1".to_owned())
        );
        for wrong in [
            "",
            "127.0.0.1:4566",
            "localhost:4566",
            "localhost",
            "ftp://host",
            "http://",
            "//host",
        ] {
            assert!(http_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        for wrong in ["", "30", "s", "-1s", "0s", "30 days", "1e9h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
