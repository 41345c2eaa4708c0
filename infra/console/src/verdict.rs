//! The end of a command that decides something: a verdict sentence, the next step and the exit
//! code, from one value, so that they cannot differ.

use serde_json::{Map, Value};

use crate::exit::Exit;
use crate::output;
use crate::settings::Settings;
use crate::style::Meaning;
use crate::terminal;
use crate::width::{of_text, wrap};

/// The result of a command.
///
/// ```
/// use haven_console::verdict::Verdict;
/// let verdict = Verdict::no("Drift: 1 of 377 resources differs.").next("haven drift prod --revert");
/// assert_eq!(verdict.exit().code(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    kind: Kind,
    sentence: String,
    next: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    /// A list or a description, which decides nothing.
    Neutral,
    No,
    Failed,
}

impl Verdict {
    /// Makes the verdict of a command whose answer is yes or that is done, such as "Healthy."
    pub fn good(sentence: impl Into<String>) -> Verdict {
        Verdict::new(Kind::Good, sentence)
    }

    /// Makes the last line of a list or of a description, such as "10 dead letters, 2 causes."
    pub fn neutral(sentence: impl Into<String>) -> Verdict {
        Verdict::new(Kind::Neutral, sentence)
    }

    /// Makes the verdict of a command whose answer is no, which ends with 2.
    pub fn no(sentence: impl Into<String>) -> Verdict {
        Verdict::new(Kind::No, sentence)
    }

    /// Makes the verdict of a command that failed after it had shown results, which ends with 1.
    pub fn failed(sentence: impl Into<String>) -> Verdict {
        Verdict::new(Kind::Failed, sentence)
    }

    fn new(kind: Kind, sentence: impl Into<String>) -> Verdict {
        Verdict {
            kind,
            sentence: sentence.into(),
            next: None,
        }
    }

    /// Sets the next step: a command, and after a comma what else to say.
    pub fn next(mut self, next: impl Into<String>) -> Verdict {
        self.next = Some(next.into());
        self
    }

    /// Appends words in parentheses, such as [`crate::table::Rendered::note`], before the full stop.
    pub fn note(mut self, note: Option<String>) -> Verdict {
        if let Some(note) = note {
            let stop = if self.sentence.ends_with('.') {
                "."
            } else {
                ""
            };
            let sentence = self.sentence.trim_end_matches('.');
            self.sentence = format!("{sentence}; {note}{stop}");
        }
        self
    }

    /// Returns the exit code.
    pub fn exit(&self) -> Exit {
        match self.kind {
            Kind::Good | Kind::Neutral => Exit::Done,
            Kind::No => Exit::No,
            Kind::Failed => Exit::Failed,
        }
    }

    /// Prints the verdict and the next step as the last lines of standard output. Returns the exit
    /// code.
    pub fn print(&self) -> Exit {
        output::always(self.text(&crate::settings::get(), crate::width::stdout_text()));
        self.exit()
    }

    /// Ends a command: with `--json` prints the document of [`Verdict::print_json`], else what `show`
    /// prints and the verdict. Returns the exit code.
    pub fn end(&self, schema: &str, fields: Value, show: impl FnOnce()) -> Exit {
        if crate::settings::get().json {
            return self.print_json(schema, fields);
        }
        show();
        self.print()
    }

    /// Ends a command as [`Verdict::end`], after JSON lines: the document is that of
    /// [`Verdict::print_result`].
    pub fn end_lines(&self, schema: &str, fields: Value, show: impl FnOnce()) -> Exit {
        if crate::settings::get().json {
            return self.print_result(schema, fields);
        }
        show();
        self.print()
    }

    /// Prints `fields`, an object, as the only document, with `schema`, `ok` and `verdict` before
    /// its own fields. `schema` is a name with a version, such as `haven.check/1`. Returns the exit
    /// code.
    pub fn print_json(&self, schema: &str, fields: Value) -> Exit {
        output::always(terminal::json(&self.document(schema, fields)));
        self.exit()
    }

    /// Prints `fields`, an object, as the last of several JSON lines: the event `result`, with
    /// `schema`, `ok` and `verdict`. Returns the exit code.
    pub fn print_result(&self, schema: &str, fields: Value) -> Exit {
        let mut line = self.document(schema, fields);
        line["event"] = "result".into();
        output::always(terminal::json_line(&line));
        self.exit()
    }

    /// Returns the document that [`Verdict::print_json`] prints. Fields can quote what people typed.
    pub fn document(&self, schema: &str, fields: Value) -> Value {
        let Value::Object(fields) = fields else {
            // A caller's mistake; the fields are not lost.
            return self.document(
                schema,
                Value::Object(Map::from_iter([("result".to_owned(), fields)])),
            );
        };
        let mut document = Map::new();
        document.insert("schema".to_owned(), schema.into());
        document.insert("ok".to_owned(), (self.exit() == Exit::Done).into());
        document.insert("verdict".to_owned(), self.sentence.clone().into());
        document.extend(fields);
        Value::Object(document)
    }

    fn text(&self, settings: &Settings, columns: usize) -> String {
        let mut text = wrap(&self.sentence, columns, "", "");
        if let Some(next) = self.next.as_ref().filter(|_| !settings.quiet) {
            let next = format!("Next: {}", settings.hint(next));
            let is_short = of_text(&text) + 1 + of_text(&next) <= columns && !text.contains('\n');
            // A verdict stays alone on its line.
            text += if self.kind == Kind::Neutral && is_short {
                " "
            } else {
                "\n"
            };
            text += &wrap(&next, columns, "", "      ");
        }
        let meaning = match self.kind {
            Kind::Good => Meaning::Good,
            Kind::Neutral => return text,
            Kind::No | Kind::Failed => Meaning::Bad,
        };
        let end = text.find([':', '.', ',', '\n']).unwrap_or(text.len());
        let (first_words, rest) = text.split_at(end);
        meaning.paint(first_words) + rest
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::width::assert_fits;

    fn plain(verdict: &Verdict, columns: usize) -> String {
        let text = verdict.text(&Settings::default(), columns);
        assert_fits(&text, columns);
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn a_verdict_is_its_own_line_and_its_first_words_have_the_color() {
        let verdict =
            Verdict::no("Plan refused: 2 to create, 4 to change, 3 to replace, 0 to delete.")
                .next("keep database.engine = \"postgres\", or add --allow data/Database");
        let wide = "Plan refused: 2 to create, 4 to change, 3 to replace, 0 to delete.\n\
            Next: keep database.engine = \"postgres\", or add --allow data/Database";
        assert_eq!(plain(&verdict, 80), wide);
        assert_eq!(plain(&verdict, 120), wide);
        assert_eq!(
            plain(&verdict, 60),
            "Plan refused: 2 to create, 4 to change, 3 to replace, 0 to\n\
             delete.\n\
             Next: keep database.engine = \"postgres\", or add --allow\n\
            \x20     data/Database"
        );
        let text = verdict.text(&Settings::default(), 80);
        assert!(
            text.starts_with(&(Meaning::Bad.paint("Plan refused") + ":")),
            "{text}"
        );
        assert_eq!(
            Verdict::good("Healthy.").text(&Settings::default(), 80),
            Meaning::Good.paint("Healthy") + "."
        );
    }

    #[test]
    fn a_list_names_the_next_step_on_its_last_line() {
        let verdict = Verdict::neutral("10 dead letters, 2 causes.").next("haven dlq show d9d6");
        assert_eq!(
            plain(&verdict, 60),
            "10 dead letters, 2 causes. Next: haven dlq show d9d6"
        );
        let quiet = Settings {
            quiet: true,
            ..Settings::default()
        };
        assert_eq!(verdict.text(&quiet, 60), "10 dead letters, 2 causes.");
        let noted = verdict.note(Some("1 column hidden: Oldest (-v)".to_owned()));
        assert_eq!(
            noted.sentence,
            "10 dead letters, 2 causes; 1 column hidden: Oldest (-v)."
        );
    }

    #[test]
    fn the_exit_code_and_ok_follow_from_the_verdict() {
        for (verdict, exit, ok) in [
            (Verdict::good("Passed."), Exit::Done, true),
            (Verdict::neutral("None."), Exit::Done, true),
            (Verdict::no("Failed."), Exit::No, false),
            (Verdict::failed("Stopped."), Exit::Failed, false),
        ] {
            assert_eq!(verdict.exit(), exit);
            let document = verdict.document("haven.check/1", json!({ "findings": 2 }));
            assert_eq!(
                document,
                json!({ "schema": "haven.check/1", "ok": ok, "verdict": verdict.sentence, "findings": 2 })
            );
        }
    }
}
