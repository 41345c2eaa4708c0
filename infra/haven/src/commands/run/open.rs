//! `haven open`: opens a page of the running shop in the browser.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use app::ports::access::StaffToken;
use app::use_cases::journey::time_text;
use chassis::config::{Environment as _, ProcessEnvironment};
use clap::{Args, ValueEnum};
use haven_console::error::Failure;
use haven_console::exit::Exit;
use haven_console::verdict::Verdict;
use haven_console::{output, settings};
use platform::audit;
use platform::environment::ENVIRONMENT;
use platform::facts::Facts;
use platform::staff_token::{MAILBOX, sign_in_link};
use serde_json::json;

use crate::arguments::{STATE, environments};
use crate::target;

#[derive(Debug, Args)]
pub struct Open {
    /// Page to open
    #[arg(value_enum, default_value_t = Page::Shop)]
    pub page: Page,
    /// Environment, of which only local has pages to open
    #[arg(value_name = "ENV", hide = true)]
    pub environment: Option<String>,
    #[arg(long)]
    pub env: Option<String>,
    /// The state directory
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

/// A page of the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Page {
    /// The menu, for customers
    Shop,
    /// The staff board, signed in
    Staff,
    /// E-mails and text messages that were sent, signed in
    Mail,
}

impl Page {
    /// Returns the address of the page. A page for staff has a sign-in link, and its record.
    async fn address(self, facts: &Facts) -> anyhow::Result<(String, Option<StaffToken>)> {
        let page = match self {
            Page::Shop => return Ok((format!("{}/", facts.storefront), None)),
            Page::Staff => None,
            Page::Mail => Some(MAILBOX),
        };
        let (address, link) = sign_in_link(facts, &audit::operator(), page).await?;
        Ok((address, Some(link)))
    }
}

/// Prints the address of a page, and opens it if there is a browser. With `--json` it is only
/// printed. The address of a page for staff is a link that signs in once, within a minute.
///
/// # Errors
/// When an environment on AWS is named, when no platform is running in the state directory, or when
/// the link cannot be made.
pub async fn command(options: &Open) -> anyhow::Result<Exit> {
    let names = options.environment.as_slice();
    let names = environments(names, options.env.as_deref(), &[ENVIRONMENT])?;
    if let Some(name) = names.iter().find(|name| *name != ENVIRONMENT) {
        return Err(only_here(options.page, name).into());
    }
    let facts = target::running(&options.state)?;
    let (url, link) = options.page.address(&facts).await?;
    let is_opened = !settings::get().json && open(&url);
    let verdict = verdict(options.page, is_opened);
    let expires_at = link.map(|link| time_text(link.expires_at));
    let document = json!({ "url": url, "expires_at": expires_at });
    Ok(verdict.end("haven.open/1", document, || output::always(url)))
}

/// Returns the failure for a page of another environment, with what to do there.
fn only_here(page: Page, environment: &str) -> Failure {
    let message =
        format!("`haven open` opens pages of the platform on this machine, not of `{environment}`");
    let address =
        format!("`haven config explain {environment} edge.domain` shows the domain of the shop");
    Failure::usage(message).tip(match page {
        Page::Shop => address,
        Page::Staff => format!(
            "{address}; sign in at /staff/sign-in with a token of `haven staff token`, which needs DATABASE_URL and \
             HAVEN_SIGNING_KEY of `{environment}`"
        ),
        Page::Mail => {
            "on AWS, SES and SNS deliver the messages, and no copy is kept".to_owned()
        }
    })
}

fn verdict(page: Page, is_opened: bool) -> Verdict {
    match (page, is_opened) {
        (Page::Shop, true) => Verdict::neutral("Opened in the browser.").next("order a flat white"),
        (Page::Shop, false) => {
            Verdict::neutral("Open this address in a browser.").next("order a flat white")
        }
        (Page::Staff | Page::Mail, true) => {
            Verdict::neutral("Opened in the browser. The link signs in once.")
        }
        (Page::Staff | Page::Mail, false) => {
            Verdict::neutral("Open this address in a browser within 60 s. It signs in once.")
        }
    }
}

/// Starts the program that opens addresses. Returns whether there is one.
///
/// Other accounts of the machine can read the address in the command line of that program and of
/// the browser. A sign-in link in it works once and for a minute; `storefront::sign_in_link` states
/// why it is a link and not a private file.
fn open(url: &str) -> bool {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else {
        // Without a display, xdg-open would start a browser for terminals.
        let is_set = |name: &str| ProcessEnvironment.get(name).is_some();
        if !is_set("DISPLAY") && !is_set("WAYLAND_DISPLAY") {
            return false;
        }
        "xdg-open"
    };
    let mut command = Command::new(program);
    command
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_for_staff_is_a_link_that_signs_in_once() {
        assert_eq!(
            verdict(Page::Shop, false),
            Verdict::neutral("Open this address in a browser.").next("order a flat white")
        );
        for page in [Page::Staff, Page::Mail] {
            assert_eq!(
                verdict(page, false),
                Verdict::neutral("Open this address in a browser within 60 s. It signs in once.")
            );
            assert_eq!(
                verdict(page, true),
                Verdict::neutral("Opened in the browser. The link signs in once.")
            );
        }
    }

    #[test]
    fn another_environment_is_refused_with_what_to_do_there() {
        for (page, tip) in [
            (Page::Shop, "`haven config explain dev edge.domain`"),
            (Page::Staff, "`haven staff token`"),
            (Page::Mail, "SES and SNS deliver"),
        ] {
            let failure = only_here(page, "dev");
            assert_eq!(failure.exit.code(), 64);
            assert!(failure.message.ends_with("not of `dev`"), "{failure}");
            let told = failure.tip.unwrap_or_default();
            assert!(told.contains(tip), "{told}");
        }
    }
}
