//! `haven open`: opens a page of the running shop in the browser.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use chassis::config::{Environment as _, ProcessEnvironment};
use clap::{Args, ValueEnum};
use haven_console::verdict::Verdict;
use serde_json::json;

use crate::arguments::STATE;
use crate::target;

#[derive(Debug, Args)]
pub struct Open {
    /// Page to open
    #[arg(value_enum, default_value_t = Page::Shop)]
    pub page: Page,
    /// The state directory
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// A page of the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Page {
    /// The menu, for customers
    Shop,
    /// The staff board, after sign-in
    Staff,
    /// E-mails and text messages that were sent, after sign-in
    Mail,
}

impl Page {
    fn url(self, storefront: &str) -> String {
        let path = match self {
            Page::Shop => "/",
            Page::Staff => "/staff",
            Page::Mail => "/staff/mailbox",
        };
        format!("{storefront}{path}")
    }
}

/// Prints the address of a page, and opens it if there is a browser. With `--json` it is only
/// printed.
///
/// # Errors
/// When no platform is running in the state directory.
pub fn command(options: &Open) -> anyhow::Result<()> {
    let facts = target::running(&options.state)?;
    let url = options.page.url(&facts.storefront);
    let is_opened = !options.json && open(&url);
    let verdict = verdict(options.page, is_opened);
    if options.json {
        verdict.print_json("haven.open/1", json!({ "url": url }));
    } else {
        println!("{url}");
        verdict.print();
    }
    Ok(())
}

fn verdict(page: Page, is_opened: bool) -> Verdict {
    let verdict = Verdict::neutral(match is_opened {
        true => "Opened in the browser.",
        false => "Open this address in a browser.",
    });
    match page {
        Page::Shop => verdict.next("order a flat white"),
        Page::Staff | Page::Mail => verdict.next("haven staff token, and sign in with it"),
    }
}

/// Starts the program that opens addresses. Returns whether there is one.
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
    fn each_page_has_its_address_and_its_next_step() {
        for (page, url, next) in [
            (Page::Shop, "http://127.0.0.1:8080/", "order a flat white"),
            (
                Page::Staff,
                "http://127.0.0.1:8080/staff",
                "haven staff token, and sign in with it",
            ),
            (
                Page::Mail,
                "http://127.0.0.1:8080/staff/mailbox",
                "haven staff token, and sign in with it",
            ),
        ] {
            assert_eq!(page.url("http://127.0.0.1:8080"), url);
            assert_eq!(
                verdict(page, false),
                Verdict::neutral("Open this address in a browser.").next(next)
            );
        }
    }
}
