//! Progress of a deployment: one line per stack, for people or programs.

use std::time::Duration;

use haven_console::progress::{Step, Steps};
use haven_console::style::Meaning;
use serde_json::json;

/// The form of the progress output.
#[derive(Clone)]
pub enum Reporter {
    Quiet,
    /// One step per stack on standard error.
    Steps(Steps),
    /// A JSON object at the beginning and at the end of each stack.
    Json,
}

/// The progress of one stack.
pub struct Line {
    stack: String,
    shown: Shown,
}

enum Shown {
    Nothing,
    Step(Step),
    Json,
}

impl Reporter {
    /// Returns a reporter without output.
    pub fn quiet() -> Reporter {
        Reporter::Quiet
    }

    /// Returns the reporter for JSON or for people.
    pub fn new(json: bool) -> Reporter {
        match json {
            true => Reporter::Json,
            false => Reporter::Steps(Steps::new("stacks")),
        }
    }

    /// Returns the reporter for a command that prints a document at the end. With JSON, it has no
    /// output.
    pub fn aside(json: bool) -> Reporter {
        match json {
            true => Reporter::Quiet,
            false => Reporter::new(false),
        }
    }

    /// Begins the progress of a stack.
    pub fn begin(&self, stack: &str, doing: &str) -> Line {
        let shown = match self {
            Reporter::Quiet => Shown::Nothing,
            Reporter::Steps(steps) => Shown::Step(steps.begin(&format!("{stack}: {doing}"))),
            Reporter::Json => {
                print_event(stack, "begin", doing);
                Shown::Json
            }
        };
        Line {
            stack: stack.to_owned(),
            shown,
        }
    }
}

impl Line {
    /// Shows the current activity, to people only.
    pub fn doing(&self, text: &str) {
        if let Shown::Step(step) = &self.shown {
            step.doing(&format!("{}: {text}", self.stack));
        }
    }

    /// Ends the progress of a stack.
    pub fn end(self, text: &str) {
        self.finish(Meaning::Ok, text, text);
    }

    /// Ends the progress of a stack that failed. The error itself is printed by the command.
    pub fn failed(self) {
        self.finish(Meaning::Fail, "failed", "FAILED");
    }

    /// Ends the progress of a stack that was deployed, or that failed without a text.
    pub fn end_after(self, text: Option<&str>, took: Duration) {
        let seconds = took.as_secs_f64();
        match text {
            Some(text) => self.finish(Meaning::Ok, text, &format!("{text} ({seconds:.1} s)")),
            None => self.finish(Meaning::Fail, "failed", &format!("FAILED ({seconds:.1} s)")),
        }
    }

    /// Ends the progress with a text for people, who see the duration anyway, or for programs.
    fn finish(self, result: Meaning, text: &str, event: &str) {
        match self.shown {
            Shown::Nothing => {}
            Shown::Step(step) => step.end(result, &format!("{}: {text}", self.stack)),
            Shown::Json => print_event(&self.stack, "end", event),
        }
    }
}

fn print_event(stack: &str, event: &str, text: &str) {
    println!(
        "{}",
        json!({ "stack": stack, "event": event, "text": text })
    );
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn off_a_terminal_each_stack_is_one_line_when_it_ends() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let printed = lines.clone();
        let steps = Steps::in_lines("stacks", move |line: &str| {
            lines.lock().expect("no panic").push(line.to_owned());
        });
        let reporter = Reporter::Steps(steps);
        let took = Duration::from_secs(3);
        let line = |stack| reporter.begin(stack, "creating");
        let data = line("data");
        data.doing("7 of 22");
        data.end_after(Some("created"), took);
        line("edge").end_after(None, took);
        line("network").failed();
        line("roles").end("no changes");
        drop(line("backup"));
        let lines = printed.lock().expect("no panic").clone();
        let expected = [
            "stacks: data: created (0.0 s)",
            "stacks: FAIL edge: failed (0.0 s)",
            "stacks: FAIL network: failed (0.0 s)",
            "stacks: roles: no changes (0.0 s)",
        ];
        // A slow machine may need a moment.
        let without_time = |line: &str| line.rsplit_once(" (").map(|(text, _)| text.to_owned());
        let lines: Vec<_> = lines.iter().map(|line| without_time(line)).collect();
        let expected: Vec<_> = expected.iter().map(|line| without_time(line)).collect();
        assert_eq!(lines, expected);
    }
}
