//! `haven up`: runs the whole platform on this machine.

use std::path::PathBuf;

use clap::Args;
use platform::database::ServerOptions;
use platform::{detach, up};

use crate::arguments::STATE;

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

/// Runs the platform until it is asked to stop, or starts it in the background with `--detach`.
///
/// # Errors
/// As [`up::up`] and [`detach::detach`].
pub async fn command(options: Up) -> anyhow::Result<()> {
    if options.detach {
        return detach::detach(&options.state).await;
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
    Box::pin(up::up(options)).await
}
