//! `haven env`: prints the environment variables that make the aws command and any SDK use the
//! local AWS of a running shop.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use chassis::config::{Environment, ProcessEnvironment};
use haven_console::exit::Exit;
use haven_console::{output, settings};
use platform::facts::Facts;
use platform::state::State;

use crate::arguments::StateFolder;

/// Prints the variables.
///
/// # Errors
/// When no platform is running in the state directory.
pub fn print(options: &StateFolder) -> anyhow::Result<Exit> {
    let folder = &options.state;
    if !State::is_used(folder)? {
        bail!(
            "no platform is running in {}; start one with `haven up`, or name its state directory with --state DIR",
            folder.display()
        );
    }
    let facts = Facts::read(folder)
        .context("the platform is still starting; try again when it is ready")?;
    let access = facts.aws_access();
    let direct = without_proxy(&ProcessEnvironment);
    let direct = direct
        .iter()
        .flat_map(|value| NO_PROXY.map(|name| (name, value.as_str())));
    let variables = access.variables().into_iter().chain(direct);
    if settings::get().json {
        let variables: BTreeMap<_, _> = variables.collect();
        println!(
            "{}",
            serde_json::to_string_pretty(&variables).context("write JSON")?
        );
    } else {
        let unsets = unsets(ProcessEnvironment.names());
        output::always((unsets + &exports(variables)).trim_end());
    }
    Ok(Exit::Done)
}

/// The two spellings, because programs read one or the other.
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Returns the value of `NO_PROXY` that keeps calls to the local AWS on this machine, or `None` if
/// no proxy is set.
fn without_proxy(environment: &impl Environment) -> Option<String> {
    const PROXIES: [&str; 6] = [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ];
    const LOOPBACK: &str = "127.0.0.1,localhost";
    PROXIES.iter().find_map(|name| environment.get(name))?;
    let before = NO_PROXY.iter().find_map(|name| environment.get(name));
    Some(before.map_or_else(
        || LOOPBACK.to_owned(),
        |before| format!("{LOOPBACK},{before}"),
    ))
}

/// Returns lines that unset variables which select another AWS or other credentials. The endpoint
/// of a single service, for example, takes precedence over `AWS_ENDPOINT_URL`.
fn unsets(set: impl IntoIterator<Item = String>) -> String {
    const OTHERS: [&str; 4] = [
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
        "AWS_PROFILE",
    ];
    let mut leads_away: Vec<String> = set
        .into_iter()
        .filter(|name| OTHERS.contains(&name.as_str()) || name.starts_with("AWS_ENDPOINT_URL_"))
        .collect();
    // A shell could execute any other characters in a name.
    leads_away.retain(|name| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    });
    leads_away.sort();
    leads_away
        .into_iter()
        .map(|name| format!("unset {name}\n"))
        .collect()
}

/// Returns lines that set exactly these values in any POSIX shell.
fn exports<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    variables
        .into_iter()
        .fold(String::new(), |mut lines, (name, value)| {
            let _ = writeln!(lines, "export {name}='{}'", value.replace('\'', r"'\''"));
            lines
        })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_evaluates_the_output() {
        let value = "a'b \"c\" $HOME `id` \\ ; #\n+/=";
        let script = format!(
            "{}printf %s \"$AWS_SECRET_ACCESS_KEY\"",
            exports([("AWS_SECRET_ACCESS_KEY", value)])
        );
        let output = Command::new("sh")
            .args(["-c", &script])
            .output()
            .expect("sh runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout), value);
    }

    #[test]
    fn proxies_and_variables_of_another_aws_have_no_effect() {
        let set = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        assert_eq!(without_proxy(&set(&[("NO_PROXY", "corp.example")])), None);
        let proxied = set(&[
            ("HTTP_PROXY", "http://proxy:3128"),
            ("NO_PROXY", "corp.example"),
        ]);
        assert_eq!(
            without_proxy(&proxied).as_deref(),
            Some("127.0.0.1,localhost,corp.example")
        );
        let names = [
            "AWS_ENDPOINT_URL_S3",
            "AWS_ENDPOINT_URL",
            "PATH",
            "AWS_SESSION_TOKEN",
            "AWS_ENDPOINT_URL_; rm",
        ];
        assert_eq!(
            unsets(names.map(str::to_owned)),
            "unset AWS_ENDPOINT_URL_S3\nunset AWS_SESSION_TOKEN\n"
        );
    }

    #[test]
    fn without_a_running_shop_the_next_step_is_named() {
        let state = std::env::temp_dir().join("haven-env-nothing-runs");
        let refused = print(&StateFolder { state })
            .expect_err("nothing runs")
            .to_string();
        assert!(
            refused.contains("haven up") && refused.contains("--state DIR"),
            "{refused}"
        );
    }
}
