//! What a person or a program sees of a deployment: one line a stack.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

/// How progress is told.
#[derive(Clone)]
pub enum Reporter {
    Quiet,
    /// A live line a stack.
    Terminal(MultiProgress),
    /// A line when a stack begins and when it ends.
    Lines,
    /// One JSON object for each of these.
    Json,
}

/// One stack's line.
pub struct Line {
    stack: String,
    reporter: Reporter,
    bar: Option<ProgressBar>,
}

impl Reporter {
    pub fn quiet() -> Reporter {
        Reporter::Quiet
    }

    pub fn new(json: bool) -> Reporter {
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => Reporter::Json,
            (false, true) => Reporter::Terminal(MultiProgress::new()),
            (false, false) => Reporter::Lines,
        }
    }

    /// Of what a command does before it prints its document: never on the same stream.
    pub fn aside(json: bool) -> Reporter {
        if json {
            Reporter::Quiet
        } else {
            Reporter::new(false)
        }
    }

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
    /// What is going on now; only a live line shows it.
    pub fn doing(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

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
