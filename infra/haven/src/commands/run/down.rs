//! `haven down`: stops the platform.

use haven_console::exit::Exit;
use haven_console::progress::Steps;
use platform::down;

use crate::arguments::StateFolder;

/// Stops the platform on a state directory.
///
/// # Errors
/// As [`down::down`].
pub async fn command(options: &StateFolder) -> anyhow::Result<Exit> {
    let steps = Steps::new("down");
    let _stopping = steps.begin("Stopping the platform");
    down::down(&options.state).await?;
    Ok(Exit::Done)
}
