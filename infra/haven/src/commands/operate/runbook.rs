//! `haven runbook`: lists and shows the runbooks.

use clap::Subcommand;
use contract::alarm::ALARMS;
use haven_console::error::{Failure, unknown};
use haven_console::exit::Exit;
use haven_console::style::Meaning;
use haven_console::table::{Column, Table};
use haven_console::verdict::Verdict;
use haven_console::width::{self, wrap};
use haven_console::{output, settings};
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub enum Runbook {
    /// List the runbooks, the most urgent first
    #[command(
        after_help = "Examples:\n  haven runbook list\n  haven runbook list --json\n\nEach alarm has one runbook. `page` asks for a person at once, `ticket` on the\nsame day. -v shows the names of the alarms."
    )]
    List,
    /// Show a runbook
    #[command(
        after_help = "Examples:\n  haven runbook show queue-age\n  haven runbook show dead-letters --json\n\nExit 2 if no runbook has this name."
    )]
    Show {
        /// Name of the runbook, as the alarm names it
        #[arg(value_name = "RUNBOOK")]
        id: String,
    },
}

macro_rules! runbooks {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../../runbooks/", $name, ".md")))),*]
    };
}

/// Every runbook by name. A test in `tests/tidy` checks that the list is complete.
const RUNBOOKS: &[(&str, &str)] = runbooks![
    "cache",
    "database",
    "dead-letters",
    "dependencies",
    "deployments",
    "notification-failures",
    "outbox-lag",
    "queue-age",
    "shop",
    "stock-drift",
    "stream-lag",
    "tables",
    "tasks",
    "topics"
];

/// A runbook: its front matter, its title and the Markdown below it.
struct Page {
    id: &'static str,
    severity: &'static str,
    title: &'static str,
    body: &'static str,
}

impl Page {
    fn read(&(id, text): &(&'static str, &'static str)) -> Page {
        let text = text.strip_prefix("---\n").unwrap_or(text);
        let (matter, rest) = text.split_once("\n---\n").unwrap_or(("", text));
        let severity = matter
            .lines()
            .find_map(|line| line.strip_prefix("severity: "));
        let (title, body) = rest.trim_start().split_once('\n').unwrap_or((rest, ""));
        Page {
            id,
            severity: severity.unwrap_or_default(),
            title: title.trim_start_matches("# "),
            body,
        }
    }

    fn alarms(&self) -> Vec<&'static str> {
        let alarms = ALARMS.iter().filter(|alarm| alarm.runbook == self.id);
        alarms.map(|alarm| alarm.slug).collect()
    }

    fn json(&self) -> Value {
        json!({ "id": self.id, "severity": self.severity, "title": self.title, "alarms": self.alarms() })
    }

    /// Returns the page as text: its Markdown without markup, wrapped at the columns.
    fn text(&self, columns: usize) -> String {
        let title = format!("{} ({})", self.title, self.severity);
        let alarms = format!("Alarms: {}", self.alarms().join(", "));
        let title = wrap(&title, columns, "", "");
        let mut text = format!(
            "{}\n{}\n",
            Meaning::Heading.paint(title),
            wrap(&alarms, columns, "", "        ")
        );
        text += &rendered(self.body, columns);
        text
    }
}

/// Returns Markdown of headings, paragraphs and lists as text. A code span stays on one line.
fn rendered(markdown: &str, columns: usize) -> String {
    let mut text = String::new();
    // The paragraph or list item that later lines continue, and what precedes its first line.
    let mut block: Option<(String, String)> = None;
    let flush = |block: &mut Option<(String, String)>, text: &mut String| {
        if let Some((first, words)) = block.take() {
            let rest = " ".repeat(first.len());
            *text += &(wrap(&words, columns, &first, &rest) + "\n");
        }
    };
    for line in markdown.lines() {
        let words = line.trim();
        let indent = &line[..line.len() - line.trim_start().len()];
        if words.is_empty() {
            flush(&mut block, &mut text);
            text.push('\n');
        } else if let Some(heading) = words.strip_prefix("## ") {
            flush(&mut block, &mut text);
            text += &(Meaning::Heading.paint(heading) + "\n");
        } else if let Some((marker, words)) = list_item(words) {
            flush(&mut block, &mut text);
            block = Some((format!("{indent}{marker} "), words.to_owned()));
        } else if let Some((_, before)) = &mut block {
            *before += &format!(" {words}");
        } else {
            block = Some((indent.to_owned(), words.to_owned()));
        }
    }
    flush(&mut block, &mut text);
    text
}

/// Returns the marker and the text of a line that begins an item: `- text` or `1. text`.
fn list_item(line: &str) -> Option<(&str, &str)> {
    let (marker, words) = line.split_once(' ')?;
    let number = marker.strip_suffix('.').unwrap_or_default();
    let is_number = !number.is_empty() && number.chars().all(|letter| letter.is_ascii_digit());
    (marker == "-" || is_number).then_some((marker, words))
}

/// Runs a command.
///
/// # Errors
/// As [`find`].
pub fn command(command: &Runbook) -> anyhow::Result<Exit> {
    let json = settings::get().json;
    Ok(match command {
        Runbook::List => {
            let mut pages: Vec<Page> = RUNBOOKS.iter().map(Page::read).collect();
            pages.sort_by_key(|page| (urgency(page.severity), page.id));
            let verdict = of_list(&pages);
            if json {
                let pages: Vec<Value> = pages.iter().map(Page::json).collect();
                verdict.print_json("haven.runbook-list/1", json!({ "runbooks": pages }))
            } else {
                let note = table(&pages, settings::get().verbose).print();
                println!();
                verdict.note(note).print()
            }
        }
        Runbook::Show { id } => {
            let page = find(id)?;
            if json {
                let mut document = page.json();
                document["markdown"] = page.body.trim().into();
                Verdict::neutral(page.title).print_json("haven.runbook-show/1", document)
            } else {
                output::always(page.text(width::stdout_text()).trim_end());
                Exit::Done
            }
        }
    })
}

/// Returns the rank of a severity. The most urgent is 0.
fn urgency(severity: &str) -> usize {
    let severities = ["page", "ticket", "notice"];
    severities
        .iter()
        .position(|known| *known == severity)
        .unwrap_or(severities.len())
}

fn table(pages: &[Page], is_full: bool) -> Table {
    let mut table = Table::new([
        Column::text("Runbook"),
        Column::text("Severity"),
        Column::text("Title").shortened(),
        match is_full {
            true => Column::text("Alarms"),
            false => Column::number("Alarms"),
        },
    ]);
    for page in pages {
        let alarms = page.alarms();
        let alarms = match is_full {
            true => alarms.join(", "),
            false => alarms.len().to_string(),
        };
        table.row([page.id, page.severity, page.title, alarms.as_str()]);
    }
    table
}

fn of_list(pages: &[Page]) -> Verdict {
    let urgent = pages.iter().filter(|page| page.severity == "page").count();
    let verdict = Verdict::neutral(format!(
        "{} runbooks, {urgent} of severity page.",
        pages.len()
    ));
    match pages.first() {
        Some(page) => verdict.next(format!("haven runbook show {}", page.id)),
        None => verdict,
    }
}

/// Returns the runbook of this name.
///
/// # Errors
/// A failure that exits with 2 and lists the names, when no runbook has this one.
fn find(id: &str) -> Result<Page, Failure> {
    match RUNBOOKS.iter().find(|(name, _)| *name == id) {
        Some(runbook) => Ok(Page::read(runbook)),
        None => {
            let names: Vec<&str> = RUNBOOKS.iter().map(|(name, _)| *name).collect();
            let mut failure = unknown("runbook", id, &names);
            failure.exit = Exit::No;
            Err(failure.code("not_found"))
        }
    }
}

#[cfg(test)]
mod tests {
    use haven_console::width::of_text;

    use super::*;

    #[test]
    fn every_runbook_of_an_alarm_can_be_shown() {
        for alarm in ALARMS {
            let page = find(alarm.runbook).expect("a runbook");
            assert!(page.alarms().contains(&alarm.slug), "{}", alarm.slug);
            assert!(urgency(page.severity) < 3, "{}", page.severity);
        }
    }

    #[test]
    fn an_unknown_name_is_an_answer_with_the_known_names() {
        let failure = find("dead-leters").err().expect("unknown");
        let tip = failure.tip.clone().unwrap_or_default();
        assert_eq!((failure.exit.code(), failure.code), (2, "not_found"));
        assert_eq!(failure.to_string(), "unknown runbook `dead-leters`");
        assert!(
            tip.starts_with("did you mean `dead-letters`? Known: cache, database, "),
            "{tip}"
        );
    }

    #[test]
    fn the_list_fits_every_width() {
        let pages: Vec<Page> = RUNBOOKS.iter().map(Page::read).collect();
        for columns in [60, 80, 120] {
            let text = table(&pages, false).render(columns).text;
            for line in text.lines() {
                assert!(of_text(line) <= columns, "{columns}: {line}");
            }
        }
        let names = table(&pages, true).render(usize::MAX).text;
        assert!(names.contains("orders-parked, payments-parked"), "{names}");
        assert_eq!(of_list(&pages).exit(), Exit::Done);
    }

    #[test]
    fn markdown_is_rendered() {
        let markdown = "\n## Meaning\nA message is\nin a queue.\n\n## Diagnosis\n\
            1. Run `haven dlq list`. The command groups dead letters by\n   cause.\n   \
            - `does not exist`: too early.\n2. Read.\n";
        let heading = |text: &str| Meaning::Heading.paint(text);
        assert_eq!(
            rendered(markdown, 60),
            format!(
                "\n{}\nA message is in a queue.\n\n{}\n\
                 1. Run `haven dlq list`. The command groups dead letters by\n   cause.\n   \
                 - `does not exist`: too early.\n2. Read.\n",
                heading("Meaning"),
                heading("Diagnosis")
            )
        );
    }

    #[test]
    fn every_page_fits_every_width_and_has_no_front_matter() {
        for page in RUNBOOKS.iter().map(Page::read) {
            for columns in [60, 80, 120] {
                let text = page.text(columns);
                assert!(
                    !text.contains("severity:") && !text.contains("##"),
                    "{text}"
                );
                for line in text.lines() {
                    // A command is never broken.
                    let fits = of_text(line) <= columns || line.contains('`');
                    assert!(fits && line == line.trim_end(), "{columns}: {line:?}");
                }
            }
        }
    }
}
