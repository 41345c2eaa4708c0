//! `haven env`: the variables that make the aws command and any SDK use the local AWS of a running shop.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::cli::STATE;
use crate::local::facts::Facts;
use crate::local::state::State;

#[derive(Debug, Args)]
pub struct Env {
    /// The state directory of `haven up`
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
    /// One JSON object instead of lines for a shell
    #[arg(long)]
    pub json: bool,
}

/// Prints the variables.
///
/// # Errors
/// When no `haven up` runs on the state directory.
pub fn print(options: &Env) -> anyhow::Result<()> {
    let folder = &options.state;
    if !State::is_used(folder) {
        bail!(
            "no shop runs on {}: start one with `haven up`, or name its state directory with --state DIR",
            folder.display()
        );
    }
    let facts = Facts::read(folder).context("the shop is still starting: try again when it is ready")?;
    let access = facts.aws_access();
    if options.json {
        let variables: BTreeMap<_, _> = access.variables().into();
        println!("{}", serde_json::to_string_pretty(&variables).context("write JSON")?);
    } else {
        print!("{}", exports(access.variables()));
    }
    Ok(())
}

/// Lines that any POSIX shell evaluates to exactly these values.
fn exports<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    variables.into_iter().fold(String::new(), |mut lines, (name, value)| {
        let _ = writeln!(lines, "export {name}='{}'", value.replace('\'', r"'\''"));
        lines
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_printed() {
        let value = "a'b \"c\" $HOME `id` \\ ; #\n+/=";
        let script = format!("{}printf %s \"$AWS_SECRET_ACCESS_KEY\"", exports([("AWS_SECRET_ACCESS_KEY", value)]));
        let output = Command::new("sh").args(["-c", &script]).output().expect("sh runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout), value);
    }

    #[test]
    fn without_a_running_shop_the_next_step_is_named() {
        let state = std::env::temp_dir().join("haven-env-nothing-runs");
        let refused = print(&Env { state, json: false }).expect_err("nothing runs").to_string();
        assert!(refused.contains("haven up") && refused.contains("--state DIR"), "{refused}");
    }
}
