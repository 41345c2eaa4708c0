//! `haven down`: stops the platform.

use platform::down;

use crate::arguments::StateFolder;

/// Stops the platform on a state directory.
///
/// # Errors
/// As [`down::down`].
pub async fn command(options: &StateFolder) -> anyhow::Result<()> {
    down::down(&options.state).await
}
