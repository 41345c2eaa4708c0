//! `haven notify preview`: shows the text of each notification, without a platform.

use std::path::PathBuf;

use anyhow::Context as _;
use app::location::Location;
use app::ports::notices::NoticeKind;
use app::use_cases::notify::Compose as _;
use clap::Args;
use clap::builder::PossibleValuesParser;
use domain::channel::Channel;
use domain::gsm;
use haven_console::exit::Exit;
use haven_console::style::Meaning;
use haven_console::time::counted;
use haven_console::verdict::Verdict;
use haven_console::width::wrap;
use haven_console::{BadUsage, output, width};
use notices::samples::Sample;
use notices::{Words, Zones};
use serde::Serialize;
use serde_json::json;

#[derive(Debug, Args)]
pub struct Preview {
    /// Notification to show [default: all]
    #[arg(value_parser = PossibleValuesParser::new(NoticeKind::ALL.map(NoticeKind::code)))]
    pub kind: Option<String>,
    /// Show only this channel
    #[arg(long, value_parser = PossibleValuesParser::new(Channel::ALL.map(Channel::code)))]
    pub channel: Option<String>,
    /// Write the HTML of the e-mail to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// One notification through one channel.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
enum Shown {
    Email {
        kind: &'static str,
        channel: &'static str,
        to: String,
        subject: String,
        text: String,
        html: String,
    },
    Sms {
        kind: &'static str,
        channel: &'static str,
        to: String,
        text: String,
        septets: Option<usize>,
    },
}

/// Prints sample notifications, and writes the HTML of an e-mail with `--html`.
///
/// # Errors
/// [`BadUsage`] when the HTML of a text message or of no particular notification is requested.
/// Another error when the file cannot be written.
pub fn print(options: &Preview) -> anyhow::Result<Exit> {
    let channel = options.channel.as_deref().and_then(Channel::from_code);
    if let Some(file) = &options.html {
        let html = html(options.kind.as_deref(), channel)?;
        std::fs::write(file, html).with_context(|| format!("write {}", file.display()))?;
        output::aside(format_args!("Wrote {}.", file.display()));
    }
    let shown = shown(options.kind.as_deref(), channel);
    let verdict = Verdict::neutral(format!(
        "{} of invented orders. Nothing was sent.",
        counted(shown.len(), "preview")
    ));
    let fields = json!({ "previews": shown });
    Ok(verdict.end("haven.previews/1", fields, || {
        let columns = width::stdout_text();
        for shown in &shown {
            println!("{}\n", shown.to_text(columns));
        }
    }))
}

fn html(kind: Option<&str>, channel: Option<Channel>) -> Result<String, BadUsage> {
    if channel == Some(Channel::Sms) {
        return Err(BadUsage(
            "--html: a text message has no HTML; leave out --channel sms".to_owned(),
        ));
    }
    let Some(kind) = kind else {
        return Err(BadUsage(format!(
            "--html: name the notification, one of {}",
            NoticeKind::ALL.map(NoticeKind::code).join(", ")
        )));
    };
    let mails = shown(Some(kind), Some(Channel::Email)).into_iter();
    let html = mails.filter_map(|shown| match shown {
        Shown::Email { html, .. } => Some(html),
        Shown::Sms { .. } => None,
    });
    Ok(html.collect())
}

fn shown(kind: Option<&str>, channel: Option<Channel>) -> Vec<Shown> {
    let words = Words {
        public_url: "https://brewhaven.example".to_owned(),
        staff_mail: "staff@brewhaven.example".to_owned(),
        zones: Zones::of(&[Location::initial()]),
    };
    let mut shown = Vec::new();
    for known in NoticeKind::ALL
        .into_iter()
        .filter(|known| kind.is_none_or(|kind| kind == known.code()))
    {
        let sample = Sample::of(known);
        let known = known.code();
        let wanted = |one| channel.is_none_or(|channel| channel == one);
        if wanted(Channel::Email) {
            let mail = words.mail(&sample.news(), String::new());
            shown.push(Shown::Email {
                kind: known,
                channel: Channel::Email.code(),
                to: mail.to,
                subject: mail.subject,
                text: mail.text,
                html: mail.html,
            });
        }
        if let (true, Some(text)) = (
            wanted(Channel::Sms),
            words.text(&sample.news(), String::new()),
        ) {
            shown.push(Shown::Sms {
                kind: known,
                channel: Channel::Sms.code(),
                to: text.to,
                septets: gsm::septets(&text.body),
                text: text.body,
            });
        }
    }
    shown
}

impl Shown {
    /// Returns a heading, and the text below it with an indent.
    fn to_text(&self, columns: usize) -> String {
        let (heading, text) = match self {
            Shown::Email {
                kind,
                to,
                subject,
                text,
                ..
            } => (
                format!("{kind} by email to {to}"),
                format!("Subject: {subject}\n\n{}", text.trim_end()),
            ),
            Shown::Sms {
                kind,
                to,
                text,
                septets,
                ..
            } => {
                let septets = septets.unwrap_or_default();
                let most = gsm::SEPTETS_MAX;
                (
                    format!("{kind} by text message to {to}, {septets} of {most} septets"),
                    text.clone(),
                )
            }
        };
        let heading = wrap(&Meaning::Heading.paint(heading), columns, "", "  ");
        let lines = text.lines().map(|line| {
            let indent = " ".repeat(2 + line.len() - line.trim_start().len());
            wrap(line.trim(), columns, &indent, &indent)
        });
        lines.fold(heading, |text, line| text + "\n" + &line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notification_has_a_preview_for_each_channel() {
        let all = shown(None, None);
        let texts = all
            .iter()
            .filter(|shown| matches!(shown, Shown::Sms { .. }))
            .count();
        assert_eq!(
            (all.len(), texts),
            (15, 6),
            "nine mails; the three of staff have no text beside them"
        );
        assert_eq!(shown(Some("order_ready"), None).len(), 2);
        assert_eq!(shown(Some("stock_out"), Some(Channel::Sms)), []);
    }

    #[test]
    fn a_preview_fits_the_terminal() {
        for shown in shown(None, None) {
            for columns in [60, 80, 120] {
                let text = shown.to_text(columns);
                // A link is never broken.
                let lines = text.lines().filter(|line| !line.contains("https://"));
                let lines: Vec<&str> = lines.collect();
                crate::commands::look::fitting(&lines.join("\n"), columns);
            }
        }
        let text = shown(Some("order_ready"), None)[0].to_text(80);
        assert!(
            text.contains("order_ready by email to ") && text.contains("\n  Subject: "),
            "{text}"
        );
    }

    #[test]
    fn html_needs_one_notification() {
        assert!(
            html(Some("order_ready"), None)
                .expect("a mail")
                .starts_with("<!doctype html>")
        );
        for (kind, channel) in [(None, None), (Some("order_ready"), Some(Channel::Sms))] {
            assert!(
                html(kind, channel)
                    .expect_err("of what?")
                    .to_string()
                    .starts_with("--html: ")
            );
        }
    }

    #[test]
    fn json_has_the_length_of_each_text_message() {
        let text = json!(shown(Some("order_ready"), Some(Channel::Sms))[0]);
        assert!(
            text["septets"]
                .as_u64()
                .is_some_and(|septets| (20..=160).contains(&septets)),
            "{text}"
        );
    }
}
