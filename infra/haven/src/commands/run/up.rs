//! `haven up`: runs the whole platform on this machine.

use std::path::PathBuf;

use clap::Args;
use haven_console::exit::Exit;
use platform::database::ServerOptions;
use platform::{detach, up};

use crate::arguments::STATE;

#[derive(Debug, Clone, Args)]
pub struct Up {
    /// The state directory
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
    /// Port of the storefront on loopback; 0 takes any free port
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Return when everything is ready; stop with `haven down`
    #[arg(long)]
    pub detach: bool,
    /// Use PostgreSQL: at URL, @FILE or HAVEN_POSTGRES_URL, else started here
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    pub postgres: Option<String>,
    /// Keep carts in Redis: at URL, @FILE or HAVEN_REDIS_URL, else started here
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    pub redis: Option<String>,
    /// Start the local AWS, PostgreSQL and Redis in containers
    #[arg(long)]
    pub containers: bool,
    /// Take over the lock of the state directory, which is open as standard input (used by
    /// --detach)
    #[arg(long, hide = true)]
    pub take_lock: bool,
}

/// Runs the platform until it is asked to stop, or starts it in the background with `--detach`.
///
/// # Errors
/// As [`up::up`] and [`detach::detach`].
pub async fn command(options: Up) -> anyhow::Result<Exit> {
    if options.detach {
        detach::detach(&options.state).await?;
        return Ok(Exit::Done);
    }
    let options = up::Options {
        state: options.state,
        port: options.port,
        servers: ServerOptions {
            postgres: options.postgres,
            redis: options.redis,
            containers: options.containers,
        },
        take_lock: options.take_lock,
    };
    // The future contains the whole platform; boxed, the compiler computes its layout alone.
    Box::pin(up::up(options)).await?;
    Ok(Exit::Done)
}
