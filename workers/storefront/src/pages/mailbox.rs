//! The page of mails and texts that a local AWS kept instead of delivering them, for staff (see
//! `access`). Without a local AWS the page answers 404.

use app::ports::mailbox::{Kept, Mailbox};
use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::clock::time_of;
use super::shell::{Shell, page};
use crate::ports::Ports;
use crate::problem::Problem;
use crate::state::App;

/// Maximum of mails, and of texts, on the page. The local AWS keeps all of them.
const SHOWN: usize = 200;

#[derive(Template)]
#[template(path = "mailbox.html")]
struct MailboxPage {
    shell: Shell,
    mails: Vec<MailRow>,
    texts: Vec<TextRow>,
    left_out: usize,
}

struct MailRow {
    id: String,
    to: String,
    subject: String,
    at: String,
}

struct TextRow {
    to: String,
    text: String,
}

#[derive(Template)]
#[template(path = "mail.html")]
struct MailPage {
    shell: Shell,
    to: String,
    subject: String,
    at: String,
    text: String,
    /// The source of the HTML, shown as text: a mail must not become part of the page.
    html: Option<String>,
}

/// Lists the newest mails and texts.
pub async fn list<P: Ports>(State(app): State<App<P>>) -> Result<Response, Problem> {
    let mailbox = mailbox(&app)?;
    let Kept { mails, texts } = mailbox.kept().await?;
    let left_out = mails.len().saturating_sub(SHOWN) + texts.len().saturating_sub(SHOWN);
    let mails = mails.into_iter().rev().take(SHOWN).map(|mail| MailRow {
        at: time_of(&app, mail.at),
        id: mail.id,
        to: mail.to.join(", "),
        subject: mail.subject,
    });
    let texts = texts.into_iter().rev().take(SHOWN).map(|text| TextRow {
        to: text.to,
        text: text.text,
    });
    page(&MailboxPage {
        shell: Shell::of(&app),
        mails: mails.collect(),
        texts: texts.collect(),
        left_out,
    })
}

/// Shows one mail: its text and the source of its HTML.
pub async fn mail<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let mailbox = mailbox(&app)?;
    let mut mails = mailbox.kept().await?.mails.into_iter();
    let mail = mails
        .find(|mail| mail.id == id)
        .ok_or_else(Problem::not_found)?;
    page(&MailPage {
        shell: Shell::of(&app),
        at: time_of(&app, mail.at),
        to: mail.to.join(", "),
        subject: mail.subject,
        text: mail.text,
        html: mail.html,
    })
}

fn mailbox<P: Ports>(app: &App<P>) -> Result<&dyn Mailbox, Problem> {
    app.settings
        .mailbox
        .as_deref()
        .ok_or_else(Problem::not_found)
}
