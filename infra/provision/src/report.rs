//! Progress of a deployment: one line per stack, for people or programs.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

/// The form of the progress output.
#[derive(Clone)]
pub enum Reporter {
    Quiet,
    /// One line per stack, which is updated on a terminal.
    Terminal(MultiProgress),
    /// A line at the beginning and at the end of each stack.
    Lines,
    /// A JSON object at the beginning and at the end of each stack.
    Json,
}

/// The progress of one stack.
pub struct Line {
    stack: String,
    reporter: Reporter,
    bar: Option<ProgressBar>,
}

impl Reporter {
    /// Returns a reporter without output.
    pub fn quiet() -> Reporter {
        Reporter::Quiet
    }

    /// Returns the reporter for JSON, for a terminal or for other outputs.
    pub fn new(json: bool) -> Reporter {
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => Reporter::Json,
            (false, true) => Reporter::Terminal(MultiProgress::new()),
            (false, false) => Reporter::Lines,
        }
    }

    /// Returns the reporter for a command that prints a document at the end. Without JSON, the
    /// progress goes to standard error.
    pub fn aside(json: bool) -> Reporter {
        if json {
            Reporter::Quiet
        } else {
            Reporter::new(false)
        }
    }

    /// Begins the progress of a stack.
    pub fn begin(&self, stack: &str, doing: &str) -> Line {
        let bar = match self {
            Reporter::Terminal(bars) => {
                let style = ProgressStyle::with_template("  {spinner} {prefix:32} {msg}");
                let bar = bars.add(ProgressBar::new_spinner());
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                bar.set_prefix(stack.to_owned());
                bar.set_message(doing.to_owned());
                bar.enable_steady_tick(Duration::from_millis(120));
                Some(bar)
            }
            _ => None,
        };
        let line = Line {
            stack: stack.to_owned(),
            reporter: self.clone(),
            bar,
        };
        line.say("begin", doing);
        line
    }
}

impl Line {
    /// Shows the current activity, on a terminal only.
    pub fn doing(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

    /// Ends the progress of a stack.
    pub fn end(self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_with_message(text.to_owned());
        }
        self.say("end", text);
    }

    fn say(&self, event: &str, text: &str) {
        match self.reporter {
            Reporter::Quiet | Reporter::Terminal(_) => {}
            Reporter::Lines => eprintln!("  {:32} {text}", self.stack),
            Reporter::Json => println!(
                "{}",
                json!({ "stack": self.stack, "event": event, "text": text })
            ),
        }
    }
}
